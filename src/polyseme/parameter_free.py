"""Rung 1: parameter-free attention over the words of packed texts.

A word's static vector is the mean of its pieces' rows. Then every word becomes the weighted sum of
its text's words (``attention.self_attend``); nothing is learned, so the weights are the whole
explanation. Texts of equal length are computed together, without padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace

from polyseme.attention import self_attend_unchecked
from polyseme.packed import Packed, by_length, index_of, rows_of, take

Array = Any

_ROWS_AT_ONCE = 256
"""Words of a step: few enough that a step's arrays stay in a core's cache."""


@dataclass(frozen=True)
class ParameterFree:
    """Settings of parameter-free attention; ``attention.self_attend`` says more of each.

    Attributes:
        temperature: what dot products are divided by; lower is sharper.
        normalize: compare unit vectors.
        include_self: may a word attend to itself?
        own_similarity: what a word's dot product with itself is taken for; None: as it is.
    """

    temperature: float = 0.4
    normalize: bool = True
    include_self: bool = True
    own_similarity: float | None = 0.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}: it must be above 0")


def log_prior(
    probabilities: npt.NDArray[np.float64], smoothing: float = 1e-3
) -> npt.NDArray[np.float32]:
    """Logarithm of the frequency weights a / (a + p): near 0 for rare words.

    The smooth inverse frequency of Arora et al. 2017 (https://openreview.net/forum?id=SyK00v5xx).

    Args:
        probabilities: (n,) how likely each word is in running text.
        smoothing: a.

    Returns:
        (n,) float32.

    Example:
        >>> log_prior(np.asarray([0.0, 0.001, 0.05])).round(2).tolist()
        [0.0, -0.69, -3.93]
    """
    return np.log(smoothing / (smoothing + probabilities)).astype(np.float32)


def contextualize_packed(
    words: Packed,
    settings: ParameterFree,
    *,
    known: npt.NDArray[np.bool_],
    log_prior: Array | None = None,
    record: list[Array] | None = None,
) -> Packed:
    """Parameter-free attention within each text.

    An unknown word has nothing to offer, so it is hidden as a key; as a query it is as far from
    every word as from any other, and becomes the mean of its context. A text without any known
    word stays zero.

    Args:
        words: (n_words, d) static vectors; zero rows for unknown words.
        settings: temperature and the like.
        known: (n_words,) whether a word has a vector.
        log_prior: (n_words,) logarithm of each word's frequency weight.
        record: filled with weights (n_texts, n, n); needs texts of one length.

    Returns:
        (n_words, d) with the same offsets.
    """
    values = words.values
    if not len(values):
        return words
    xp = array_namespace(values)
    mixed = xp.empty_like(values)
    for n, texts in by_length(words.lengths):
        if n == 0:
            continue
        at_once = max(1, _ROWS_AT_ONCE // n)
        for first in range(0, len(texts), at_once):
            rows = rows_of(words.offsets, texts[first : first + at_once])
            shape = (len(rows) // n, n)
            seen = known[rows]
            mask = None
            if not seen.all():
                mask = index_of(values, seen.reshape(shape[0], 1, n))
            prior = None if log_prior is None else xp.reshape(take(log_prior, rows), shape)
            result = self_attend_unchecked(
                xp.reshape(take(values, rows), (*shape, values.shape[-1])),
                temperature=settings.temperature,
                normalize=settings.normalize,
                include_self=settings.include_self,
                own_similarity=settings.own_similarity,
                log_prior=prior,
                mask=mask,
                return_weights=record is not None,
            )
            if record is not None:
                result, weights = result
                record.append(weights)
            mixed[index_of(values, rows)] = xp.reshape(result, (len(rows), values.shape[-1]))
    return Packed(mixed, words.offsets)
