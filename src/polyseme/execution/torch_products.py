"""Attention of short texts in bfloat16 on a CPU, by two batched products.

Torch's fused kernel calls for a product for each head of a text. For short texts, two of oneDNN's
batched products with a softmax in float32 between them take half of that time, where oneDNN has
them (``has_products``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

from polyseme.encoder import EncoderConfig
from polyseme.operations import Lengths
from polyseme.packed import by_length, offsets_of

Tensor = Any

SHORT = 128
"""Tokens of a text up to which two products take less time than torch's fused attention."""

TEXTS = 8
"""More texts are filled up to multiples of these: oneDNN keeps what it compiles for each number."""

TOKENS = 16
"""Texts are filled up to multiples of these: what does not fill a vector goes to scalar code."""

_SCORES_AT_ONCE = 1 << 20


class Packing:
    """A step of short texts, in groups that attend at once, and how its rows come there and back.

    A group holds the heads of texts that are filled up to the same length, one after the other, so
    that each head of a text is a matrix of its own; one gather brings queries, keys and values of
    all groups there, another brings what they become back.

    Args:
        lengths: (texts,) tokens of each, 1 to ``SHORT``.
        filling: rows behind those of the texts, which get what any row gets.
        heads: of a layer.

    Attributes:
        groups: of each the matrices, their rows, and what hides the filling: (texts, 1, 1, n)
            float32, 0 or minus infinity; None if there is no filling.
        there: rows of head_dim numbers to gather, of queries, keys and values.
        back: (T * heads,) where each head of each row is.
    """

    def __init__(self, lengths: Lengths, filling: int, heads: int) -> None:
        self.groups: list[tuple[int, int, Tensor | None]] = []
        starts = offsets_of(lengths)
        head = np.arange(heads)[:, None]
        there, place = [], 0
        back = np.zeros((int(starts[-1]) + filling, heads), np.int64)
        for n, of_length in by_length(filled(lengths)):
            at_once = max(1, _SCORES_AT_ONCE // (heads * n * n))
            for first in range(0, len(of_length), at_once):
                texts = of_length[first : first + at_once]
                count = len(texts)
                many = -(-count // TEXTS) * TEXTS if count > TEXTS else count
                own = lengths[texts][:, None]
                inside = np.arange(n)
                rows = np.zeros((many, n), np.int64)
                rows[:count] = starts[texts][:, None] + np.minimum(inside, own - 1)
                there.append((rows[:, None, :] * (3 * heads) + head).ravel())
                text, token = np.nonzero(inside < own)
                back[rows[text, token]] = (
                    place + (text[:, None] * heads + head.T) * n + token[:, None]
                )
                hidden = None
                if len(text) < count * n:
                    scores = np.zeros((many, 1, 1, n), np.float32)
                    scores[:count, 0, 0][inside >= own] = -np.inf
                    hidden = torch.from_numpy(scores)
                self.groups.append((many * heads, n, hidden))
                place += many * heads * n
        one = np.concatenate(there)
        self.there = torch.from_numpy(np.concatenate([one, one + heads, one + 2 * heads]))
        self.back = torch.from_numpy(back.ravel())


def filled(lengths: Lengths) -> Lengths:
    """Tokens that texts are filled up to, the same wherever they attend: it shows in the bits."""
    return -(-lengths // TOKENS) * TOKENS


def packing_of(config: EncoderConfig) -> Callable[[Lengths, int], Packing | None] | None:
    """What makes a ``Packing`` of a step, or None of one with long texts; None if nothing does."""
    if not config.layers or config.relative_buckets or config.local_window:
        return None
    if not has_products(config.heads, config.hidden_size // config.heads):
        return None

    def packing(lengths: Lengths, filling: int) -> Packing | None:
        return Packing(lengths, filling, config.heads) if lengths.max() <= SHORT else None

    return packing


def attend_packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    packing: Packing,
    window: int | None = None,
) -> Tensor:
    """Attention of packed rows, each text's within itself.

    Args:
        query: (T, d) bfloat16.
        key: (T, d).
        value: (T, d).
        heads: that divide d.
        packing: of the texts.
        window: None, as every token sees all of its text.

    Returns:
        (T, d)
    """
    width = query.shape[-1]
    head_dim = width // heads
    moved = _joined(query, key, value).view(-1, head_dim).index_select(0, packing.there)
    query, key, value = moved.chunk(3)
    mixed, place = torch.empty_like(query), 0
    for matrices, n, hidden in packing.groups:
        here = slice(place, place + matrices * n)
        q, k, v, into = (
            array[here].view(matrices, n, head_dim) for array in (query, key, value, mixed)
        )
        scores = _scores(q, k)
        if hidden is not None:
            scores.unflatten(0, (-1, heads)).add_(hidden)
        torch.bmm(scores.softmax(dim=-1).to(v.dtype), v, out=into)
        place = here.stop
    return mixed.index_select(0, packing.back).view(-1, width)


def attend_texts(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Of (texts, heads, n, head_dim) arrays; ``bias`` is added to the scores of these."""
    texts, heads = query.shape[:2]
    lacking = (0, 0, 0, 0, 0, 0, 0, -texts % TEXTS if texts > TEXTS else 0)
    query, key, value = (F.pad(array, lacking).flatten(0, 1) for array in (query, key, value))
    scores = _scores(query, key)
    if bias is not None:
        scores.unflatten(0, (-1, heads))[:texts].add_(bias)
    mixed = scores.softmax(dim=-1).to(value.dtype) @ value
    return mixed.unflatten(0, (-1, heads))[:texts]


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """Scaled dot products of matrices, in float32 for the softmax.

    In bfloat16 twice as many numbers fill a vector, and what does not goes to scalar code.
    """
    return (query @ key.transpose(-1, -2)).float().mul_(1 / math.sqrt(query.shape[-1]))


def _joined(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(T, 3 d) of (T, d) each; without a copy if they are the parts of such an array."""
    rows, width = query.shape
    size = width * query.element_size()
    beside = (
        query.stride() == key.stride() == value.stride() == (3 * width, 1)
        and key.data_ptr() == query.data_ptr() + size
        and value.data_ptr() == key.data_ptr() + size
    )
    if beside:
        return query.as_strided((rows, 3 * width), (3 * width, 1))
    return torch.cat((query, key, value), dim=-1)


@lru_cache(maxsize=8)
def has_products(heads: int, head_dim: int) -> bool:
    """Whether batched products in bfloat16 are oneDNN's, and one text's have the bits of many."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    if heads == 1 or head_dim % TOKENS or not supported():
        return False
    generator = torch.Generator().manual_seed(0)
    for n in range(TOKENS, SHORT + 1, TOKENS):
        shape = (TEXTS + 1, heads, n, head_dim)
        query, key, value = (torch.randn(shape, generator=generator).bfloat16() for _ in range(3))
        many = attend_texts(query, key, value, None)
        one = attend_texts(query[:1], key[:1], value[:1], None)
        if not torch.equal(many[:1], one):
            return False
    return True
