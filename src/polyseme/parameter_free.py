"""Rung 1: parameter-free attention over the words of packed texts.

A word's static vector is the mean of its pieces' rows. Then every word becomes the weighted sum of
its text's words (``attention.self_attend``); nothing is learned, so the weights are the whole
explanation. Texts of equal length are computed together, without padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, is_torch_array

from polyseme.attention import self_attend_unchecked
from polyseme.execution.threads import side_by_side
from polyseme.packed import Packed, by_length, index_of, rows_of, take

if TYPE_CHECKING:
    from polyseme.vectors import WordVectors

Array = Any
Integers = npt.NDArray[np.int64]

_ROWS_AT_ONCE = 2048
"""Words of a step: enough to be worth a step's calls, few enough for a shared cache."""


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
        >>> log_prior(np.asarray([0.0, 0.001, 0.05])).astype(float).round(2).tolist()
        [0.0, -0.69, -3.93]
    """
    return np.log(smoothing / (smoothing + probabilities)).astype(np.float32)


def prior_of(vectors: WordVectors | None, frequency: str) -> npt.NDArray[np.float32]:
    """``log_prior`` of every row of a table of word vectors.

    Args:
        vectors: with their words, the most frequent first.
        frequency: "rank" by Zipf's law, "counts" as the file has them.

    Raises:
        ValueError: another frequency, or vectors that don't have it.
    """
    if vectors is None:
        raise ValueError(
            f"frequency is {frequency!r}: only models over word vectors have it; use 'model'"
        )
    words = len(vectors.words)
    if frequency == "rank":
        counts = 1 / np.arange(1, words + 1)
    elif frequency != "counts":
        raise ValueError(f"frequency is {frequency!r}: use 'model', 'rank', 'counts' or None")
    elif vectors.counts is None:
        raise ValueError("frequency is 'counts', but these word vectors come without counts")
    else:
        counts = vectors.counts.astype(np.float64)
    probabilities = np.zeros(len(vectors.table))
    probabilities[:words] = counts / counts.sum()
    return log_prior(probabilities)


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
    if is_torch_array(values) and values.device.type == "cpu":
        return _by_numpy(words, settings, known=known, log_prior=log_prior, record=record)
    xp = array_namespace(values)
    mixed = xp.empty_like(values)

    def attend(step: tuple[int, Integers]) -> None:
        n, texts = step
        rows = rows_of(words.offsets, texts)
        seen = known[rows]
        mask = None if seen.all() else index_of(values, seen.reshape(len(texts), 1, n))
        prior = None
        if log_prior is not None:
            prior = xp.reshape(take(log_prior, rows), (len(texts), n))
        result = self_attend_unchecked(
            xp.reshape(take(values, rows), (len(texts), n, values.shape[-1])),
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

    each = side_by_side if isinstance(values, np.ndarray) and record is None else map
    list(each(attend, list(_steps(words.lengths))))
    return Packed(mixed, words.offsets)


def _steps(lengths: Integers) -> Iterator[tuple[int, Integers]]:
    """Texts of equal length, so many that they have about ``_ROWS_AT_ONCE`` words together."""
    for n, texts in by_length(lengths):
        at_once = max(1, _ROWS_AT_ONCE // max(1, n))
        for first in range(0, len(texts) if n else 0, at_once):
            yield n, texts[first : first + at_once]


def _by_numpy(
    words: Packed,
    settings: ParameterFree,
    *,
    known: npt.NDArray[np.bool_],
    log_prior: Array | None,
    record: list[Array] | None,
) -> Packed:
    """``contextualize_packed`` of torch tensors on a CPU.

    Torch's batched products round by the number of texts in a batch; NumPy's do not.
    """
    import torch

    def host(array: Array) -> npt.NDArray[Any]:
        tensor = torch.as_tensor(array).detach()
        return np.asarray(tensor.float() if tensor.dtype.itemsize < 4 else tensor)

    weights: list[Array] | None = None if record is None else []
    mixed = contextualize_packed(
        Packed(host(words.values), words.offsets),
        settings,
        known=known,
        log_prior=None if log_prior is None else host(log_prior),
        record=weights,
    )
    if record is not None:
        record += [torch.from_numpy(array) for array in weights or ()]
    return Packed(torch.from_numpy(mixed.values).to(words.values.dtype), words.offsets)
