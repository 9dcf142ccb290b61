"""Passages of a text file of any size: one a line, .txt, may be packed as .gz, .bz2, .xz or .zip.

The files are those that training reads. Simple English Wikipedia in that layout (a paragraph a
line) is what the published numbers are measured on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

LAYOUT = Path("text") / "simplewiki.txt.xz"


def passages(data: Path) -> Iterator[str]:
    """The lines of a file; of a folder, those of text/simplewiki.txt.xz in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its suffix is not that of a text, or a line is not UTF-8, or the packed data is
            damaged; the message has the file and the line.
    """
    from polyseme.files import source

    path = data / LAYOUT if data.is_dir() else data
    given = source(str(path), None, "text")
    if given.form != "txt":
        raise ValueError(
            f"{path}: a {given.form} file, where a .txt of one passage a line is needed"
        )
    given.check()
    for text in given.texts():
        yield text if isinstance(text, str) else " ".join(text)


def choose(data: Path, number: int, *, longest: int = 60, seed: int = 0) -> list[str]:
    """Passages of a file, all equally likely; the same ones at every call.

    Reservoir sampling (Vitter 1985, algorithm R), so a file may be larger than memory.

    Args:
        data: as ``passages`` takes it.
        number: how many.
        longest: whitespace-separated words that a passage may have; those with fewer than two are
            not taken either.
        seed: of the choice.

    Returns:
        Different passages, in the order of the file.

    Raises:
        ValueError: there are fewer than two.
    """
    generator = np.random.default_rng(seed)
    chosen: list[tuple[int, str]] = []
    held: set[str] = set()
    seen = 0
    for line, text in enumerate(passages(data)):
        if not 2 <= len(text.split()) <= longest or text in held:
            continue
        seen += 1
        if len(chosen) < number:
            chosen.append((line, text))
        else:
            at = int(generator.integers(seen))
            if at >= number:
                continue
            held.discard(chosen[at][1])
            chosen[at] = line, text
        held.add(text)
    if len(chosen) < 2:
        raise ValueError(
            f"{data}: {len(chosen)} passages of 2 to {longest} words, where two or more are needed"
        )
    return [text for _, text in sorted(chosen)]
