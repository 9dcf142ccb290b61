"""Attention on a CPU with torch, packed: few operations for all texts of a step.

Each text is filled up to a multiple of 16 tokens; a gather brings queries, keys and values to where
those of texts of one length are one array, another brings what they become back. There, texts
attend by torch's fused kernel. In bfloat16 that calls for a product for each head of a text; for
short texts, two of oneDNN's batched products with a softmax in float32 between them take half of
its time, where oneDNN has them (``has_products``).

Few operations matter in threads: at each of them one has to wait for the interpreter's lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

from polyseme.encoder import EncoderConfig
from polyseme.operations import Lengths
from polyseme.packed import by_length, offsets_of

Tensor = Any

SHORT = 128
"""Tokens of a text up to which two products take less time than torch's fused attention."""

SCORES = 1 << 18
"""That are computed at once by products, as many as stay in a processor's cache."""

ALIGNED = 16
"""Texts and heads are filled up to multiples of these: what does not fill a vector goes to scalar
code, and MKL rounds by where a matrix starts."""

_NO_BIAS = torch.zeros(1)


class Packing(Protocol):
    """A step's texts, and how they attend."""

    def __call__(self, joined: Tensor) -> Tensor:
        """(T, d) of the (T, 3 d) queries, keys and values of a layer."""


class Fused:
    """Texts of any length, those of one length at once by torch's kernel.

    Args:
        lengths: (texts,) rising.
        filling: rows behind those of the texts, which get what any row gets.
        heads: of a layer.
        dtype: of its states.
    """

    def __init__(self, lengths: Lengths, filling: int, heads: int, dtype: torch.dtype) -> None:
        starts = offsets_of(lengths)
        self._heads = heads
        self._shapes: list[tuple[int, int]] = []
        self._hidden: list[Tensor | None] = []
        self._there: list[Tensor] = []
        inside = []
        for n, texts in by_length(filled(lengths)):
            rows, own = _rows(starts, lengths, texts, n)
            self._there.append(torch.from_numpy(rows.ravel()))
            inside.append(own.ravel())
            self._shapes.append((len(texts), n))
            self._hidden.append(_hidden(own[:, None, None], dtype))
        back = np.flatnonzero(np.concatenate(inside))
        self._back = torch.from_numpy(np.append(back, np.zeros(filling, np.int64)))

    def __call__(self, joined: Tensor) -> Tensor:
        """(T, d) of the (T, 3 d) queries, keys and values of a layer."""
        width = joined.shape[-1] // 3
        mixed = []
        for rows, (texts, n), hidden in zip(self._there, self._shapes, self._hidden, strict=True):
            # For each length by itself: what is gathered is still in the cache when it attends.
            states = joined.index_select(0, rows).view(texts, n, 3, self._heads, -1)
            query, key, value = states.permute(2, 0, 3, 1, 4).unbind()
            found = attend_fused(query, key, value, hidden)
            mixed.append(found.transpose(-2, -3).reshape(-1, width))
        return _one(mixed).index_select(0, self._back)


class ByProducts:
    """Short texts, those of one length at once by two batched products.

    Each head of a text is a matrix of its own.

    Args:
        lengths: (texts,) rising, 1 to ``SHORT``.
        filling: rows behind those of the texts, which get what any row gets.
        heads: of a layer.
    """

    def __init__(self, lengths: Lengths, filling: int, heads: int) -> None:
        starts = offsets_of(lengths)
        head = np.arange(heads)[:, None]
        self._shapes: list[tuple[int, int]] = []
        self._hidden: list[Tensor | None] = []
        there, place = [], 0
        back = np.zeros((int(starts[-1]) + filling, heads), np.int64)
        for n, of_length in by_length(filled(lengths)):
            left = of_length
            for many in pieces(len(of_length), SCORES // (heads * n * n)):
                texts, left = left[:many], left[many:]
                count = len(texts)
                rows, own = np.zeros((many, n), np.int64), np.ones((many, n), np.bool_)
                rows[:count], own[:count] = _rows(starts, lengths, texts, n)
                there.append((rows[:, None, :] * (3 * heads) + head).ravel())
                text, token = np.nonzero(own[:count])
                back[rows[text, token]] = (
                    place + (text[:, None] * heads + head.T) * n + token[:, None]
                )
                self._shapes.append((many, n))
                self._hidden.append(_hidden(own[:, None, None], torch.float32))
                place += many * heads * n
        self._sizes = [texts * heads * n for texts, n in self._shapes]
        one = np.concatenate(there)
        self._there = torch.from_numpy(np.concatenate([one, one + heads, one + 2 * heads]))
        self._back = torch.from_numpy(back.ravel())
        self._heads = heads

    def __call__(self, joined: Tensor) -> Tensor:
        """(T, d) of the (T, 3 d) bfloat16 queries, keys and values of a layer."""
        rows, width = joined.shape[0], joined.shape[-1] // 3
        head_dim = width // self._heads
        moved = joined.view(-1, head_dim).index_select(0, self._there).view(3, -1, head_dim)
        parts = moved.split_with_sizes(self._sizes, 1)
        mixed = []
        for part, (texts, n), hidden in zip(parts, self._shapes, self._hidden, strict=True):
            query, key, value = part.view(3, texts, self._heads, n, head_dim).unbind()
            found = by_products(query, key, value, hidden)
            mixed.append(found.view(-1, head_dim))
        return _one(mixed).index_select(0, self._back).view(rows, width)


def packing_of(
    config: EncoderConfig, dtype: torch.dtype
) -> Callable[[Lengths, int], Packing | None] | None:
    """What makes the ``Packing`` of a step, or None of one whose texts attend in more than one way.

    None for an encoder whose texts never attend packed.
    """
    if not config.layers or config.relative_buckets or config.local_window:
        return None
    heads, head_dim = config.heads, config.hidden_size // config.heads

    def packing(lengths: Lengths, filling: int) -> Packing | None:
        sizes = set(filled(lengths).tolist())
        by_two = {attends_by_products(dtype, heads, head_dim, n) for n in sizes}
        if len(by_two) > 1:
            return None
        if by_two == {True}:
            return ByProducts(lengths, filling, heads)
        return Fused(lengths, filling, heads, dtype)

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
        query: (T, d)
        key: (T, d)
        value: (T, d)
        heads: those that the packing was made for.
        packing: of the texts.
        window: None, as every token sees all of its text.

    Returns:
        (T, d)
    """
    return packing(_joined(query, key, value))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """``attention.attend_heads`` of texts of one length, which is as ``filled`` makes it."""
    n, width = query.shape[-2:]
    query, key, value = (
        array.unflatten(-1, (heads, width // heads)).transpose(-2, -3)
        for array in (query, key, value)
    )
    if mask is not None and bias is not None:
        bias = torch.where(mask, bias, -math.inf)
    if attends_by_products(query.dtype, heads, width // heads, n):
        if mask is not None and bias is None:
            bias = torch.zeros(mask.shape).masked_fill_(~mask, -math.inf)
        mixed = attend_texts(query, key, value, bias)
        if mask is not None and not (seen := mask.any(-1, keepdim=True)).all():
            mixed = mixed.masked_fill(~seen, 0)
    else:
        mixed = attend_fused(query, key, value, mask if bias is None else bias.to(query.dtype))
    return mixed.transpose(-2, -3).flatten(-2)


def pieces(texts: int, most: int) -> Iterator[int]:
    """Cut texts into powers of four, the last perhaps with more than are left.

    For each number that it meets, oneDNN keeps half a megabyte.

    Args:
        texts: how many.
        most: that are computed at once; the power of two below is a number too.

    Example:
        >>> list(pieces(37, 16)), list(pieces(7, 16)), list(pieces(13, 9))
        ([16, 16, 4, 1], [4, 4], [8, 4, 1])
    """
    largest = 1 << max(0, most.bit_length() - 1)
    while texts > 0:
        size = 1
        while 3 * size <= texts:
            size *= 4
        yield min(size, largest)
        texts -= min(size, largest)


def attend_texts(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """``by_products``, of numbers of texts that oneDNN will meet again."""
    texts, heads, n, _ = query.shape
    sizes = list(pieces(texts, SCORES // (heads * n * n)))
    more = (0, 0, 0, 0, 0, 0, 0, sum(sizes) - texts)
    parts = [F.pad(array, more).split(sizes) for array in (query, key, value)]
    biases: Sequence[Tensor | None] = [bias] * len(sizes)
    if bias is not None and bias.ndim == query.ndim:
        biases = F.pad(bias, more).split(sizes)
    return _one(list(map(by_products, *parts, biases)))[:texts]


def by_products(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of (texts, heads, n, head_dim) in bfloat16; ``bias`` is added to the scores.

    Scaled dot products are float32 for the softmax: in bfloat16 twice as many numbers fill a
    vector, and what does not goes to scalar code.
    """
    scale = 1 / math.sqrt(query.shape[-1])
    scores = torch.add(_NO_BIAS if bias is None else bias, query @ key.mT, alpha=scale)
    return scores.softmax(dim=-1).to(value.dtype) @ value


def attend_fused(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    """By torch's kernel, of (texts, heads, n, head_dim); heads are filled up and cut again."""
    texts, heads, _, head_dim = query.shape
    lacking = -head_dim % ALIGNED
    if lacking:
        query, key, value = (F.pad(array, (0, lacking)) for array in (query, key, value))
    if visible is not None and visible.ndim < 4:
        # Four axes: with three, torch leaves its fused kernel for one that depends on the batch.
        visible = visible[(None,) * (4 - visible.ndim)]
    alone = texts * heads == 1
    if alone:
        # A single task would run outside torch's threads, where MKL starts its own and rounds
        # otherwise; so a lone text with one head runs twice.
        query, key, value = (array.expand(2, -1, -1, -1) for array in (query, key, value))
    mixed = F.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, scale=1 / math.sqrt(head_dim)
    )
    return mixed[:texts, ..., :head_dim] if alone or lacking else mixed


def filled(lengths: Lengths) -> Lengths:
    """Tokens that texts are filled up to, the same wherever they attend: it shows in the bits.

    Torch's kernel hands what does not fill a vector to scalar code, which takes more than twice as
    long; and its threads each work in a part of one buffer, where a text's place would show in the
    result if the parts were not aligned.
    """
    return -(-lengths // ALIGNED) * ALIGNED


def attends_by_products(dtype: torch.dtype, heads: int, head_dim: int, n: int) -> bool:
    """Whether texts of so many tokens attend by two products rather than by torch's kernel."""
    return dtype == torch.bfloat16 and n <= SHORT and has_products(heads, head_dim, n)


@lru_cache(maxsize=256)
def has_products(heads: int, head_dim: int, n: int) -> bool:
    """Whether batched products in bfloat16 are oneDNN's, and one text's have the bits of many.

    Asked of each length when it is met first, as what is compiled for an answer is kept.
    """
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    if heads == 1 or head_dim % ALIGNED or not supported():
        return False
    generator = torch.Generator().manual_seed(0)
    shape = (SCORES // (heads * n * n) + 1, heads, n, head_dim)
    query, key, value = (torch.randn(shape, generator=generator).bfloat16() for _ in range(3))
    many = attend_texts(query, key, value, None)
    one = attend_texts(query[:1], key[:1], value[:1], None)
    return bool(torch.equal(many[:1], one))


def _rows(
    starts: npt.NDArray[np.int64], lengths: Lengths, texts: Lengths, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows (texts, n) of texts filled up with their last token, and which are their own."""
    own = lengths[texts][:, None]
    inside = np.arange(n)
    return starts[texts][:, None] + np.minimum(inside, own - 1), inside < own


def _hidden(own: npt.NDArray[np.bool_], dtype: torch.dtype) -> Tensor | None:
    """What hides the filling when it is added to scores; None if there is no filling."""
    if own.all():
        return None
    hidden = torch.from_numpy(np.where(own, np.float32(0), np.float32(-np.inf)))
    return hidden if dtype == torch.float32 else hidden.to(dtype)


def _one(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


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
