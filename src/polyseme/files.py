"""Texts from files of any length, one after the other; and files that are written whole or not.

In: txt (a line is a text), jsonl (a line is an object, the text in one of its fields: a string, or
a list of the user's own words), csv and tsv (with a header; an empty line is no record), Parquet
and Arrow (the text in a column; extra `corpus`). All but the last two are UTF-8, with or without a
byte order mark, and may be packed as gzip, bzip2, xz, zstd or zip. A file may be a URL that fsspec
knows. An error names the file and the line.
"""

from __future__ import annotations

import csv
import json
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

import numpy as np
import numpy.typing as npt

from polyseme.arrow_files import TABLES, count_rows, no_column, open_table
from polyseme.csv_fields import ANY_LENGTH
from polyseme.inputs import Text
from polyseme.unpacking import filesystem, is_url, open_unpacked

Floats = npt.NDArray[np.float32]
Line = tuple[int, str]
Row = tuple[int, tuple[Any, ...]]

SUFFIXES = {".txt": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
SUFFIXES |= {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")

_PLAIN = ("txt", "whole", "csv", "tsv")
_SURROGATE = re.compile("[\ud800-\udfff]")


class WrongLineError(ValueError):
    """A line of a file that is not what it should be.

    Attributes:
        source: the file's name.
        line: its number, from 1.
        reason: what is wrong.
    """

    def __init__(self, source: str, line: int, reason: str) -> None:
        super().__init__(f"{source}, line {line}: {reason}")
        self.source, self.line, self.reason = source, line, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.line, self.reason)


def stop(error: WrongLineError) -> NoReturn:
    """What is done about a wrong line where nobody says otherwise."""
    raise error


Wrong = Callable[[WrongLineError], None]


@dataclass(frozen=True)
class Source:
    """A file of texts.

    Attributes:
        path: the file; None for stdin, or where there is a URL.
        form: "txt", "whole" (a whole file of text is a text), "jsonl", "csv", "tsv", "parquet" or
            "arrow".
        column: the field that holds the text, in all but txt.
        url: of a file that fsspec reads.
    """

    path: Path | None
    form: str
    column: str
    url: str | None = None

    @property
    def name(self) -> str:
        """The file as messages name it."""
        return "stdin" if self.place is None else str(self.place)

    @property
    def place(self) -> Path | str | None:
        """The path or the URL; None for stdin."""
        return self.url or self.path

    @property
    def once(self) -> bool:
        """Whether it can be read only once, as stdin and pipes can."""
        if self.path is None:
            return self.url is None
        return self.path.exists() and not self.path.is_file()

    @property
    def _there(self) -> Path | str:
        assert self.place is not None, "stdin can't go back, as Parquet and Arrow need it"
        return self.place

    def check(self, more: Sequence[str] = ()) -> None:
        """Open the file and look for its columns where it names them, before any work is done.

        Args:
            more: columns beside the text's.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
            ValueError: the header lacks a column.
        """
        if self.path is not None and self.path.is_dir():
            raise IsADirectoryError(f"{self.path} is a folder: name the files in it")
        if self.once:
            return
        if self.form in TABLES:
            self.types((self.column, *more))
            return
        with open_unpacked(self._there) as file:
            if self.form in ("csv", "tsv"):
                next(self._records(file, (self.column, *more), lambda error: None), None)

    def texts(self) -> Iterator[Text]:
        """The texts, one after the other.

        Raises:
            ValueError: a line is not what it should be; the message has the file and the line.
        """
        for number, (value,) in self.rows((self.column,)):
            yield value if self.form in _PLAIN else self.text_of(number, value)

    def rows(self, columns: Sequence[str], wrong: Wrong = stop) -> Iterator[Row]:
        """The lines' numbers (in Parquet and Arrow, the rows') and the values of some columns.

        Args:
            columns: their names; a line of txt is its only column, whatever that is called.
            wrong: is told of each line that is not what it should be. If it returns, the line is
                left out.

        Raises:
            WrongLineError: a line is not what it should be; the message has the file and the line.
            ValueError: the file as a whole can't be read, or lacks a column.
        """
        if self.form in TABLES:
            yield from self._columns(columns)
            return
        with ExitStack() as stack:
            if self.place is None:
                file: IO[bytes] = sys.stdin.buffer
            else:
                file = stack.enter_context(open_unpacked(self.place))
            if self.form in ("txt", "whole"):
                lines = [file.read()] if self.form == "whole" else file
                for number, text in self._lines(lines, wrong):
                    whole_text = text if self.form == "whole" else _without_end(text)
                    yield number, (whole_text,)
            elif self.form == "jsonl":
                yield from self._objects(file, columns, wrong)
            else:
                yield from self._records(file, columns, wrong)

    def _lines(self, file: Iterable[bytes], wrong: Wrong) -> Iterator[Line]:
        for number, line in enumerate(file, 1):
            try:
                yield number, self._decoded(number, line)
            except WrongLineError as error:  # noqa: PERF203 -- the lines after it count
                wrong(error)

    def _decoded(self, number: int, line: bytes) -> str:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._wrong(
                number,
                f"byte {line[error.start]:#04x} at {error.start} is not UTF-8: convert the "
                "file to UTF-8 first",
            ) from None
        return text.removeprefix("\ufeff") if number == 1 else text

    def _objects(self, file: IO[bytes], columns: Sequence[str], wrong: Wrong) -> Iterator[Row]:
        for number, line in self._lines(file, wrong):
            try:
                row = self._object(number, line, columns)
            except WrongLineError as error:
                wrong(error)
                continue
            yield number, tuple(row[column] for column in columns)

    def _object(self, number: int, line: str, columns: Sequence[str]) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise self._wrong(
                number, f"no JSON, {error.msg} at column {error.colno}: {_shown(line)}"
            ) from None
        except RecursionError:
            raise self._wrong(number, f"JSON nested too deep: {_shown(line)}") from None
        except ValueError as error:
            raise self._wrong(number, f"no JSON that Python reads, {error}") from None
        if not isinstance(row, dict):
            raise self._wrong(number, f"{_shown(row)} is no JSON object")
        for column in columns:
            if column not in row:
                raise self._wrong(number, no_column(column, list(row)))
        return row

    def _records(self, file: IO[bytes], columns: Sequence[str], wrong: Wrong) -> Iterator[Row]:
        at = 0
        undecoded: list[WrongLineError] = []

        def lines() -> Iterator[str]:
            nonlocal at
            for number, line in enumerate(file, 1):
                at = number
                try:
                    yield self._decoded(number, line)
                except WrongLineError as error:
                    # It may lie within quotes: the record around it must still come to its end.
                    undecoded.append(error)
                    yield line.decode("utf-8", "replace")

        reader = csv.reader(lines(), delimiter="\t" if self.form == "tsv" else ",", strict=True)
        header: list[str] | None = None
        while True:
            start = at + 1
            undecoded.clear()
            row: list[str] | None = []
            try:
                with ANY_LENGTH:
                    row = next(reader, None)
                if undecoded:
                    raise undecoded[0]
                if row is None:
                    break
                if row and header is not None and len(row) != len(header):
                    raise self._wrong(
                        start, f"{len(row)} fields, where the header has {len(header)}"
                    )
            except (csv.Error, WrongLineError) as error:
                if isinstance(error, csv.Error):
                    error = self._wrong(start, f"malformed {self.form}, {error}")
                if header is None:
                    # Of the file as a whole: no row of it can be read.
                    raise ValueError(str(error)) from None
                wrong(error)
                continue
            if not row:
                continue
            if header is None:
                header = row
                for column in columns:
                    if header.count(column) != 1:
                        raise ValueError(str(self._wrong(start, no_column(column, header))))
                chosen = [header.index(column) for column in columns]
                continue
            yield start, tuple(row[i] for i in chosen)
        if header is None:
            raise ValueError(str(self._wrong(1, "an empty file, not even a header")))

    def types(self, columns: Sequence[str]) -> list[Any]:
        """The Arrow types of columns of Parquet or Arrow.

        Raises:
            ImportError: pyarrow is not installed.
            ValueError: the file is damaged, or lacks a column.
        """
        with open_table(self._there, self.form, columns) as (schema, _):
            return [schema.field(column).type for column in columns]

    def count(self) -> int:
        """The rows of Parquet or Arrow."""
        return count_rows(self._there, self.form)

    def _columns(self, columns: Sequence[str]) -> Iterator[Row]:
        number = 0
        with open_table(self._there, self.form, columns) as (_, batches):
            for batch in batches:
                values = [batch.column(column).to_pylist() for column in columns]
                for row in zip(*values, strict=True):
                    number += 1
                    yield number, row

    def text_of(self, number: int, value: object) -> Text:
        """The text that a value of the text's column is.

        Raises:
            WrongLineError: it is none.
        """
        words = value if isinstance(value, list) else [value]
        for word in words:
            if not isinstance(word, str):
                raise self._wrong(
                    number,
                    f"{self.column!r} is {_shown(value)}: it must be a string or a list of strings",
                )
            if words is value and not word.strip():
                raise self._wrong(number, f"{self.column!r} has {word!r} for a word: leave it out")
            if _SURROGATE.search(word):
                raise self._wrong(
                    number, f"{self.column!r} holds half of a surrogate pair: {_shown(word)}"
                )
        return value  # type: ignore[return-value]

    def _wrong(self, number: int, what: str) -> WrongLineError:
        return WrongLineError(self.name, number, what)


def source(name: str, form: str | None, column: str) -> Source:
    """The source that a name and a format mean.

    Args:
        name: a path, a URL, or "-" for stdin.
        form: the format; if None, what the suffix says, and txt for stdin.
        column: the field that holds the text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the suffix says nothing.
    """
    if name == "-":
        if form in TABLES:
            raise ValueError(
                "stdin can't be Parquet or Arrow, which are read from their ends: name a file"
            )
        return Source(None, form or "txt", column)
    path: Path | PurePosixPath
    if is_url(name):
        files, inner = filesystem(name)
        path, there = PurePosixPath(inner), files.exists(inner)
    else:
        path = Path(name)
        there = path.exists()
    if not there:
        raise FileNotFoundError(f"{name}: there is no such file")
    suffix = suffix_of(path.name)
    form = form or SUFFIXES.get(suffix)
    if form is None:
        raise ValueError(
            f"{name}: the suffix {suffix!r} tells no format; it must be one of "
            f"{', '.join(SUFFIXES)}, or the format must be named"
        )
    if isinstance(path, Path):
        return Source(path, form, column)
    return Source(None, form, column, url=name)


def suffix_of(name: str) -> str:
    """What a file's name says of its format, less what it says of its packing.

    Example:
        >>> suffix_of("posts.CSV.gz"), suffix_of("notes")
        ('.csv', '')
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


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


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
