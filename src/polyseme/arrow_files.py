"""Parquet and Arrow files, on disk or behind a URL, as a schema and record batches of some columns.

Arrow may be a file with a footer (Feather), or a stream, as the datasets library keeps it. Needs
pyarrow (extra `corpus`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polyseme.unpacking import open_packed

TABLES = ("parquet", "arrow")


@contextmanager
def open_table(
    place: Path | str, form: str, columns: Sequence[str]
) -> Iterator[tuple[Any, Iterator[Any]]]:
    """The schema of a file, and its record batches.

    Args:
        place: a path, or a URL.
        form: "parquet" or "arrow".
        columns: that are needed; the batches of Parquet have no others.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the file is no such file, lacks a column, or is damaged; the latter perhaps
            while the batches are read.
    """
    with _opened(place, form) as reader:
        schema = reader.schema_arrow if form == "parquet" else reader.schema
        for column in columns:
            if schema.names.count(column) != 1:
                raise ValueError(f"{place}: {no_column(column, schema.names)}")
        if form == "parquet":
            yield schema, reader.iter_batches(columns=list(columns))
        elif hasattr(reader, "get_batch"):
            yield schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            yield schema, iter(reader)


def count_rows(place: Path | str, form: str) -> int:
    """The rows of a file; all but a stream of Arrow say so in a footer.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the file is no such file, or is damaged.
    """
    with _opened(place, form) as reader:
        if form == "parquet":
            return int(reader.metadata.num_rows)
        if hasattr(reader, "count_rows"):
            return int(reader.count_rows())
        return sum(batch.num_rows for batch in reader)


def no_column(column: str, names: Sequence[str]) -> str:
    """What is wrong where a column is not there once."""
    times = names.count(column)
    if times > 1:
        return f"{times} columns are called {column!r}: give them names of their own"
    return f"no column {column!r}; there are {', '.join(map(repr, names)) or 'none'}"


@contextmanager
def _opened(place: Path | str, form: str) -> Iterator[Any]:
    """A ``ParquetFile``, ``RecordBatchFileReader`` or ``RecordBatchStreamReader``."""
    kind = form.capitalize()
    try:
        import pyarrow
        from pyarrow import ipc, parquet
    except ImportError:
        raise ImportError(
            f'{place}: {kind} needs pyarrow: pip install "polyseme[corpus]"'
        ) from None
    local = isinstance(place, Path)
    with pyarrow.OSFile(str(place)) if local else open_packed(place) as file:
        try:
            if form == "parquet":
                reader = parquet.ParquetFile(file)
            else:
                footer = file.read(6) == b"ARROW1"
                file.seek(0)
                reader = (ipc.open_file if footer else ipc.open_stream)(file)
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{place}: no {kind} file ({error})") from None
        try:
            yield reader
        except (pyarrow.ArrowException, OSError) as error:
            # What Arrow raises of a file's content has no number of the system's.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"{place}: damaged or cut short ({error})") from error
