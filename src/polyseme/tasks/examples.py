"""Examples of a task: texts, and the places in them that have a label.

A place is a span of a text's characters or words, or the whole text. Whatever the task, its
examples become ``Units``: the places of all examples end to end, so that one pass over the texts
gives the vectors of all. What can't be used is found before any work is done, all of it at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.embedded import Span
from polyseme.inputs import Text
from polyseme.packed import offsets_of, rows_of
from polyseme.text import TokenizedTexts, split_words

Integers = npt.NDArray[np.int64]
Place = tuple[Text, Span]

WHOLE: Span = (-1, -1)
"""The place of a whole text."""

_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Units:
    """Places in texts.

    Attributes:
        texts: (n_units) the text of each place: a str, or a list of words. Neighbours that are the
            very same object are one text.
        spans: (n_units, 2) int64: code points of a str, words of a list; ``WHOLE``.
        offsets: (n_examples + 1) int64: example i has the units offsets[i] to offsets[i + 1].
    """

    texts: list[Text]
    spans: Integers
    offsets: Integers

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, examples: Integers) -> Units:
        """The units of some examples."""
        rows = rows_of(self.offsets, examples)
        sizes = np.diff(self.offsets)[examples]
        return Units([self.texts[i] for i in rows], self.spans[rows], offsets_of(sizes))

    def distinct(self) -> tuple[list[Text], Integers]:
        """The texts, each once, and (n_units,) the index of each unit's."""
        owners = np.zeros(len(self.texts), np.int64)
        found: list[Text] = []
        for i, text in enumerate(self.texts):
            if not found or text is not found[-1]:
                found.append(text)
            owners[i] = len(found) - 1
        return found, owners

    def words(self, tokens: TokenizedTexts) -> tuple[Integers, Integers, Integers]:
        """First and one-past-last word of each unit among the words of all texts, and its text.

        A span of characters has the words that it touches.

        Args:
            tokens: of the texts of ``distinct``.

        Raises:
            ValueError: a span touches no word.
        """
        _, owners = self.distinct()
        starts, stops = tokens.word_offsets[owners], tokens.word_offsets[owners + 1]
        first, last = starts.copy(), stops.copy()
        for i in np.flatnonzero(self.spans[:, 0] >= 0):
            begin, end = self.spans[i].tolist()
            if not isinstance(self.texts[i], str):
                first[i], last[i] = starts[i] + begin, starts[i] + end
                continue
            own = tokens.spans[starts[i] : stops[i]]
            touched = np.flatnonzero((own[:, 0] < end) & (own[:, 1] > begin))
            if not len(touched):
                raise ValueError(f"no word in characters {begin} to {end} of {self.texts[i]!r}")
            first[i], last[i] = starts[i] + touched[0], starts[i] + touched[-1] + 1
        return first, last, owners


@dataclass(frozen=True, eq=False)
class Labelled:
    """Units and what is to be learned of them.

    Attributes:
        units: of all examples.
        targets: (n_rows, k) 1 for each label that a row has, or (n_rows, 1) scores.
        weights: (n_rows,) of the rows in the loss.
        rows: (n_examples + 1) int64: example i has the rows rows[i] to rows[i + 1].
        held_out: examples that are only measured on.
    """

    units: Units
    targets: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    rows: Integers
    held_out: Integers

    def rows_of(self, examples: Integers) -> Integers:
        """The rows of some examples."""
        return rows_of(self.rows, examples)

    @property
    def learned_from(self) -> Integers:
        """The examples that are not held out."""
        return np.setdiff1d(np.arange(len(self.units)), self.held_out)


class UnusableError(ValueError):
    """Examples that can't be used.

    Attributes:
        reasons: row (from 0), or the place in a file -> why.
    """

    def __init__(self, reasons: Mapping[Any, str], total: int, hint: str = "") -> None:
        shown = [
            f"{place if isinstance(place, str) else f'row {place}'}: {why}"
            for place, why in list(reasons.items())[:_SHOWN]
        ]
        if len(reasons) > _SHOWN:
            shown.append(f"and {len(reasons) - _SHOWN} more")
        super().__init__(
            f"{len(reasons)} of {total} examples can't be used{hint}: " + "; ".join(shown)
        )
        self.reasons = dict(reasons)


def listed(examples: Any, columns: Sequence[str]) -> list[Any]:
    """The examples as a list; of a table (pandas, Arrow), tuples of the columns.

    Raises:
        TypeError: it is no collection of examples.
        ValueError: the table lacks a column.
    """
    names = getattr(examples, "column_names", getattr(examples, "columns", None))
    if names is not None:
        missing = [name for name in columns if name not in list(names)]
        if missing:
            raise ValueError(f"no column {missing[0]!r}; there are {list(names)}")
        table = [
            column.to_pylist() if hasattr(column, "to_pylist") else column.tolist()
            for column in (examples[name] for name in columns)
        ]
        return list(zip(*table, strict=True)) if len(columns) > 1 else table[0]
    if hasattr(examples, "to_pylist"):
        return list(examples.to_pylist())
    if hasattr(examples, "tolist"):
        return list(examples.tolist())
    if isinstance(examples, (str, bytes, dict)) or not isinstance(examples, Iterable):
        raise TypeError(f"examples are of type {type(examples).__name__}: give a list of them")
    return list(examples)


def place_of(text: Any, place: Sequence[Any]) -> Place:
    """A text and the characters that a place in it means: a start and an end, or the very words.

    Raises:
        ValueError: they are not in the text, or the words stand in it more than once.

    Example:
        >>> place_of("a piece of cake", ("Cake",)), place_of("a piece of cake", (2, 7))
        (('a piece of cake', (11, 15)), ('a piece of cake', (2, 7)))
    """
    checked_text(text)
    if not isinstance(text, str):
        raise ValueError("a text with a span must be a string")
    if len(place) == 1 and isinstance(place[0], (tuple, list)):
        place = place[0]
    if len(place) == 1 and isinstance(place[0], str):
        return text, _occurrence(text, place[0])
    if len(place) == 2:
        try:
            start, end = (int(edge) for edge in place)
        except (TypeError, ValueError):
            raise ValueError(f"{tuple(place)!r} is no span") from None
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"span {start}:{end} is empty, or outside its text of {len(text)} characters"
            )
        if not any(first < end and last > start for first, last in split_words(text)):
            raise ValueError(f"span {start}:{end} holds no word")
        return text, (start, end)
    raise ValueError(f"{tuple(place)!r} is no span: give a start and an end, or the words")


def checked_text(text: Any) -> Text:
    """The text, which is a str or a list of str and not empty.

    Raises:
        ValueError: it is not.
    """
    if isinstance(text, str):
        if not split_words(text):
            raise ValueError("the text is empty" if not text.strip() else "the text has no word")
        return text
    if isinstance(text, (list, tuple)) and all(isinstance(word, str) for word in text):
        if not text:
            raise ValueError("the text is empty")
        return text
    raise ValueError(f"{text!r} is no text")


def _occurrence(text: str, words: str) -> Span:
    pattern = _whole_words(words)
    found = [match.span() for match in pattern.finditer(text)]
    if not found:
        raise ValueError(f"{words!r} is not in its text")
    if len(found) > 1:
        raise ValueError(f"{words!r} is {len(found)} times in its text: give start and end")
    return found[0]


@lru_cache(maxsize=1024)
def _whole_words(words: str) -> re.Pattern[str]:
    if not words.strip():
        raise ValueError("the span is empty")
    return re.compile(rf"(?<!\w){re.escape(words.strip())}(?!\w)", re.IGNORECASE)
