"""How a word's senses change over a column of metadata, such as the year: counts, and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.pictures import Picture
from polyseme.pictures.drawing import HEADING, HUES, MARGIN, Rect, Shape, Text, framed
from polyseme.pictures.lettering import elide, text_width

Integers = npt.NDArray[np.int64]

MOST_VALUES = 24
_STEPS = 12
_PLOT = (560.0, 260.0)


@dataclass(frozen=True, eq=False)
class Change:
    """Occurrences of a word by a column's value and by sense.

    Attributes:
        word: with its letters' case folded.
        column: of the metadata.
        values: (m) values of the column, or ranges of them, in order.
        senses: (k) labels or names.
        counts: (m, k) int64.
        missing: occurrences without a value.
    """

    word: str
    column: str
    values: tuple[str, ...]
    senses: tuple[str, ...]
    counts: Integers
    missing: int

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(m, k): of a value's occurrences, the part of each sense; 0 where there are none."""
        totals = self.counts.sum(axis=1, keepdims=True)
        shares: npt.NDArray[np.float64] = self.counts / np.maximum(totals, 1)
        return shares

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "word": self.word,
            "column": self.column,
            "values": list(self.values),
            "senses": list(self.senses),
            "counts": self.counts.tolist(),
            "missing": self.missing,
        }

    def plot(self) -> Picture:
        """A bar for each value, cut by the senses' shares, with the number of occurrences below.

        Of more than six senses, the rarest have one colour.
        """
        width, height = _PLOT
        shares = self.shares
        titles = list(self.senses)
        if len(titles) > len(HUES):
            last = len(HUES) - 1
            shares = np.column_stack([shares[:, :last], shares[:, last:].sum(axis=1)])
            titles = [*titles[:last], f"{len(titles) - last} more"]
        step = width / len(self.values)
        left, top = MARGIN + 44, HEADING
        shapes: list[Shape] = []
        for part in (0, 50, 100):
            y = top + height * (1 - part / 100)
            shapes.append(Text(left - 10, y + 4, f"{part}%", 12, opacity=0.65, anchor="right"))
            shapes.append(Rect(left, y, width, 1, "ink", 0.2, 0))
        for i, value in enumerate(self.values):
            y, x = top + height, left + i * step
            for j, share in enumerate(shares[i].tolist()):
                if share:
                    tall = share * height
                    y -= tall
                    hover = f"{value}: {titles[j]} {share:.0%}"
                    shapes.append(Rect(x + 2, y, step - 4, tall, HUES[j], 0.85, 1, hover))
            middle = x + step / 2
            label = elide(value, 120.0, 12)
            shapes.append(
                Text(middle, top + height + 18, label, 12, anchor="right", angle=-40.0, hover=value)
                if text_width(value, 12) > step - 4
                else Text(middle, top + height + 18, label, 12, anchor="center")
            )
            number = f"{int(self.counts[i].sum()):,}"
            if text_width(number, 10) < step:
                shapes.append(Text(middle, top - 6, number, 10, "ink", 0.65, "center"))
        bottom, x = top + height + 96, left
        for title, hue in zip(titles, HUES, strict=False):
            shown = elide(title, 200.0, 13)
            if x + 22 + text_width(shown, 13) > left + width and x > left:
                x, bottom = left, bottom + 22
            shapes.append(Rect(x, bottom - 11, 13, 13, hue, 0.85, 2))
            shapes.append(Text(x + 20, bottom, shown, 13, hover=title))
            x += 20 + text_width(shown, 13) + 26
        most = [titles[j] for j in shares.argmax(axis=1)]
        description = " ".join(
            f"{value}: mostly {title} ({share:.0%})."
            for value, title, share in zip(
                self.values, most, shares.max(axis=1).tolist(), strict=True
            )
        )
        return framed(
            *(left + width, bottom, shapes),
            title=f"Senses of {self.word} by {self.column}",
            description=description,
            note="above the bars: occurrences",
        )


def change_of(
    word: str, column: str, values: Sequence[Any], senses: Sequence[str], nearest: Integers
) -> Change:
    """Count occurrences by value and by sense.

    Args:
        word: whose occurrences they are.
        column: that the values are of.
        values: (n) of the occurrences; None where there is none.
        senses: (k) their titles.
        nearest: (n,) which sense each occurrence has.

    Raises:
        ValueError: there is no value, or there are too many that are no numbers.

    Example:
        >>> found = change_of("bank", "year", [1990, 1990, 2001], ["river", "money"], [0, 1, 1])
        >>> found.values, found.counts.tolist()
        (('1990', '2001'), [[1, 1], [0, 1]])
    """
    there = [i for i, value in enumerate(values) if value is not None]
    if not there:
        raise ValueError(f"no occurrence of {word!r} has a value in the column {column!r}")
    distinct = sorted({values[i] for i in there})
    labels = [str(value) for value in distinct]
    place = {value: i for i, value in enumerate(distinct)}
    if len(distinct) > MOST_VALUES:
        if not all(isinstance(value, (int, float)) for value in distinct):
            raise ValueError(
                f"the column {column!r} has {len(distinct)} values for {word!r}: at most "
                f"{MOST_VALUES} can be told apart, unless they are numbers"
            )
        labels, place = _in_steps(distinct)
    counts = np.zeros((len(labels), len(senses)), np.int64)
    rows = np.asarray([place[values[i]] for i in there])
    np.add.at(counts, (rows, np.asarray(nearest)[there]), 1)
    return Change(word, column, tuple(labels), tuple(senses), counts, len(values) - len(there))


def _in_steps(distinct: Sequence[float]) -> tuple[list[str], dict[float, int]]:
    """Labels of about a dozen equal steps of 1, 2 or 5 times a power of ten, and each value's."""
    span = float(distinct[-1] - distinct[0]) / _STEPS
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= span)
    first = math.floor(distinct[0] / step)
    number = math.floor(distinct[-1] / step) - first + 1
    whole = all(isinstance(value, int) for value in distinct) and step >= 1
    ends = [((first + i) * step, (first + i + 1) * step) for i in range(number)]
    labels = [f"{a:.0f}–{b - 1:.0f}" if whole else f"{a:g}–{b:g}" for a, b in ends]
    return labels, {value: math.floor(value / step) - first for value in distinct}
