"""What an index of senses gives: occurrences, senses, tags. Plain data, ready for JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Occurrence:
    """A word where it stands.

    Attributes:
        word: as it is written there.
        text: the text that it stands in.
        start: its first character in the text.
        end: one past its last.
        score: cosine to what was searched for, from -1 to 1.
        source: the file that the text is from.
        line: the number of its line there, from 1.
        metadata: the columns that the index keeps.
    """

    word: str
    text: str
    start: int
    end: int
    score: float
    source: str = ""
    line: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "word": self.word,
            "score": round(self.score, 6),
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "source": self.source,
            "line": self.line,
            "metadata": {name: _plain(value) for name, value in self.metadata.items()},
        }


@dataclass(frozen=True, eq=False)
class Sense:
    """One sense of a word, as its uses fall apart.

    Attributes:
        word: with its letters' case folded.
        number: from 1, the most frequent first.
        name: the two words that mark it best.
        label: what the user calls it; "" if nothing.
        size: its occurrences.
        share: of all the word's occurrences, from 0 to 1.
        marks: the words that stand near it, and not near the other senses; the strongest first.
        examples: the occurrences nearest to its centre.
        centroid: (dim,) float32 of length one: the mean of its occurrences' directions.
    """

    word: str
    number: int
    name: str
    label: str
    size: int
    share: float
    marks: tuple[str, ...]
    examples: tuple[Occurrence, ...]
    centroid: Floats = field(repr=False)

    @property
    def title(self) -> str:
        """Its label if it has one, else its name."""
        return self.label or self.name

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, without the centroid."""
        return {
            "word": self.word,
            "number": self.number,
            "name": self.name,
            "label": self.label,
            "size": self.size,
            "share": round(self.share, 6),
            "marks": list(self.marks),
            "examples": [example.to_dict() for example in self.examples],
        }


@dataclass(frozen=True)
class Tag:
    """The sense of a word in a new text.

    Attributes:
        word: as it is written.
        start: its first character in the text.
        end: one past its last.
        number: of the sense.
        sense: its label, or its name where it has none.
        score: cosine to the sense's centre, from -1 to 1.
        margin: how much nearer it is than the next sense; the word's only sense has its score.
    """

    word: str
    start: int
    end: int
    number: int
    sense: str
    score: float
    margin: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "word": self.word,
            "start": self.start,
            "end": self.end,
            "number": self.number,
            "sense": self.sense,
            "score": round(self.score, 6),
            "margin": round(self.margin, 6),
        }


def _plain(value: Any) -> Any:
    """A value of a column as JSON has it: numbers, strings and truth values; all else as text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
