"""How well a task was learned, on examples that nothing was learned from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.evaluation.sts import spearman

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Report:
    """How the held-out examples are judged.

    Attributes:
        labels: in the order of rows and columns.
        precision: of each label.
        recall: of each label.
        f1: of each label.
        examples: how many have each label.
        macro_f1: mean of f1 over the labels that occur.
        accuracy: share of rows that are judged rightly, in all of their labels.
        confusion: rows are what is right, columns what was said; empty for several labels.
        spearman: of scores; None for labels.
        loss: on these examples before training and after each epoch; empty for a head alone.
    """

    labels: list[Any]
    precision: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    f1: list[float] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    macro_f1: float | None = None
    accuracy: float | None = None
    confusion: list[list[int]] = field(default_factory=list)
    spearman: float | None = None
    loss: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    def plot(self) -> Any:
        """The confusion matrix as a matplotlib figure; rows are what is right.

        Raises:
            ValueError: there is none.
            ImportError: matplotlib is missing.
        """
        if not self.confusion:
            raise ValueError(
                "no confusion matrix: it takes one label of all, and held-out examples"
            )
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ImportError('plots need matplotlib: pip install "polyseme[plot]"') from None
        counts = np.asarray(self.confusion)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        size = 2.2 + 0.6 * len(counts)
        figure = Figure(figsize=(size + 0.6, size), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = [str(label) for label in self.labels]
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("said")
        axes.set_ylabel("right")
        for row, column in np.ndindex(*counts.shape):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink)
        return figure


def report_of_labels(
    labels: list[Any], said: Doubles, right: Doubles, *, several: bool, loss: list[float]
) -> Report:
    """The report of labels.

    Args:
        labels: their names.
        said: (n, k) 1 for a label that was given.
        right: (n, k) 1 for a label that is right.
        several: whether a row has several labels.
        loss: see ``Report``.
    """
    if not len(right):
        return Report(labels, loss=loss)
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    precision, recall, f1, examples = precision_recall_fscore_support(
        right, said, average=None, zero_division=0.0
    )
    occurring = (right.sum(axis=0) + said.sum(axis=0)) > 0
    confusion: list[list[int]] = []
    if not several:
        confusion = confusion_matrix(
            right.argmax(axis=1), said.argmax(axis=1), labels=np.arange(len(labels))
        ).tolist()
    return Report(
        labels,
        precision.tolist(),
        recall.tolist(),
        f1.tolist(),
        examples.astype(int).tolist(),
        float(f1[occurring].mean()) if occurring.any() else None,
        float((said == right).all(axis=1).mean()),
        confusion,
        None,
        loss,
    )


def report_of_scores(said: Doubles, right: Doubles, *, loss: list[float]) -> Report:
    """The report of scores, (n, 1) each."""
    found = spearman(said[:, 0], right[:, 0]) if len(right) else None
    return Report([], spearman=found, loss=loss)
