"""A picture as a short list of plain shapes, and its two ways out: SVG and PNG.

Shapes stand in pixels, y grows downwards. The SVG text is written here, PNG is drawn by
matplotlib's Agg canvas, so both show the same. Colours suit a white and a dark page: ink is the
colour of the text around the picture, hues change with the reader's colour scheme.
"""

from __future__ import annotations

import html
import io
import math
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polyseme.pictures.lettering import BOLDER, Anchor, Point, elide, one_line, text_width

MARGIN = 28.0
HEADING = 68.0  # where a drawing starts, below its title
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', Helvetica, Arial, sans-serif"
PNG_FONTS = (
    *("Helvetica Neue", "Arial", "Liberation Sans", "Noto Sans", "DejaVu Sans"),
    *("Noto Sans CJK SC", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Arial Unicode MS"),
)
# Name -> (on a light page, on a dark page). The light hues keep a contrast of 4.5 on white and of
# 3 on black, as inline in somebody's page nothing tells which one they stand on.
PAINTS = {
    "ink": ("#1f2328", "#e6edf3"),
    "accent": ("#2563eb", "#4f8af5"),
    "second": ("#c2570c", "#f0883e"),
    "third": ("#0f766e", "#2dbfae"),
    "fourth": ("#7c3aed", "#a78bfa"),
    "fifth": ("#be185d", "#f472b6"),
    "sixth": ("#4d7c0f", "#84cc16"),
}
HUES = [name for name in PAINTS if name != "ink"]


@dataclass(frozen=True)
class Rect:
    """A filled rectangle, its upper left corner at (x, y)."""

    x: float
    y: float
    width: float
    height: float
    paint: str = "accent"
    opacity: float = 1.0
    radius: float = 3.0
    hover: str = ""


@dataclass(frozen=True)
class Line:
    """Straight strokes from point to point."""

    points: tuple[Point, ...]
    paint: str = "accent"
    opacity: float = 1.0
    thickness: float = 1.5
    hover: str = ""


@dataclass(frozen=True)
class Curve:
    """A cubic Bézier stroke: start, two control points, end."""

    points: tuple[Point, Point, Point, Point]
    paint: str = "accent"
    opacity: float = 1.0
    thickness: float = 1.5
    hover: str = ""


@dataclass(frozen=True)
class Circle:
    """A disc around (x, y)."""

    x: float
    y: float
    radius: float
    paint: str = "accent"
    opacity: float = 1.0
    hover: str = ""


@dataclass(frozen=True)
class Text:
    """One line of text; `anchor` says which part of its baseline is at (x, y).

    `angle` turns it around that point, in degrees clockwise.
    """

    x: float
    y: float
    words: str
    size: float = 14.0
    paint: str = "ink"
    opacity: float = 1.0
    anchor: Anchor = "left"
    bold: bool = False
    angle: float = 0.0
    hover: str = ""


Shape = Rect | Line | Curve | Circle | Text


@dataclass(frozen=True)
class Picture:
    """Shapes on a transparent page of `width` x `height` pixels; a notebook shows it by itself.

    `title` names the picture, `description` says in words what it shows (its alternative text).

    >>> dot = Picture(40, 40, (Circle(20, 20, 8),), "A dot", "One blue dot.")
    >>> dot.to_svg()[:4]
    '<svg'
    """

    width: int
    height: int
    shapes: tuple[Shape, ...]
    title: str
    description: str

    def to_svg(self) -> str:
        """One `<svg>` element that asks for nothing from outside: a file, or a part of a page."""
        # `svg:root` holds only where the picture is a file of its own: within a page its ink is
        # the page's text colour, whatever theme the page has, and no rule leaks out.
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" font-family="{FONTS}" '
            'style="max-width:100%;height:auto">\n'
            f"<title>{_escape(self.title)}</title>\n<desc>{_escape(self.description)}</desc>\n"
            f"<style>{_colours('svg:root')}</style>\n"
            + "".join(_element(shape) + "\n" for shape in self.shapes)
            + "</svg>\n"
        )

    def to_html(self) -> str:
        """A complete page around the picture: as wide as the window allows, no script."""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
            '<meta name="color-scheme" content="light dark"/>\n'
            f"<title>{_escape(self.title)}</title>\n<style>{_colours('body')}"
            "body{margin:0;padding:1rem;background:#fff}"
            "@media (prefers-color-scheme:dark){body{background:#0d1117}}"
            "main{overflow-x:auto}svg{display:block;margin:auto;"
            f"min-width:{self.width * 0.6:.0f}px}}</style>\n</head>\n"
            f"<body>\n<main>\n{self.to_svg()}</main>\n</body>\n</html>\n"
        )

    def _repr_html_(self) -> str:
        return self.to_svg()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as its suffix says; an older file stays whole until the new one is.

        Args:
            path: .svg, .html, or .png (at two pixels for one, on white).

        Raises:
            ValueError: the suffix is none of these.
            FileNotFoundError: the folder does not exist.
            ImportError: .png without matplotlib.
        """
        path = Path(path)
        ways: dict[str, Callable[[], bytes]] = {
            ".svg": lambda: self.to_svg().encode(),
            ".html": lambda: self.to_html().encode(),
            ".png": lambda: _png(self),
        }
        suffix = path.suffix.lower()
        if suffix not in ways:
            raise ValueError(f"path={str(path)!r}: the suffix must be one of {', '.join(ways)}")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"path={str(path)!r}: there is no folder {str(path.parent)!r}")
        content = ways[suffix]()
        unfinished = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def framed(
    right: float,
    bottom: float,
    shapes: Sequence[Shape],
    *,
    title: str,
    description: str,
    note: str = "",
) -> Picture:
    """A picture of shapes that reach to (right, bottom): heading above, note below, margins."""
    wanted = min(text_width(title, 19, bold=True), 900.0)
    right = max(right, MARGIN + wanted, MARGIN + text_width(note, 12))
    shown = elide(title, (right - MARGIN) / BOLDER, 19)
    around = [Text(MARGIN, MARGIN + 16, shown, 19, bold=True)]
    if note:
        bottom += 34
        around.append(Text(MARGIN, bottom, note, 12, opacity=0.65))
    width, height = math.ceil(right + MARGIN), math.ceil(bottom + MARGIN)
    return Picture(width, height, (*shapes, *around), title, description)


def shifted(shape: Shape, right: float) -> Shape:
    """The same shape so many pixels farther right.

    >>> shifted(Circle(20, 20, 8), 5).x
    25
    """
    if isinstance(shape, Line):
        return replace(shape, points=tuple((x + right, y) for x, y in shape.points))
    if isinstance(shape, Curve):
        (a, e), (b, f), (c, g), (d, h) = shape.points
        points = ((a + right, e), (b + right, f), (c + right, g), (d + right, h))
        return replace(shape, points=points)
    return replace(shape, x=shape.x + right)


def _escape(text: str) -> str:
    return html.escape(one_line(text))


def _colours(scope: str) -> str:
    """CSS for the two colour schemes; hues without a rule keep their light attribute."""
    light, dark = PAINTS["ink"]
    hues = "".join(f"{scope} .polyseme-{name}{{color:{PAINTS[name][1]}}}" for name in HUES)
    return (
        f"{scope}{{color:{light}}}"
        f"@media (prefers-color-scheme:dark){{{scope}{{color:{dark}}}{hues}}}"
    )


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _element(shape: Shape) -> str:
    """One SVG element, with what shows under the pointer."""
    inner = f"<title>{_escape(shape.hover)}</title>" if shape.hover else ""
    values: dict[str, float | str] = {}
    if isinstance(shape, Rect):
        name = "rect"
        values |= {"x": shape.x, "y": shape.y, "width": shape.width, "height": shape.height}
        values |= {"rx": shape.radius, "fill": "currentColor"}
    elif isinstance(shape, Circle):
        name = "circle"
        values |= {"cx": shape.x, "cy": shape.y, "r": shape.radius}
        values["fill"] = "currentColor"
    elif isinstance(shape, Text):
        name = "text"
        values |= {"x": shape.x, "y": shape.y, "font-size": shape.size, "fill": "currentColor"}
        values["text-anchor"] = {"left": "start", "center": "middle", "right": "end"}[shape.anchor]
        values |= {"font-weight": "600"} if shape.bold else {}
        if shape.angle:
            turn = (_number(number) for number in (shape.angle, shape.x, shape.y))
            values["transform"] = f"rotate({' '.join(turn)})"
        inner += _escape(shape.words)
    else:
        name = "path"
        points = [f"{_number(x)} {_number(y)}" for x, y in shape.points]
        letter = "C" if isinstance(shape, Curve) else "L"
        values |= {"d": f"M{points[0]}{letter}{' '.join(points[1:])}", "fill": "none"}
        values |= {"stroke": "currentColor", "stroke-width": shape.thickness}
        values |= {"stroke-linecap": "round", "stroke-linejoin": "round"}
    if shape.opacity != 1:
        values["opacity"] = shape.opacity
    if shape.paint != "ink":
        values |= {"class": f"polyseme-{shape.paint}", "color": PAINTS[shape.paint][0]}
    attributes = " ".join(
        f'{key}="{value if isinstance(value, str) else _number(value)}"'
        for key, value in values.items()
    )
    return f"<{name} {attributes}>{inner}</{name}>"


def _png(picture: Picture) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager
        from matplotlib.transforms import Affine2D
    except ImportError as error:
        raise ImportError('a .png needs matplotlib: pip install "polyseme[plot]"') from error
    # Powers of two, so that inches times dots per inch is exactly twice the picture's pixels.
    inch, scale = 128, 2
    size = (picture.width / inch, picture.height / inch)
    figure = Figure(figsize=size, dpi=inch * scale, facecolor="white")
    to_dots = Affine2D().scale(scale, -scale).translate(0, scale * picture.height)
    installed = set(fontManager.get_font_names())
    fonts = [name for name in PNG_FONTS if name in installed]
    for shape in picture.shapes:
        artist = _artist(shape, 72 / inch, fonts)
        artist.set(transform=to_dots, alpha=shape.opacity)
        figure.add_artist(artist)
    output = io.BytesIO()
    about = {"Title": one_line(picture.title), "Description": one_line(picture.description)}
    FigureCanvasAgg(figure).print_png(output, metadata={"Software": None, **about})
    return output.getvalue()


def _artist(shape: Shape, points_per_pixel: float, fonts: list[str]) -> Any:
    """The same shape for matplotlib, which measures strokes and letters in points."""
    from matplotlib import patches, path, text

    hue = PAINTS[shape.paint][0]
    if isinstance(shape, Rect):
        rounded = f"round,pad=0,rounding_size={shape.radius}"
        corner = (shape.x, shape.y)
        return patches.FancyBboxPatch(
            corner, shape.width, shape.height, boxstyle=rounded, facecolor=hue, linewidth=0
        )
    if isinstance(shape, Circle):
        return patches.Circle((shape.x, shape.y), shape.radius, facecolor=hue, linewidth=0)
    if isinstance(shape, Text):
        return text.Text(
            *(shape.x, shape.y, one_line(shape.words)),
            color=hue,
            fontsize=shape.size * points_per_pixel,
            fontfamily=fonts,
            fontweight="bold" if shape.bold else "normal",
            rotation=-shape.angle,
            rotation_mode="anchor",
            parse_math=False,
            usetex=False,
            horizontalalignment=shape.anchor,
        )
    curved = isinstance(shape, Curve)
    codes = [path.Path.MOVETO] + [path.Path.CURVE4 if curved else path.Path.LINETO] * (
        len(shape.points) - 1
    )
    return patches.PathPatch(
        path.Path(shape.points, codes),
        facecolor="none",
        edgecolor=hue,
        linewidth=shape.thickness * points_per_pixel,
        capstyle="round",
        joinstyle="round",
    )
