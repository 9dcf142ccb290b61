"""Texts from files of any length, one after the other; and files that are written whole or not.

In: txt (a line is a text), jsonl (a line is an object, the text in one of its fields: a string, or
a list of the user's own words), csv and tsv (with a header; an empty line is no record), Parquet
(the text in a column; extra `corpus`). All but the last are UTF-8, with or without a byte order
mark, and may be packed as gzip, bzip2, xz or zip. An error names the file and the line.
"""

from __future__ import annotations

import csv
import json
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from polyseme.inputs import Text
from polyseme.unpacking import open_unpacked

Floats = npt.NDArray[np.float32]
Line = tuple[int, str]
Row = tuple[int, tuple[Any, ...]]

SUFFIXES = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
SUFFIXES[".parquet"] = "parquet"
_PACKED = (".gz", ".bz2", ".xz", ".zip")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Source:
    """A file of texts.

    Attributes:
        path: the file; None for stdin.
        form: "txt", "jsonl", "csv", "tsv" or "parquet".
        column: the field that holds the text, in all but txt.
    """

    path: Path | None
    form: str
    column: str

    @property
    def name(self) -> str:
        """The file as messages name it."""
        return "stdin" if self.path is None else str(self.path)

    def check(self) -> None:
        """Open the file and look for the column of a csv or tsv, before any work is done.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
            ValueError: the header lacks the column.
        """
        # What is no regular file, such as a pipe, can be read only once.
        if self.path is None or (self.path.exists() and not self.path.is_file()):
            if self.path is not None and self.path.is_dir():
                raise IsADirectoryError(f"{self.path} is a folder: name the files in it")
            return
        if self.form == "parquet":
            self._check_parquet((self.column,))
            return
        with open_unpacked(self.path) as file:
            if self.form in ("csv", "tsv"):
                next(self._records(file, (self.column,)), None)

    def texts(self) -> Iterator[Text]:
        """The texts, one after the other.

        Raises:
            ValueError: a line is not what it should be; the message has the file and the line.
        """
        for number, (value,) in self.rows((self.column,)):
            yield value if self.form in ("txt", "csv", "tsv") else self._checked(number, value)

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """The lines' numbers (in Parquet, the rows') and the values of some columns.

        Args:
            columns: their names; a line of txt is its only column, whatever that is called.

        Raises:
            ValueError: a line is not what it should be; the message has the file and the line.
        """
        if self.form == "parquet":
            yield from self._columns(columns)
            return
        with ExitStack() as stack:
            if self.path is None:
                file: IO[bytes] = sys.stdin.buffer
            else:
                file = stack.enter_context(open_unpacked(self.path))
            if self.form == "txt":
                yield from ((number, (text,)) for number, text in self._plain(file))
            elif self.form == "jsonl":
                yield from self._objects(file, columns)
            else:
                yield from self._records(file, columns)

    def _lines(self, file: IO[bytes]) -> Iterator[Line]:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._wrong(
                    number,
                    f"byte {line[error.start]:#04x} at {error.start} is not UTF-8: convert the "
                    "file to UTF-8 first",
                ) from None
            yield number, text.removeprefix("\ufeff") if number == 1 else text

    def _plain(self, file: IO[bytes]) -> Iterator[Line]:
        for number, line in self._lines(file):
            yield number, line.removesuffix("\n").removesuffix("\r")

    def _objects(self, file: IO[bytes], columns: Sequence[str]) -> Iterator[Row]:
        for number, line in self._lines(file):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise self._wrong(
                    number, f"no JSON, {error.msg} at column {error.colno}: {_shown(line)}"
                ) from None
            except RecursionError:
                raise self._wrong(number, f"JSON nested too deep: {_shown(line)}") from None
            if not isinstance(row, dict):
                raise self._wrong(number, f"{_shown(row)} is no JSON object")
            for column in columns:
                if column not in row:
                    raise self._wrong(number, _no_column(column, list(row)))
            yield number, tuple(row[column] for column in columns)

    def _records(self, file: IO[bytes], columns: Sequence[str]) -> Iterator[Row]:
        at = 0

        def lines() -> Iterator[str]:
            nonlocal at
            for number, line in self._lines(file):
                at = number
                yield line

        reader = csv.reader(lines(), delimiter="\t" if self.form == "tsv" else ",", strict=True)
        header: list[str] | None = None
        while True:
            start = at + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise self._wrong(start, f"malformed {self.form}, {error}") from None
            if row is None:
                break
            if not row:
                continue
            if header is None:
                header = row
                for column in columns:
                    if header.count(column) != 1:
                        raise self._wrong(start, _no_column(column, header))
                chosen = [header.index(column) for column in columns]
                continue
            if len(row) != len(header):
                raise self._wrong(start, f"{len(row)} fields, where the header has {len(header)}")
            yield start, tuple(row[i] for i in chosen)
        if header is None:
            raise self._wrong(1, "an empty file, not even a header")

    def _columns(self, columns: Sequence[str]) -> Iterator[Row]:
        self._check_parquet(columns)
        import pyarrow.parquet

        number = 0
        with pyarrow.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(columns=list(columns)):
                values = [batch.column(column).to_pylist() for column in columns]
                for row in zip(*values, strict=True):
                    number += 1
                    yield number, row

    def _check_parquet(self, columns: Sequence[str]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ImportError(
                f'{self.name}: Parquet needs pyarrow: pip install "polyseme[corpus]"'
            ) from None
        try:
            names = pyarrow.parquet.read_schema(self.path).names
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{self.name}: no Parquet file ({error})") from None
        for column in columns:
            if names.count(column) != 1:
                raise ValueError(f"{self.name}: {_no_column(column, names)}")

    def _checked(self, number: int, value: object) -> Text:
        words = value if isinstance(value, list) else [value]
        for word in words:
            if not isinstance(word, str):
                raise self._wrong(
                    number,
                    f"{self.column!r} is {_shown(value)}: it must be a string or a list of strings",
                )
            if _SURROGATE.search(word):
                raise self._wrong(
                    number, f"{self.column!r} holds half of a surrogate pair: {_shown(word)}"
                )
        return value  # type: ignore[return-value]

    def _wrong(self, number: int, what: str) -> ValueError:
        return ValueError(f"{self.name}, line {number}: {what}")


def source(name: str, form: str | None, column: str) -> Source:
    """The source that a name and a format mean.

    Args:
        name: a path, or "-" for stdin.
        form: the format; if None, what the suffix says, and txt for stdin.
        column: the field that holds the text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the suffix says nothing.
    """
    if name == "-":
        if form == "parquet":
            raise ValueError("stdin can't be Parquet, which is read from its end: name a file")
        return Source(None, form or "txt", column)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    form = form or SUFFIXES.get(suffix)
    if form is None:
        raise ValueError(
            f"{path}: the suffix {suffix!r} tells no format; it must be one of "
            f"{', '.join(SUFFIXES)}, or the format must be named"
        )
    return Source(path, form, column)


def check_target(path: Path, suffixes: Iterable[str], *, force: bool) -> None:
    """See that a file can be written, before any work is done.

    Raises:
        ValueError: its suffix is none of ``suffixes``.
        FileNotFoundError: its folder is not there.
        FileExistsError: it is there, and ``force`` is not given.
    """
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    if path.exists() and not force:
        raise FileExistsError(f"{path} is there already: name another file, or use --force")


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there once everything is in it; if that fails, the old one stays."""
    path = path.resolve()
    unfinished = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with unfinished.open("xb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _no_column(column: str, names: list[str]) -> str:
    times = names.count(column)
    if times > 1:
        return f"{times} columns are called {column!r}: give them names of their own"
    return f"no column {column!r}; there are {', '.join(map(repr, names)) or 'none'}"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
