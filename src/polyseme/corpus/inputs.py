"""What the user names into a list of files: paths, folders, globs, URLs, stdin; and how long it is.

A folder stands for all files in it, at any depth, sorted by name; names that begin with a dot are
left out. What a glob finds is sorted too, so the order of the rows follows from the names alone.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from polyseme.arrow_files import TABLES
from polyseme.files import SUFFIXES, Source, source, suffix_of
from polyseme.unpacking import filesystem, is_url, open_packed, unpacked

_FILES = 20
_LINES = 20_000
_CHANGES = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


def find(
    names: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    column: str = "text",
    form: str | None = None,
    skip_unknown: bool = False,
    outside: Path | None = None,
    note: Callable[[str], None] = lambda message: None,
) -> list[Source]:
    """The files that names mean, in the order of the names.

    Args:
        names: of files, folders or globs, of URLs, or "-".
        column: the field that holds the text.
        form: of all files; if None, each file's suffix says it.
        skip_unknown: leave out files whose suffix says nothing, in place of raising.
        outside: a folder that is written: what folders and globs find in it is left out.
        note: is told what was left out.

    Raises:
        FileNotFoundError: a name means nothing.
        ValueError: a suffix says nothing, or a file is named twice, or is in ``outside``.
    """
    if isinstance(names, (str, os.PathLike)):
        names = [names]
    found: list[Source] = []
    left_out: list[str] = []
    for name in (os.fspath(given) for given in names):
        for file in _files(name, outside):
            known = file == "-" or form or suffix_of(PurePosixPath(file).name) in SUFFIXES
            if skip_unknown and not known:
                left_out.append(file)
                continue
            found.append(source(file, form, column))
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        note(f"left out, as the suffix tells no format: {', '.join(left_out[:5])}{more}")
    if not found:
        raise FileNotFoundError("no file to read is left")
    seen: set[str] = set()
    for given in found:
        if given.name in seen:
            raise ValueError(f"{given.name} is named twice: its rows would be doubled")
        seen.add(given.name)
        if given.path is not None and _within(given.path, outside):
            raise ValueError(f"{given.path} is in {outside}, which is written: name another folder")
    return found


def fingerprint(given: Source) -> dict[str, Any]:
    """Name, size and time of the last change of a file; only the name of stdin.

    Raises:
        FileNotFoundError: it is gone.
    """
    if given.url is not None:
        files, path = filesystem(given.url)
        info = files.info(path)
        changed = next((str(info[key]) for key in _CHANGES if info.get(key)), None)
        return {"name": given.name, "bytes": info.get("size"), "changed": changed}
    if given.path is None or not given.path.is_file():
        return {"name": given.name, "bytes": None, "changed": None}
    state = given.path.stat()
    return {"name": given.name, "bytes": state.st_size, "changed": state.st_mtime_ns}


def some_of(sources: Sequence[Source]) -> Sequence[Source]:
    """A few files from all over the input."""
    return sources[:: -(-len(sources) // _FILES)]


def rows_of(sources: Sequence[Source]) -> int:
    """The rows of all files, about, by the rows for a byte of some; exact if few and short.

    Args:
        sources: that can be read more than once.
    """
    chosen = some_of(sources)
    counted = [_rows_of(given) for given in chosen]
    if len(chosen) == len(sources):
        return round(sum(counted))
    sizes = [sum(fingerprint(given)["bytes"] or 0 for given in some) for some in (chosen, sources)]
    return round(sum(counted) * sizes[1] / max(1, sizes[0]))


def _rows_of(given: Source) -> float:
    """The rows of one file; of a long one, by how far its first lines reach."""
    if given.form == "whole":
        return 1
    if given.form in TABLES:
        return given.count()
    assert given.place is not None
    size = fingerprint(given)["bytes"]
    with open_packed(given.place) as packed, unpacked(packed, given.name) as file:
        lines = sum(1 for _ in islice(file, _LINES))
        reached: Any = packed.tell()
    header = int(given.form in ("csv", "tsv"))
    return max(0.0, lines * max(1.0, (size or 0) / reached if lines == _LINES else 1.0) - header)


def _within(path: Path, folder: Path | None) -> bool:
    return folder is not None and folder.resolve() in path.resolve().parents


def _files(name: str, outside: Path | None) -> list[str]:
    if name == "-":
        return [name]
    if is_url(name):
        return _remote(name)
    path = Path(name)
    if path.is_dir():
        matching = [f for f in path.rglob("*") if not _hidden(f.relative_to(path).parts)]
    elif not path.exists() and glob.has_magic(name):
        matching = [Path(f) for f in glob.glob(name, recursive=True)]  # noqa: PTH207 -- any root
    else:
        return [name]
    return _some(name, (str(f) for f in matching if f.is_file() and not _within(f, outside)))


def _remote(url: str) -> list[str]:
    files, path = filesystem(url)
    if glob.has_magic(path):
        paths = files.glob(path)
    elif files.isdir(path):
        paths = [
            f for f in files.find(path) if not _hidden(PurePosixPath(f.removeprefix(path)).parts)
        ]
    else:
        return [url]
    return _some(url, (files.unstrip_protocol(file) for file in paths if not files.isdir(file)))


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _some(name: str, files: Iterable[str]) -> list[str]:
    listed = sorted(files)
    if not listed:
        raise FileNotFoundError(f"{name}: there are no files")
    return listed
