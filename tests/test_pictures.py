import itertools
import math
import re
import struct
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polyseme.pictures import arcs, drawing, heat_map, sense_map
from polyseme.pictures.drawing import Circle, Curve, Line, Picture, Rect, Text
from polyseme.pictures.lettering import elide, excerpt, text_width

APPLE = ["An", "apple", "a", "day", "keeps", "the", "doctor", "away"]
SVG = "{http://www.w3.org/2000/svg}"

# Surrogates and control characters included: words come from anywhere.
anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)


def shapes_of(picture, kind):
    return [shape for shape in picture.shapes if isinstance(shape, kind)]


def parse(picture):
    return ET.fromstring(picture.to_svg())


def hovers(picture):
    """What shows under the pointer, as a reader of the SVG gets it."""
    return [element.findtext(f"{SVG}title") or "" for element in parse(picture)]


def shown(picture):
    """The words that stand in the SVG."""
    return ["".join(element.itertext()) for element in parse(picture).iter(f"{SVG}text")]


def random_weights(n, m, seed=0):
    weights = np.random.default_rng(seed).random((n, m)).astype(np.float32)
    return weights / weights.sum(axis=1, keepdims=True)


def visible(text):
    """What a reader may expect: XML's forbidden and all control characters as U+FFFD."""
    replaced = "".join(
        "\ufffd"
        if (unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r") or c in "\ufffe\uffff"
        else c
        for c in text
    )
    return " ".join(replaced.split())


@settings(max_examples=60)
@given(st.lists(anything, min_size=1, max_size=4), anything)
@example(["\ud800\x00\x1f", "\x85<\ufffe>", "&\x0b\x0c"], "]]>\x1b\uffff")
def test_any_words_give_svg_and_html_that_parse_and_hold_them_whole(words, title):
    n, k = len(words), len(words)
    before, after = np.zeros((k, 3)), np.random.default_rng(0).normal(size=(k, 3))
    for picture in (
        heat_map(random_weights(n, n), words, words, title=title),
        arcs(random_weights(n, n), words, focus=0, title=title),
        arcs(random_weights(n, n), words, title=title),
        sense_map(before, after, words, word=words[0], title=title),
    ):
        assert parse(picture).findtext(f"{SVG}title") == visible(title)
        together = " ".join(hovers(picture))
        assert all(visible(word) in together for word in words)
        page = ET.fromstring(picture.to_html())
        assert page.findtext("head/title") == visible(title)
        picture.to_html().encode("utf-8")


def test_markup_in_words_stays_text():
    words = ["<script>alert(1)</script>", "&amp;", '"x"', "</svg>"]
    picture = arcs(random_weights(4, 4), words, focus=1, title="</title><b>")
    assert not list(parse(picture).iter(f"{SVG}script"))
    assert {"&amp;", '"x"', "</svg>"} <= {
        next(text.itertext(), "") if len(text) == 0 else (text[0].tail or "")
        for text in parse(picture).iter(f"{SVG}text")
    }


def test_page_needs_nothing_from_outside_and_no_script():
    page = heat_map(random_weights(8, 8), APPLE, APPLE, title="Weights").to_html()
    assert re.findall(r"\w+://[^\"'\s]+", page) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<link|@import|url\(|src=|href=", page)
    root = ET.fromstring(page)
    assert root.get("lang") == "en"
    metas = [meta.attrib for meta in root.iter("meta")]
    assert {"charset": "utf-8"} in metas
    assert any(meta.get("name") == "viewport" for meta in metas)


def test_picture_has_role_title_and_description_for_readers_who_cannot_see_it():
    root = parse(arcs([[0.25, 0.75], [0.5, 0.5]], ["red", "apple"], focus=0, title="red"))
    assert root.get("role") == "img"
    assert [child.tag for child in root[:2]] == [f"{SVG}title", f"{SVG}desc"]
    assert root[1].text == "red takes 25% from red. red takes 75% from apple."


def test_style_says_nothing_about_the_page_around_an_inline_picture():
    style = parse(heat_map([[1.0]], ["a"], ["a"], title="a")).findtext(f"{SVG}style")
    assert "prefers-color-scheme:dark" in style
    selectors = re.findall(r"([^{}]+)\{", style.replace("@media (prefers-color-scheme:dark){", ""))
    assert selectors
    assert all(selector.startswith("svg:root") for selector in selectors)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", drawing.HUES)
def test_hues_are_told_from_a_white_and_a_dark_page(name):
    light, dark = drawing.PAINTS[name]
    assert contrast(light, "#ffffff") >= 4.5
    assert contrast(light, "#0d1117") >= 3.0
    assert contrast(dark, "#0d1117") >= 4.5


@pytest.mark.parametrize(("scheme", "page"), [(0, "#ffffff"), (1, "#0d1117")])
def test_ink_stays_legible_on_the_darkest_square(scheme, page):
    square = shapes_of(heat_map([[1.0]], ["a"], ["a"], title="a"), Rect)[0]
    hue = drawing.PAINTS[square.paint][scheme]
    over, under = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (hue, page))
    mixed = np.round(square.opacity * np.array(over) + (1 - square.opacity) * np.array(under))
    seen = "#{:02x}{:02x}{:02x}".format(*mixed.astype(int))
    assert contrast(drawing.PAINTS["ink"][scheme], seen) >= 4.5


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_squares_are_darker_where_weights_are_larger(n, m, seed):
    weights = random_weights(n, m, seed)
    rows, columns = [f"r{i}" for i in range(n)], [f"c{j}" for j in range(m)]
    squares = shapes_of(heat_map(weights, rows, columns, title="t"), Rect)
    assert len(squares) == n * m
    corners = [(square.y, square.x) for square in squares]
    assert corners == sorted(corners), "rows go down, columns to the right"
    order = np.argsort(weights.ravel(), kind="stable")
    opacity = np.array([square.opacity for square in squares])[order]
    assert (np.diff(opacity) >= 0).all()
    assert 0 < opacity[0] <= opacity[-1] <= 1


def test_heat_map_of_zeros_is_evenly_pale():
    squares = shapes_of(heat_map(np.zeros((2, 2)), ["a", "b"], ["a", "b"], title="t"), Rect)
    assert {square.opacity for square in squares} == {squares[0].opacity}
    assert squares[0].opacity < 0.1


def test_heat_map_shows_value_in_the_square_and_exact_number_on_hover():
    weights = np.array([[0.126, 0.874]], dtype=np.float32)
    picture = heat_map(weights, ["Apple"], ["iPhone", "day"], title="t")
    assert {"13%", "87%"} <= {text.words for text in shapes_of(picture, Text)}
    assert "Apple × iPhone: 0.126" in hovers(picture)


def test_heat_map_of_numbers_above_one_shows_no_percentages():
    picture = heat_map([[3.0, 12.5]], ["a"], ["b", "c"], title="t")
    words = {text.words for text in shapes_of(picture, Text)}
    assert {"3", "12.5"} <= words
    assert not any("%" in word for word in words)


@pytest.mark.parametrize("n", [3, 12, 30, 60])
def test_heat_map_shows_every_word_inside_the_page_and_no_label_touches_another(n):
    words = [f"word{i}" for i in range(n)]
    picture = heat_map(random_weights(n, n), words, words, title="t")
    texts = shapes_of(picture, Text)
    assert all(sum(text.words == word for text in texts) == 2 for word in words)
    for text in texts:
        width = text_width(text.words, text.size) * math.cos(math.radians(text.angle))
        left = text.x - {"left": 0, "center": width / 2, "right": width}[text.anchor]
        assert left >= 0
        assert left + width <= picture.width
    rows = sorted(text.y for text in texts if text.anchor == "right")
    assert min(np.diff(rows)) >= texts[0].size
    values = [text for text in texts if text.words.endswith("%")]
    assert len(values) == (n * n if n <= 30 else 0)
    side = shapes_of(picture, Rect)[0].width
    assert all(text_width(value.words, value.size) <= side for value in values)


def test_long_word_is_elided_in_the_label_and_whole_on_hover():
    word = "Donaudampfschifffahrtsgesellschaftskapitän"
    for picture in (
        heat_map([[1.0]], [word], [word], title="t"),
        arcs([[1.0]], [word], title="t"),
    ):
        labels = [text.words for text in shapes_of(picture, Text)]
        assert any(label.startswith("Donau") and label.endswith("…") for label in labels)
        assert word not in labels
        assert word in " ".join(hovers(picture))


def test_arcs_are_thicker_and_stronger_where_weights_are_larger():
    weights = random_weights(8, 8)
    curves = shapes_of(arcs(weights, APPLE, title="t", threshold=0.0), Curve)
    assert len(curves) == 8 * 7
    wanted = np.sort(weights[~np.eye(8, dtype=bool)])
    hovered = [float(curve.hover.rpartition(" ")[2]) for curve in curves]
    assert hovered == pytest.approx(wanted.tolist()), "weak first, strong on top"
    assert (np.diff([curve.thickness for curve in curves]) >= 0).all()
    assert (np.diff([curve.opacity for curve in curves]) >= 0).all()
    assert curves[0].thickness < curves[-1].thickness


def test_arcs_of_a_focus_start_at_that_word_and_end_at_the_words_they_name():
    weights, focus = random_weights(8, 8), 1
    picture = arcs(weights, APPLE, focus=focus, title="t", threshold=0.0)
    label = {text.words: text.x for text in shapes_of(picture, Text)}
    curves = shapes_of(picture, Curve)
    assert len(curves) == 7
    for curve in curves:
        other = re.match(r"apple ← (\w+): ", curve.hover)[1]
        assert curve.points[0][0] == pytest.approx(label["apple"])
        assert curve.points[-1][0] == pytest.approx(label[other])
        assert curve.points[1][1] < curve.points[0][1], "above the words"
        weight = float(weights[focus, APPLE.index(other)])
        assert float(curve.hover.rpartition(" ")[2]) == pytest.approx(weight)


def test_focus_shows_the_percentage_of_every_word_below_it():
    weights = np.zeros((3, 3))
    weights[2] = [0.6, 0.3, 0.1]
    texts = shapes_of(arcs(weights, ["red", "ripe", "apple"], focus=2, title="t"), Text)
    where = {text.words: text for text in texts}
    for word, value in (("red", "60%"), ("ripe", "30%"), ("apple", "10%")):
        assert where[value].x == pytest.approx(where[word].x)
        assert where[value].y > where[word].y


def test_without_focus_what_comes_from_later_words_is_above_and_the_rest_below():
    weights = np.array([[0, 0.9, 0], [0, 0, 0], [0.8, 0, 0]])
    picture = arcs(weights, ["a", "b", "c"], title="t")
    later, earlier = sorted(shapes_of(picture, Curve), key=lambda curve: -curve.thickness)
    assert later.points[1][1] < later.points[0][1]
    assert earlier.points[1][1] > earlier.points[0][1]


def test_arcs_under_the_threshold_are_left_out_and_the_picture_says_so():
    weights = [[0.0, 0.5, 0.1], [0, 0, 0], [0, 0, 0]]
    picture = arcs(weights, ["a", "b", "c"], focus=0, title="t", threshold=0.2)
    assert [curve.hover for curve in shapes_of(picture, Curve)] == ["a ← b: 0.5"]
    assert "no arcs under 0.2" in shown(picture)
    whole = arcs(weights, ["a", "b", "c"], focus=0, title="t", threshold=0.1)
    assert len(shapes_of(whole, Curve)) == 2
    assert not any("no arcs" in text for text in shown(whole))


def test_arcs_stay_inside_the_page():
    picture = arcs(random_weights(60, 60), [f"word{i}" for i in range(60)], title="t")
    for curve in shapes_of(picture, Curve):
        top = curve.points[0][1] + 0.75 * (curve.points[1][1] - curve.points[0][1])
        assert 0 < top < picture.height
        assert all(0 < x < picture.width for x, _ in curve.points)


def uses(k, dim, seed=0):
    rng = np.random.default_rng(seed)
    before = np.tile(rng.normal(size=dim), (k, 1)).astype(np.float32)
    return before, rng.normal(size=(k, dim)).astype(np.float32)


@settings(max_examples=30)
@given(st.integers(2, 7), st.integers(2, 30), st.integers(0, 1000))
def test_arrows_run_between_the_projections_on_the_two_principal_components(k, dim, seed):
    before, after = uses(k, dim, seed)
    labels = [f"use {i} of apple" for i in range(k)]
    picture = sense_map(before, after, labels, word="apple", title="t")
    arrow = {line.hover: line.points for line in shapes_of(picture, Line) if line.hover}
    page = np.array([arrow[label][end] for end in (0, -1) for label in labels])

    points = np.concatenate([before, after]).astype(np.float64)
    points -= points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    projected = points @ axes[:, :-3:-1]

    def distances(xy):
        return np.linalg.norm(xy[:, None] - xy, axis=-1)

    scale = distances(page).max() / distances(projected).max()
    np.testing.assert_allclose(
        distances(page), distances(projected) * scale, rtol=1e-6, atol=1e-3 * scale
    )
    # Circles stand where the arrows end: one for the static vector, one for each use.
    dots = {(round(c.x, 3), round(c.y, 3)) for c in shapes_of(picture, Circle)}
    assert {(round(x, 3), round(y, 3)) for x, y in page.tolist()} <= dots
    assert page[k:, 0].mean() > page[:k, 0].mean(), "context leads to the right"


def test_sense_map_of_the_same_arrays_is_the_same_picture():
    before, after = uses(6, 16)
    labels = [f"use {i}" for i in range(6)]
    first = sense_map(before, after, labels, word="apple", title="t")
    turned = sense_map(-before, -after, labels, word="apple", title="t")
    again = sense_map(before.copy(), after.copy(), labels, word="apple", title="t")
    assert first == again
    ends = [[c.x for c in shapes_of(picture, Circle)] for picture in (first, turned)]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]]),
        ([[0.1] * 5] * 3, [[0.1] * 5] * 3),
        ([[0.1], [0.1]], [[0.4], [-0.5]]),
        ([[0.0, 0.0]], [[3.0, 4.0]]),
        ([[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]),
    ],
    ids=["one use, unmoved", "all equal", "one number a vector", "one use", "static differ"],
)
def test_degenerate_sense_maps_stay_finite_and_inside_the_page(before, after):
    labels = [f"sentence {i} about apple" for i in range(len(before))]
    picture = sense_map(before, after, labels, word="apple", title="t")
    for circle in shapes_of(picture, Circle):
        assert 0 < circle.x < picture.width
        assert 0 < circle.y < picture.height
    assert not re.search(r"\b(nan|inf)\b", picture.to_svg())
    assert set(labels) <= set(shown(picture)) | set(hovers(picture))


def test_equal_vectors_are_one_dot_not_scattered_rounding_errors():
    vectors = np.full((5, 300), 0.1, dtype=np.float32)
    picture = sense_map(vectors, vectors, list("abcde"), word="x", title="t")
    dots = [c for c in shapes_of(picture, Circle) if c.radius == 6]
    assert len({(dot.x, dot.y) for dot in dots}) == 1
    assert not [line for line in shapes_of(picture, Line) if line.hover]


def test_groups_have_their_own_colours_and_stand_in_the_legend():
    before, after = uses(4, 8)
    groups = ["fruit", "company", "fruit", "company"]
    labels = ["w", "x", "y", "z"]
    picture = sense_map(before, after, labels, word="a", groups=groups, title="t")
    paint = {circle.hover: circle.paint for circle in shapes_of(picture, Circle)}
    assert paint["w"] == paint["y"] != paint["x"] == paint["z"]
    assert {"static vector", "fruit", "company"} <= {
        text.words for text in shapes_of(picture, Text)
    }


@pytest.mark.parametrize("k", [2, 8, 40])
def test_labels_of_a_sense_map_overlap_neither_each_other_nor_the_edge(k):
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(2, 32))
    before = np.tile(rng.normal(size=32), (k, 1))
    after = centres[np.arange(k) % 2] + 0.3 * rng.normal(size=(k, 32))
    labels = [f"the sentence with number {i} is about an apple" for i in range(k)]
    picture = sense_map(before, after, labels, word="apple", title="t")
    texts = [text for text in shapes_of(picture, Text) if text.hover in {*labels, "apple"}]
    boxes = []
    for text in texts:
        width = text_width(text.words, text.size, bold=text.bold)
        left = text.x - {"left": 0, "center": width / 2, "right": width}[text.anchor]
        assert left >= 0
        assert left + width <= picture.width
        boxes.append((left, text.y - 0.8 * text.size, left + width, text.y + 0.2 * text.size))
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
    left_out = k - (len(texts) - 1)
    if k <= 8:
        assert left_out == 0
    note = " ".join(shown(picture))
    assert (f"{left_out} of {k} labels left out" in note) == (left_out > 0)
    assert set(labels) <= set(hovers(picture))


WRONG = [
    (lambda: heat_map([[1.0]], ["a"], ["b", "c"], title="t"), r"weights has shape \(1, 1\).*1, 2"),
    (lambda: heat_map(np.ones((0, 0)), [], [], title="t"), "weights has shape .*at least one word"),
    (lambda: heat_map([[math.nan]], ["a"], ["b"], title="t"), r"weights\[0, 0\] = nan"),
    (lambda: heat_map([[0.1, -0.5]], ["a"], ["b", "c"], title="t"), r"weights\[0, 1\] = -0.5"),
    (lambda: arcs([[0.5, 0.5]], ["a", "b"], title="t"), r"weights has shape \(1, 2\).*\(2, 2\)"),
    (lambda: arcs([[math.inf]], ["a"], title="t"), r"weights\[0, 0\] = inf"),
    (lambda: arcs([[1.0]], ["a"], focus=1, title="t"), "focus=1: expected .* 0 to 0"),
    (lambda: arcs([[1.0]], ["a"], focus=-1, title="t"), "focus=-1"),
    (lambda: arcs([[1.0]], ["a"], title="t", threshold=math.nan), "threshold=nan"),
    (
        lambda: sense_map([[1, 2]], [[1, 2]], ["a", "b"], word="w", title="t"),
        r"before has shape \(1, 2\).*\(2, dim\)",
    ),
    (
        lambda: sense_map([[1, 2]], [[1, 2, 3]], ["a"], word="w", title="t"),
        r"after has shape \(1, 3\): expected \(1, 2\)",
    ),
    (
        lambda: sense_map([[1, 2]], [[1, math.nan]], ["a"], word="w", title="t"),
        r"after\[0, 1\] = nan",
    ),
    (
        lambda: sense_map([[1]], [[1]], ["a"], word="w", groups=["x", "y"], title="t"),
        "groups has 2 entries.*expected 1",
    ),
    (
        lambda: sense_map(
            np.ones((7, 2)), np.ones((7, 2)), ["a"] * 7, word="w", groups="abcdefg", title="t"
        ),
        "7 of them different.*at most 6",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_wrong_argument_is_named_with_what_was_seen(call, message):
    with pytest.raises(ValueError, match=message):
        call()


DOT = Picture(
    60,
    40,
    (
        Rect(0, 0, 20, 10, radius=0),
        Circle(50, 30, 8, "second"),
        Line(((0, 39), (20, 39)), "third", thickness=2),
        Text(20, 30, "$x$_^", 10, hover="y"),
    ),
    "Ein Püñktchen 苹果",
    "One dot.",
)


def test_notebook_gets_the_inline_svg():
    assert DOT._repr_html_() == DOT.to_svg()


def test_svg_and_html_files_hold_what_the_methods_return(tmp_path):
    DOT.save(tmp_path / "dot.svg")
    DOT.save(str(tmp_path / "DOT.HTML"))
    assert (tmp_path / "dot.svg").read_text(encoding="utf-8") == DOT.to_svg()
    assert (tmp_path / "DOT.HTML").read_text(encoding="utf-8") == DOT.to_html()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DOT.HTML", "dot.svg"]


def test_png_has_twice_the_pixels_and_the_shapes_where_they_belong(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    DOT.save(tmp_path / "dot.png")
    data = (tmp_path / "dot.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (120, 80)
    with Image.open(tmp_path / "dot.png") as image:
        assert image.info["Title"] == DOT.title
        pixels = image.convert("RGB")
        for (x, y), colour in {
            (20, 10): drawing.PAINTS["accent"][0],
            (20, 24): "#ffffff",
            (100, 60): drawing.PAINTS["second"][0],
            (100, 20): "#ffffff",
            (20, 78): drawing.PAINTS["third"][0],
        }.items():
            assert "#{:02x}{:02x}{:02x}".format(*pixels.getpixel((x, y))) == colour


def test_png_of_every_picture_has_its_size(tmp_path):
    pytest.importorskip("matplotlib")
    before, after = uses(3, 4)
    for picture in (
        heat_map(random_weights(8, 8), APPLE, APPLE, title="t"),
        arcs(random_weights(8, 8), APPLE, focus=1, title="t"),
        sense_map(before, after, ["a", "b", "c"], word="apple", title="t"),
    ):
        picture.save(tmp_path / "p.png")
        size = struct.unpack(">II", (tmp_path / "p.png").read_bytes()[16:24])
        assert size == (2 * picture.width, 2 * picture.height)


def test_png_leaves_pyplot_and_the_users_settings_alone(tmp_path):
    pytest.importorskip("matplotlib")
    program = (
        "import sys, polyseme.pictures as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; settings = matplotlib.rcParams.copy()\n"
        f"p.heat_map([[1]], ['a'], ['a'], title='t').save({str(tmp_path / 'a.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == settings\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_png_without_matplotlib_names_the_extra_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "polyseme\[plot\]"'):
        DOT.save(tmp_path / "dot.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["dot.jpg", "dot", "dot.svg.gz"])
def test_unknown_suffix_is_refused_with_those_that_would_do(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}.*\.svg, \.html, \.png"):
        DOT.save(tmp_path / name)


def test_missing_folder_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(Picture, "to_svg", lambda self: pytest.fail("drawn too early"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        DOT.save(tmp_path / "nowhere" / "dot.svg")


def test_interrupted_save_keeps_the_old_file_and_leaves_no_rest(tmp_path, monkeypatch):
    old = tmp_path / "dot.svg"
    old.write_text("old")

    def half(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="disk full"):
        DOT.save(old)
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


@settings(max_examples=100)
@given(anything, st.floats(20, 200), st.floats(6, 20))
def test_elided_text_fits_and_starts_as_the_whole_does(text, width, size):
    short = elide(text, width, size)
    assert text_width(short, size) <= width
    whole = visible(text)
    assert short == whole or whole.startswith(short.removesuffix("…"))


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["an", "old", "tree", "grew", "by", "the", "sea"]), max_size=30))
def test_excerpt_of_a_long_sentence_still_holds_the_word(words):
    sentence = " ".join([*words, "apple", *words])
    short = excerpt(sentence, "Apple", 260.0, 13.0)
    assert "apple" in short
    assert text_width(short, 13.0) <= 260.0
    assert short.strip("…") in sentence


def test_wide_characters_count_about_double():
    assert text_width("苹果公司", 10) == pytest.approx(2 * text_width("abcd", 10), rel=0.2)
    assert text_width("e\u0301", 10) == text_width("e", 10)
