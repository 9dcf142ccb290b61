"""Attention of long texts on torch by its own kernel, which never holds all scores.

The kernel keeps a running softmax of a block of keys at a time (Milakov and Gimelshein 2018,
https://arxiv.org/abs/1805.02867; Dao et al. 2022, https://arxiv.org/abs/2205.14135).
"""

from __future__ import annotations

import math
from typing import Any

import torch

Tensor = Any

LEAST_SCORES = 1 << 14
"""Of a text for which the kernel is quicker than its definition."""

_LARGE = 1e37
_DEVICES = ("cpu", "cuda")


def fits(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    bias: Tensor | None,
    mask: Tensor | None,
    causal: bool,
) -> bool:
    """Whether the kernel takes these, and gives what is defined.

    For what it does not take, torch would compute all scores at once. And scores of a word that all
    overflow to minus infinity would pass for a word that sees nothing.
    """
    if query.shape[-2] * key.shape[-2] < LEAST_SCORES or value.device.type not in _DEVICES:
        return False
    if value.shape[-1] != query.shape[-1] or (causal and not (bias is None and mask is None)):
        return False
    if bias is not None and bias.requires_grad:
        return False
    if value.device.type == "cuda" and (value.dtype != torch.float32 or value.shape[-1] % 8):
        return False
    most = abs(scale) * float(_longest(query) * _longest(key))
    if bias is not None:
        most += float(bias.detach().abs().max())
    return most < _LARGE


def _longest(vectors: Tensor) -> Tensor:
    return vectors.detach().norm(dim=-1).max()


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    bias: Tensor | None,
    mask: Tensor | None,
    causal: bool,
) -> Tensor:
    """``attention.attend_unchecked`` of (..., n, d) queries and (..., m, d) keys and values."""
    visible = mask
    if bias is not None:
        visible = bias.to(query.dtype)
        if mask is not None:
            visible = torch.where(mask, visible, -math.inf)
    given = (query, key, value) if visible is None else (query, key, value, visible)
    leading = torch.broadcast_shapes(*(array.shape[:-2] for array in given))
    query, key, value = (_one_axis(array, leading) for array in (query, key, value))
    if visible is not None:
        # A mask of keys stays one row: torch reads it for all queries.
        visible = (
            visible[(None,) * (4 - visible.ndim)]
            if visible.ndim < 3
            else _one_axis(visible, leading)
        )
    mixed = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, is_causal=causal, scale=scale
    )
    return mixed.reshape(*leading, *mixed.shape[-2:])


def _one_axis(array: Tensor, leading: tuple[int, ...]) -> Tensor:
    """(..., n, d) as (1, all leading axes, n, d)."""
    return array.expand(*leading, *array.shape[-2:]).reshape(1, -1, *array.shape[-2:])
