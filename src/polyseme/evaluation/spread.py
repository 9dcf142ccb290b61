"""Spread: do the words of a text keep vectors of their own?

A model that puts much of the text's meaning into each word tells senses apart well, until all words
of a text have the same vector. Two measures say how far it went, both without any labels:

- mean cosine between the vectors of different words of one text (the self-similarity of a sentence,
  Ethayarajh 2019, https://arxiv.org/abs/1909.00512, section 4.2): the mean over the pairs of each
  text, then over texts;
- how often a word's nearest vector among all words of all texts is another use of the same word,
  and how often it is a different word of its own text.

Words are the same if they are equal without regard to case. Words that the model has no piece of
are left out. The nearest vectors are found for words with a letter or digit that occur twice or
more; every word may be the nearest. Of equally near ones, each counts its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.evaluation.models import Evaluated, Floats, Integers

# Above what rounding makes of equal cosines in float32.
_SAME = 1e-6
# Cosines that are held at a time: 32 MB.
_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class SpreadResult:
    """The result.

    Attributes:
        model: its name.
        rung: its rung.
        texts: how many.
        words: how many they have together.
        cosine: mean between different words of one text.
        repeated: words whose nearest vector was looked for.
        same_word: share of them whose nearest vector is another use of the word.
        own_text: share of them whose nearest vector is a different word of their own text.
    """

    model: str
    rung: str
    texts: int
    words: int
    cosine: float
    repeated: int
    same_word: float
    own_text: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"task": "spread", **vars(self)}


def evaluate(
    model: Evaluated, texts: Sequence[str], *, progress: bool | None = False
) -> SpreadResult:
    """Measure how far a model's vectors of one text are apart.

    Args:
        model: of any rung.
        texts: two or more, such as ``passages.choose`` gives.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The same numbers at every run; nan has no place in them: what can't be measured is 0.
    """
    docs = model.contextualize(list(texts), progress=progress)
    words = [word.casefold() for doc in docs for word in doc.words]
    text_of = np.repeat(np.arange(len(docs)), np.diff(docs.offsets))[docs.known]
    kept = [word for word, known in zip(words, docs.known.tolist(), strict=True) if known]
    vectors = unit(docs.vectors[docs.known])
    types, type_of = np.unique(np.asarray(kept, dtype=object), return_inverse=True)
    spoken = np.asarray([any(map(str.isalnum, word)) for word in types], dtype=bool)
    repeated = np.flatnonzero((np.bincount(type_of) > 1)[type_of] & spoken[type_of])
    same_word, own_text = nearest_shares(vectors, repeated, type_of, text_of)
    return SpreadResult(
        model.name,
        model.rung,
        len(docs),
        len(words),
        mean_cosine(vectors, type_of, text_of),
        len(repeated),
        same_word,
        own_text,
    )


def mean_cosine(vectors: Floats, type_of: Integers, text_of: Integers) -> float:
    """Mean over texts of the mean cosine between vectors of different words of the text.

    Args:
        vectors: (n, dim) of length one.
        type_of: (n,) which word each is a use of.
        text_of: (n,) which text each stands in, ascending.

    Example:
        >>> vectors = np.asarray([[1, 0], [1, 0], [0, 1]], np.float32)
        >>> mean_cosine(vectors, np.asarray([0, 1, 2]), np.asarray([0, 0, 0])).__round__(3)
        0.333
    """
    means = []
    for text in np.unique(text_of):
        own = text_of == text
        rows = vectors[own].astype(np.float64)
        different = type_of[own][:, None] != type_of[own]
        if different.any():
            means.append(float((rows @ rows.T)[different].mean()))
    return float(np.mean(means)) if means else 0.0


def nearest_shares(
    vectors: Floats, rows: Integers, type_of: Integers, text_of: Integers
) -> tuple[float, float]:
    """How often the nearest other vector is of the same word, and of a different one of the text.

    Args:
        vectors: (n, dim) of length one.
        rows: (k,) those whose nearest is looked for.
        type_of: (n,) which word each is a use of.
        text_of: (n,) which text each stands in.

    Returns:
        Two shares of ``rows``; 0 if there are none.
    """
    if not len(rows):
        return 0.0, 0.0
    block = max(1, _AT_ONCE // len(vectors))
    same = own = 0.0
    for start in range(0, len(rows), block):
        here = rows[start : start + block]
        cosines = vectors[here] @ vectors.T
        cosines[np.arange(len(here)), here] = -np.inf
        at, found = np.nonzero(cosines >= cosines.max(axis=1, keepdims=True) - _SAME)
        share: npt.NDArray[np.float64] = 1 / np.bincount(at, minlength=len(here))[at]
        alike = type_of[here][at] == type_of[found]
        same += float(share[alike].sum())
        own += float(share[~alike & (text_of[here][at] == text_of[found])].sum())
    return same / len(rows), own / len(rows)
