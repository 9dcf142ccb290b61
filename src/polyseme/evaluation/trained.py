"""Tasks that are learned before they are measured: idioms, and word in context.

The same data as ``idioms.py`` and ``wic.py`` have, but in place of a probe or a threshold on frozen
vectors an estimator of ``polyseme.tasks`` learns from train (a head alone, queries, keys and values
with it, or everything); the measure is that of dev, of which training sees nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polyseme.contextualizer import Contextualizer
from polyseme.evaluation.idioms import Expressions
from polyseme.evaluation.wic import Pairs
from polyseme.tasks import PairScorer, SpanClassifier, Task
from polyseme.tasks.saving import Learns

IDIOM_LABELS = ("idiomatic", "literal")


@dataclass(frozen=True)
class TrainedResult:
    """The result.

    Attributes:
        task: "idioms" or "wic".
        model: its name.
        rung: its rung.
        trained: "head", "attention" or "all".
        train: examples that it learned from, the held-out part included.
        dev: examples that it is measured on.
        macro_f1: mean of the two labels' F1 on dev.
        accuracy: share of dev that is judged rightly.
        loss: on the held-out part before training and after each epoch; empty for a head alone.
    """

    task: str
    model: str
    rung: str
    trained: str
    train: int
    dev: int
    macro_f1: float
    accuracy: float
    loss: list[float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return vars(self)


def idioms(
    model: Contextualizer,
    data: tuple[Expressions, Expressions],
    what: Learns,
    *,
    progress: bool | None = False,
) -> tuple[TrainedResult, SpanClassifier]:
    """Learn to tell idiomatic from literal uses; the result on dev, and what was trained.

    Args:
        model: of any rung.
        data: train and dev, as ``idioms.read_folder`` gives them.
        what: is trained.
        progress: show bars on stderr; if None, on long work at a terminal.
    """
    train, dev = data
    task = SpanClassifier(model, train=what, progress=progress)
    task.fit(spans_of(train), idiom_labels(train), groups=train.names)
    sizes = len(train), len(dev)
    return _result("idioms", model, task, (spans_of(dev), idiom_labels(dev)), sizes), task


def wic(
    model: Contextualizer, data: tuple[Pairs, Pairs], what: Learns, *, progress: bool | None = False
) -> tuple[TrainedResult, PairScorer]:
    """Learn to tell whether a word means the same; the result on dev, and what was trained.

    Args: see ``idioms``; data is as ``wic.read_folder`` gives it.
    """
    train, dev = data
    task = PairScorer(model, train=what, progress=progress)
    task.fit(pairs_of(train), train.same, groups=train.words)
    sizes = len(train), len(dev)
    return _result("wic", model, task, (pairs_of(dev), dev.same), sizes), task


def spans_of(uses: Expressions) -> list[tuple[str, int, int]]:
    """The uses as ``SpanClassifier`` takes them."""
    return [(text, *span) for text, (span,) in zip(uses.texts, uses.spans, strict=True)]


def idiom_labels(uses: Expressions) -> list[str]:
    """The labels by their names."""
    return [IDIOM_LABELS[label] for label in uses.labels.tolist()]


def pairs_of(pairs: Pairs) -> list[tuple[tuple[str, int, int], tuple[str, int, int]]]:
    """The pairs as ``PairScorer`` takes them: tokens joined by spaces, the word by characters."""
    uses = []
    for tokens, position in zip(pairs.texts, pairs.positions.tolist(), strict=True):
        start = len(" ".join(tokens[:position])) + (position > 0)
        uses.append((" ".join(tokens), start, start + len(tokens[position])))
    return list(zip(uses[: len(pairs)], uses[len(pairs) :], strict=True))


def _result(
    name: str, model: Contextualizer, task: Task, dev: tuple[Any, Any], sizes: tuple[int, int]
) -> TrainedResult:
    report = task.evaluate(*dev)
    assert report.macro_f1 is not None
    assert report.accuracy is not None
    return TrainedResult(
        name,
        model.name,
        model.rung,
        task.train,
        *sizes,
        report.macro_f1,
        report.accuracy,
        task.report_.loss,
    )
