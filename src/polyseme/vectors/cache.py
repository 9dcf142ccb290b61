"""Words and vectors that took time to come by, kept to be memory-mapped the next time.

They are what was parsed from a text of word vectors, or what a model with layers made of its own
vocabulary.

Two files an entry: `<key>.npy`, the matrix, and `<key>.words`, one word a line. The key says which
file they are from (its resolved path), what they are, and which state of the file (size, time of
change, version of this layout), so a changed file is read anew. A cache that can't be read or
written never fails a load: it is logged and done without.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from polyseme.vectors.text_files import Float32

_log = logging.getLogger(__name__)
_VERSION = 1


def cache_folder() -> Path:
    """The folder for cached files: `$POLYSEME_CACHE`, else the place that the system has."""
    if chosen := os.environ.get("POLYSEME_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return (
            Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "polyseme"
        )
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "polyseme"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyseme"


def _key(source: Path, what: str) -> tuple[str, str]:
    """Names for what is from the file, and for its present state."""
    resolved, state = source.resolve(), source.stat()
    which = hashlib.sha256(os.fsencode(resolved) + what.encode()).hexdigest()[:16]
    when = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns} {_VERSION}".encode()).hexdigest()[
        :16
    ]
    return which, f"{which}-{when}"


def load_cached(source: Path, what: str = "") -> tuple[list[str], Float32] | None:
    """Words and memory-mapped (n_words, dim) float32 vectors of a file as it is now, if kept.

    Args:
        source: the file that they are from.
        what: is from it, if not simply its content.
    """
    try:
        entry = cache_folder() / _key(source, what)[1]
        if not entry.with_suffix(".npy").exists():
            return None
        vectors = np.asarray(np.load(entry.with_suffix(".npy"), mmap_mode="r", allow_pickle=False))
        words = entry.with_suffix(".words").read_bytes().decode().split("\n")
        if words.pop() != "" or vectors.dtype != np.float32 or vectors.shape[:1] != (len(words),):
            raise ValueError(f"{len(words)} words for vectors of shape {vectors.shape}")
    except (OSError, ValueError, EOFError, RuntimeError) as error:
        _log.warning(
            "the cached vectors of %s can't be used (%s); reading the file itself", source, error
        )
        return None
    return words, vectors


def save_cached(source: Path, words: list[str], vectors: Float32, what: str = "") -> None:
    """Keep what is from a file, and remove what was kept of its former states."""
    try:
        folder = cache_folder()
        which, key = _key(source, what)
        folder.mkdir(parents=True, exist_ok=True)
        _write(
            folder / f"{key}.words",
            lambda file: file.write("".join(f"{w}\n" for w in words).encode()),
        )
        _write(folder / f"{key}.npy", lambda file: np.save(file, vectors, allow_pickle=False))
        for old in folder.glob(f"{which}-*"):
            if old.stem != key:
                old.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        _log.warning("the vectors of %s could not be cached (%s)", source, error)


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that nobody ever sees a part of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
