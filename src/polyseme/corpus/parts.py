"""One shard of the input into one part of the data set, whole or not there.

The same rows give the same bytes: nothing in a part depends on time, on the machine's name, or on
other shards, but for the types of carried columns, which the first part settles for all.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

from polyseme.corpus.manifest import REJECTS, Shard
from polyseme.corpus.reading import Place, Row, batches, named, types_of, usable
from polyseme.corpus.rows import Wanted, embed_rows
from polyseme.files import Source

if TYPE_CHECKING:
    import pyarrow

    from polyseme.contextualizer import Contextualizer

PART = "part-{:05d}.parquet"
_BYTES_OF_A_GROUP = 1 << 24


Fill: TypeAlias = "Callable[[IO[bytes]], Made]"
"""Writes one part into a file that is open, and says what is in it."""


@dataclass(frozen=True)
class Made:
    """What a part holds.

    Attributes:
        rows: of the input, rejected ones too.
        vectors: rows of the part.
        words: in its texts.
        rejects: rows that were rejected.
        seconds: that its computation took.
        place: how far the input was read; None to those who don't read it.
    """

    rows: int
    vectors: int
    words: int
    rejects: list[Row]
    seconds: float
    place: Place | None = None


@dataclass
class PartMaker:
    """Makes the parts of one data set from rows; files that are read and written are others' work.

    Attributes:
        model: gives the vectors.
        wanted: what a row is.
        keep: columns that are carried along.
        sources: all files of the input, which say the types of these columns.
        metadata: kept with the schema of each part.
        skip: whether rows that can't be used are rejected, or stop the work.
        types: of the carried columns; None until they are known.
    """

    model: Contextualizer
    wanted: Wanted
    keep: Sequence[str]
    sources: Sequence[Source]
    metadata: Mapping[str, str]
    skip: bool
    types: list[Any] | None = None

    def make(
        self,
        rows: Iterable[Row],
        file: IO[bytes],
        count: Callable[[int, int, int], None] = lambda rows, words, rejects: None,
    ) -> Made:
        """Write the part of some rows.

        Args:
            rows: of the shard.
            file: open for writing.
            count: is told of rows, words and rejected rows, batch by batch.

        Raises:
            WrongLineError: a row can't be used, and ``skip`` is not set.
        """
        begun = time.monotonic()
        total, vectors, words = 0, 0, 0
        rejects: list[Row] = []
        with _Groups(file) as groups:
            for batch in batches(rows):
                table, batch_words, bad = self._table(batch)
                groups.add(table)
                total, words = total + len(batch), words + batch_words
                vectors += table.num_rows
                rejects += bad
                count(len(batch), batch_words, len(bad))
            if not total:
                groups.add(self._table([])[0])
        return Made(total, vectors, words, rejects, time.monotonic() - begun)

    def settled(self, rows: Iterable[Row]) -> list[Any]:
        """The types of the carried columns, which the first batch of the first part settles."""
        if self.types is None:
            self.types = types_of(self.sources, self.keep, next(batches(rows), []))
        return self.types

    def _table(self, batch: Sequence[Row]) -> tuple[pyarrow.Table, int, list[Row]]:
        """The vectors of a batch, the number of its words, and what was rejected."""
        good, bad, kept = usable(batch, self.settled(batch), self.keep, skip=self.skip)
        table = table_of(self.model, good, kept, self.wanted)
        every_word = self.wanted.by == "words" and self.wanted.words is None
        words = table.num_rows if every_word else count_words(self.model, good)
        return table.replace_schema_metadata(self.metadata), words, bad


def known_types(folder: Path, keep: Sequence[str]) -> list[Any] | None:
    """The types that carried columns have in the first part of a data set, if it is there."""
    import pyarrow.parquet

    path = folder / PART.format(0)
    if not keep or not path.exists():
        return None
    schema = pyarrow.parquet.read_schema(path)
    return [schema.field(name).type for name in keep]


def write_part(
    path: Path, fill: Fill, *, first_row: int, rejects_bytes: int
) -> tuple[Shard, float]:
    """Write a part whole, and its rejects behind those that are there.

    Args:
        path: of the part.
        fill: writes what is in it.
        first_row: the number of its first row.
        rejects_bytes: length of _rejects.jsonl.

    Returns:
        What the manifest lists, and the seconds that its computation took.

    Raises:
        WrongLineError: a row can't be used, and is not to be rejected.
        OSError: a file can't be read or written; the message has its name.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with named(str(path)), temporary.open("wb") as file:
            digested = _Digested(file)
            made = fill(cast("IO[bytes]", digested))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    shard = Shard(
        file=path.name,
        first_row=first_row,
        rows=made.rows,
        vectors=made.vectors,
        words=made.words,
        rejects=len(made.rejects),
        bytes=digested.size,
        sha256=digested.digest.hexdigest(),
        rejects_bytes=rejects_bytes + _reject(path.with_name(REJECTS), made.rejects),
        place=made.place or Place(),
    )
    return shard, made.seconds


def _reject(path: Path, rows: Sequence[Row]) -> int:
    """Append rows to the rejects, and say by how many bytes these have grown."""
    if not rows:
        return 0
    lines = "".join(
        json.dumps(
            {"row": row.number, "source": row.source, "line": row.line, "reason": row.reason},
            ensure_ascii=False,
        )
        + "\n"
        for row in rows
    ).encode("utf-8", "backslashreplace")
    with named(str(path)), path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    return len(lines)


class _Digested(RawIOBase):
    """A file that is written from its beginning to its end; SHA-256 and size of what was."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, content: Any) -> int:
        written = self._file.write(content)
        self.digest.update(content)
        self.size += written
        return written


class _Groups:
    """Tables into a Parquet file, in row groups that are neither tiny nor larger than memory.

    Packing a group takes a processor about a fifth of the time of its vectors, on which the next
    ones need not wait: a thread does it, one group at a time.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None
        self._waiting: list[Any] = []
        self._thread = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def __enter__(self) -> _Groups:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._wait()
        finally:
            self._thread.shutdown()
            if self._writer is not None:
                self._writer.close()

    def add(self, table: pyarrow.Table) -> None:
        """Write a table now or later."""
        self._waiting.append(table)
        if sum(waiting.nbytes for waiting in self._waiting) >= _BYTES_OF_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._waiting:
            self._wait()
            table = pyarrow.concat_tables(self._waiting)
            self._waiting = []
            self._written = self._thread.submit(self._write, table)

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()

    def _write(self, table: pyarrow.Table) -> None:
        from pyarrow.parquet import ParquetWriter

        if self._writer is None:
            self._writer = ParquetWriter(self._file, table.schema, **write_options(table.schema))
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))


def table_of(
    model: Contextualizer, rows: Sequence[Row], kept: Mapping[str, Any], wanted: Wanted
) -> pyarrow.Table:
    """The vectors of rows that all have a text, and what is known of them."""
    import pyarrow as pa

    known = {
        "row": pa.array([row.number for row in rows], pa.int64()),
        "source": pa.array([row.source for row in rows], pa.string()),
        "line": pa.array([row.line for row in rows], pa.int64()),
    }
    texts = [row.text for row in rows if row.text is not None]
    return embed_rows(model, texts, pa.table({**known, **kept}), wanted)


def write_options(schema: pyarrow.Schema) -> dict[str, Any]:
    """How parts are written: by what makes each column small, at little cost.

    Names and words recur. Of float32 numbers, the bytes that hold the exponents are alike, once
    they stand together. Parquet keeps 8 bits as 32, unless they are numbers of a dictionary. Where
    a vector's least and largest number lie is of no use to anybody.
    """
    vector = "vector.list.element"
    kind = schema.field("vector").type.value_type
    recurring = [name for name in ("source", "word") if name in schema.names]
    return {
        "compression": "zstd",
        "use_dictionary": [*recurring, *([vector] if str(kind) == "int8" else [])],
        "column_encoding": {vector: "BYTE_STREAM_SPLIT"} if str(kind) == "float" else None,
        "write_statistics": [name for name in schema.names if name != "vector"],
    }


def count_words(model: Contextualizer, rows: Iterable[Row]) -> int:
    """The words of the rows' texts."""
    return int(model.tokenizer([row.text or "" for row in rows]).word_offsets[-1])
