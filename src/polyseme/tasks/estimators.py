"""The estimators: what an example of each task is.

A span or a word in its text, a text, every word of a text, or a pair; all else is ``task.py``.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np

from polyseme.tasks.examples import WHOLE, Place, Units, checked_text, place_of
from polyseme.tasks.features import Beside, of_pairs, of_spans, writing
from polyseme.tasks.heads import Doubles
from polyseme.tasks.saving import estimator_of
from polyseme.tasks.task import Task
from polyseme.text import split_words


class SpanClassifier(Task):
    """A label for a word or a span in its text: a sense, idiom or literal, the kind of a name.

    Examples of X are pairs of a text and the words in question, which stand in it once; or triples
    of a text and the first and one-past-last character; or a table with the columns text, start and
    end. See ``Task`` for the arguments.

    Example:
        >>> texts = ["I sat on the bank of the river.", "The bank raised its rates.",
        ...          "We fished from the bank of a stream.", "My bank lends money to firms.",
        ...          "Trees grew on the muddy bank of the lake.", "The bank closed her account."]
        >>> told = SpanClassifier(train="head", held_out=0.0)
        >>> told = told.fit([(text, "bank") for text in texts], ["shore", "money"] * 3)
        >>> told.predict([("A bank offers loans and savings.", "bank")]).tolist()
        ['money']
    """

    columns = ("text", "start", "end")

    def _places(self, example: Any) -> list[Place]:
        if not isinstance(example, (tuple, list)) or len(example) not in (2, 3):
            raise ValueError(f"{example!r} is no text with a span")
        return [place_of(example[0], example[1:])]

    def _beside(self) -> Beside:
        return of_spans


class TextClassifier(Task):
    """A label, or several, for a text.

    Examples of X are texts: str, or lists of words. Several labels of a text are a list of them.
    See ``Task`` for the arguments.

    Example:
        >>> texts = ["What a lovely film!", "A dull, bad film."] * 4
        >>> told = TextClassifier(train="head", held_out=0.0).fit(texts, ["good", "bad"] * 4)
        >>> told.predict(["Lovely!"]).tolist()
        ['good']
    """

    def _places(self, example: Any) -> list[Place]:
        return [(checked_text(example), WHOLE)]


class WordTagger(Task):
    """A label for every word of a text, such as BIO tags of names.

    Examples of X are texts, lists of words or str, which are cut as ``contextualize`` cuts them; of
    y, lists of as many labels as a text has words. ``predict`` and ``predict_proba`` give a list of
    what each text's words get. See ``Task`` for the arguments.

    Example:
        >>> texts, tags = [["Ann", "sings"], ["He", "sees", "Bob"]], [["B", "O"], ["O", "O", "B"]]
        >>> told = WordTagger(train="head", held_out=0.0).fit(texts * 4, tags * 4)
        >>> told.predict(["Bob sings"])
        [['B', 'O']]
    """

    _classifies = False

    def _example(
        self, example: Any, label: Any, *, labelled: bool
    ) -> tuple[list[Place], list[Any]]:
        text = checked_text(example)
        if isinstance(text, str):
            text = [text[start:end] for start, end in split_words(text)]
        places: list[Place] = [(text, (i, i + 1)) for i in range(len(text))]
        if not labelled:
            return places, []
        if isinstance(label, str) or not isinstance(label, (list, tuple, np.ndarray)):
            raise ValueError(f"{label!r} is no list of labels")
        if len(label) != len(text):
            raise ValueError(f"{len(text)} words and {len(label)} labels")
        return places, list(label)

    def _beside(self) -> Beside:
        return writing

    def _lines(
        self, said: list[Any], shares: list[dict[str, float]], units: Units
    ) -> list[dict[str, Any]]:
        ranges = list(itertools.pairwise(units.offsets.tolist()))
        return [{"label": said[a:b], "probabilities": shares[a:b]} for a, b in ranges]

    def predict_proba(self, X: Any) -> list[Doubles]:
        """For each text, (n_words, k) calibrated probabilities of the labels of ``classes_``."""
        self._check_fitted()
        features, units = self._seen(X)
        judged = self.head_.probabilities(features)
        return np.split(judged, units.offsets[1:-1]) if len(units) else []

    def predict(self, X: Any) -> list[list[Any]]:
        """For each text, the most probable label of each word."""
        self._check_fitted()
        features, units = self._seen(X)
        said = self._said(features)
        return [part.tolist() for part in np.split(said, units.offsets[1:-1])] if len(units) else []


class PairScorer(Task):
    """A label or a score for a pair of texts, or of a word in two texts (word in context).

    Examples of X are pairs: of two texts, or of two examples of ``SpanClassifier``; or a table with
    the columns first and second. Labels that are floating-point numbers are scores: ``predict``
    gives them, and ``score`` is their rank correlation. See ``Task`` for the arguments.

    Example:
        >>> river = [(f"the bank of the {name}", "bank") for name in ("river", "lake", "canal")]
        >>> money = [(f"the bank {does} money", "bank") for does in ("lends", "earns", "saves")]
        >>> alike = [(x, y) for side in (river, money) for x in side for y in side if x is not y]
        >>> other = [(x, y) for x in river for y in money]
        >>> told = PairScorer(train="head", held_out=0.0)
        >>> told = told.fit(alike + other, [True] * len(alike) + [False] * len(other))
        >>> told.predict([(("the bank of the stream", "bank"), river[0])]).tolist()
        [True]
    """

    columns = ("first", "second")
    _size = 2
    _may_score = True

    def _places(self, example: Any) -> list[Place]:
        if not isinstance(example, (tuple, list)) or len(example) != 2:
            raise ValueError(f"{example!r} is no pair")
        return [
            place_of(side[0], side[1:])
            if isinstance(side, (tuple, list)) and len(side) in (2, 3)
            else (checked_text(side), WHOLE)
            for side in example
        ]

    def _beside(self) -> Beside:
        return of_pairs


ESTIMATORS: dict[str, type[Task]] = {
    kind.__name__: kind for kind in (SpanClassifier, TextClassifier, WordTagger, PairScorer)
}


def open_task(folder: str | os.PathLike[str], **options: Any) -> Task:
    """Open a trained task of whatever kind.

    Args:
        folder: or a hub id.
        **options: those of ``polyseme.load``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was made by an estimator that this version doesn't know.
    """
    name = estimator_of(folder, options)
    if name not in ESTIMATORS:
        raise ValueError(f"{folder}: unknown estimator {name!r}; known are {', '.join(ESTIMATORS)}")
    opened: Task = ESTIMATORS[name].from_pretrained(folder, **options)
    return opened
