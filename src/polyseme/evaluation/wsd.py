"""Word senses: can a model's vectors tell the meanings of one word apart?

CoarseWSD-20 (Loureiro, Rezaee, Pilehvar and Camacho-Collados 2021, "Analysis and Evaluation of
Language Models for Word Sense Disambiguation", https://arxiv.org/abs/2008.11608, section 5): a
sense is the mean of its training occurrences' vectors, and an occurrence gets the sense whose mean
is nearest by cosine. Nothing is trained, so the score is that of the vectors alone.

In: a folder with a folder for each ambiguous word, in it {train,test}.data.txt (a line is a text:
the position of the word, a tab, tokens) and {train,test}.gold.txt (a line is the number of its
sense). Out: accuracies, beside those of always saying the sense that is most frequent in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_TEXTS_AT_ONCE = 1024
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
    """

    word: str
    senses: int
    train: int
    test: int
    accuracy: float
    most_frequent: float


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

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "task": "wsd",
            "model": self.model,
            "rung": self.rung,
            "accuracy": self.accuracy,
            "most_frequent": self.most_frequent,
            "words": [asdict(score) for score in self.words],
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
    for place, line in _lines(data):
        index, tab, rest = line.partition("\t")
        if not tab:
            raise ValueError(f"{place}: no tab between the word's position and the tokens")
        position, tokens = _integer(index, place, "the word's position"), rest.split()
        if not 0 <= position < len(tokens):
            raise ValueError(f"{place}: position {position} of a text of {len(tokens)} tokens")
        texts.append(tokens)
        positions.append(position)
    senses = [_integer(line, place, "the number of a sense") for place, line in _lines(gold)]
    if len(senses) != len(texts):
        raise ValueError(f"{gold} has {len(senses)} lines and {data} {len(texts)}: give as many")
    if not texts:
        raise ValueError(f"{data} is empty: at least one occurrence is needed")
    return Occurrences(texts, np.asarray(positions), np.asarray(senses))


def evaluate(
    model: Contextualizer,
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


def score(model: Contextualizer, word: AmbiguousWord) -> WordScore:
    """Measure one word."""
    train, test = word.train, word.test
    senses, counts = np.unique(train.senses, return_counts=True)
    centroids = sense_centroids(vectors_of(model, train), train.senses)
    cosines = unit(vectors_of(model, test)) @ unit(centroids).T
    return WordScore(
        word.word,
        len(senses),
        len(train),
        len(test),
        tied_accuracy(cosines, senses, test.senses),
        float(np.mean(test.senses == senses[counts.argmax()])),
    )


def vectors_of(model: Contextualizer, occurrences: Occurrences) -> Doubles:
    """(n, dim) float64: the word's vector in each of the texts."""
    found = []
    for start in range(0, len(occurrences), _TEXTS_AT_ONCE):
        here = slice(start, start + _TEXTS_AT_ONCE)
        docs = model.contextualize(occurrences.texts[here], progress=False)
        found.append(docs.vectors[docs.offsets[:-1] + occurrences.positions[here]])
    return np.concatenate(found).astype(np.float64)


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


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of a file, with the words that say where it stands."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            try:
                yield place, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{place}: not UTF-8 ({error.reason})") from None


def _integer(given: str, place: str, meaning: str) -> int:
    try:
        return int(given)
    except ValueError:
        raise ValueError(f"{place}: {given!r} is no integer, but {meaning} is") from None
