"""What an index is made of, how far it has come, and how that survives a kill.

``index.json`` says which version of each table counts. A table's later versions are what a run
wrote that was cut off before it could say so; the next run goes back behind them. The file is
written whole, so all tables go from one state to the next at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyseme.checkpoints import read_json, write_whole
from polyseme.corpus.reading import Place, named
from polyseme.senses import vectors

NAME = "index.json"
_FORMAT = 2
_ANEW = "start anew with --force (anew=True), or name another folder"


@dataclass
class State:
    """The state of an index.

    Attributes:
        folder: of the index.
        job: what its vectors follow from: version, model, words, keep, store, dim.
        versions: of each table, and of the file of vectors, the one that counts.
        inputs: fingerprints of the files that are in.
        begun: the file that is in to a part: its fingerprint, rows and their digest; else None.
        rows: of the files, that have been read.
        rejects: rows that could not be used.
        texts: that hold an occurrence.
        occurrences: of all words.
    """

    folder: Path
    job: dict[str, Any]
    versions: dict[str, int] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    begun: dict[str, Any] | None = None
    rows: int = 0
    rejects: int = 0
    texts: int = 0
    occurrences: int = 0

    def save(self) -> None:
        """Write it whole."""
        content = {"format": _FORMAT, **self.__dict__}
        del content["folder"]
        path = self.folder / NAME
        with named(str(path)):
            write_whole(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())

    def place(self, todo: Sequence[Mapping[str, Any]]) -> Place:
        """Where to go on, in files that are not in yet.

        Args:
            todo: their fingerprints.

        Raises:
            ValueError: the file that was begun is not the first of them, or has changed.
        """
        if self.begun is None:
            return Place()
        given = self.begun["input"]
        if not todo or todo[0]["name"] != given["name"]:
            raise ValueError(
                f"{self.folder} has the first {self.begun['rows']:,} rows of {given['name']!r}, "
                f"and not yet the rest: name this file too, so that it can go on, or {_ANEW}"
            )
        if todo[0] != given:
            raise ValueError(f"{given['name']!r} has changed since it was begun: {_ANEW}")
        return Place(0, self.begun["rows"], self.begun["digest"])

    def left(self, given: Sequence[Mapping[str, Any]]) -> list[int]:
        """Which of the files are not in yet; the one that was begun comes first.

        Args:
            given: fingerprints.

        Raises:
            ValueError: a file was in, and has changed since.
        """
        known = {was["name"]: was for was in self.inputs if was["name"] != "-"}
        for now in given:
            was = known.get(now["name"])
            if was is not None and was != now:
                raise ValueError(
                    f"{now['name']!r} is in {self.folder} as it was, and has changed since: give "
                    f"what is new as a file of its own, or {_ANEW}"
                )
        begun = self.begun["input"]["name"] if self.begun else None
        left = [i for i, now in enumerate(given) if now["name"] not in known]
        return sorted(left, key=lambda i: given[i]["name"] != begun)

    def check(self, job: Mapping[str, Any]) -> None:
        """See that the index is of this kind.

        Raises:
            ValueError: it is of another.
        """
        for name, asked in job.items():
            was = self.job.get(name)
            if name == "model":
                check_model(self, asked)
            elif asked is not None and was != asked:
                raise ValueError(
                    f"{self.folder} was made with {name} {_shown(was)}, not {_shown(asked)}: "
                    f"leave it away, or {_ANEW}"
                )


def check_model(state: State, asked: Mapping[str, Any]) -> None:
    """See that vectors of a model can be compared with those of an index.

    Raises:
        ValueError: they can't.
    """
    was = state.job["model"]
    if was["sha256"] != asked["sha256"]:
        raise ValueError(
            f"{state.folder} was made with the model {was['name']!r} (digest "
            f"{was['sha256'][:12]}), not with {asked['name']!r} ({asked['sha256'][:12]}): vectors "
            "of two models can't be compared; give the model that it was made with, or make the "
            "index anew"
        )


def read(folder: Path) -> State:
    """The state of the index in a folder.

    Raises:
        FileNotFoundError: there is no index.
        ValueError: it can't be read.
    """
    path = folder / NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} holds no index ({NAME} is missing): `polyseme index FILES -o {folder}` "
            "makes one"
        )
    content = read_json(path)
    try:
        if content.pop("format") != _FORMAT:
            raise ValueError("made by another version of polyseme")
        return State(folder, **content)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no index that this version reads ({error}); {_ANEW}") from None


def opened(folder: Path, job: dict[str, Any], *, anew: bool) -> State:
    """The state to go on from, written if there is none.

    Args:
        folder: it is there.
        job: what is asked for; None is what the index has, or else the default.
        anew: remove the index that is there.

    Raises:
        FileExistsError: the folder holds other files.
        ValueError: it holds an index of another kind.
    """
    if anew and (folder / NAME).exists():
        for table in folder.glob("*.lance"):
            shutil.rmtree(table)
        vectors.removed(folder)
        (folder / NAME).unlink()
    if (folder / NAME).exists():
        state = read(folder)
        state.check(job)
        return state
    foreign = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    if foreign:
        raise FileExistsError(
            f"{folder} holds {foreign[0]!r} and no {NAME}: name an empty or a new folder"
        )
    state = State(folder, job)
    state.save()
    return state


def _shown(value: Any) -> str:
    if isinstance(value, list) and len(value) > 5:
        return f"{len(value)} words" if value else "none"
    return repr(value)
