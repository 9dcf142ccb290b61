"""Sentence similarity: does a higher cosine of two texts' vectors mean a closer meaning?

STS Benchmark (Cer et al. 2017, https://arxiv.org/abs/1708.00055): pairs of sentences that people
gave scores from 0 to 5. The measure is Spearman's rank correlation between these scores and the
cosine of ``model.encode`` of the two (Reimers et al. 2016, https://aclanthology.org/C16-1009, say
why not Pearson's). Nothing is trained.

In: a folder with sts-dev.csv, sts-train.csv, sts-test.csv: no header, fields between tabs, the
fifth is the score, the sixth and seventh are the sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyseme.attention import unit
from polyseme.evaluation.models import Doubles, Evaluated
from polyseme.evaluation.records import lines, number


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs of sentences with the scores that people gave them.

    Attributes:
        split: dev, train or test.
        first: (n) the first sentences.
        second: (n) the second.
        scores: (n,) float64.
    """

    split: str
    first: list[str]
    second: list[str]
    scores: Doubles

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class SplitScore:
    """The result of one split: its name, its number of pairs, and the rank correlation."""

    split: str
    pairs: int
    spearman: float


@dataclass(frozen=True)
class StsResult:
    """The result of each split that was asked for."""

    model: str
    rung: str
    splits: tuple[SplitScore, ...]

    @property
    def spearman(self) -> float:
        """Of the first split."""
        return self.splits[0].spearman

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "task": "sts",
            "model": self.model,
            "rung": self.rung,
            "spearman": self.spearman,
            "splits": [asdict(split) for split in self.splits],
        }


def read_split(folder: Path, split: str = "dev") -> ScoredPairs:
    """Read one split.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a line is not what it should be; the message has the file and the line.
    """
    path = folder / f"sts-{split}.csv"
    first, second, scores = [], [], []
    for place, line in lines(path):
        fields = line.split("\t")
        if len(fields) < 7:
            raise ValueError(
                f"{place}: {len(fields)} fields between tabs, where at least 7 are needed: the "
                "fifth is the score, the sixth and seventh are the sentences"
            )
        scores.append(number(fields[4], place, "the score"))
        first.append(fields[5])
        second.append(fields[6])
    if len(scores) < 2:
        raise ValueError(f"{path}: {len(scores)} pairs, where a correlation needs two or more")
    return ScoredPairs(split, first, second, np.asarray(scores))


def evaluate(
    model: Evaluated, data: Sequence[ScoredPairs], *, progress: bool | None = False
) -> StsResult:
    """Measure how well the cosine of two sentences' vectors follows what people say.

    Args:
        model: of any rung.
        data: splits, as ``read_split`` gives them.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The same numbers at every run.
    """
    scores = []
    for pairs in data:
        vectors = unit(
            model.encode(pairs.first + pairs.second, progress=progress).astype(np.float64)
        )
        first, second = np.split(vectors, 2)
        cosines = (first * second).sum(axis=1)
        scores.append(SplitScore(pairs.split, len(pairs), spearman(cosines, pairs.scores)))
    return StsResult(model.name, model.rung, tuple(scores))


def spearman(a: Doubles, b: Doubles) -> float:
    """Spearman's rank correlation: Pearson's of the ranks; 0 where all of one side is equal.

    Example:
        >>> spearman(np.asarray([1.0, 2.0, 9.0]), np.asarray([5.0, 6.0, 7.0]))
        1.0
    """
    a, b = ranks(a), ranks(b)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / scale, -1, 1)) if scale else 0.0


def ranks(values: Doubles) -> Doubles:
    """(n,) from 1 for the smallest; equal values share the mean of their ranks.

    Example:
        >>> ranks(np.asarray([0.5, 0.1, 0.5, 0.9])).tolist()
        [2.5, 1.0, 2.5, 4.0]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Doubles = (last - (counts - 1) / 2)[place]
    return shared
