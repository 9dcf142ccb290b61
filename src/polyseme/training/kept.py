"""Targets that are kept on disk, so that a slow teacher reads a text once for several passes.

In: a teacher, and how many batches there are before they start again. Out: the targets of a step;
from the second pass on without the teacher. One file a batch and process, in half precision,
written as a whole; the first pass learns from the rounded values too, so it matters to no result
which of them were kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from polyseme.checkpoints import write_whole
from polyseme.training.targets import Targets, Teacher


def keeping(
    teacher: Teacher, folder: Path, batches: int, *, part: str, afresh: bool
) -> Callable[[list[str], int], Targets]:
    """A function from a step's texts and its number to their targets.

    Args:
        teacher: is asked for what is not kept.
        folder: for the files; made if it is not there.
        batches: step i and step i + batches have the same texts.
        part: which part of each batch this process has; names its files.
        afresh: the files there, if any, are of another run, and removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f"*.{part}.safetensors") if afresh else ():
        left_over.unlink()

    def targets(texts: list[str], step: int) -> Targets:
        path = folder / f"{step % batches}.{part}.safetensors"
        if path.exists():
            static = teacher.static(texts)
        else:
            found = teacher(texts)
            static = found.static
            arrays = {"words": found.words, "sentences": found.sentences}
            write_whole(path, save({name: a.astype(np.float16) for name, a in arrays.items()}))
        kept = {name: a.astype(np.float32) for name, a in load_file(str(path)).items()}
        return Targets(kept["words"], kept["sentences"], static)

    return targets
