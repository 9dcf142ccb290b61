"""A trained task as files: beside the model its head, and task.json, which says what it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file, save

from polyseme.checkpoints import Stored, resolve, write_whole
from polyseme.contextualizer import Contextualizer
from polyseme.hub import FOLDER
from polyseme.loading import load, made_from
from polyseme.tasks.heads import Head
from polyseme.tasks.reports import Report

Learns = Literal["head", "attention", "all"]

_TASK = "task.json"
_HEAD = "head.safetensors"


@dataclass(frozen=True, eq=False)
class Trained:
    """What is kept of a trained task.

    Attributes:
        estimator: name of its class.
        labels: sorted; empty for scores.
        train: what was trained.
        head: on the model.
        model: that learned.
        report: on the held-out part.
    """

    estimator: str
    labels: list[Any]
    train: Learns
    head: Head
    model: Contextualizer
    report: Report


def write(task: Trained, folder: str | os.PathLike[str], *, dtype: Stored = "float32") -> None:
    """Write a trained task; see ``Contextualizer.save_pretrained``."""
    path = Path(folder)
    task.model.save_pretrained(path, dtype=dtype)
    arrays = {name: getattr(task.head, name) for name in ("weight", "bias", "mean", "scale")}
    write_whole(path / _HEAD, save({n: np.ascontiguousarray(a) for n, a in arrays.items()}))
    told = {
        "estimator": task.estimator,
        "labels": task.labels,
        "kind": task.head.kind,
        "temperature": task.head.temperature,
        "train": task.train,
        "report": task.report.to_dict(),
    }
    write_whole(path / _TASK, (json.dumps(told, indent=2) + "\n").encode())
    write_whole(path / "README.md", _card(task).encode())


def read(folder: str | os.PathLike[str], options: dict[str, Any]) -> Trained:
    """Read a trained task.

    Args:
        folder: or a hub id.
        options: those of ``polyseme.load``.

    Raises:
        FileNotFoundError: there is none.
    """
    path = _found(folder, options)
    told = json.loads((path / _TASK).read_text(encoding="utf-8"))
    arrays = load_file(str(path / _HEAD))
    return Trained(
        told["estimator"],
        told["labels"],
        told["train"],
        Head(told["kind"], **arrays, temperature=told["temperature"]),  # type: ignore[arg-type]
        load(folder, **options),
        Report(**told["report"]),
    )


def estimator_of(folder: str | os.PathLike[str], options: dict[str, Any]) -> str:
    """The name of the class that a folder or hub id was trained with.

    Raises:
        FileNotFoundError: there is no trained task.
    """
    told = json.loads((_found(folder, options) / _TASK).read_text(encoding="utf-8"))
    return str(told.get("estimator"))


def _found(folder: str | os.PathLike[str], options: dict[str, Any]) -> Path:
    revision, token = options.get("revision"), options.get("token")
    path = resolve(folder, revision=revision, token=token, files=(_TASK, _HEAD))
    if not (path / _TASK).exists():
        raise FileNotFoundError(f"{path / _TASK} is missing: {folder} holds no trained task")
    return path


def _card(task: Trained) -> str:
    """A model card with the head that the hub reads."""
    judged = "Nothing was held out to judge it on."
    if task.report.accuracy is not None:
        judged = f"Accuracy on held-out examples: {task.report.accuracy:.3f}."
    elif task.report.spearman is not None:
        judged = f"Spearman on held-out pairs: {task.report.spearman:.3f}."
    return f"""---
library_name: polyseme
tags:
- polyseme
- word-vectors
- self-attention
---

# A {task.estimator} of polyseme

{judged} Per label: `task.json`.

Made from {made_from(task.model)!r}; its licence holds for these weights too.

```python
from polyseme.tasks import open_task

task = open_task("{FOLDER}")
```
"""
