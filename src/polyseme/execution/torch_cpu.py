"""Primitives for torch on a CPU whose results do not depend on the batch.

Linear maps go through oneDNN with weights that are packed once (``mkldnn._linear_pointwise``): it
keeps the bits whatever the number of rows from 16 on, so fewer rows are filled up, and in float32
it is faster than ``F.linear``. These operators are internal to torch: they are probed once, and
without them products run in blocks of one fixed number of rows, as in ``numpy_blocks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

from polyseme.encoder import Activation, EncoderConfig, Operations, activate

Tensor = Any
Linear = Callable[[Tensor], Tensor]

LEAST_ROWS = 16
BLOCK_ROWS = 64


def operations(parameters: Mapping[str, Tensor], config: EncoderConfig) -> Operations:
    """Primitives over torch parameters on the CPU, for inference."""
    dtype = parameters["embeddings.tokens"].dtype
    make = _packed_linear if has_packed_linear(dtype) else _blocked_linear
    linears = {
        name.removesuffix(".weight"): make(weight, parameters.get(bias_name(name)))
        for name, weight in parameters.items()
        if name.endswith(".weight") and weight.ndim == 2
    }

    def linear(states: Tensor, name: str) -> Tensor:
        return linears[name](states)

    def norm(states: Tensor, name: str) -> Tensor:
        return F.layer_norm(
            states,
            states.shape[-1:],
            parameters[f"{name}.weight"],
            parameters.get(f"{name}.bias"),
            config.norm_epsilon,
        )

    return Operations(linear, norm, activated, attend)


def bias_name(weight_name: str) -> str:
    """The bias that stands beside a weight."""
    return weight_name.removesuffix(".weight") + ".bias"


def activated(states: Tensor, activation: Activation) -> Tensor:
    """The activation by torch's own kernels."""
    if activation == "gelu_tanh":
        return F.gelu(states, approximate="tanh")
    if activation == "relu":
        return F.relu(states)
    if activation == "silu":
        return F.silu(states)
    return activate(states, activation)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """``attention.attend_heads`` by torch's fused kernel."""
    if mask is not None and bias is not None:
        bias = torch.where(mask, bias, -math.inf)
    query, key, value = (
        array.unflatten(-1, (heads, array.shape[-1] // heads)).transpose(-2, -3)
        for array in (query, key, value)
    )
    visible = mask if bias is None else bias.to(query.dtype)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    return mixed.transpose(-2, -3).flatten(-2)


@lru_cache(maxsize=8)
def has_packed_linear(dtype: torch.dtype) -> bool:
    """Whether this torch has the oneDNN operators and they compute what they should."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, states = (
        torch.randn(*shape, generator=generator).to(dtype)
        for shape in ((24, 16), (24,), (LEAST_ROWS, 16))
    )
    try:
        result = _packed_linear(weight, bias)(states)
    except (AttributeError, RuntimeError, TypeError):
        return False
    tolerance = 64 * torch.finfo(dtype).eps
    expected = F.linear(states, weight, bias)
    return bool(torch.allclose(result, expected, rtol=tolerance, atol=tolerance))


def _packed_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)

    def linear(states: Tensor) -> Tensor:
        rows = states.shape[0]
        if rows < LEAST_ROWS:
            states = F.pad(states, (0, 0, 0, LEAST_ROWS - rows))
        mapped = torch.ops.mkldnn._linear_pointwise(states, packed, bias, "none", [], "")
        return mapped[:rows]

    return linear


def _blocked_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    def linear(states: Tensor) -> Tensor:
        rows = states.shape[0]
        filled = F.pad(states, (0, 0, 0, -rows % BLOCK_ROWS))
        blocks = [F.linear(block, weight, bias) for block in filled.split(BLOCK_ROWS)]
        return torch.cat(blocks)[:rows]

    return linear
