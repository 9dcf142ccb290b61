"""Labels without a font at hand: how wide a text will be, how it is cut, where it finds room.

Widths are estimates in pixels, made for the wider of the usual sans-serif fonts. `place` chooses
among a few boxes beside a point: simple rules, one label after the other, nothing moved afterwards.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom
Anchor = Literal["left", "center", "right"]

BOLDER = 1.13  # how much wider bold letters are
# All that XML 1.0 forbids, and the other control characters, which would show as nothing.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def one_line(text: str) -> str:
    r"""White space as single spaces; what XML forbids (control characters, ...) as U+FFFD.

    >>> one_line("a\tb\x00")
    'a b\ufffd'
    """
    return " ".join(FORBIDDEN.sub("\ufffd", text).split())


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Estimated width in pixels at a font size in pixels, rather too wide than too narrow.

    Wide East Asian characters count about double.

    >>> text_width("苹果", 10.0) > text_width("abc", 10.0)
    True
    """
    ems = sum(_em(character) for character in text)
    return ems * size * (BOLDER if bold else 1.0)


def elide(text: str, width: float, size: float) -> str:
    """The text on one line, its end replaced by an ellipsis where it is wider than `width`.

    >>> elide("incomprehensibilities", 80.0, 10.0)
    'incomprehen…'
    """
    text = one_line(text)
    if text_width(text, size) <= width:
        return text
    room = width - text_width("…", size)
    kept = 0
    for character in text:
        room -= _em(character) * size
        if room < 0:
            break
        kept += 1
    return text[:kept].rstrip() + "…"


def excerpt(text: str, word: str, width: float, size: float) -> str:
    """The text on one line, cut at both ends where it is too wide, so that the word is in it.

    >>> excerpt("after a long and tiring day of picking we ate the apple pie", "apple", 120.0, 10.0)
    '…we ate the apple pie'
    """
    text = one_line(text)
    found = re.search(rf"(?<!\w){re.escape(one_line(word))}(?!\w)", text, re.IGNORECASE)
    if found is None or text_width(text, size) <= width:
        return elide(text, width, size)
    left, right = text[: found.start()], text[found.start() :]
    while text_width(left, size) > 0.4 * width and text_width("…" + left + right, size) > width:
        left = left.partition(" ")[2]
    cut = len(left) < found.start()
    return elide("…" * cut + left + right, width, size)


@dataclass(frozen=True)
class Place:
    """Where a label goes, by which end it hangs, and whether even that place is a bad one."""

    box: Box
    anchor: Anchor
    crowded: bool

    @property
    def x(self) -> float:
        """Where a text with this anchor starts, has its middle or ends."""
        left, _, right, _ = self.box
        return {"left": left, "center": (left + right) / 2, "right": right}[self.anchor]


def place(
    point: Point,
    size: Point,
    *,
    onward: bool,
    obstacles: Sequence[Box],
    taken: Sequence[Box],
    area: Box,
) -> Place:
    """The best of some boxes of a size (width, height) beside a point.

    Near is better than far, to the right (where `onward`, else to the left) better than to the
    other side; over an obstacle is bad, over a taken box or outside the area is worse.

    >>> page = (0, 0, 100, 100)
    >>> place((50, 50), (30, 20), onward=True, obstacles=[], taken=[], area=page)
    Place(box=(64.0, 40.0, 94.0, 60.0), anchor='left', crowded=False)
    """
    (x, y), (width, height) = point, size
    spots: list[tuple[float, Anchor, float, float]] = []  # price, anchor, left, middle
    for step in range(-8, 9):
        # Farther off, a thin line will lead to the point: leave it room.
        gap = 14.0 if abs(step) < 2 else 26.0
        middle = y + step * height / 2
        spots.append((12 * abs(step) + 150 * (not onward), "left", x + gap, middle))
        spots.append((12 * abs(step) + 150 * onward, "right", x - gap - width, middle))
    spots += [(80, "center", x - width / 2, y + way * (height / 2 + 11)) for way in (-1, 1)]
    best: tuple[float, Place] | None = None
    for price, anchor, left, middle in spots:
        box = (left, middle - height / 2, left + width, middle + height / 2)
        conflict = _shared(box, taken) + width * height - _shared(box, [area])
        cost = price + _shared(box, obstacles) + 10 * conflict
        if best is None or cost < best[0]:
            best = (cost, Place(box, anchor, conflict > 1 or cost > 400))
    assert best is not None
    return best[1]


def place_all(
    points: Sequence[Point],
    sizes: Sequence[Point],
    onward: Sequence[bool],
    *,
    obstacles: Sequence[Box],
    taken: Sequence[Box],
    area: Box,
) -> dict[int, Place]:
    """A place for the label of every point, by its index; those that find no good one lack.

    From the top down to the middle, then from the bottom up to it, where there is most room.
    """
    places: dict[int, Place] = {}
    order = sorted(range(len(points)), key=lambda i: points[i][1])
    upper = [i for i in order if points[i][1] <= (area[1] + area[3]) / 2]
    for half, edge in ((upper, 1), (order[: len(upper) - 1 : -1], 3)):
        strips: list[Box] = []
        for i in half:
            found = place(
                points[i],
                sizes[i],
                onward=onward[i],
                obstacles=[*obstacles, *strips],
                taken=[*taken, *(done.box for done in places.values())],
                area=area,
            )
            if found.crowded:
                continue
            places[i] = found
            # A strip from the label to the edge keeps labels in the order of their points.
            middle = (found.box[0] + found.box[2]) / 2
            ends = sorted((area[edge], found.box[edge]))
            strips.append((middle - 4, ends[0], middle + 4, ends[1]))
    return places


def _em(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    if character in "iljtfrI.,:;'|!()[] ":
        return 0.36
    if character in "mwMW@%&—…":
        return 0.95
    return 0.72 if character.isupper() else 0.62


def _shared(box: Box, others: Sequence[Box]) -> float:
    """Summed area that the box shares with each of the others."""
    sides = np.array(others, dtype=np.float64).reshape(-1, 4)
    width = np.minimum(box[2], sides[:, 2]) - np.maximum(box[0], sides[:, 0])
    height = np.minimum(box[3], sides[:, 3]) - np.maximum(box[1], sides[:, 1])
    return float((np.maximum(width, 0) * np.maximum(height, 0)).sum())
