"""Occurrences in the input's order into occurrences by word, and similar ones of a word together.

A word's vectors are then one stretch of the file, which is read in one go: an exact search among
them takes milliseconds. Each word is cut into groups of similar occurrences, by halves along the
direction in which they differ most (a tree of principal directions: Sproull 1991, "Refinements to
nearest-neighbor searching in k-dimensional trees"); a search among all words looks for near groups,
then into them. The groups' means are kept along the axes on which they have most of their length
(the first principal directions of all of them), so that all fit in memory.

Only so many rows are in memory at a time: the words are taken in stretches. An index of the words
finds the occurrences of each, so that none is read in vain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.execution.threads import products_in_one_thread
from polyseme.progress import progress_bar
from polyseme.senses.state import State
from polyseme.senses.tables import (
    Floats,
    Table,
    cleaned,
    connect,
    directions,
    fixed,
    literal,
    numbers_of,
    table_back_at,
    with_vectors,
)
from polyseme.senses.vectors import Vectors, removed, written

if TYPE_CHECKING:
    import pyarrow

GROUP = 32
"""Occurrences of a group, at most."""

AXES = 128
"""Numbers of a group's mean that are kept, at most."""

_REACH = 0.15
_ROWS_AT_ONCE = 1 << 19
_BLOCK = 1 << 13
_STEPS = 8
_ORDER = [("word", "ascending"), ("text", "ascending"), ("start", "ascending")]


def arrange(state: State, progress: bool | None = False) -> None:
    """Move what has come in to where it is searched; the state says so when all of it is there."""
    database = connect(state.folder)
    tables = {
        name: table_back_at(database, state.folder, name, state.versions.get(name))
        for name in ("texts", "incoming", "occurrences", "groups", "axes")
    }
    incoming, texts = tables["incoming"], tables["texts"]
    if incoming is None or texts is None:
        return
    _index(incoming)
    number = state.versions.get("vectors", 0)
    sources: list[tuple[Table, Vectors | None]] = [(incoming, None)]
    if tables["occurrences"] is not None:
        there = Vectors(state.folder, number)
        sources.insert(0, (tables["occurrences"], there))
    made = _Arranged(incoming.schema, sources)
    modes = {name: "create" if tables[name] is None else "overwrite" for name in tables}
    occurrences = database.create_table(
        "occurrences", schema=made.schema, mode=modes["occurrences"]
    )

    def blocks() -> Iterator[npt.NDArray[Any]]:
        with progress_bar(made.total, progress, unit="occurrences arranged") as advance:
            for stretch, vectors in made.stretches():
                yield vectors
                # By one writer: several would change the rows' order.
                occurrences.add(stretch, write_parallelism=1)
                advance(len(stretch))

    shape = (made.total, state.job["dim"])
    written(state.folder, number + 1, state.job["store"], shape, blocks())
    groups, axes = (
        database.create_table(name, rows, mode=modes[name])
        for name, rows in zip(("groups", "axes"), made.groups(), strict=True)
    )
    kept = {"texts": texts, "occurrences": occurrences, "groups": groups, "axes": axes}
    for table in kept.values():
        table.optimize()
    _index(occurrences)
    state.versions |= {name: table.version for name, table in kept.items()}
    state.versions["vectors"] = number + 1
    del state.versions["incoming"]
    state.save()
    database.drop_table("incoming")
    removed(state.folder, but=number + 1)
    for table in kept.values():
        cleaned(table)


def _index(table: Table) -> None:
    from lancedb.index import BTree

    if len(table):
        table.create_index("word", config=BTree(), replace=True)


class _Arranged:
    """The rows of some tables by word, and the groups that they fall into.

    A table's vectors are given beside it, or are a column of it.
    """

    def __init__(
        self, schema: pyarrow.Schema, sources: Sequence[tuple[Table, Vectors | None]]
    ) -> None:
        self._dim = int(schema.field("vector").type.list_size)
        self.schema = schema.remove(schema.get_field_index("vector"))
        self._sources = sources
        counts: Counter[str] = Counter()
        for table, _ in sources:
            for batch in table.search().select(["word"]).to_batches():
                counts.update(batch["word"].to_pylist())
        self.total = counts.total()
        self._stretches = list(stretches(counts, _ROWS_AT_ONCE))
        self._groups: list[pyarrow.Table] = []

    def stretches(self) -> Iterator[tuple[pyarrow.Table, npt.NDArray[Any]]]:
        """All rows, by word and group, and their vectors."""
        return (self._stretch(first, last) for first, last in self._stretches)

    def groups(self) -> tuple[pyarrow.Table, pyarrow.Table]:
        """The groups and the axes of their means; all stretches must have been taken before."""
        import pyarrow as pa

        none = _groups_table([], [], np.zeros((0, self._dim), np.float16), [])
        found = pa.concat_tables([none, *self._groups])
        blocks = [numbers_of(batch["mean"]) for batch in found.to_batches(_BLOCK)]
        axes = axes_of(blocks, self._dim)
        along = [(block.astype(np.float32) @ axes.T).astype(np.float16) for block in blocks]
        sizes = found["size"].to_numpy()
        groups = {
            "word": found["word"],
            "first": pa.array(np.cumsum(sizes, dtype=np.int64) - sizes),
            "size": found["size"],
            "vector": fixed(np.concatenate([np.zeros((0, len(axes)), np.float16), *along])),
            "reach": found["reach"],
        }
        return pa.table(groups), pa.table({"vector": fixed(axes)})

    def _stretch(self, first: str, last: str) -> tuple[pyarrow.Table, npt.NDArray[Any]]:
        """The rows of all words from one to another, and their vectors."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = []
        for table, beside in self._sources:
            columns = [*self.schema.names, "vector" if beside is None else "_rowoffset"]
            here = f"word >= {literal(first)} AND word <= {literal(last)}"
            rows = table.search().where(here).select(columns).to_arrow()
            found.append(rows if beside is None else with_vectors(rows, beside))
        rows = pa.concat_tables(found).sort_by(_ORDER)
        words = rows["word"].combine_chunks()
        changes = np.flatnonzero(pc.not_equal(words[1:], words[:-1]).to_numpy(zero_copy_only=False))
        edges = [0, *(changes + 1).tolist(), len(rows)]
        order, named, means, reaches = [], [], [], []
        with products_in_one_thread():  # they are short
            for start, end in pairwise(edges):
                vectors = directions(rows["vector"].slice(start, end - start))
                for members in groups_of(vectors):
                    order.append(members + start)
                    named.append(start)
                    mean, reach = met(vectors[members])
                    means.append(mean.astype(np.float16))
                    reaches.append(reach)
        sizes = list(map(len, order))
        self._groups.append(_groups_table(words.take(named), sizes, np.stack(means), reaches))
        arranged = np.concatenate(order)
        numbers = numbers_of(rows["vector"])[arranged]
        return rows.drop_columns(["vector"]).take(pa.array(arranged)), numbers


def _groups_table(
    words: Any, sizes: Sequence[int], means: npt.NDArray[np.float16], reaches: Sequence[float]
) -> pyarrow.Table:
    """Groups, with their means (n, dim)."""
    import pyarrow as pa

    return pa.table(
        {
            "word": pa.array(words, pa.string()),
            "size": pa.array(sizes, pa.int32()),
            "mean": fixed(means),
            "reach": pa.array(reaches, pa.float32()),
        }
    )


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


def met(vectors: Floats) -> tuple[Floats, float]:
    """(dim,) the mean direction of a group, and how far its members reach beyond it.

    Of draws from a normal distribution, the largest lies as many times the spread from the mean as
    the root of their number's logarithm says, up to a factor. A part of this is added to the cosine
    of the mean, for what the nearest member may have on top.
    """
    mean = unit(vectors.mean(axis=0))
    spread = np.sqrt(max(0.0, 1.0 - float((vectors @ mean).mean()) ** 2))
    return mean, float(_REACH * spread * np.sqrt(np.log(len(vectors))))


def axes_of(blocks: Sequence[npt.NDArray[np.float16]], dim: int) -> Floats:
    """(min(AXES, dim), dim) the directions that hold most of some vectors, given in blocks."""
    products = np.zeros((dim, dim))
    for block in blocks:
        rows = block.astype(np.float32)
        products += rows.T @ rows
    _, directions_up = np.linalg.eigh(products)
    axes: Floats = directions_up.T[::-1][:AXES].astype(np.float32)
    return axes


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
