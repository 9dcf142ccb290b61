"""Word in context: does a word mean the same in two texts?

WiC (Pilehvar and Camacho-Collados 2019, https://arxiv.org/abs/1808.09121): a pair of texts, and the
place of one word in each. The cosine of the word's two vectors is held against a threshold, as in
section 4 there; the threshold is the one that is right most often on the training pairs. Nothing
else is trained.

In: a folder with {train,dev}.data.txt (a line has, between tabs: the word, N or V, the positions
of its two uses as 3-7, and two texts of tokens) and {train,dev}.gold.txt (T or F). Out: accuracy on
dev, beside that of always saying what is more frequent in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.evaluation.models import Doubles, Evaluated, Integers, vectors_at
from polyseme.evaluation.records import lines, position

Flags = npt.NDArray[np.bool_]

# Above what rounding makes of equal cosines in float64, below what float32 vectors can tell apart.
_DECIMALS = 9


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of uses of a word.

    Attributes:
        texts: (2 n) each a list of tokens: the first texts of all pairs, then the second.
        positions: (2 n,) int64: which token of each text is the word.
        same: (n,) bool: whether it means the same.
        words: (n) the words, as a dictionary has them.
    """

    texts: list[list[str]]
    positions: Integers
    same: Flags
    words: list[str]

    def __len__(self) -> int:
        return len(self.same)


@dataclass(frozen=True)
class WicResult:
    """The result.

    Attributes:
        model: its name.
        rung: its rung.
        train: pairs that the threshold is from.
        dev: pairs that it is measured on.
        accuracy: share of dev that is judged rightly.
        train_accuracy: the same of train.
        threshold: least cosine of two uses that mean the same.
        majority: accuracy on dev of always saying what is more frequent in train.
    """

    model: str
    rung: str
    train: int
    dev: int
    accuracy: float
    train_accuracy: float
    threshold: float
    majority: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"task": "wic", **vars(self)}


def read_folder(folder: Path) -> tuple[Pairs, Pairs]:
    """Read the training and the development pairs.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not what it should be; the message has the file and the line.
    """
    return read_pairs(folder, "train"), read_pairs(folder, "dev")


def read_pairs(folder: Path, split: str) -> Pairs:
    """Read one split.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not what it should be; the message has the file and the line.
    """
    data, gold = folder / f"{split}.data.txt", folder / f"{split}.gold.txt"
    sides: list[list[tuple[list[str], int]]] = [[], []]
    words: list[str] = []
    for place, line in lines(data):
        fields = line.split("\t")
        if len(fields) != 5:
            raise ValueError(
                f"{place}: {len(fields)} fields between tabs, where 5 are needed: word, part of "
                "speech, positions, two texts"
            )
        places = fields[2].split("-")
        if len(places) != 2:
            raise ValueError(f"{place}: {fields[2]!r} is no pair of positions such as 3-7")
        words.append(fields[0])
        for side, at, text in zip(sides, places, fields[3:], strict=True):
            tokens = text.split()
            side.append((tokens, position(at, place, tokens)))
    same = []
    for place, line in lines(gold):
        if line not in ("T", "F"):
            raise ValueError(f"{place}: {line!r} is neither T nor F")
        same.append(line == "T")
    if len(same) != len(sides[0]):
        raise ValueError(f"{gold} has {len(same)} lines and {data} {len(sides[0])}: give as many")
    if not same:
        raise ValueError(f"{data} is empty: at least one pair is needed")
    uses = sides[0] + sides[1]
    positions = np.asarray([at for _, at in uses])
    return Pairs([text for text, _ in uses], positions, np.asarray(same), words)


def evaluate(
    model: Evaluated, data: tuple[Pairs, Pairs], *, progress: bool | None = False
) -> WicResult:
    """Measure how well the cosine of a word's vectors tells whether it means the same.

    Args:
        model: of any rung.
        data: the training and the development pairs, as ``read_folder`` gives them.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The same numbers at every run.
    """
    train, dev = data
    seen, new = cosines_of(model, train, progress), cosines_of(model, dev, progress)
    threshold = best_threshold(seen, train.same)
    majority = train.same.mean() >= 0.5
    return WicResult(
        model.name,
        model.rung,
        len(train),
        len(dev),
        float(np.mean((new >= threshold) == dev.same)),
        float(np.mean((seen >= threshold) == train.same)),
        threshold,
        float(np.mean(dev.same == majority)),
    )


def cosines_of(model: Evaluated, pairs: Pairs, progress: bool | None = False) -> Doubles:
    """(n,) float64: the cosine of the word's two vectors, rounded so that equal ones are equal."""
    vectors = unit(vectors_at(model, pairs.texts, pairs.positions, progress=progress))
    first, second = np.split(vectors, 2)
    rounded: Doubles = (first * second).sum(axis=1).round(_DECIMALS)
    return rounded


def best_threshold(cosines: Doubles, same: Flags) -> float:
    """The threshold t for which ``cosines >= t`` is ``same`` most often.

    It stands midway between two neighbouring cosines, or at one of the ends of what a cosine can
    be; of several that are as good, the lowest is taken.

    Args:
        cosines: (n,) at least one.
        same: (n,) bool.

    Example:
        >>> best_threshold(np.asarray([0.1, 0.3, 0.5]), np.asarray([False, True, True]))
        0.2
    """
    values, place = np.unique(cosines, return_inverse=True)
    above = np.bincount(place, np.where(same, 1, -1), len(values))
    # Right answers with the k lowest values below the threshold, less a constant.
    gains = np.append(0, np.cumsum(-above))
    edges = np.concatenate([[-1.0], (values[:-1] + values[1:]) / 2, [1.0 + 10.0**-_DECIMALS]])
    return float(edges[gains.argmax()])
