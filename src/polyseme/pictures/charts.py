"""The pictures of an explanation: who moved a word, and where to.

`heat_map`, `arcs` and `sense_map` turn arrays into a `Picture`, which a notebook shows by itself
and `save` writes as .svg, .html or .png. Each takes arrays as they come out of the model and lays
them out with a few plain rules. The sense map is a principal component analysis (Pearson, 1901).
In shapes, n and m count words, k uses of one word, dim a vector's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from polyseme.pictures.drawing import (
    HEADING,
    HUES,
    MARGIN,
    Circle,
    Curve,
    Line,
    Picture,
    Rect,
    Shape,
    Text,
    framed,
    shifted,
)
from polyseme.pictures.lettering import (
    Anchor,
    Box,
    Place,
    Point,
    elide,
    excerpt,
    place,
    place_all,
    text_width,
)

__all__ = ["Picture", "arcs", "heat_map", "sense_map"]

Floats = npt.NDArray[np.float64]

LABEL = 13.0  # font size beside the points of a sense map


def heat_map(
    weights: npt.ArrayLike, rows: Sequence[str], columns: Sequence[str], *, title: str
) -> Picture:
    """A square for every pair of words, darker the larger its weight (the largest is darkest).

    Args:
        weights: (n, m) finite numbers, none negative.
        rows: n words, from top to bottom.
        columns: m words, from left to right.
        title: the heading.

    Raises:
        ValueError: weights don't fit the words, or hold NaN, infinity or a negative number.

    >>> heat_map([[0.9, 0.1]], ["Apple"], ["iPhone", "day"], title="Weights").description
    'Apple: most from iPhone (0.9).'
    """
    given = _weights(weights, (len(rows), len(columns)), "(len(rows), len(columns))")
    shares, spec = _relative(given), _format(given)
    cell = float(np.clip(900 // len(columns), 16, 48))
    size = float(np.clip(cell * 0.62, 11, 14))
    value_size = min(12.0, cell * 0.3)
    row_labels, column_labels = ([elide(w, 9 * size, size) for w in ws] for ws in (rows, columns))
    longest = max(text_width(label, size) for label in column_labels)
    slanted = longest > cell - 6
    overhang = 0.71 * longest if slanted else 0.0
    left = MARGIN + max(text_width(label, size) for label in row_labels) + 12
    top = HEADING + overhang + size
    shapes: list[Shape] = []
    for j, (word, label) in enumerate(zip(columns, column_labels, strict=True)):
        x = left + (j + 0.5) * cell + (0.3 * size if slanted else 0)
        anchor: Anchor = "left" if slanted else "center"
        angle = -45.0 if slanted else 0.0
        shapes.append(Text(x, top - 9, label, size, anchor=anchor, angle=angle, hover=word))
    for i, (word, label) in enumerate(zip(rows, row_labels, strict=True)):
        y = top + (i + 0.5) * cell
        shapes.append(Text(left - 10, y + 0.35 * size, label, size, anchor="right", hover=word))
        for j, column in enumerate(columns):
            x, corner = left + (j + 0.5) * cell, (left + j * cell + 1, top + i * cell + 1)
            hover = f"{word} × {column}: {given[i, j]!s}"
            # Never the full hue, so that the page's own ink stays legible on every square.
            shade = 0.03 + 0.67 * float(shares[i, j])
            shapes.append(Rect(*corner, cell - 2, cell - 2, opacity=shade, hover=hover))
            value = f"{float(given[i, j]):{spec}}"
            if value_size >= 8.5 and text_width(value, value_size) <= cell - 4:
                y_value = y + 0.35 * value_size
                shapes.append(Text(x, y_value, value, value_size, anchor="center", hover=hover))
    strongest = shares.argmax(axis=1)
    description = " ".join(
        f"{word}: most from {columns[j]} ({float(given[i, j]):.3g})."
        for i, (word, j) in enumerate(zip(rows, strongest, strict=True))
    )
    right = left + len(columns) * cell + max(0.0, overhang - cell / 2)
    return framed(right, top + len(rows) * cell, shapes, title=title, description=description)


def arcs(
    weights: npt.ArrayLike,
    words: Sequence[str],
    *,
    focus: int | None = None,
    title: str,
    threshold: float = 0.02,
) -> Picture:
    """The sentence on one line, an arc between two words the thicker the larger their weight.

    With a focus, only the arcs of that word, and its share of every word below the line. Without,
    what a word takes from later words is drawn above the line, from earlier ones below.

    Args:
        weights: (n, n) finite numbers, none negative; weights[i, j] is what word i takes from j.
        words: n words.
        focus: index of the word to explain.
        title: the heading.
        threshold: arcs of smaller weight are not drawn (the picture says so).

    Raises:
        ValueError: weights don't fit the words, or hold NaN, infinity or a negative number;
            focus is not an index of words; threshold is negative or NaN.

    >>> arcs([[0.7, 0.3], [0.4, 0.6]], ["red", "apple"], focus=1, title="apple").description
    'apple takes 40% from red. apple takes 60% from apple.'
    """
    n = len(words)
    given = _weights(weights, (n, n), "(len(words), len(words))")
    if focus is not None and not 0 <= focus < n:
        raise ValueError(f"focus={focus}: expected None or an index from 0 to {n - 1}")
    if not threshold >= 0:
        raise ValueError(f"threshold={threshold}: expected a number that is not negative")
    others = given.astype(np.float64) * ~np.eye(n, dtype=bool)
    if focus is not None:
        others[np.arange(n) != focus] = 0.0
    drawn = (others > 0) & (others >= threshold)
    later = np.triu(np.ones((n, n), dtype=bool), 1)
    above = np.ones_like(later) if focus is not None else later

    size, gap = 17.0, 24.0
    labels = [elide(word, 10 * size, size) for word in words]
    widths = np.array([max(text_width(label, size), 26.0) for label in labels])
    centres = MARGIN + np.cumsum(widths + gap) - gap - widths / 2
    reach = np.abs(centres[:, None] - centres)
    peak = float(np.clip(0.3 * reach.max(), 40, 200))
    rise = (
        np.where(above, 1, -1) * drawn * (18 + (peak - 18) * np.sqrt(reach / max(reach.max(), 1.0)))
    )
    base = HEADING + max(0.0, float(rise.max())) + size + 8

    def hover(i: int, j: int) -> str:
        return f"{words[i]} ← {words[j]}: {given[i, j]!s}"

    shapes = _curves(others * drawn, rise, centres, base, hover)
    sentences, spec = [], _format(given)
    for i, (word, label) in enumerate(zip(words, labels, strict=True)):
        x, chosen = float(centres[i]), i == focus
        looker = i if focus is None else focus
        exact = hover(looker, i)
        if chosen:
            width = float(widths[i]) + 16
            shapes.append(
                Rect(x - width / 2, base - size - 3, width, size + 12, opacity=0.16, radius=8)
            )
        shapes.append(Text(x, base, label, size, anchor="center", bold=chosen, hover=exact))
        if focus is not None:
            value = f"{float(given[focus, i]):{spec}}"
            faint = 1.0 if chosen or drawn[focus, i] else 0.6
            shapes.append(
                Text(x, base + 30, value, 13, "ink", faint, "center", bold=chosen, hover=exact)
            )
            sentences.append(f"{words[focus]} takes {value} from {word}.")
        elif n > 1:
            most = int(others[i].argmax())
            sentences.append(f"{word}: most from {words[most]} ({float(given[i, most]):.3g}).")
    bottom = base + (30.0 if focus is not None else 12 + max(0.0, -float(rise.min())))
    notes = [] if focus is not None else ["above: taken from later words, below: from earlier ones"]
    if ((others > 0) & ~drawn).any():
        notes.append(f"no arcs under {threshold:g}")
    right = float(centres[-1] + widths[-1] / 2)
    return framed(
        *(right, bottom, shapes),
        title=title,
        description=" ".join(sentences),
        note="; ".join(notes),
    )


def sense_map(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    labels: Sequence[str],
    *,
    word: str,
    groups: Sequence[str] | None = None,
    title: str,
) -> Picture:
    """Where context takes a word: an arrow from its static vector to each contextual one.

    The plane is that of the first two principal components of both kinds of vectors together, with
    one scale for both directions: distances on the page are distances in that plane.

    Args:
        before: (k, dim) static vectors, one for each use of the word.
        after: (k, dim) contextual vectors of the same uses.
        labels: k sentences.
        word: the word itself.
        groups: k names, such as the sense of each use; a colour for each of at most six.
        title: the heading.

    Raises:
        ValueError: shapes or lengths differ, a number is not finite, or more than six groups.

    >>> sense_map([[0, 0]], [[3, 4]], ["an apple a day"], word="apple", title="apple").description
    '1 use of apple, from the static vector to the one in context: an apple a day.'
    """
    k = len(labels)
    was, now = _vectors(before, k, "before"), _vectors(after, k, "after")
    if was.shape != now.shape:
        raise ValueError(f"after has shape {now.shape}: expected {was.shape}, the shape of before")
    names = list(dict.fromkeys(groups or ()))
    if groups is not None and (len(groups) != k or len(names) > len(HUES)):
        raise ValueError(
            f"groups has {len(groups)} entries, {len(names)} of them different: "
            f"expected {k}, as labels has, with at most {len(HUES)} different"
        )
    hues = [HUES[names.index(group)] for group in groups] if groups else [HUES[0]] * k
    plane, kept = principal_plane(was, now)
    excerpts = [excerpt(label, word, 310.0, LABEL) for label in labels]
    side = max(90.0, *(text_width(text, LABEL) for text in excerpts)) + 48
    inner = (400.0, float(np.clip(160 + 14 * k, 200, 720)))
    area = (0.0, HEADING, 2 * side + inner[0], HEADING + inner[1] + 40)
    centre = np.array([area[2], area[1] + area[3]]) / 2
    starts, ends = np.split(_fitted(plane, inner) + centre, 2)

    shapes: list[Shape] = []
    for start, end, hue, label in zip(starts, ends, hues, labels, strict=True):
        shapes += _arrow(start, end, hue, label)
    together = bool(np.ptp(starts, axis=0).max() < 6)
    for start in starts[: 1 if together else k]:
        shapes.append(Circle(*_point(start), 6, "ink", hover=f"{word}, static vector"))
    for end, hue, label in zip(ends, hues, labels, strict=True):
        shapes.append(Circle(*_point(end), 6, hue, hover=label))
    obstacles, taken = _in_the_way(starts, ends), list[Box]()
    if together:
        text = elide(word, 200.0, LABEL)
        back = bool(starts[0, 0] >= ends[:, 0].mean())
        size = (text_width(text, LABEL, bold=True), LABEL + 7)
        spot = place(
            _point(starts[0]), size, onward=back, obstacles=obstacles, taken=taken, area=area
        )
        taken.append(spot.box)
        shapes.append(_label(spot, text, word, bold=True))
    sizes = [(text_width(text, LABEL), LABEL + 7) for text in excerpts]
    onward = (ends[:, 0] >= starts[:, 0]).tolist()
    spots = place_all(ends.tolist(), sizes, onward, obstacles=obstacles, taken=taken, area=area)
    for i, spot in spots.items():
        shapes += [*_leader(spot, _point(ends[i]), hues[i]), _label(spot, excerpts[i], labels[i])]
    boxes = taken + [spot.box for spot in spots.values()]
    dots = np.concatenate([starts, ends])[:, 0]
    left = min([float(dots.min()) - 6, *(box[0] for box in boxes)])
    right = max([float(dots.max()) + 6, *(box[2] for box in boxes)])
    shapes = [shifted(shape, MARGIN - left) for shape in shapes]
    right += MARGIN - left

    keys = [(name, HUES[i]) for i, name in enumerate(names or ["in context"])]
    key, bottom = _legend([("static vector", "ink"), *keys], area[3] + 20, max(right, 480.0))
    note = f"first two principal components: {kept:.0%} of the variance"
    if len(spots) < k:
        note += f"; {k - len(spots)} of {k} labels left out for want of room"
    uses = [f"{label} ({group})" for label, group in zip(labels, groups or (), strict=False)]
    description = (
        f"{k} use{'s' if k > 1 else ''} of {word}, from the static vector to the one in context: "
        f"{'; '.join(uses or labels)}."
    )
    return framed(*(right, bottom, shapes + key), title=title, description=description, note=note)


def _weights(
    weights: npt.ArrayLike, shape: tuple[int, int], meaning: str
) -> npt.NDArray[np.generic]:
    given = np.asarray(weights)
    if given.shape != shape or 0 in shape:
        raise ValueError(
            f"weights has shape {given.shape}: expected {meaning} = {shape}, at least one word each"
        )
    bad = np.argwhere(~(np.isfinite(given) & (given >= 0)))
    if len(bad):
        i, j = bad[0].tolist()
        raise ValueError(
            f"weights[{i}, {j}] = {given[i, j]}: expected finite numbers, none negative"
        )
    return given


def _vectors(vectors: npt.ArrayLike, k: int, name: str) -> Floats:
    given = np.asarray(vectors, dtype=np.float64)
    if given.ndim != 2 or len(given) != k or 0 in given.shape:
        raise ValueError(
            f"{name} has shape {given.shape}: expected (len(labels), dim) = ({k}, dim), no 0"
        )
    bad = np.argwhere(~np.isfinite(given))
    if len(bad):
        i, j = bad[0].tolist()
        raise ValueError(f"{name}[{i}, {j}] = {given[i, j]}: expected finite numbers")
    return given


def _relative(weights: npt.NDArray[np.generic]) -> Floats:
    """Weights as parts of the largest, all zero where it is."""
    values = weights.astype(np.float64)
    peak = values.max()
    return values / peak if peak > 0 else values


def _format(weights: npt.NDArray[np.generic]) -> str:
    return ".0%" if float(weights.max()) <= 1 + 1e-6 else ".3g"


def _curves(
    drawn: Floats, rise: Floats, centres: Floats, base: float, hover: Callable[[int, int], str]
) -> list[Shape]:
    """The arcs of all weights above zero in `drawn`, the strongest last and so on top.

    `rise` says how high each stands above the words, or below them where it is negative.
    """
    shares = _relative(drawn)
    curves: list[Shape] = []
    for i, j in sorted(np.argwhere(drawn > 0).tolist(), key=lambda pair: float(drawn[tuple(pair)])):
        start, end, share = float(centres[i]), float(centres[j]), float(shares[i, j])
        foot = base + (12 if rise[i, j] < 0 else -22)
        # A cubic Bézier reaches three quarters of the way to its control points.
        turn = foot - float(rise[i, j]) * 4 / 3
        points = ((start, foot), (start, turn), (end, turn), (end, foot))
        curves.append(Curve(points, HUES[0], 0.18 + 0.72 * share, 1 + 6 * share, hover(i, j)))
    return curves


def principal_plane(was: Floats, now: Floats) -> tuple[Floats, float]:
    """Both kinds of points, (2k, 2), in the plane of their first two principal components.

    With the part of the variance that lies in it. The sign of a component is free: on the whole
    the way from `was` to `now` is positive; where it is neither, the first of the farthest points.
    """
    points = np.concatenate([was, now])
    u, s, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    # What is left of equal points is rounding; scaled up to the page it would look like a finding.
    s = np.where(s > 1e-9 * np.abs(points).max(), s, 0.0)
    plane = np.zeros((len(points), 2))
    plane[:, : len(s)] = (u * s)[:, :2]
    extent = np.abs(plane).max(axis=0)
    way = plane[len(was) :].mean(axis=0) - plane[: len(was)].mean(axis=0)
    farthest = plane[(np.abs(plane) >= (1 - 1e-6) * extent).argmax(axis=0), [0, 1]]
    plane *= np.where(np.where(np.abs(way) > 1e-6 * extent, way, farthest) < 0, -1.0, 1.0)
    total = float((s**2).sum())
    return plane, float((s[:2] ** 2).sum()) / total if total > 0 else 1.0


def _fitted(plane: Floats, inner: Point) -> Floats:
    """The (n, 2) points around zero, as large as fits, with one scale for both directions."""
    spans = np.ptp(plane, axis=0)
    scale = min((room / span for room, span in zip(inner, spans, strict=True) if span), default=1.0)
    # The second component grows upwards, as in any plot; y on the page grows downwards.
    fitted: Floats = (plane - (plane.max(axis=0) + plane.min(axis=0)) / 2) * scale * (1, -1)
    return fitted


def _in_the_way(starts: Floats, ends: Floats) -> list[Box]:
    """Small boxes over the points and along the arrows, for labels to keep off."""
    boxes = [(x - 8, y - 8, x + 8, y + 8) for x, y in np.concatenate([starts, ends]).tolist()]
    for start, end in zip(starts, ends, strict=True):
        steps = np.linspace(0, 1, 2 + int(math.dist(start, end) / 8))[:, None]
        along = (start + steps * (end - start)).tolist()
        boxes += [(x - 3, y - 3, x + 3, y + 3) for x, y in along]
    return boxes


def _label(spot: Place, text: str, hover: str, *, bold: bool = False) -> Text:
    return Text(spot.x, spot.box[3] - 5, text, LABEL, anchor=spot.anchor, bold=bold, hover=hover)


def _leader(spot: Place, point: Point, hue: str) -> list[Shape]:
    """A thin line from a point to its label, where the label is not right beside it."""
    y = (spot.box[1] + spot.box[3]) / 2
    if spot.anchor == "center" or abs(y - point[1]) < 12:
        return []
    near = spot.x - 4 if spot.anchor == "left" else spot.x + 4
    return [Line((point, (near, y)), hue, 0.4, 1.0)]


def _arrow(start: Floats, end: Floats, hue: str, hover: str) -> list[Shape]:
    length = float(np.hypot(*(end - start)))
    if length < 1:
        return []
    shaft = Line((_point(start), _point(end)), hue, 0.6, 1.5, hover)
    if length < 30:
        return [shaft]
    # The head stops short of the dot that is drawn over the shaft's end.
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    tip = end - 9 * along
    wings = [tip - 8 * along + way * 4.5 * across for way in (1, -1)]
    return [shaft, Line((_point(wings[0]), _point(tip), _point(wings[1])), hue, 1.0, 1.5)]


def _point(point: Floats) -> Point:
    x, y = point.tolist()
    return (x, y)


def _legend(keys: Sequence[tuple[str, str]], y: float, right: float) -> tuple[list[Shape], float]:
    """A dot and a name for each key, in as many lines as it takes; and the last line's y."""
    shapes: list[Shape] = []
    x = MARGIN + 6
    for name, hue in keys:
        text = elide(name, 240.0, LABEL)
        width = 14 + text_width(text, LABEL)
        if x + width > right and shapes:
            x, y = MARGIN + 6, y + 24
        shapes += [Circle(x, y, 5, hue), Text(x + 13, y + 4.5, text, LABEL, hover=name)]
        x += width + 24
    return shapes, y + 5
