"""Primitives for NumPy whose results do not depend on the batch.

A BLAS picks its kernel by the shape of the matrices, and another kernel rounds otherwise. So
products are computed in blocks of one of a few sizes; a last block that is not full is filled up
with zeros. A kernel may also round otherwise in one row of a block than in another; a probe
finds the quickest way in which this one does not (``way_of``).

Weights are transposed once, when the model is loaded. What follows a product (bias, activation,
residual) is done to each block while it is in the cache, in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.encoder import EncoderConfig
from polyseme.execution.threads import LEAST_TOKENS, processors, side_by_side
from polyseme.operations import Activation, Operations, activate, plain_operations

Floats = npt.NDArray[Any]
Finish = Callable[[Floats, slice], None]

ROWS = 64
"""Rows of a product: large enough for a BLAS to come near its rate."""

FEW_ROWS = 8
"""What is less is filled up to a multiple of these: a sentence needs no more."""

ROWS_AFTER = 256
"""Rows of what follows a product: few calls, and still in a core's cache."""

COLUMNS = 16
"""A product's columns are filled up to a multiple of these, the widest tile of a common BLAS."""


def operations(parameters: Mapping[str, Floats], config: EncoderConfig) -> Operations:
    """Primitives over NumPy parameters."""
    plain = plain_operations(parameters, config)
    joined: dict[tuple[str, ...], _Map] = {}
    for i in range(config.layers):
        names = tuple(f"layers.{i}.attention.{part}" for part in ("query", "key", "value"))
        joined[names] = _Map(
            [parameters[f"{name}.weight"] for name in names],
            [parameters.get(f"{name}.bias") for name in names],
        )
    inside = {name for names in joined for name in names}
    maps: dict[str, _Map] = {}
    for name, array in parameters.items():
        own = name.removesuffix(".weight")
        if own != name and array.ndim == 2 and own not in inside:
            maps[own] = _Map([array], [parameters.get(f"{own}.bias")])

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
        rows=lambda rows: -(-rows // FEW_ROWS) * FEW_ROWS,
        workers=workers,
    )


def workers(tokens: int) -> int:
    """Processors, as far as there is enough for each."""
    return max(1, min(processors(), -(-tokens // LEAST_TOKENS)))


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
        dtype = str(np.result_type(states, self.weight))
        mapped = way_of(*self.weight.shape, dtype).product(states, self.weight)
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


@dataclass(frozen=True)
class Way:
    """How a product is cut into blocks.

    Attributes:
        sizes: rows of a block, largest first; one at least is no more than ``ROWS``.
        margin: rows before and behind a block that are computed with it and thrown away. With a
            margin, the transposed product is computed, in which rows are columns.
    """

    sizes: tuple[int, ...]
    margin: int = 0

    def product(self, states: Floats, weight: Floats) -> Floats:
        """(T, d_in) @ (d_in, d_out)."""
        rows, margin = len(states), self.margin
        product = np.empty((rows, weight.shape[1]), dtype=np.result_type(states, weight))
        if margin:
            states = np.pad(states, ((margin, margin), (0, 0)))
        start = 0
        while start < rows:
            size = self._size(rows - start)
            block = states[start : start + size + 2 * margin]
            lacking = size + 2 * margin - len(block)
            if lacking:
                block = np.pad(block, ((0, lacking), (0, 0)))
            own = product[start : start + size]
            if margin:
                own[:] = np.matmul(weight.T, block.T)[:, margin : margin + len(own)].T
            elif lacking:
                own[:] = np.matmul(block, weight)[: len(own)]
            else:
                np.matmul(block, weight, out=own)
            start += size
        return product

    def _size(self, left: int) -> int:
        """Of the next block: one that holds all that is left, if it is small, or else is full."""
        holding = [size for size in self.sizes if left <= size <= ROWS]
        if holding:
            return holding[-1]
        return next(size for size in self.sizes if size <= left)

    def keeps_bits(self, width_in: int, width_out: int, dtype: str) -> bool:
        """Whether a row's product is the same in every place of a block of every size."""
        random = np.random.default_rng(0)
        weight = random.standard_normal((width_in, width_out)).astype(dtype)
        for row in random.standard_normal((2, width_in)).astype(dtype):
            products = [self.product(np.tile(row, (size, 1)), weight) for size in self.sizes]
            if not all((product == products[0][0]).all() for product in products):
                return False
        return True


WAYS = (
    Way((512, *range(ROWS, 0, -FEW_ROWS))),
    Way((512, *range(ROWS, 0, -2 * FEW_ROWS))),
    Way((512, ROWS)),
    Way((ROWS,)),
    Way((256, ROWS), margin=8),
    Way((ROWS,), margin=8),
)
"""Quickest first: as many rows as the cache holds with a weight.

OpenBLAS's kernel for AVX2 adds up the rows 6 to 11 of every 12 in another order than 0 to 5; and of
a transposed product the first and the last 8 columns otherwise than those between.
"""

ROW_BY_ROW = Way((1,))


@lru_cache(maxsize=256)
def way_of(width_in: int, width_out: int, dtype: str) -> Way:
    """The first of ``WAYS`` that keeps the bits with this BLAS; if none does, row by row."""
    ways = (way for way in WAYS if way.keeps_bits(width_in, width_out, dtype))
    return next(ways, ROW_BY_ROW)


def in_blocks(function: Any, states: Floats) -> Floats:
    """A function of rows, computed over blocks that stay in the cache."""
    result = np.empty_like(states)
    for start in range(0, len(states), ROWS_AFTER):
        result[start : start + ROWS_AFTER] = function(states[start : start + ROWS_AFTER])
    return result


def _normed(states: Floats, weight: Floats, bias: Floats | None, epsilon: float) -> Floats:
    """``operations.layer_norm`` with few temporaries."""
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
