"""The rows of many files as one stream that knows where it is, and can go on from there.

A row is a line of the input: its text and what is carried along, or why it was rejected. Rows are
counted whether they were rejected or not, so a place in the stream is a file and a number of rows;
a digest of the rows before it, within this file, tells whether it is still the same place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from polyseme.arrow_files import TABLES
from polyseme.files import Source, WrongLineError, stop
from polyseme.inputs import Text

_CHARACTERS_AT_ONCE = 1 << 17
_CHARACTERS_OF_A_SHORT_TEXT = 64
_MISFITS = (ValueError, TypeError, OverflowError, NotImplementedError)


class Row(NamedTuple):
    """A line of the input.

    Attributes:
        source: its file's name.
        line: its number there, from 1.
        text: None if it was rejected.
        kept: values of the columns that are carried along.
        reason: why it was rejected.
        number: among all rows of the input, from 0.
    """

    source: str
    line: int
    text: Text | None
    kept: tuple[Any, ...] = ()
    reason: str = ""
    number: int = 0


@dataclass(frozen=True)
class Place:
    """How far a stream was read.

    Attributes:
        file: the number of the file, from 0.
        rows: of this file, that have been read.
        digest: of these rows.
    """

    file: int = 0
    rows: int = 0
    digest: str = ""


class Reader:
    """Iterates over the rows of files, from a place on; ``place`` says where it is.

    Raises, while it iterates:
        WrongLineError: with ``skip`` False, a line is not what it should be.
        ValueError: a file can't be read, or the rows before the place are not what they were.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        keep: Sequence[str],
        *,
        skip: bool,
        place: Place = Place(),
        first: int = 0,
    ) -> None:
        self._sources = sources
        self._keep = keep
        self._skip = skip
        self._begin = place
        self._number = first
        self._file = place.file
        self._rows = 0
        self._digest = hashlib.sha256()

    @property
    def place(self) -> Place:
        """Just behind the row that was given last."""
        return Place(self._file, self._rows, self._digest.hexdigest() if self._rows else "")

    def __iter__(self) -> Iterator[Row]:
        for number in range(self._begin.file, len(self._sources)):
            source = self._sources[number]
            self._file, self._rows, self._digest = number, 0, hashlib.sha256()
            before = self._begin.rows if number == self._begin.file else 0
            for row in self._of(source):
                self._rows += 1
                self._digest.update(repr(row[1:]).encode("utf-8", "surrogatepass"))
                if self._rows > before:
                    yield row._replace(number=self._number)
                    self._number += 1
                elif self._rows == before and self.place != self._begin:
                    raise ValueError(
                        f"{source.name}: the first {before:,} rows, of which there are vectors "
                        "already, have changed"
                    )
            if self._rows < before:
                raise ValueError(
                    f"{source.name}: {self._rows:,} rows are left of {before:,} that there were"
                )
        self._file, self._rows = len(self._sources), 0

    def _of(self, source: Source) -> Iterator[Row]:
        wrong: list[WrongLineError] = []
        columns = (source.column, *self._keep)

        def rejected() -> Iterator[Row]:
            for error in wrong:
                yield Row(source.name, error.line, None, reason=error.reason)
            wrong.clear()

        with named(source.name):
            for line, values in source.rows(columns, wrong.append if self._skip else stop):
                yield from rejected()
                # A line of plain text is its only column, which may be kept beside its words.
                text, *kept = values if len(values) == len(columns) else values * len(columns)
                try:
                    row = Row(source.name, line, source.text_of(line, text), tuple(kept))
                except WrongLineError as error:
                    if not self._skip:
                        raise
                    row = Row(source.name, line, None, reason=error.reason)
                yield row
            yield from rejected()


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into lists of so many characters that vectors of a list fit into memory."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        text = row.text or ""
        length = len(text) if isinstance(text, str) else sum(map(len, text))
        size += max(length, _CHARACTERS_OF_A_SHORT_TEXT)
        if size >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def check_columns(sources: Sequence[Source], keep: Sequence[str]) -> None:
    """Open every file and look for the columns, before any work is done.

    Raises:
        OSError: a file can't be read.
        ValueError: it lacks a column, or has none because it is plain text.
    """
    for source in sources:
        if source.form in ("txt", "whole"):
            for name in keep:
                if name != source.column:
                    raise ValueError(
                        f"{source.name}: plain text has no column {name!r} that could be kept"
                    )
        with named(source.name):
            source.check(keep)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Give the system's errors, such as of a full disk, the name of the file that they are about.

    Raises:
        OSError: with the name.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, name) from error


def types_of(sources: Sequence[Source], keep: Sequence[str], rows: Sequence[Row]) -> list[Any]:
    """The Arrow types of the columns that are carried along.

    Of Parquet and Arrow, what the first file has; else what the values of the first rows have in
    common: bool, int64, float64, or, for all else, string.
    """
    import pyarrow as pa

    if keep and sources[0].form in TABLES:
        types = sources[0].types(keep)
        return [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in types]
    found = []
    for i in range(len(keep)):
        values = [row.kept[i] for row in rows if row.text is not None]
        seen = {type(value) for value in values if value is not None}
        if seen == {bool}:
            found.append(pa.bool_())
        elif seen == {int}:
            found.append(pa.int64())
        elif seen and seen <= {int, float}:
            found.append(pa.float64())
        else:
            found.append(pa.string())
    return found


def usable(
    rows: Sequence[Row], types: Sequence[Any], keep: Sequence[str], *, skip: bool
) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """Rows that can be used, those that can't, and Arrow arrays of the former's columns.

    Raises:
        WrongLineError: with ``skip`` False, a value does not fit its column.
    """
    good = [row for row in rows if row.text is not None]
    try:
        return good, [row for row in rows if row.text is None], _arrays(good, types, keep)
    except _MISFITS:
        pass
    checked = [row if row.text is None else _fitted(row, types, keep) for row in rows]
    for before, row in zip(rows, checked, strict=True):
        if before.text is not None and row.text is None and not skip:
            raise WrongLineError(row.source, row.line, row.reason)
    good = [row for row in checked if row.text is not None]
    return good, [row for row in checked if row.text is None], _arrays(good, types, keep)


def _fitted(row: Row, types: Sequence[Any], keep: Sequence[str]) -> Row:
    """The row, or its rejection where a value does not fit its column."""
    for name, kind, value in zip(keep, types, row.kept, strict=True):
        try:
            _array([value], kind)
        except _MISFITS:  # noqa: PERF203 -- only after one of them did not fit
            reason = f"{name!r} is {value!r:.60}, in a column of {kind}"
            return row._replace(text=None, reason=reason)
    return row


def _arrays(rows: Sequence[Row], types: Sequence[Any], keep: Sequence[str]) -> dict[str, Any]:
    return {name: _array([row.kept[i] for row in rows], types[i]) for i, name in enumerate(keep)}


def _array(values: Sequence[Any], kind: Any) -> Any:
    """Values as an Arrow array; in a column of strings, what is no string is JSON."""
    import pyarrow as pa

    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = [
            value
            if value is None or isinstance(value, str)
            else json.dumps(value, ensure_ascii=False, default=str)
            for value in values
        ]
    return pa.array(values, kind)
