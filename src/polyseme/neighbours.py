"""Neighbours: what a word of a text is nearest to, as it is meant there.

Against the vocabulary (each word by itself, without context), or against every word of other
texts. By cosine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme import __version__
from polyseme.attention import unit
from polyseme.inputs import Text
from polyseme.vectors.cache import load_cached, save_cached

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """A word that is near.

    Attributes:
        word: as it is written.
        similarity: cosine, from -1 to 1.
        text: number of the text that it stands in; None for a word of the vocabulary.
        span: its start and end in that text; None for a word of the vocabulary.
    """

    word: str
    similarity: float
    text: int | None = None
    span: tuple[int, int] | None = None


def most_similar(
    model: Contextualizer,
    text: Text,
    word: str | int,
    *,
    among: Any = None,
    vocabulary: Sequence[str] | None = None,
    topn: int = 10,
    progress: bool | None = None,
) -> list[Neighbour]:
    """The nearest words to a word of a text.

    Args:
        model: whose vectors are compared.
        text: the text.
        word: the word, or its position where it occurs more than once.
        among: texts whose words are compared in their contexts; the vocabulary if None.
        vocabulary: words to compare with, by themselves; the model's own if None.
        topn: how many.
        progress: show a bar on stderr while the vocabulary of a model with layers is computed; if
            None, at a terminal.

    Returns:
        Neighbours, nearest first. In the vocabulary the word itself is left out.

    Raises:
        KeyError: the word does not stand in the text.
        ValueError: it occurs more than once, or both ``among`` and ``vocabulary`` are given.

    Example:
        >>> import polyseme
        >>> model = polyseme.load()
        >>> near = model.most_similar("We sat on the bank of the river", "bank", topn=3)
        >>> near[0].word
        'banks'
    """
    if among is not None and vocabulary is not None:
        raise ValueError("give either among (texts) or vocabulary (words), not both")
    if topn < 1:
        raise ValueError(f"topn is {topn}: it must be at least 1")
    doc = model.contextualize([text])[0]
    position = doc.position(word) if isinstance(word, str) else word
    vector = unit(doc[position])
    if among is not None:
        docs = model.contextualize(among)
        cosines = unit(docs.vectors) @ vector
        best = np.argsort(-cosines, kind="stable")[:topn]
        return [_occurrence(docs, int(row), cosines) for row in best]
    words, vectors = vocabulary_vectors(model, vocabulary, progress=progress)
    return nearest_words(vector, words, vectors, leave_out=doc.words[position], topn=topn)


def nearest_words(
    vector: Floats, words: Sequence[str], vectors: Floats, *, leave_out: str, topn: int
) -> list[Neighbour]:
    """The words whose unit vectors (n_words, dim) are nearest to a unit vector (dim,)."""
    cosines = vectors @ vector
    own = leave_out.casefold()
    order = np.argsort(-cosines, kind="stable")
    near = (row for row in order if words[row].casefold() != own)
    return [Neighbour(words[row], float(cosines[row])) for row in islice(near, topn)]


def vocabulary_vectors(
    model: Contextualizer, words: Sequence[str] | None = None, *, progress: bool | None = None
) -> tuple[Sequence[str], Floats]:
    """Unit vectors (n_words, dim) of words by themselves; the model's own words if None.

    Those of the model's own words are computed once and kept with the model; those of a model with
    layers, which take a while, in the user's cache folder too.
    """
    if words is not None:
        return words, _alone(model, list(words), progress)
    if model.own_vocabulary is None and model.config.layers and model.origin is not None:
        where = model.place
        what = f"vocabulary, {where.backend} {where.device} {where.dtype}, {__version__}"
        model.own_vocabulary = load_cached(model.origin, what)
        if model.own_vocabulary is None:
            model.own_vocabulary = _own_vocabulary(model, progress)
            save_cached(model.origin, *model.own_vocabulary, what)
    if model.own_vocabulary is None:
        model.own_vocabulary = _own_vocabulary(model, progress)
    return model.own_vocabulary


def _own_vocabulary(model: Contextualizer, progress: bool | None) -> tuple[list[str], Floats]:
    if model.word_vectors is not None:
        own = list(model.word_vectors.words)
        vectors = model.centered(model.word_vectors.vectors)
    else:
        pieces = whole_words(model.tokenizer.to_json())
        own = list(pieces)
        vectors = model.centered(model.table_rows(list(pieces.values())))
    if model.config.layers:
        vectors = _alone(model, own, progress)
    return own, unit(vectors)


def whole_words(tokenizer_json: str) -> dict[str, int]:
    """The pieces of a tokenizer that are words by themselves, with their ids.

    Words are of letters only, at least two. Pieces that begin a word are told from those that go on
    by their sign: ``##`` on the latter (WordPiece), or ``Ġ`` (byte-level BPE) or ``▁``
    (SentencePiece) on the former.
    """
    vocabulary = json.loads(tokenizer_json)["model"]["vocab"]
    if not isinstance(vocabulary, dict):
        vocabulary = {entry[0]: i for i, entry in enumerate(vocabulary)}
    for sign in ("Ġ", "▁"):
        if any(piece.startswith(sign) for piece in vocabulary):
            vocabulary = {piece[1:]: i for piece, i in vocabulary.items() if piece.startswith(sign)}
    return {piece: i for piece, i in vocabulary.items() if len(piece) > 1 and piece.isalpha()}


def _alone(model: Contextualizer, words: list[str], progress: bool | None) -> Floats:
    given: list[Text] = [[word] for word in words]
    if model.config.layers:
        docs = model.contextualize(given, progress=progress)
    else:
        docs = model.static_vectors(given)
    vectors: Floats = unit(docs.vectors)
    return vectors


def _occurrence(docs: Any, row: int, cosines: Floats) -> Neighbour:
    text = int(np.searchsorted(docs.offsets, row, side="right")) - 1
    start, end = docs.spans[row].tolist()
    return Neighbour(docs.texts[text][start:end], float(cosines[row]), text, (start, end))
