"""Makes the pictures of the page in docs/: in light, in dark, on a phone, and with a corpus.

    python scripts/page_pictures.py --index senses

Needs Chromium, what `pip install ".[dev]"` brings, and for the picture with a corpus an index of
senses as the one of docs/senses.md; without it, the other pictures are made.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import FloatRect, Page, sync_playwright

import polyseme
from polyseme.senses import SenseIndex
from polyseme.server import Settings
from polyseme.server.running import listen, server

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
MARGIN = 16
APPLE = (
    "An apple a day keeps the doctor away\n"
    "Apple just launched a new iPhone\n"
    "She baked an apple pie with cinnamon"
)
BANK = "We sat on the grassy bank of the river\nThe bank raised its interest rates"
WIDE = {"width": 1000, "height": 900}
PHONE = {"width": 360, "height": 900}
# For each picture the window, the colours, what is seen, and its first and last panel.
PICTURES: dict[str, tuple[dict[str, int], str, dict[str, str], tuple[str, str]]] = {
    "page-light": (WIDE, "light", {"text": APPLE, "word": "1.0"}, (".top", "#moved")),
    "page-dark": (
        WIDE,
        "dark",
        {"text": BANK, "word": "0.5", "rung": "parameter-free", "view": "heat"},
        ("#weights", "#uses"),
    ),
    "page-corpus": (WIDE, "light", {"text": BANK, "word": "0.5"}, ("#concordance", "#concordance")),
    "page-phone": (PHONE, "light", {"text": BANK, "word": "0.5"}, ("#weights", "#moved")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--index", type=Path, help="folder of the index for page-corpus.png")
    index = parser.parse_args().index
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with served(index) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--disable-gpu"])
        for name, (size, scheme, seen, panels) in PICTURES.items():
            if index is None and "#concordance" in panels:
                print(f"{name}.png stays as it is: it needs --index")
                continue
            context = browser.new_context(
                viewport=size,  # type: ignore[arg-type]
                color_scheme=scheme,  # type: ignore[arg-type]
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto(f"{url}/#{urlencode(seen)}")
            picture(page, FOLDER / f"{name}.png", *panels)
            context.close()
        browser.close()


@contextmanager
def served(index: Path | None) -> Iterator[str]:
    model = polyseme.load()
    opened = None if index is None else SenseIndex.open(index, model)
    with listen("127.0.0.1", 0) as bound:
        at_work = server(model, Settings(), opened)
        thread = threading.Thread(target=at_work.run, kwargs={"sockets": [bound]})
        thread.start()
        while not at_work.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        at_work.should_exit = True
        thread.join()


def picture(page: Page, path: Path, first: str, last: str) -> None:
    page.locator(".rung .point").first.wait_for()
    page.locator("#nearest ol").nth(1).wait_for()
    if first == "#concordance":
        page.locator("#corpus .kwic").first.wait_for()
    page.evaluate("document.activeElement.blur()")
    top, bottom = (page.locator(panel).bounding_box() for panel in (first, last))
    assert top is not None and bottom is not None
    size = page.viewport_size
    assert size is not None
    start = max(0, top["y"] - MARGIN)
    height = bottom["y"] + bottom["height"] + MARGIN - start
    clip = FloatRect(x=0, y=start, width=size["width"], height=height)
    page.screenshot(path=path, full_page=True, clip=clip)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
