"""Occurrences in the input's order into occurrences by word, and similar ones of a word together.

A word's vectors are then one stretch of the file, which is read in one go: an exact search among
them takes milliseconds. Each word is cut into groups of similar occurrences, by halves along the
direction in which they differ most (a tree of principal directions: Sproull 1991, "Refinements to
nearest-neighbor searching in k-dimensional trees"); a search among all words looks for near groups,
then into them.

Only so many rows are in memory at a time: the words are taken in stretches, and for each the
occurrences are read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.progress import progress_bar
from polyseme.senses.state import State
from polyseme.senses.tables import (
    Floats,
    Table,
    cleaned,
    connect,
    directions,
    fixed,
    table_back_at,
)

if TYPE_CHECKING:
    import pyarrow

GROUP = 64
"""Occurrences of a group, at most."""

BEYOND = 8
"""Numbers of a group's vector behind those of its mean: one, and zeros, as eights are fast."""

_REACH = 0.1
_ROWS_AT_ONCE = 1 << 19
_LEAST_GROUPS_OF_AN_INDEX = 1 << 13
_STEPS = 8
_ORDER = [("word", "ascending"), ("text", "ascending"), ("start", "ascending")]


def arrange(state: State, progress: bool | None = False) -> None:
    """Move what has come in to where it is searched; the state says so when all of it is there."""
    database = connect(state.folder)
    tables = {
        name: table_back_at(database, state.folder, name, state.versions.get(name))
        for name in ("texts", "incoming", "occurrences", "groups")
    }
    incoming, texts = tables["incoming"], tables["texts"]
    if incoming is None or texts is None:
        return
    sources = [table for table in (tables["occurrences"], incoming) if table is not None]
    made = _Arranged(incoming.schema, sources)
    modes = {name: "create" if tables[name] is None else "overwrite" for name in tables}
    occurrences = database.create_table(
        "occurrences", schema=made.schema, mode=modes["occurrences"]
    )
    with progress_bar(made.total, progress, unit="occurrences arranged") as advance:
        for stretch in made.stretches():
            # By one writer: several would change the rows' order.
            occurrences.add(stretch, write_parallelism=1)
            advance(len(stretch))
    groups = database.create_table("groups", made.groups(), mode=modes["groups"])
    kept = {"texts": texts, "occurrences": occurrences, "groups": groups}
    for table in kept.values():
        table.optimize()
    _index(occurrences, groups)
    state.versions |= {name: table.version for name, table in kept.items()}
    del state.versions["incoming"]
    state.save()
    database.drop_table("incoming")
    for table in kept.values():
        cleaned(table)


def _index(occurrences: Table, groups: Table) -> None:
    from lancedb.index import BTree, IvfSq

    if not len(groups):
        return
    for table, column in ((occurrences, "word"), (occurrences, "group"), (groups, "word")):
        table.create_index(column, config=BTree(), replace=True)
    if len(groups) >= _LEAST_GROUPS_OF_AN_INDEX:
        table = groups
        table.create_index("vector", config=IvfSq(distance_type="dot"), replace=True)


class _Arranged:
    """The rows of some tables by word, and the groups that they fall into."""

    def __init__(self, schema: pyarrow.Schema, tables: Sequence[Table]) -> None:
        import pyarrow as pa

        self.schema = schema.append(pa.field("group", pa.int32()))
        self._columns = schema.names
        self._tables = tables
        counts: Counter[str] = Counter()
        for batch in self._read(["word"]):
            for pair in batch["word"].value_counts():
                counts[pair["values"].as_py()] += pair["counts"].as_py()
        self.total = counts.total()
        self._stretches = list(stretches(counts, _ROWS_AT_ONCE))
        self._words: list[str] = []
        self._sizes: list[int] = []
        self._means: list[npt.NDArray[np.float16]] = []

    def stretches(self) -> Iterator[pyarrow.Table]:
        """All rows, by word and group."""
        return (self._stretch(first, last) for first, last in self._stretches)

    def groups(self) -> pyarrow.Table:
        """The groups; all stretches must have been taken before."""
        import pyarrow as pa

        sizes = np.asarray(self._sizes, np.int32)
        none = np.zeros((0, self._dim + BEYOND), np.float16)
        means = np.concatenate([none, *self._means])
        return pa.table(
            {
                "group": pa.array(np.arange(len(sizes), dtype=np.int32)),
                "word": pa.array(self._words, pa.string()),
                "first": pa.array(np.cumsum(sizes, dtype=np.int64) - sizes),
                "size": pa.array(sizes),
                "vector": fixed(means),
            }
        )

    @property
    def _dim(self) -> int:
        return int(self.schema.field("vector").type.list_size)

    def _stretch(self, first: str, last: str) -> pyarrow.Table:
        """The rows of all words from one to another."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = []
        for batch in self._read(self._columns):
            words = batch["word"]
            here = pc.and_(pc.greater_equal(words, first), pc.less_equal(words, last))
            found.append(batch.filter(here))
        rows = pa.Table.from_batches(found).sort_by(_ORDER)
        words = rows["word"].combine_chunks()
        changes = np.flatnonzero(pc.not_equal(words[1:], words[:-1]).to_numpy(zero_copy_only=False))
        edges = [0, *(changes + 1).tolist(), len(rows)]
        order, numbers = [], []
        for start, end in pairwise(edges):
            vectors = directions(rows["vector"].slice(start, end - start))
            for members in groups_of(vectors):
                order.append(members + start)
                numbers.append(len(self._sizes))
                self._words.append(words[start].as_py())
                self._sizes.append(len(members))
                self._means.append(met(vectors[members]).astype(np.float16)[None])
        sizes = [len(members) for members in order]
        arranged = rows.take(pa.array(np.concatenate(order)))
        return arranged.append_column("group", pa.array(np.repeat(numbers, sizes), pa.int32()))

    def _read(self, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
        for table in self._tables:
            yield from table.search().select(list(columns)).to_batches()


def stretches(counts: dict[str, int], rows: int) -> Iterator[tuple[str, str]]:
    """First and last word of stretches with at most so many occurrences, or of one word.

    Example:
        >>> list(stretches({"a": 3, "b": 2, "c": 9, "d": 1}, 5))
        [('a', 'b'), ('c', 'c'), ('d', 'd')]
    """
    first, last, size = None, "", 0
    for word in sorted(counts):
        if first is not None and size + counts[word] > rows:
            yield first, last
            first, size = None, 0
        first, last, size = word if first is None else first, word, size + counts[word]
    if first is not None:
        yield first, last


def met(vectors: Floats) -> Floats:
    """(dim + BEYOND,) where a group is met: its mean direction, and how far its members reach.

    Of draws from a normal distribution, the largest lies as many times the spread from the mean as
    the root of their number's logarithm says, up to a factor. The product with ``asking(vector)``
    is the cosine of the mean and a tenth of this, for what the nearest member may have on top.
    """
    mean = unit(vectors.mean(axis=0))
    spread = np.sqrt(max(0.0, 1.0 - float((vectors @ mean).mean()) ** 2))
    reach = _REACH * spread * np.sqrt(np.log(len(vectors)))
    return np.concatenate([mean, [reach], np.zeros(BEYOND - 1)]).astype(np.float32)


def asking(vector: Floats) -> Floats:
    """(dim + BEYOND,) what groups are asked with, for a vector (dim,) of length one."""
    return np.concatenate([vector, [1.0], np.zeros(BEYOND - 1)]).astype(np.float32)


def groups_of(vectors: Floats, size: int = GROUP) -> list[npt.NDArray[np.int64]]:
    """The rows of each group of similar vectors.

    Args:
        vectors: (n, dim) of length one.
        size: of a group, at most.

    Returns:
        Groups of size / 2 to size rows, or one where there are fewer; the same at every call.
    """
    done, waiting = [], [np.arange(len(vectors))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= size:
            done.append(rows)
            continue
        order = np.argsort(_along(vectors[rows]), kind="stable")
        half = len(rows) // 2
        waiting += [np.sort(rows[order[half:]]), np.sort(rows[order[:half]])]
    return done


def _along(vectors: Floats) -> Floats:
    """Where each vector lies along the first principal direction, by the power method."""
    centred = vectors - vectors.mean(axis=0)
    direction = centred[np.abs(centred).sum(axis=1).argmax()]
    for _ in range(_STEPS):
        direction = (centred @ direction) @ centred
        direction = direction / max(float(np.linalg.norm(direction)), 1e-30)
    along: Floats = centred @ direction
    return along
