"""Primitives for torch on a CPU whose results do not depend on the batch.

Linear maps go through oneDNN with weights that are packed once (``mkldnn._linear_pointwise``),
with the activation or the residual in the same pass. It keeps the bits whatever the number of rows
from 16 on (in half precision, from where a probe says), so fewer rows are filled up, and in float32
it is faster than ``F.linear``. These operators are internal to torch: they are probed once, and
without them products run in blocks of one fixed number of rows, as in ``numpy_blocks``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by

from polyseme.encoder import EncoderConfig
from polyseme.execution import torch_attention
from polyseme.execution.threads import LEAST_TOKENS
from polyseme.execution.torch_eager import bias_name, norm_of, stacked
from polyseme.operations import Activation, Operations, activate, one_after_the_other

Tensor = Any
Linear = Callable[..., Tensor]

_FUSED: dict[Any, str] = {"gelu": "none", "relu": ""}
"""Activations that the product applies itself, and what it calls their algorithm."""

LEAST_ROWS = 16
FEW_ROWS = 8
ROWS = 128
MOST_ROWS = 2048
BLOCK_ROWS = 64
ALIGNED = 16
"""Elements; MKL rounds by where a matrix starts, so sizes are filled up to multiples of these."""


def operations(
    parameters: Mapping[str, Tensor], config: EncoderConfig, dtype: torch.dtype
) -> Operations:
    """Primitives over torch parameters on the CPU, for inference.

    Args:
        parameters: of that dtype, but for the table, whose rows are brought to it as they are
            looked up, and a layer's weights, which are not kept.
        config: the encoder's shape.
        dtype: of the states.
    """
    packed = has_packed_linear(dtype)
    joined: dict[tuple[str, ...], Linear] = {}
    for i in range(config.layers):
        names = tuple(f"layers.{i}.attention.{part}" for part in ("query", "key", "value"))
        weight, bias = stacked(parameters, names)
        joined[names] = linear_of(weight.to(dtype), bias)
    inside = {name for names in joined for name in names}
    maps: dict[str, Linear] = {}
    for name, weight in parameters.items():
        own = name.removesuffix(".weight")
        if own != name and weight.ndim == 2 and own not in inside:
            maps[own] = linear_of(weight.to(dtype), parameters.get(bias_name(name)))

    def linear(states: Tensor, name: str) -> Tensor:
        return maps[name](states)

    def linears(states: Tensor, names: Sequence[str]) -> Sequence[Tensor]:
        parts: Sequence[Tensor] = joined[tuple(names)](states).chunk(len(names), dim=-1)
        return parts

    def linear_activated(states: Tensor, name: str, activation: Activation) -> Tensor:
        if packed and activation in _FUSED:
            return maps[name](states, activation=activation)
        return activated(maps[name](states), activation)

    def linear_added(states: Tensor, name: str, residual: Tensor) -> Tensor:
        if packed:
            return maps[name](states, residual=residual)
        return residual + maps[name](states)

    return Operations(
        linear,
        linears,
        linear_activated,
        linear_added,
        norm_of(parameters, config),
        activated,
        torch_attention.attend,
        side_by_side if packed else one_after_the_other,
        rows_of_step,
        torch_attention.filled,
        workers if packed else lambda tokens: 1,
        torch_attention.packing_of(config, dtype),
        torch_attention.attend_packed,
        lambda rows: rows.to(dtype),
    )


def workers(tokens: int) -> int:
    """Torch's threads, if there is enough for all of them."""
    threads = torch.get_num_threads()
    return threads if tokens >= threads * LEAST_TOKENS else 1


def side_by_side(run: Callable[[Any], Any], order: list[Any]) -> list[Any]:
    """The function's results for all steps, in order, each step in one thread.

    As many run at a time as torch has threads. The operations of a step are short, and threads that
    share each of them spend a third of their time waiting for each other.
    """
    threads = torch.get_num_threads()
    if threads < 2 or len(order) < threads:
        return one_after_the_other(run, order)

    def run_as_here(step: Any) -> Any:
        with torch.inference_mode(inference):
            return run(step)

    inference = torch.is_inference_mode_enabled()
    return list(_workers(threads).map(run_as_here, order))


@lru_cache(maxsize=1)
def _workers(threads: int) -> ThreadPoolExecutor:
    """So many threads, in each of which torch has one."""

    def start() -> None:
        # Until it is first asked, a thread would take what any thread has set last.
        torch.get_num_threads()
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(threads, "polyseme", start)
    started = Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(threads)
    return pool


if hasattr(os, "register_at_fork"):
    # A forked process has none of these threads.
    os.register_at_fork(after_in_child=_workers.cache_clear)


def rows_of_step(rows: int) -> int:
    """Fill a step up to a multiple of 128 rows, a small one to 16 or more, a multiple of 8.

    oneDNN compiles a kernel for each shape that it has not met, which takes longer than the
    product itself.
    """
    few = FEW_ROWS if rows <= ROWS else ROWS
    return max(LEAST_ROWS, -(-rows // few) * few)


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


@lru_cache(maxsize=8)
def has_packed_linear(dtype: torch.dtype) -> bool:
    """Whether this torch has the oneDNN operators and they compute what they should."""
    generator = torch.Generator().manual_seed(0)
    weight, bias, states, residual = (
        torch.randn(*shape, generator=generator).to(dtype)
        for shape in ((24, 16), (24,), (LEAST_ROWS, 16), (LEAST_ROWS, 24))
    )
    try:
        linear = _packed_linear(weight, bias)
        results = [linear(states, residual=residual)]
        results += [linear(states, activation=name) for name in _FUSED]
    except (AttributeError, RuntimeError, TypeError):
        return False
    mapped = F.linear(states.float(), weight.float(), bias.float())
    expected = [mapped + residual.float(), F.gelu(mapped), F.relu(mapped)]
    tolerance = 64 * torch.finfo(dtype).eps
    return all(
        torch.allclose(result.float(), wanted, rtol=tolerance, atol=tolerance)
        for result, wanted in zip(results, expected, strict=True)
    )


def linear_of(weight: Tensor, bias: Tensor | None) -> Linear:
    """The fastest product with a weight (out, in) whose rows do not depend on the batch."""
    make = _packed_linear if has_packed_linear(weight.dtype) else _blocked_linear
    return make(weight, bias)


def _packed_linear(weight: Tensor, bias: Tensor | None) -> Linear:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    operator = torch.ops.mkldnn._linear_pointwise
    least = LEAST_ROWS
    if weight.dtype.itemsize < 4:
        least = least_rows(*weight.shape, weight.dtype, torch.get_num_threads())

    def product(
        states: Tensor, *, activation: Activation | None = None, residual: Tensor | None = None
    ) -> Tensor:
        if residual is not None:
            return operator.binary(states, residual, packed, bias, "add")
        return operator(states, packed, bias, activation or "none", [], _FUSED.get(activation, ""))

    return in_parts(product, least)


def in_parts(product: Linear, least: int) -> Linear:
    """A product of at least so many rows and at most ``MOST_ROWS`` at a time."""

    def linear(states: Tensor, *, residual: Tensor | None = None, **options: Any) -> Tensor:
        rows = states.shape[0]
        if rows <= MOST_ROWS:
            lacking = (0, 0, 0, max(0, least - rows))
            if lacking[-1]:
                states = F.pad(states, lacking)
                residual = None if residual is None else F.pad(residual, lacking)
            found = product(states, residual=residual, **options)
            return found[:rows] if lacking[-1] else found
        parts = [slice(start, start + MOST_ROWS) for start in range(0, rows, MOST_ROWS)]
        return torch.cat(
            [
                linear(
                    states[part],
                    residual=None if residual is None else residual[part],
                    **options,
                )
                for part in parts
            ]
        )

    return linear


@lru_cache(maxsize=256)
def least_rows(width_out: int, width_in: int, dtype: torch.dtype, threads: int) -> int:
    """From how many rows on a product's rows do not depend on how many there are.

    On few rows oneDNN may add up a long row in other parts. In half precision the last rounding
    hides most of that, so the probe adds the rounded product's negative: what is left is rounded
    far more finely.
    """
    generator = torch.Generator().manual_seed(0)
    weight, states = (
        torch.randn(rows, width_in, generator=generator).to(dtype)
        for rows in (width_out, MOST_ROWS)
    )
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    operator = torch.ops.mkldnn._linear_pointwise
    negative = -operator(states, packed, None, "none", [], "")
    left = operator.binary(states, negative, packed, None, "add")
    least = rows = MOST_ROWS
    while rows > LEAST_ROWS:
        rows //= 2
        found = operator.binary(states[:rows], negative[:rows], packed, None, "add")
        if not torch.equal(found, left[:rows]):
            break
        least = rows
    return least


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
