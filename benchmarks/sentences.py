"""Real sentences for the benchmarks: from a text file of one passage a line, packed or not."""

from __future__ import annotations

import lzma
import os
import re
import sys
from itertools import islice
from pathlib import Path

DEFAULT = Path(__file__).parents[2] / "shared" / "data"


def sentences(count: int, path: str | None = None) -> list[str]:
    """The first ``count`` sentences of 4 to 100 words of a text file (.xz or plain).

    Without a path: text/enwiki.txt.xz in the folder that POLYSEME_DATA names.
    """
    folder = Path(os.environ.get("POLYSEME_DATA", DEFAULT))
    file = Path(path) if path else folder / "text" / "enwiki.txt.xz"
    if not file.exists():
        sys.exit(f"{file} is missing: give --text FILE, or the data's folder as POLYSEME_DATA")
    opener = lzma.open if file.suffix == ".xz" else open
    with opener(file, "rt", encoding="utf-8") as lines:
        parts = (part for line in lines for part in re.split(r"(?<=[.!?]) ", line.strip()))
        return list(islice((part for part in parts if 4 <= len(part.split()) <= 100), count))
