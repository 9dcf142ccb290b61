"""Primitives for torch on a CPU whose results do not depend on the batch.

Linear maps go through oneDNN with weights that are packed once (``mkldnn._linear_pointwise``): it
keeps the bits whatever the number of rows from 16 on, so fewer rows are filled up, and in float32
it is faster than ``F.linear``. These operators are internal to torch: they are probed once, and
without them products run in blocks of one fixed number of rows, as in ``numpy_blocks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

from polyseme.encoder import Activation, EncoderConfig, Operations, activate, plain_operations

Tensor = Any
Linear = Callable[[Tensor], Tensor]

LEAST_ROWS = 16
BLOCK_ROWS = 64
ALIGNED = 16
"""Elements; MKL rounds by where a matrix starts, so sizes are filled up to multiples of these."""


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

    plain = plain_operations(parameters, config)
    return replace(plain, linear=linear, norm=norm, activate=activated, attend=attend)


def bias_name(weight_name: str) -> str:
    """The bias that stands beside a weight."""
    return weight_name.removesuffix(".weight") + ".bias"


def activated(states: Tensor, activation: Activation) -> Tensor:
    """The activation by kernels that compute every element alike.

    Torch's own loops hand what does not fill a vector to scalar code, which rounds otherwise, and
    where that happens depends on the batch. ReLU does not round; the GELU of oneDNN and torch's
    ``exp``, ``tanh`` and ``erf`` have no such end.
    """
    if activation == "relu":
        return F.relu(states)
    if activation == "gelu" and has_packed_linear(states.dtype):
        return F.gelu(states)
    wide = states.float() if states.dtype.itemsize < 4 else states
    if activation == "gelu":
        result = 0.5 * wide * (1 + torch.erf(wide * math.sqrt(0.5)))
    else:
        result = activate(wide, activation)
    return result.to(states.dtype)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """``attention.attend_heads`` by torch's fused kernel.

    Each thread of the kernel works on up to 32 or more queries in a part of one buffer. A text's
    place among the threads would show in the result where such a part, or a head, is not aligned;
    so short texts get more queries, and odd heads more zeros, which are cut off again.
    """
    n, head_dim = query.shape[-2], query.shape[-1] // heads
    if mask is not None and bias is not None:
        bias = torch.where(mask, bias, -math.inf)
    query, key, value = (
        array.unflatten(-1, (heads, head_dim)).transpose(-2, -3) for array in (query, key, value)
    )
    visible = mask if bias is None else bias.to(query.dtype)
    more_queries = -n % ALIGNED if n < 2 * ALIGNED else 0
    more_width = -head_dim % ALIGNED
    if more_width:
        key, value = F.pad(key, (0, more_width)), F.pad(value, (0, more_width))
    if more_width or more_queries:
        query = F.pad(query, (0, more_width, 0, more_queries))
    if visible is not None:
        # Four axes: with three, torch leaves its fused kernel for one that depends on the batch.
        visible = F.pad(visible, (0, 0, 0, more_queries))[(None,) * (4 - visible.ndim)]
    texts = query.shape[0]
    if texts * heads == 1:
        # A single task would run outside torch's threads, where MKL starts its own and rounds
        # otherwise; so a lone text with one head runs twice.
        query, key, value = (array.expand(2, -1, -1, -1) for array in (query, key, value))
    mixed = F.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, scale=1 / math.sqrt(head_dim)
    )
    return mixed[:texts, :, :n, :head_dim].transpose(-2, -3).flatten(-2)


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
    width_out, width_in = weight.shape
    fill_in = -width_in % ALIGNED
    filled_weight = F.pad(weight, (0, fill_in, 0, -width_out % ALIGNED))

    def linear(states: Tensor) -> Tensor:
        rows = states.shape[0]
        filled = F.pad(states, (0, fill_in, 0, -rows % BLOCK_ROWS))
        blocks = [F.linear(block, filled_weight) for block in filled.split(BLOCK_ROWS)]
        mapped = torch.cat(blocks)[:rows, :width_out]
        return mapped if bias is None else mapped + bias

    return linear
