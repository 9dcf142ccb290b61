"""What a data set is made of, what of it is finished, and how that survives a kill.

``_manifest.json`` holds the job (model, options, version), the files of the input, and each
finished shard. A part is written whole before the manifest lists it, and the manifest is written
whole; so whatever the manifest does not list is a leftover, and is removed when the work goes on.
Files whose names begin with an underscore are none of the data set to those who open the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polyseme.checkpoints import read_json, write_whole
from polyseme.corpus.reading import Place, named

NAME = "_manifest.json"
REJECTS = "_rejects.jsonl"
_FORMAT = 1
_ANEW = "start anew with --force (anew=True), or name another folder"


@dataclass(frozen=True)
class Shard:
    """A part that is finished.

    Attributes:
        file: its name.
        first_row: number of its first row of the input.
        rows: of the input, rejected ones too.
        vectors: rows of the part.
        words: in its texts.
        rejects: rows that were rejected.
        bytes: of the file.
        sha256: of the file.
        rejects_bytes: length of _rejects.jsonl after it.
        place: how far the input was read.
    """

    file: str
    first_row: int
    rows: int
    vectors: int
    words: int
    rejects: int
    bytes: int
    sha256: str
    rejects_bytes: int
    place: Place


@dataclass
class Manifest:
    """The state of a data set.

    Attributes:
        folder: of the data set.
        job: what makes its bytes, but for the input.
        inputs: name, bytes and time of change of each file.
        shards: that are finished.
        complete: whether that is all.
    """

    folder: Path
    job: dict[str, Any]
    inputs: list[dict[str, Any]]
    shards: list[Shard] = field(default_factory=list)
    complete: bool = False

    @property
    def place(self) -> Place:
        """How far the input is done."""
        return self.shards[-1].place if self.shards else Place()

    @property
    def next_row(self) -> int:
        """Number of the first row of the input that is not done."""
        return sum(shard.rows for shard in self.shards)

    @property
    def rejects_bytes(self) -> int:
        """Length of the rejects that belong to finished shards."""
        return self.shards[-1].rejects_bytes if self.shards else 0

    def save(self) -> None:
        """Write it whole."""
        content = {
            "format": _FORMAT,
            "complete": self.complete,
            "job": self.job,
            "inputs": self.inputs,
            "shards": [asdict(shard) for shard in self.shards],
        }
        path = self.folder / NAME
        with named(str(path)):
            write_whole(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def opened(
    folder: Path, job: dict[str, Any], inputs: list[dict[str, Any]], *, anew: bool
) -> Manifest:
    """The state to go on from; what no finished shard needs is removed from the folder.

    Args:
        folder: of the data set; it is there.
        job: what is asked for.
        inputs: fingerprints of the files.
        anew: remove what is there of an earlier job.

    Raises:
        FileExistsError: the folder holds other files.
        ValueError: it holds another job, or finished shards' files or inputs have changed.
    """
    path = folder / NAME
    if anew and path.exists():
        for old in _own(folder, finished=()):
            old.unlink()
        path.unlink(missing_ok=True)
    if not path.exists():
        foreign = sorted(f.name for f in folder.iterdir() if not f.name.startswith(f".{NAME}."))
        if foreign:
            raise FileExistsError(
                f"{folder} holds {foreign[0]!r} and no {NAME}: name an empty or a new folder"
            )
        made = Manifest(folder, job, inputs)
        made.save()
        return made
    known = _read(path)
    if not known.shards:
        # Whoever stopped at the first line, and mends an option, has nothing to lose.
        known.job, known.inputs, known.complete = job, inputs, False
        known.save()
    _check(known, job, inputs)
    known.inputs = inputs
    for leftover in _own(folder, finished=[shard.file for shard in known.shards]):
        leftover.unlink()
    _shorten(folder / REJECTS, known.rejects_bytes)
    return known


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder, if need be, and keep other processes from writing a data set into it.

    Raises:
        NotADirectoryError: it is a file.
        BlockingIOError: another process does.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has no such locks.
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another process is writing into {folder}") from None
        yield
    finally:
        os.close(lock)


def _read(path: Path) -> Manifest:
    content = read_json(path)
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        shards = [Shard(**{**raw, "place": Place(**raw["place"])}) for raw in content["shards"]]
        return Manifest(
            path.parent, content["job"], content["inputs"], shards, bool(content["complete"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: no manifest that this version reads ({error}); {_ANEW}"
        ) from None


def _check(known: Manifest, job: dict[str, Any], inputs: list[dict[str, Any]]) -> None:
    changes = list(_changes(known.job, job)) + _changed_inputs(known, inputs)
    if changes:
        shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if changes[5:] else "")
        raise ValueError(f"{known.folder} holds another data set: {shown}; {_ANEW}")
    for shard in known.shards:
        path = known.folder / shard.file
        size = path.stat().st_size if path.exists() else None
        if size != shard.bytes:
            seen = "is missing" if size is None else f"has {size:,} bytes"
            raise ValueError(f"{path} {seen}, the manifest says {shard.bytes:,} bytes; {_ANEW}")


def _changes(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        was, now = old.get(name), new.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from _changes(was, now, f"{prefix}{name} ")
        elif was != now:
            yield f"{prefix}{name} was {was!r} and is {now!r}"


def _changed_inputs(known: Manifest, inputs: Sequence[dict[str, Any]]) -> list[str]:
    """What differs in the names of all files, and in files that finished shards read to the end."""
    old, new = ([given["name"] for given in listed] for listed in (known.inputs, inputs))
    if old != new:
        gone = [f"the input {name!r} is gone" for name in old if name not in set(new)]
        come = [f"the input {name!r} is new" for name in new if name not in set(old)]
        return gone + come or ["the files of the input are in another order"]
    read = len(inputs) if known.complete else known.place.file
    done = zip(known.inputs[:read], inputs, strict=False)
    return [f"the input {was['name']!r} has changed" for was, now in done if was != now]


def _own(folder: Path, finished: Sequence[str]) -> list[Path]:
    """Files of ours that no finished shard needs."""
    kept = set(finished)
    found = [*folder.glob(".part-*.tmp"), *folder.glob(f".{NAME}.*")]
    found += [part for part in folder.glob("part-*.parquet") if part.name not in kept]
    return found if kept else [*found, *folder.glob(REJECTS)]


def _shorten(path: Path, size: int) -> None:
    """Take away what was written of a shard that was not finished."""
    seen = path.stat().st_size if path.exists() else 0
    if seen < size:
        raise ValueError(f"{path} has {seen:,} bytes, the manifest says {size:,}; {_ANEW}")
    if size:
        os.truncate(path, size)
    else:
        path.unlink(missing_ok=True)
