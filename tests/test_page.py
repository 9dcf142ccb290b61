"""The page in a real browser, served by a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import polyseme
from polyseme.contextualizer import Contextualizer

pytest.importorskip("fastapi", reason="needs the extra `server`")
pytest.importorskip("prometheus_client", reason="needs the extra `server`")
pytest.importorskip("orjson", reason="needs the extra `server`")
pytest.importorskip("playwright", reason="the browser is driven by playwright (extra `dev`)")

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.conftest import write_model
from tests.served import running

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
expect.set_options(timeout=15_000)

TWO = "An apple a day keeps the doctor away\nApple just launched a new iPhone"


class Told(dict[str, Any]):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


class FakeIndex:
    """An index that has one word, with two senses."""

    folder = Path("/made/up")
    uses = ("eat an apple <b>today</b>", "the apple shop")

    def info(self) -> dict[str, Any]:
        return {"occurrences": 2}

    def search(self, text: Any, word: Any, k: int = 10, **options: Any) -> list[Told]:
        return [self._use(i) for i in range(2)]

    synonyms = search

    def senses(self, word: str) -> list[Told]:
        if word.lower() != "apple":
            raise KeyError(f"{word!r} does not occur in the index; it has 'apple'")
        return [self._sense(0, "fruit", "tree"), self._sense(1, "shop", "phone")]

    def tag(self, texts: Any, *, words: Any = None) -> list[list[Told]]:
        found = [text.lower().index("apple") for text in texts]
        return [[Told(start=at, number=1 + (at == 4))] for at in found]

    def _sense(self, i: int, *marks: str) -> Told:
        sense = {"number": i + 1, "name": ", ".join(marks), "label": "", "size": 1, "share": 0.5}
        return Told(sense, word="apple", marks=list(marks), examples=[self._use(i)])

    def _use(self, i: int) -> Told:
        text = self.uses[i]
        at = text.index("apple")
        place = {"text": text, "start": at, "end": at + 5, "line": 1, "source": "a.txt"}
        return Told(place, word="apple", score=0.5, metadata={})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        if found is None and not Path(own).exists():
            pytest.skip("there is no Chromium on this machine")
        started = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Contextualizer:
    return polyseme.load(write_model(tmp_path_factory.mktemp("page") / "small"))


@pytest.fixture(scope="module")
def address(model: Contextualizer) -> Iterator[str]:
    with running(model) as url:
        yield url


@pytest.fixture(scope="module")
def with_index(model: Contextualizer) -> Iterator[str]:
    with running(model, index=FakeIndex()) as url:
        yield url


Opened = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Opened]:
    """Opens the page; in the end, no error has been told and no other address been asked."""
    contexts, wrong = [], []

    def open_at(path: str = "/", at: str = address, *, fails: bool = False, **options: Any) -> Page:
        context = browser.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda asked: asked.url.startswith(at) or wrong.append(asked.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        if not fails:
            page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else 0)
        page.goto(at + path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not wrong


def sentences(page: Page) -> Any:
    return page.get_by_role("textbox", name="Your sentences")


def write(page: Page, text: str) -> None:
    sentences(page).fill(text)


def radio(page: Page, name: str) -> Any:
    return page.get_by_role("radio", name=name)


def word(page: Page, sentence: int, position: int) -> Any:
    return page.locator(f'.word[data-sentence="{sentence}"][data-position="{position}"]')


def formula(page: Page) -> str:
    return page.locator(".formula").inner_text().replace("\n", " ")


def changes(page: Page, act: Callable[[], Any]) -> str:
    """The formula, once an act has changed it."""
    before = page.locator(".formula").inner_text()
    act()
    expect(page.locator(".formula")).not_to_have_text(before, use_inner_text=True)
    return formula(page)


def test_a_word_that_is_typed_and_clicked_shows_its_arcs_distance_and_uses(opened: Opened) -> None:
    page = opened()
    write(page, TWO)
    expect(page.locator(".word")).to_have_count(14)
    word(page, 0, 1).click()
    expect(word(page, 0, 1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#weights-title")).to_contain_text("apple")
    expect(page.locator("#formula")).to_contain_text("approximate")
    assert page.locator(".arcs path").count() > 0
    expect(page.locator(".arcs .name")).to_have_text(TWO.partition("\n")[0].split())
    expect(page.locator("#distance .value")).to_have_count(2)
    expect(page.locator("#nearest ol")).to_have_count(2)
    expect(page.locator(".rung .point")).to_have_count(2 * 3)
    expect(page.locator(".rung h3")).to_have_text(["static", "parameter-free", "learned"])
    expect(page.locator("#said")).to_contain_text("apple, sentence 1:")


def test_the_switches_change_the_picture(opened: Opened) -> None:
    page = opened()
    expect(page.locator(".formula")).to_be_visible()
    learned = formula(page)
    mixed = changes(page, radio(page, "parameter-free").click)
    expect(page.locator("#formula")).to_contain_text("exact")
    assert "=" in mixed and mixed != learned
    changes(page, radio(page, "learned").click)
    layer = changes(page, lambda: page.get_by_label("Layer").select_option("2"))
    assert "looks at" in layer
    head = changes(page, lambda: page.get_by_label("Head").select_option("2"))
    assert head != layer
    radio(page, "Heat map").click()
    rows = page.locator("#picture tbody tr")
    expect(rows.first).to_be_visible()
    expect(page.locator("#picture tbody td")).to_have_count(rows.count() ** 2)
    before = page.locator(".point").first.evaluate("point => point.style.transform")
    radio(page, "before context").click()
    points = page.locator(".rung:last-child .point").first
    assert points.evaluate("point => point.style.transform") != before


def test_a_link_shows_again_what_was_seen(opened: Opened) -> None:
    page = opened()
    write(page, TWO + "\n<b>100% & more</b> #1")
    word(page, 0, 3).click()
    page.get_by_label("Layer").select_option("1")
    page.get_by_label("Head").select_option("2")
    radio(page, "Heat map").click()
    radio(page, "before context").click()
    expect(page.locator("table.heat").first).to_be_visible()
    again = opened("/#" + page.url.partition("#")[2])
    expect(sentences(again)).to_have_value(TWO + "\n<b>100% & more</b> #1")
    expect(word(again, 0, 3)).to_have_attribute("aria-pressed", "true")
    expect(again.locator("#picture table.heat")).to_be_visible()
    expect(again.get_by_label("Layer")).to_have_value("1")
    expect(again.get_by_label("Head")).to_have_value("2")
    expect(again.get_by_label("before context")).to_be_checked()
    assert formula(again) == formula(page)
    assert again.url == page.url


def test_an_example_shows_its_own_word(opened: Opened) -> None:
    page = opened()
    expect(word(page, 1, 0)).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Example").select_option("1")
    expect(page.locator("#weights-title")).to_contain_text("bank")
    expect(page.locator(".word[aria-pressed=true]")).to_have_text(["bank"])


def test_all_is_reached_from_the_keyboard(opened: Opened) -> None:
    page = opened()
    expect(page.locator(".formula")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(word(page, 1, 0)).to_be_focused()
    outline = "word => getComputedStyle(word).outlineStyle"
    assert word(page, 1, 0).evaluate(outline) == "solid"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    expect(word(page, 0, 1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("apple, sentence 1:")
    expect(word(page, 0, 1)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#formula")).to_contain_text("exact")


def test_html_is_text(opened: Opened) -> None:
    page = opened()
    write(page, '<img src=x onerror="ran=1"><b>apple</b>')
    expect(page.locator("#reading")).to_contain_text("<img src=x onerror=")
    page.locator(".word", has_text="apple").click()
    expect(page.locator("#weights-title")).to_contain_text("apple")
    assert page.locator("main img, main b:not(.term b)").count() == 0
    assert page.evaluate("window.ran") is None


def test_words_are_read_from_right_to_left(opened: Opened) -> None:
    page = opened()
    write(page, "שלום apple עולם\n苹果和😀")
    expect(page.locator("#reading p").first).to_have_attribute("dir", "rtl")
    expect(page.locator("#reading p").nth(1)).to_have_text("苹果和😀")
    word(page, 0, 0).click()
    word(page, 0, 0).press("ArrowLeft")
    expect(word(page, 0, 1)).to_be_focused()
    # Both places are asked for at once, and again if the arcs were not there: they are drawn anew.
    page.wait_for_function(
        """() => {
            const names = [...document.querySelectorAll(".arcs .name")];
            const [first, second] = names.map((name) => name.getBoundingClientRect().x);
            return first > second;
        }"""
    )


def test_the_concordance_is_coloured_by_sense(opened: Opened, with_index: str) -> None:
    page = opened(at=with_index, fails=True)
    expect(page.locator(".kwic li")).to_have_count(2)
    expect(page.locator(".legend li")).to_have_count(2)
    radio(page, "used like here").click()
    expect(page.locator(".kwic li").first).to_contain_text("eat an apple <b>today</b>")
    expect(page.locator(".kwic .badge")).to_have_text(["1", "2"])
    word(page, 0, 3).click()
    expect(page.locator("#corpus")).to_contain_text("does not occur in the index")


CONTRASTS = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colour, under) => {
    context.fillStyle = `rgb(${under})`;
    context.fillRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const ground = (node) => {
    if (node === null) return [255, 255, 255];
    return over(getComputedStyle(node).backgroundColor, ground(node.parentElement));
  };
  const light = (colour) => {
    const [r, g, b] = colour
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const node of document.querySelectorAll("body *:not(option):not(script):not(:disabled)")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.namespaceURI.endsWith("svg")) continue;
    const under = ground(node);
    const [low, high] = [light(under), light(over(getComputedStyle(node).color, under))].sort(
      (a, b) => a - b,
    );
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) found.push(`${node.className} ${node.textContent}: ${contrast}`);
  }
  return found;
}"""


def test_light_and_dark_can_be_read(opened: Opened, with_index: str) -> None:
    grounds = []
    seen = "/#view=heat&word=0.1&text=an+apple%0Aa+new+apple"
    for scheme in ("light", "dark"):
        page = opened(seen, with_index, color_scheme=scheme)
        expect(page.locator("#nearest ol")).to_have_count(2)
        expect(page.locator(".kwic li")).to_have_count(2)
        assert page.evaluate(CONTRASTS) == []
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[0]
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[0]


@pytest.mark.parametrize("view", ["arcs", "heat"])
def test_a_phone_shows_all_without_scrolling_sideways(opened: Opened, view: str) -> None:
    page = opened(f"/#view={view}&text=An+apple%0AApple", viewport={"width": 360, "height": 740})
    write(page, f"An apple a day keeps the {'doctor' * 20} away, just a new piece of cake\napple")
    word(page, 0, 1).click()
    expect(page.locator(".rung .point")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    if view == "arcs":
        expect(page.locator(".arcs.down path").first).to_be_attached()


def test_a_busy_server_is_asked_again_and_a_lost_one_is_told(opened: Opened) -> None:
    page = opened(fails=True)
    expect(page.locator(".formula")).to_be_visible()
    times = []

    def busy(route: Route) -> None:
        times.append(route.request.url)
        if len(times) == 1:
            error = '{"error": {"message": "too many"}}'
            route.fulfill(status=429, headers={"retry-after": "1"}, body=error)
        else:
            route.continue_()

    page.route("**/explain", busy)
    word(page, 0, 0).click()
    expect(page.locator("#weights-title")).to_contain_text("An")
    assert len(times) == 2
    page.route("**/contextualize", lambda route: route.abort())
    write(page, "new words")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/contextualize")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".word")).to_have_text(["new", "words"])
    expect(page.locator("#trouble")).to_be_empty()
    write(page, "apple " * 30)
    expect(page.locator("#formula")).to_contain_text("30 tokens")


def test_the_page_asks_for_the_key(opened: Opened, model: Contextualizer) -> None:
    with running(model, api_key="sesame") as guarded:
        page = opened(at=guarded, fails=True)
        field = page.get_by_label("API key")
        field.fill("wrong")
        field.press("Enter")
        expect(page.locator("#key-wrong")).to_be_visible()
        field.fill("sesame")
        field.press("Enter")
        expect(page.locator(".formula")).to_be_visible()
        expect(page.locator("#concordance")).to_contain_text("No index is served")
        kept = page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]")
        assert kept == [["sesame"], []]
        assert "sesame" not in page.url
