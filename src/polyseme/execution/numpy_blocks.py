"""Primitives for NumPy whose results do not depend on the batch.

A BLAS picks its kernel by the shape of the matrices, and another kernel rounds otherwise. So
products are computed in blocks of one fixed number of rows; a last block that is not full is filled
up with zeros. Where a probe shows that this BLAS gives the same bits for many rows at a time, it
gets them, as it is quicker so. A kernel may also treat the odd columns at the end of a matrix
otherwise in one row than in another, so odd widths are filled up as well.

Weights are transposed once, when the model is loaded. What follows a product (bias, activation,
residual) is done to each block while it is in the cache, in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.encoder import Activation, EncoderConfig, Operations, activate, plain_operations
from polyseme.execution.threads import side_by_side

Floats = npt.NDArray[Any]
Finish = Callable[[Floats, slice], None]

ROWS = 64
"""Rows of a product: large enough for a BLAS to reach its rate, small enough for one sentence."""

MANY_ROWS = 512
"""Rows of a product where it makes no difference: as many as the cache holds with a weight."""

ROWS_AFTER = 256
"""Rows of what follows a product: few calls, and still in a core's cache."""

COLUMNS = 16
"""A product's columns are filled up to a multiple of these, the widest tile of a common BLAS."""


def operations(parameters: Mapping[str, Floats], config: EncoderConfig) -> Operations:
    """Primitives over NumPy parameters."""
    plain = plain_operations(parameters, config)
    maps: dict[str, _Map] = {}
    for name, array in parameters.items():
        if name.endswith(".weight") and array.ndim == 2:
            own = name.removesuffix(".weight")
            maps[own] = _Map([array], [parameters.get(f"{own}.bias")])
    joined: dict[tuple[str, ...], _Map] = {}
    for i in range(config.layers):
        names = tuple(f"layers.{i}.attention.{part}" for part in ("query", "key", "value"))
        joined[names] = _Map(
            [parameters[f"{name}.weight"] for name in names],
            [parameters.get(f"{name}.bias") for name in names],
        )

    def linear(states: Floats, name: str) -> Floats:
        return maps[name](states)

    def linears(states: Floats, names: Sequence[str]) -> Sequence[Floats]:
        return np.split(joined[tuple(names)](states), len(names), axis=1)

    def linear_activated(states: Floats, name: str, activation: Activation) -> Floats:
        def finish(block: Floats, rows: slice) -> None:
            if activation == "relu":
                np.maximum(block, 0, out=block)
            else:
                block[:] = activate(block, activation)

        return maps[name](states, finish)

    def linear_added(states: Floats, name: str, residual: Floats) -> Floats:
        def finish(block: Floats, rows: slice) -> None:
            block += residual[rows]

        return maps[name](states, finish)

    def norm(states: Floats, name: str) -> Floats:
        return _normed(
            states,
            parameters[f"{name}.weight"],
            parameters.get(f"{name}.bias"),
            config.norm_epsilon,
        )

    def activated(states: Floats, activation: Activation) -> Floats:
        return in_blocks(lambda block: activate(block, activation), states)

    return Operations(
        linear,
        linears,
        linear_activated,
        linear_added,
        norm,
        activated,
        plain.attend,
        side_by_side,
        lambda rows: -(-rows // ROWS) * ROWS,
    )


class _Map:
    """One or several linear maps of the same states, as one product."""

    def __init__(self, weights: Sequence[Floats], biases: Sequence[Floats | None]) -> None:
        weight = np.concatenate(weights)
        self.width = len(weight)
        filled = np.pad(weight, ((0, -self.width % COLUMNS), (0, 0)))
        self.weight = np.ascontiguousarray(filled.T)
        self.bias = None
        if any(bias is not None for bias in biases):
            self.bias = np.concatenate(
                [
                    np.zeros(len(part), weight.dtype) if bias is None else bias
                    for part, bias in zip(weights, biases, strict=True)
                ]
            )

    def __call__(self, states: Floats, finish: Finish | None = None) -> Floats:
        """(T, d_in) -> (T, d_out), ``finish`` applied to each block in place."""
        product = product_in_blocks(states, self.weight)
        mapped = product
        if self.width != mapped.shape[1]:
            mapped = mapped[:, : self.width].copy()
        if self.bias is None and finish is None:
            return mapped
        for start in range(0, len(mapped), ROWS_AFTER):
            rows = slice(start, start + ROWS_AFTER)
            block = mapped[rows]
            if self.bias is not None:
                block += self.bias
            if finish is not None:
                finish(block, rows)
        return mapped


def product_in_blocks(states: Floats, weight: Floats) -> Floats:
    """(T, d_in) @ (d_in, d_out), every product of ``ROWS`` rows, or as if it were."""
    rows, width = states.shape
    product = np.empty((rows, weight.shape[1]), dtype=np.result_type(states, weight))
    at_once = rows_at_once(*weight.shape, str(product.dtype))
    start = 0
    for size in (at_once, ROWS):
        while rows - start >= size:
            np.matmul(states[start : start + size], weight, out=product[start : start + size])
            start += size
    if start < rows:
        last = np.zeros((ROWS, width), dtype=states.dtype)
        last[: rows - start] = states[start:]
        product[start:] = np.matmul(last, weight)[: rows - start]
    return product


@lru_cache(maxsize=256)
def rows_at_once(width_in: int, width_out: int, dtype: str) -> int:
    """``MANY_ROWS`` if this BLAS gives them the bits of ``ROWS`` rows at a time, else ``ROWS``."""
    random = np.random.default_rng(0)
    states = random.standard_normal((MANY_ROWS, width_in)).astype(dtype)
    weight = random.standard_normal((width_in, width_out)).astype(dtype)
    together = states @ weight
    same = all(
        np.array_equal(states[start : start + ROWS] @ weight, together[start : start + ROWS])
        for start in range(0, MANY_ROWS, ROWS)
    )
    return MANY_ROWS if same else ROWS


def in_blocks(function: Any, states: Floats) -> Floats:
    """A function of rows, computed over blocks that stay in the cache."""
    result = np.empty_like(states)
    for start in range(0, len(states), ROWS_AFTER):
        result[start : start + ROWS_AFTER] = function(states[start : start + ROWS_AFTER])
    return result


def _normed(states: Floats, weight: Floats, bias: Floats | None, epsilon: float) -> Floats:
    """``encoder.layer_norm`` with few temporaries."""
    width = states.shape[1]
    result = np.empty_like(states)
    for start in range(0, len(states), ROWS_AFTER):
        block = result[start : start + ROWS_AFTER]
        own = states[start : start + ROWS_AFTER]
        np.subtract(own, own.mean(axis=1, keepdims=True), out=block)
        variance = np.einsum("ij,ij->i", block, block)[:, None]
        variance /= width
        variance += epsilon
        np.sqrt(variance, out=variance)
        block /= variance
        block *= weight
        if bias is not None:
            block += bias
    return result
