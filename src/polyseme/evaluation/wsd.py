"""Word senses: can a model's vectors tell the meanings of one word apart?

CoarseWSD-20 (Loureiro, Rezaee, Pilehvar and Camacho-Collados 2021, "Analysis and Evaluation of
Language Models for Word Sense Disambiguation", https://arxiv.org/abs/2008.11608, section 5): a
sense is the mean of its training occurrences' vectors, and an occurrence gets the sense whose mean
is nearest by cosine. Nothing is trained, so the score is that of the vectors alone. Section 6 there
asks the same of few examples: 1, 3 and 10 of each sense here, drawn ten times.

In: a folder with a folder for each ambiguous word, in it {train,test}.data.txt (a line is a text:
the position of the word, a tab, tokens) and {train,test}.gold.txt (a line is the number of its
sense). Out: accuracies, beside those of always saying the sense that is most frequent in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyseme.attention import unit
from polyseme.evaluation.models import Doubles, Evaluated, Integers, vectors_at
from polyseme.evaluation.records import integer, lines, position

FEW = (1, 3, 10)
"""Examples of each sense in the few-shot accuracies."""

_DRAWS = 10
# Above what rounding makes of equal cosines in float64, below what float32 vectors can tell apart.
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Occurrences:
    """Uses of one word.

    Attributes:
        texts: (n) each a list of tokens.
        positions: (n,) int64: which token of each text is the word.
        senses: (n,) int64: number of its sense.
    """

    texts: list[list[str]]
    positions: Integers
    senses: Integers

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class AmbiguousWord:
    """A word, with the occurrences that define its senses and those that are to be told apart."""

    word: str
    train: Occurrences
    test: Occurrences


@dataclass(frozen=True)
class WordScore:
    """The result of one word.

    Attributes:
        word: the word.
        senses: how many it has in training.
        train: training occurrences.
        test: test occurrences.
        accuracy: share of test occurrences that got their sense. Where k senses are equally near,
            and the right one is among them, the occurrence counts 1 / k.
        most_frequent: accuracy of always saying the most frequent sense of the training.
        few: for each of ``FEW``, the accuracy from so many training occurrences of each sense, or
            as many as there are: the mean over ten draws, which are the same for every model.
    """

    word: str
    senses: int
    train: int
    test: int
    accuracy: float
    most_frequent: float
    few: tuple[float, ...]


@dataclass(frozen=True)
class WsdResult:
    """The result of all words.

    Attributes:
        model: its name.
        rung: its rung.
        words: one score a word, in alphabetical order.
    """

    model: str
    rung: str
    words: tuple[WordScore, ...]

    @property
    def accuracy(self) -> float:
        """Mean of the words' accuracies."""
        return float(np.mean([score.accuracy for score in self.words]))

    @property
    def most_frequent(self) -> float:
        """Mean of the words' most-frequent-sense accuracies."""
        return float(np.mean([score.most_frequent for score in self.words]))

    @property
    def few(self) -> tuple[float, ...]:
        """For each of ``FEW``, the mean of the words' accuracies from so many examples."""
        return tuple(np.mean([score.few for score in self.words], axis=0).tolist())

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "task": "wsd",
            "model": self.model,
            "rung": self.rung,
            "accuracy": self.accuracy,
            "most_frequent": self.most_frequent,
            "few": _by_number(self.few),
            "words": [asdict(score) | {"few": _by_number(score.few)} for score in self.words],
        }


def read_folder(folder: Path) -> list[AmbiguousWord]:
    """Read a folder in the layout of CoarseWSD-20.

    Returns:
        Its words in alphabetical order.

    Raises:
        FileNotFoundError: there is no such folder, no word in it, or one of a word's files is
            missing.
        ValueError: a line is not what it should be; the message has the file and the line.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    found = sorted(path.parent for path in folder.glob("*/*.data.txt"))
    words = list(dict.fromkeys(found))
    if not words:
        raise FileNotFoundError(
            f"{folder} holds no folder with train.data.txt in it: CoarseWSD-20 has one for each "
            "word, such as apple/train.data.txt"
        )
    return [
        AmbiguousWord(path.name, read_occurrences(path, "train"), read_occurrences(path, "test"))
        for path in words
    ]


def read_occurrences(folder: Path, split: str) -> Occurrences:
    """Read one split of one word.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not what it should be; the message has the file and the line.
    """
    data, gold = folder / f"{split}.data.txt", folder / f"{split}.gold.txt"
    texts, positions = [], []
    for place, line in lines(data):
        index, tab, rest = line.partition("\t")
        if not tab:
            raise ValueError(f"{place}: no tab between the word's position and the tokens")
        tokens = rest.split()
        texts.append(tokens)
        positions.append(position(index, place, tokens))
    senses = [integer(line, place, "the number of a sense") for place, line in lines(gold)]
    if len(senses) != len(texts):
        raise ValueError(f"{gold} has {len(senses)} lines and {data} {len(texts)}: give as many")
    if not texts:
        raise ValueError(f"{data} is empty: at least one occurrence is needed")
    return Occurrences(texts, np.asarray(positions), np.asarray(senses))


def evaluate(
    model: Evaluated,
    words: list[AmbiguousWord],
    *,
    advance: Callable[[int], None] = lambda done: None,
) -> WsdResult:
    """Measure how well a model's vectors tell the words' senses apart.

    Args:
        model: of any rung.
        words: as ``read_folder`` gives them.
        advance: is told of each word that is done.

    Returns:
        The same numbers at every run.
    """
    scores = []
    for word in words:
        scores.append(score(model, word))
        advance(1)
    return WsdResult(model.name, model.rung, tuple(scores))


def score(model: Evaluated, word: AmbiguousWord) -> WordScore:
    """Measure one word."""
    train, test = word.train, word.test
    senses, counts = np.unique(train.senses, return_counts=True)
    examples = vectors_at(model, train.texts, train.positions)
    tested = unit(vectors_at(model, test.texts, test.positions))

    def accuracy(rows: Integers) -> float:
        centroids = unit(sense_centroids(examples[rows], train.senses[rows]))
        return tied_accuracy(tested @ centroids.T, senses, test.senses)

    few = [
        float(np.mean([accuracy(rows) for rows in draws(train.senses, number)])) for number in FEW
    ]
    return WordScore(
        word.word,
        len(senses),
        len(train),
        len(test),
        accuracy(np.arange(len(train))),
        float(np.mean(test.senses == senses[counts.argmax()])),
        tuple(few),
    )


def draws(senses: Integers, number: int) -> list[Integers]:
    """Ten draws of so many occurrences of each sense, or of all where there are no more.

    Args:
        senses: (n,) the occurrences' senses.
        number: how many of each.

    Returns:
        The rows of each draw, ascending; the same at every call.

    Example:
        >>> [rows.tolist() for rows in draws(np.asarray([4, 0, 4]), 2)][:2]
        [[0, 1, 2], [0, 1, 2]]
    """
    generator = np.random.default_rng(number)
    rows_of = [np.flatnonzero(senses == sense) for sense in np.unique(senses)]
    return [
        np.sort(
            np.concatenate(
                [generator.choice(rows, min(number, len(rows)), replace=False) for rows in rows_of]
            )
        )
        for _ in range(_DRAWS)
    ]


def sense_centroids(vectors: Doubles, senses: Integers) -> Doubles:
    """(k, dim): the mean of each sense's vectors, in the order of the senses' numbers.

    Example:
        >>> sense_centroids(np.asarray([[1.0], [3.0], [5.0]]), np.asarray([7, 2, 7])).tolist()
        [[3.0], [3.0]]
    """
    return np.stack([vectors[senses == sense].mean(axis=0) for sense in np.unique(senses)])


def tied_accuracy(cosines: Doubles, senses: Integers, gold: Integers) -> float:
    """Share of rows whose nearest sense is the right one; 1 / k where it is one of k.

    Args:
        cosines: (n, k) between occurrences and senses.
        senses: (k,) the senses' numbers.
        gold: (n,) the right numbers; one that is not among ``senses`` is never met.

    Example:
        >>> cosines = np.asarray([[0.9, 0.1], [0.5, 0.5]])
        >>> tied_accuracy(cosines, np.asarray([0, 1]), np.asarray([0, 1]))
        0.75
    """
    nearest = cosines >= cosines.max(axis=1, keepdims=True) - _SAME
    right = (nearest & (senses == gold[:, None])).any(axis=1)
    return float(np.mean(right / nearest.sum(axis=1)))


def _by_number(few: tuple[float, ...]) -> dict[str, float]:
    return {str(number): accuracy for number, accuracy in zip(FEW, few, strict=True)}
