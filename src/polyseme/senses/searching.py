"""Occurrences that are near to a vector: of one word, exactly; of all other words, by groups.

One word's vectors lie together on the disk, so all of them are compared. Among all words, the
groups of similar occurrences that are nearest to the vector are looked up in LanceDB's vector
index, and the occurrences in them are compared one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.senses.arranging import asking
from polyseme.senses.results import Occurrence
from polyseme.senses.state import State, read
from polyseme.senses.tables import (
    Floats,
    Table,
    among,
    asked,
    both,
    connect,
    cosines,
    table_at,
)
from polyseme.senses.words import alike

if TYPE_CHECKING:
    import pyarrow

Integers = npt.NDArray[np.int64]

GROUPS = 1536
"""Groups that are looked into, of all words'."""

PROBES = 256
"""Cells of the vector index that are looked into for groups."""

_SAME_START = 3


@dataclass(frozen=True)
class Tables:
    """What is read of an index.

    Attributes:
        state: when it was opened.
        texts: all texts.
        occurrences: by word.
        groups: of similar occurrences.
    """

    state: State
    texts: Table
    occurrences: Table
    groups: Table

    @classmethod
    def of(cls, state: State) -> Tables:
        """The tables at the versions that count.

        Raises:
            ValueError: the index was never finished.
        """
        names = ("texts", "occurrences", "groups")
        if any(name not in state.versions for name in names):
            raise ValueError(
                f"{state.folder}: the index was cut off while it was made, with {state.rows:,} "
                "rows read: the same `polyseme index` command goes on"
            )
        database = connect(state.folder)
        return cls(state, *(table_at(database, name, state.versions[name]) for name in names))

    @classmethod
    def current(cls, folder: Path) -> Tables:
        """The tables of the index in a folder, as they are now.

        Raises:
            FileNotFoundError: there is no index.
            ValueError: it was never finished.
        """
        while True:
            state = read(folder)
            try:
                return cls.of(state)
            except (ValueError, RuntimeError, OSError):
                # What it names may have been replaced just now.
                if read(folder).versions == state.versions:
                    raise

    @property
    def keep(self) -> list[str]:
        """Columns that are carried along."""
        return list(self.state.job["keep"])

    def counts(self) -> dict[str, int]:
        """Each word and how often it occurs, the most frequent first."""
        groups = self.groups.search().select(["word", "size"]).to_arrow()
        found = groups.group_by("word").aggregate([("size", "sum")])
        found = found.sort_by([("size_sum", "descending"), ("word", "ascending")])
        return dict(zip(found["word"].to_pylist(), found["size_sum"].to_pylist(), strict=True))

    def of_words(
        self, words: Sequence[str], where: str | None, columns: Sequence[str] = ()
    ) -> pyarrow.Table:
        """The occurrences of words, with their vectors, in the index's order."""
        return self._where(both(among("word", words), where), where, columns)

    def near(
        self, vector: Floats, k: int, where: str | None, leave_out: Sequence[str]
    ) -> tuple[pyarrow.Table, Floats]:
        """The nearest occurrences of other words, one of each word, and their cosines.

        Args:
            vector: (dim,) of length one.
            k: how many words.
            where: a condition on the occurrences.
            leave_out: words that are not wanted.
        """
        wanted, total = GROUPS, max(1, len(self.groups))
        while True:
            words, ids, near = self.in_groups(vector, wanted, where, leave_out)
            best = _first_of_each(words, np.argsort(-near, kind="stable"), k)
            if len(best) == k or wanted >= total:
                return self._rows(ids[best]), near[best]
            wanted *= 4

    def in_groups(
        self, vector: Floats, wanted: int, where: str | None, leave_out: Sequence[str]
    ) -> tuple[list[str], Integers, Floats]:
        """All occurrences in the groups nearest to a vector: words, row ids and cosines."""
        import pyarrow.compute as pc

        query = self.groups.search(asking(vector)).distance_type("dot").limit(wanted)
        query = query.nprobes(PROBES).select(["group", "word", "_distance"])
        if leave_out:
            query = query.where(f"NOT ({among('word', leave_out)})")
        groups = query.to_arrow()
        found = groups["group"].to_pylist()
        condition = both(among("group", found) if found else "FALSE", where)
        # A number is read faster than a word is, and says it too.
        query = self.occurrences.search().where(condition).select(["group", "vector"])
        rows = asked(query.with_row_id(True), where, self.occurrences.schema.names)
        ids = rows["_rowid"].to_numpy().astype(np.int64)
        words = groups["word"].take(pc.index_in(rows["group"], groups["group"].combine_chunks()))
        return words.to_pylist(), ids, cosines(rows["vector"], vector)

    def _rows(self, ids: Integers) -> pyarrow.Table:
        """The rows of some ids, in their order."""
        names = ["text", "start", "end", *self.keep]
        if not len(ids):
            return self.occurrences.schema.empty_table().select(names)
        rows = self.occurrences.take_row_ids(ids.tolist()).with_row_id().select(names)
        found = rows.to_arrow()
        place = {row: i for i, row in enumerate(found["_rowid"].to_pylist())}
        return found.take([place[row] for row in ids.tolist()])

    def occurrences_of(self, rows: pyarrow.Table, scores: Floats) -> list[Occurrence]:
        """Rows of the table as what users get."""
        ids = rows["text"].to_pylist()
        found: dict[int, dict[str, Any]] = {}
        if ids:
            texts = self.texts.take_offsets(sorted(set(ids))).to_arrow()
            found = {row["id"]: row for row in texts.to_pylist()}
        columns = [rows[name].to_pylist() for name in ("start", "end", *self.keep)]
        made: list[Occurrence] = []
        for i, start, end, *kept in zip(ids, *columns, strict=True):
            row = found[i]
            metadata = dict(zip(self.keep, kept, strict=True))
            score = float(scores[len(made)])
            made.append(
                Occurrence(
                    row["text"][start:end],
                    row["text"],
                    start,
                    end,
                    score,
                    row["source"],
                    row["line"],
                    metadata,
                )
            )
        return made

    def _where(
        self, condition: str, where: str | None, columns: Sequence[str] = ()
    ) -> pyarrow.Table:
        names = ["word", "text", "start", "end", *self.keep, "vector", *columns]
        query = self.occurrences.search().where(condition).select(names)
        return asked(query, where, self.occurrences.schema.names)


def across(vectors: Floats, vector: Floats) -> Floats:
    """(n,) cosines to a vector as seen from the mean of some vectors (n, dim).

    What is merely odd is far from everything; what means something else is on the other side.
    """
    mean = vectors.mean(axis=0) if len(vectors) else vector
    found: Floats = unit(vectors - mean) @ unit(vector - mean)
    return found


def forms_of(word: str, words: Sequence[str]) -> list[str]:
    """A word and the others that look like forms of it.

    Args:
        word: with its letters' case folded.
        words: to choose among, in alphabetical order.

    Example:
        >>> forms_of("bank", ["band", "bank", "banker", "banks", "river"])
        ['bank', 'banker', 'banks']
    """
    start = word[:_SAME_START]
    here = bisect_left(words, start)
    end = bisect_left(words, start + chr(0x10FFFF), here)
    return [word, *(other for other in words[here:end] if other != word and alike(word, other))]


def _first_of_each(
    words: Sequence[str], order: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.int64]:
    """The first k rows of an order, one of each word."""
    seen: set[str] = set()
    best: list[int] = []
    for row in order.tolist():
        if words[row] not in seen:
            seen.add(words[row])
            best.append(row)
            if len(best) == k:
                break
    return np.asarray(best, np.int64)
