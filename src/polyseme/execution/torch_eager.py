"""Primitives for torch on any device, with gradients: what training runs on.

The same functions as the plain ones, each as one operation of torch where that has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

from polyseme.encoder import EncoderConfig
from polyseme.operations import Activation, Operations, one_after_the_other, operations_of

Tensor = Any

_ACTIVATIONS: dict[str, Any] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


def operations(parameters: Mapping[str, Tensor], config: EncoderConfig) -> Operations:
    """Primitives over torch parameters."""

    def linear(states: Tensor, name: str) -> Tensor:
        return F.linear(states, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))

    return operations_of(
        linear,
        norm_of(parameters, config),
        activated,
        attend,
        each=one_after_the_other,
        rows=rows_of_step,
    )


def norm_of(
    parameters: Mapping[str, Tensor], config: EncoderConfig
) -> Callable[[Tensor, str], Tensor]:
    """Layer norm of states by a parameter's name."""

    def norm(states: Tensor, name: str) -> Tensor:
        return F.layer_norm(
            states,
            states.shape[-1:],
            parameters[f"{name}.weight"],
            parameters.get(f"{name}.bias"),
            config.norm_epsilon,
        )

    return norm


def stacked(parameters: Mapping[str, Tensor], names: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Several maps as one: weights and biases below each other; no bias is a bias of zeros."""
    weights = [parameters[f"{name}.weight"] for name in names]
    biases = [parameters.get(f"{name}.bias") for name in names]
    if all(bias is None for bias in biases):
        return torch.cat(weights), None
    filled = [
        weight.new_zeros(len(weight)) if bias is None else bias
        for weight, bias in zip(weights, biases, strict=True)
    ]
    return torch.cat(weights), torch.cat(filled)


def bias_name(weight_name: str) -> str:
    """The bias that stands beside a weight."""
    return weight_name.removesuffix(".weight") + ".bias"


def rows_of_step(rows: int) -> int:
    """Fill a step up to a multiple of 256 rows, as ``torch_cpu`` does, and for its reason."""
    return -(-rows // 256) * 256


def activated(states: Tensor, activation: Activation) -> Tensor:
    """The activation, elementwise."""
    return _ACTIVATIONS[activation](states)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """``attention.attend_heads``, on a GPU by torch's own kernel.

    On a CPU the gradient of that kernel takes three times as long as those of the products and of
    the softmax by themselves; and in bfloat16 oneDNN would compile the products for every shape.
    """
    query, key, value = (
        array.unflatten(-1, (heads, -1)).transpose(-2, -3) for array in (query, key, value)
    )
    visible = mask
    if bias is not None:
        visible = bias if mask is None else torch.where(mask, bias, -math.inf)
        visible = visible.to(query.dtype)
    if query.device.type == "cpu":
        mixed = _attend_on_cpu(query, key, value, visible)
    else:
        if visible is not None:
            visible = visible[(None,) * (4 - visible.ndim)]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    return mixed.transpose(-2, -3).flatten(-2)


def _attend_on_cpu(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    dtype = query.dtype
    with torch.autocast("cpu", enabled=False):
        wide = torch.promote_types(dtype, torch.float32)
        query, key, value = (array.to(wide) for array in (query, key, value))
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if visible is not None and visible.dtype == torch.bool:
            scores = scores.masked_fill(~visible, -math.inf)
        elif visible is not None:
            scores = scores + visible
        return (torch.softmax(scores, dim=-1) @ value).to(dtype)
