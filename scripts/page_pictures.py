"""Makes the pictures of the page in docs/: in light, in dark, and on a phone.

    python scripts/page_pictures.py

Needs Chromium, and what `pip install ".[dev]"` brings.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, sync_playwright

import polyseme
from polyseme.server import Settings
from polyseme.server.running import listen, server

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
APPLE = (
    "An apple a day keeps the doctor away\n"
    "Apple just launched a new iPhone\n"
    "She baked an apple pie with cinnamon"
)
BANK = "We sat on the grassy bank of the river\nThe bank raised its interest rates"
WIDE = {"width": 1000, "height": 1440}
PHONE = {"width": 360, "height": 1180}
PICTURES: dict[str, tuple[dict[str, int], str, dict[str, str]]] = {
    "page-light": (WIDE, "light", {"text": APPLE, "word": "1.0"}),
    "page-dark": (WIDE, "dark", {"text": BANK, "word": "0.5", "rung": "parameter-free"}),
    "page-phone": (PHONE, "light", {"text": BANK, "word": "0.5"}),
}


def main() -> None:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--disable-gpu"])
        for name, (size, scheme, seen) in PICTURES.items():
            picture(browser, f"{url}/#{urlencode(seen)}", FOLDER / f"{name}.png", size, scheme)
        browser.close()


@contextmanager
def served() -> Iterator[str]:
    with listen("127.0.0.1", 0) as bound:
        at_work = server(polyseme.load(), Settings())
        thread = threading.Thread(target=at_work.run, kwargs={"sockets": [bound]})
        thread.start()
        while not at_work.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        at_work.should_exit = True
        thread.join()


def picture(browser: Browser, address: str, path: Path, size: Any, scheme: Any) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(address)
    page.locator(".rung .point").first.wait_for()
    page.locator("#nearest ol").last.wait_for()
    page.screenshot(path=path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    context.close()


if __name__ == "__main__":
    main()
