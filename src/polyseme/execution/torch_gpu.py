"""Primitives for torch on a GPU, for inference: few kernels, and no waiting for the host.

In half precision all texts of a step attend at once, packed as they are, by the variable-length
form of flash attention (Dao 2023, https://arxiv.org/abs/2307.08691) that torch has from 2.10 on.
Where it is missing or gives something else, and in float32, texts are filled up to multiples of 32
tokens and attend in groups by torch's padded kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

from polyseme.encoder import EncoderConfig
from polyseme.execution import torch_eager
from polyseme.operations import Lengths, Operations
from polyseme.packed import index_of, offsets_of

Tensor = Any

TOKENS = 32
"""Texts are filled up to multiples of these where they attend in groups: few kernels to start."""


def operations(parameters: Mapping[str, Tensor], config: EncoderConfig) -> Operations:
    """Primitives over torch parameters on one device."""
    plain = torch_eager.operations(parameters, config)
    joined = {}
    for i in range(config.layers):
        names = tuple(f"layers.{i}.attention.{part}" for part in ("query", "key", "value"))
        joined[names] = torch_eager.stacked(parameters, names)

    def linears(states: Tensor, names: Sequence[str]) -> Sequence[Tensor]:
        weight, bias = joined[tuple(names)]
        parts: Sequence[Tensor] = F.linear(states, weight, bias).chunk(len(names), dim=-1)
        return parts

    table = parameters["embeddings.tokens"]
    packs = (
        config.layers > 0
        and config.relative_buckets == 0
        and has_packed_attention(table.device, table.dtype, config.hidden_size // config.heads)
    )
    return replace(
        plain,
        linears=linears,
        rows=lambda rows: rows,
        lengths=lambda lengths: -(-lengths // TOKENS) * TOKENS,
        packing=(lambda lengths, filling: packing_of(lengths, filling, table)) if packs else None,
        attend_packed=attend_packed,
    )


def packing_of(lengths: Lengths, filling: int, like: Tensor) -> tuple[Tensor, int]:
    """Where each text starts and the last one ends, (texts + 1,) int32, and the longest's tokens.

    Args:
        lengths: (texts,)
        filling: rows behind those of the texts, which attend as one more text.
        like: a tensor of the device.
    """
    packed = np.append(lengths, filling) if filling else lengths
    return index_of(like, offsets_of(packed).astype(np.int32)), int(packed.max(initial=0))


def attend_packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    heads: int,
    packing: tuple[Tensor, int],
    window: int | None = None,
) -> Tensor:
    """Attention of packed rows, each text's within itself, in one kernel.

    Args:
        query: (T, d), half precision.
        key: (T, d).
        value: (T, d).
        heads: that divide d.
        packing: ``packing_of`` the texts.
        window: how far a token sees to each side; None for all of its text.

    Returns:
        (T, d)
    """
    query, key, value = (array.unflatten(-1, (heads, -1)) for array in (query, key, value))
    far = -1 if window is None else window
    return _varlen((query, key, value), *packing, (far, far)).flatten(-2)


def _varlen(
    states: tuple[Tensor, Tensor, Tensor], edges: Tensor, longest: int, window: tuple[int, int]
) -> Tensor:
    """Torch's kernel on (T, heads, head_dim) queries, keys and values."""
    from torch.nn.attention.varlen import varlen_attn

    # One split: how a text's keys are divided must not depend on the longest text of the step.
    return varlen_attn(*states, edges, edges, longest, longest, window_size=window, num_splits=1)


@lru_cache(maxsize=8)
def has_packed_attention(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether torch has the kernel for this device, and it computes what it should."""
    if dtype not in (torch.float16, torch.bfloat16):
        return False
    generator = torch.Generator().manual_seed(0)
    lengths = np.asarray([5, 1, 40])
    query, key, value = (
        torch.randn(46, 2 * head_dim, generator=generator).to(device, dtype) for _ in range(3)
    )
    packing = packing_of(lengths, 0, query)
    for window in (None, 4):
        try:
            found = attend_packed(query, key, value, heads=2, packing=packing, window=window)
        except (AttributeError, ImportError, NotImplementedError, RuntimeError, TypeError):
            return False
        for start, stop in pairwise(offsets_of(lengths).tolist()):
            own = (array[None, start:stop].float() for array in (query, key, value))
            index = torch.arange(stop - start, device=device)
            near = (index[:, None] - index).abs() <= (40 if window is None else window)
            wanted = torch_eager.attend(*own, heads=2, mask=near)
            if not torch.allclose(found[start:stop].float(), wanted[0], rtol=0.05, atol=0.05):
                return False
    return True
