"""Occurrences that are near to a vector: of one word, exactly; of all other words, by groups.

One word's vectors lie together on the disk, so all of them are compared. Among all words, all
groups of similar occurrences are ranked by their means, and the occurrences in the best ones are
compared one by one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.execution.threads import products_in_one_thread
from polyseme.packed import ragged_ranges
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
    numbers_of,
    table_at,
    with_vectors,
)
from polyseme.senses.vectors import Vectors
from polyseme.senses.words import stem

if TYPE_CHECKING:
    import pyarrow

Integers = npt.NDArray[np.int64]

GROUPS = 2048
"""Groups that are looked into, of all words', at least."""

SHARE = 1 / 160
"""Of all groups, the share that is looked into where it is more."""

LEADING = 64
"""Axes along which all groups are ranked first."""

_CANDIDATES = 4
"""How many times the wanted groups are ranked along the other axes too."""


@dataclass(frozen=True, eq=False)
class Groups:
    """All groups of an index, in memory.

    Attributes:
        words: in alphabetical order.
        edges: (words + 1) the first group of each word, and the number of groups.
        first: (groups) row of each group's first occurrence.
        size: (groups) how many there are.
        leading: (groups, LEADING) float32, the groups' means along the first axes.
        others: (groups, axes - LEADING) float32, along the others.
        reach: (groups) what the nearest occurrence may have beyond the mean.
        axes: (axes, dim) that the means are seen along.
    """

    words: list[str]
    edges: Integers
    first: Integers
    size: Integers
    leading: Floats
    others: Floats
    reach: Floats
    axes: Floats

    @classmethod
    def of(cls, groups: Table, axes: Table) -> Groups:
        """What the tables hold."""
        rows = groups.search().select(["word", "first", "size", "reach"]).to_arrow()
        turned = numbers_of(axes.to_arrow()["vector"])
        leading = np.empty((len(rows), min(LEADING, len(turned))), np.float32)
        others = np.empty((len(rows), len(turned) - leading.shape[1]), np.float32)
        done = 0
        for batch in groups.search().select(["vector"]).to_batches():
            here = slice(done, done + len(batch))
            leading[here], others[here] = np.split(numbers_of(batch["vector"]), [LEADING], axis=1)
            done += len(batch)
        encoded = rows["word"].combine_chunks().dictionary_encode()
        owners = encoded.indices.to_numpy()
        words = encoded.dictionary.to_pylist()
        return cls(
            words,
            np.searchsorted(owners, np.arange(len(words) + 1)),
            rows["first"].to_numpy(),
            rows["size"].to_numpy().astype(np.int64),
            leading,
            others,
            rows["reach"].to_numpy(),
            turned,
        )

    @property
    def enough(self) -> int:
        """How many are looked into."""
        return max(GROUPS, int(SHARE * len(self.size)))

    def nearest(
        self,
        vector: Floats,
        wanted: int,
        leave_out: Sequence[str],
        allowed: npt.NDArray[np.bool_] | None,
    ) -> Integers:
        """The groups that promise the nearest occurrences, in the index's order.

        Args:
            vector: (dim,) of length one.
            wanted: how many groups, at most.
            leave_out: words that are not wanted.
            allowed: (occurrences) those that count; None for all.
        """
        along = self.axes @ vector
        promised = self.leading @ along[:LEADING] + self.reach
        for word in leave_out:
            at = bisect_left(self.words, word)
            if at < len(self.words) and self.words[at] == word:
                promised[self.edges[at] : self.edges[at + 1]] = -np.inf
        if allowed is not None:
            promised[~np.logical_or.reduceat(allowed, self.first)] = -np.inf
        likely = _largest(promised, _CANDIDATES * wanted)
        promised = promised[likely] + self.others[likely] @ along[LEADING:]
        best = _largest(promised, wanted)
        return likely[best[promised[best] > -np.inf]]


@dataclass(frozen=True)
class Tables:
    """What is read of an index.

    Attributes:
        state: when it was opened.
        texts: all texts.
        occurrences: by word.
        groups: of similar occurrences.
        axes: of the groups' means.
        vectors: of the occurrences.
    """

    state: State
    texts: Table
    occurrences: Table
    groups: Table
    axes: Table
    vectors: Vectors

    @classmethod
    def of(cls, state: State) -> Tables:
        """The tables at the versions that count.

        Raises:
            ValueError: the index was never finished.
        """
        names = ("texts", "occurrences", "groups", "axes")
        if any(name not in state.versions for name in (*names, "vectors")):
            raise ValueError(
                f"{state.folder}: the index was cut off while it was made, with {state.rows:,} "
                "rows read: the same `polyseme index` command goes on"
            )
        database = connect(state.folder)
        texts, occurrences, groups, axes = (
            table_at(database, name, state.versions[name]) for name in names
        )
        vectors = Vectors(state.folder, state.versions["vectors"])
        return cls(state, texts, occurrences, groups, axes, vectors)

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

    @cached_property
    def meeting(self) -> Groups:
        """The groups, read at the first search among all words."""
        return Groups.of(self.groups, self.axes)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Each word and how often it occurs, the most frequent first."""
        groups = self.groups.search().select(["word", "size"]).to_arrow()
        found = groups.group_by("word").aggregate([("size", "sum")])
        found = found.sort_by([("size_sum", "descending"), ("word", "ascending")])
        return dict(zip(found["word"].to_pylist(), found["size_sum"].to_pylist(), strict=True))

    @cached_property
    def _first(self) -> dict[str, int]:
        """The row of each word's first occurrence."""
        words = sorted(self.counts)
        ends = accumulate(self.counts[word] for word in words)
        return {word: end - self.counts[word] for word, end in zip(words, ends, strict=True)}

    def of_words(self, words: Sequence[str]) -> pyarrow.Table:
        """The occurrences of words, with their vectors, in the index's order."""
        names = ["word", "text", "start", "end", *self.keep, "_rowoffset"]
        query = self.occurrences.search().where(among("word", words)).select(names)
        return with_vectors(query.to_arrow(), self.vectors)

    def rows_of(self, words: Sequence[str], where: str | None) -> Integers:
        """(n,) the rows of words' occurrences, rising.

        Args:
            words: of the index.
            where: a condition on the occurrences.
        """
        if where is not None:
            return self._found(where, among("word", words))
        own = sorted(words)
        first, size = (
            np.asarray([of[word] for word in own], np.int64) for of in (self._first, self.counts)
        )
        return ragged_ranges(first, size)

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
        wanted = self.meeting.enough
        allowed = None if where is None else self._allowed(where)
        while True:
            words, rows, near = self.in_groups(vector, wanted, allowed, leave_out)
            best = _best_of_each(words, near, k)
            if len(best) == k or wanted >= len(self.meeting.size):
                return self.taken(rows[best]), near[best]
            wanted *= 4

    def in_groups(
        self,
        vector: Floats,
        wanted: int,
        allowed: npt.NDArray[np.bool_] | None,
        leave_out: Sequence[str],
    ) -> tuple[Integers, Integers, Floats]:
        """The occurrences in the groups nearest to a vector, by word.

        Args:
            vector: (dim,) of length one.
            wanted: how many groups.
            allowed: (occurrences) those that count; None for all.
            leave_out: words that are not wanted.

        Returns:
            Numbers of their words, their rows, and their cosines.
        """
        groups = self.meeting
        with products_in_one_thread():  # they are short, and threads would wait for each other
            found = groups.nearest(vector, wanted, leave_out, allowed)
        size = groups.size[found]
        # Rows first, first + 1 ... of each group.
        rows = ragged_ranges(groups.first[found], size)
        words = np.repeat(np.searchsorted(groups.edges, found, side="right") - 1, size)
        if allowed is not None:
            kept = allowed[rows]
            rows, words = rows[kept], words[kept]
        return words, rows, self.cosines(rows, vector)

    def cosines(self, at: Integers, vector: Floats) -> Floats:
        """(n,) cosines of the vectors of some rows to one of length one."""
        with products_in_one_thread():
            near = [cosines(block, vector) for block in self.vectors.blocks(at)]
        return np.concatenate([np.zeros(0, np.float32), *near])

    def _allowed(self, where: str) -> npt.NDArray[np.bool_]:
        """(occurrences) whether a user's condition holds."""
        allowed = np.zeros(len(self.occurrences), bool)
        allowed[self._found(where)] = True
        return allowed

    def _found(self, where: str, *conditions: str) -> Integers:
        """(n,) the rows for which a user's condition and some of ours hold, rising."""
        query = self.occurrences.search().where(both(*conditions, where)).select(["_rowoffset"])
        found = asked(query, where, self.occurrences.schema.names)["_rowoffset"].to_numpy()
        rows: Integers = np.sort(found.astype(np.int64))
        return rows

    def taken(self, at: Integers) -> pyarrow.Table:
        """Some rows, in their order."""
        names = ["text", "start", "end", *self.keep]
        if not len(at):
            return self.occurrences.schema.empty_table().select(names)
        found = self.occurrences.take_offsets(np.sort(at).tolist()).select(names).to_arrow()
        return found.take(np.argsort(np.argsort(at)))

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
    start = stem(word)
    here = bisect_left(words, start)
    end = bisect_left(words, start + chr(0x10FFFF), here)
    return [word, *(other for other in words[here:end] if other != word and stem(other) == start)]


def _largest(numbers: Floats, k: int) -> Integers:
    """Where the k largest are, in the order in which they stand."""
    if k >= len(numbers):
        return np.arange(len(numbers))
    least = np.partition(numbers, -k)[-k]
    above = np.flatnonzero(numbers > least)
    equal = np.flatnonzero(numbers == least)[: k - len(above)]
    found: Integers = np.sort(np.append(above, equal))
    return found


def _best_of_each(words: Integers, near: Floats, k: int) -> Integers:
    """The rows of the k best, one of each word; rows of a word lie together."""
    if not len(words):
        return np.zeros(0, np.int64)
    edges = np.flatnonzero(np.diff(words, prepend=-1, append=-1))
    best = np.argsort(-np.maximum.reduceat(near, edges[:-1]), kind="stable")[:k]
    return np.asarray([edges[i] + near[edges[i] : edges[i + 1]].argmax() for i in best], np.int64)
