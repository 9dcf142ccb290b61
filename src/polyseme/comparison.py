"""One word in several sentences, seen from each rung of the ladder.

In: a model, a word, sentences. Out: for static vectors, parameter-free attention and, where the
model has layers, the model itself: how similar the word's uses are to each other, and which words
of the vocabulary each is nearest to. By cosine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.neighbours import Neighbour, nearest_words, vocabulary_vectors
from polyseme.text import Phrases

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Use:
    """An occurrence of the word.

    Attributes:
        sentence: number of its sentence, from 0.
        position: which word of the sentence it is, from 0.
        span: its start and end in the sentence.
        known: False where the model has no piece of the word.
    """

    sentence: int
    position: int
    span: tuple[int, int]
    known: bool


@dataclass(frozen=True, eq=False)
class View:
    """What one rung makes of the uses.

    Attributes:
        rung: its name.
        similarity: (n_uses, n_uses) float32 cosines; NaN where a use has no vector.
        nearest: (n_uses) lists of words of the vocabulary, nearest first; empty where a use has no
            vector.
    """

    rung: str
    similarity: Floats
    nearest: list[list[Neighbour]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """A word's uses, and what the rungs make of them.

    Attributes:
        model: its name.
        word: as it was asked for.
        sentences: the texts.
        uses: every occurrence, in the order of the sentences.
        views: one for each rung.
    """

    model: str
    word: str
    sentences: list[str]
    uses: list[Use]
    views: list[View]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; a similarity that does not exist is None."""
        return {
            "model": self.model,
            "word": self.word,
            "sentences": self.sentences,
            "uses": [asdict(use) for use in self.uses],
            "rungs": [
                {
                    "rung": view.rung,
                    "similarity": [
                        [None if np.isnan(cosine) else cosine for cosine in row]
                        for row in view.similarity.tolist()
                    ],
                    "nearest": [
                        [{"word": near.word, "similarity": near.similarity} for near in nearest]
                        for nearest in view.nearest
                    ],
                }
                for view in self.views
            ],
        }


def compare(
    model: Contextualizer,
    word: str,
    sentences: Sequence[str],
    *,
    phrases: Phrases | Iterable[str] | None = None,
    topn: int = 5,
    progress: bool | None = None,
) -> Comparison:
    """Hold a word's uses against each other.

    Args:
        model: of any rung.
        word: stands in every sentence; where it stands more than once, each is a use.
        sentences: the texts.
        phrases: phrases that are kept as one unit.
        topn: nearest words of the vocabulary; with 0 they are not looked for.
        progress: show a bar on stderr while the vocabulary of a model with layers is computed; if
            None, at a terminal.

    Raises:
        ValueError: the word does not stand in a sentence; the message names the sentence.

    Example:
        >>> import polyseme
        >>> sentences = ["An apple a day", "Apple just launched a new iPhone"]
        >>> comparison = compare(polyseme.load(), "apple", sentences, topn=0)
        >>> for view in comparison.views:
        ...     print(view.rung, bool(view.similarity[0, 1] > 0.99))
        static True
        parameter-free False
        learned False
    """
    given = list(sentences)
    if phrases is not None and not isinstance(phrases, Phrases):
        phrases = Phrases(phrases)
    static = model.static()
    docs = static.contextualize(given, phrases=phrases, progress=False)
    uses, rows = [], []
    for i, doc in enumerate(docs):
        found = doc.find(word)
        if not found:
            hint = "; name it as a phrase to keep it as one" if len(word.split()) > 1 else ""
            raise ValueError(
                f"{word!r} is no word of sentence {i + 1}, {doc.text!r}: it must stand in "
                f"each{hint}"
            )
        uses += [Use(i, at, doc.spans[at], bool(doc.known[at])) for at in found]
        rows += [int(docs.offsets[i]) + position for position in found]
    mixed = model if model.rung == "parameter-free" else model.parameter_free()
    rungs = [static, mixed, model] if model.config.layers else [static, mixed]
    views = []
    for rung in rungs:
        vectors = rung.contextualize(given, phrases=phrases, progress=False).vectors[rows]
        vocabulary: tuple[Sequence[str], Floats] = ([], vectors[:0])
        if topn:
            # By themselves, words have the same vectors on both rungs without layers.
            vocabulary = vocabulary_vectors(
                rung if rung.config.layers else static, progress=progress
            )
        views.append(_view(rung.rung, vectors, vocabulary, word, topn))
    return Comparison(model.name, word, given, uses, views)


def _view(
    rung: str, vectors: Floats, vocabulary: tuple[Sequence[str], Floats], word: str, topn: int
) -> View:
    uses = unit(vectors)
    has_one = (vectors != 0).any(axis=1)
    similarity = uses @ uses.T
    similarity[~has_one] = similarity[:, ~has_one] = np.nan
    nearest = [
        nearest_words(use, *vocabulary, leave_out=word, topn=topn) if there else []
        for use, there in zip(uses, has_one, strict=True)
    ]
    return View(rung, similarity, nearest)
