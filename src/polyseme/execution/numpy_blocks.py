"""Primitives for NumPy whose results do not depend on the batch.

A BLAS picks its kernel by the shape of the matrices, and another kernel rounds otherwise. So
products are computed in blocks of one fixed number of rows; the last block is filled up with zeros.
A kernel may also treat the odd columns at the end of a matrix otherwise in one row than in another,
so odd widths are filled up as well. Weights are transposed once, when the model is loaded, and
activations run over blocks that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.encoder import (
    Activation,
    EncoderConfig,
    Operations,
    activate,
    plain_operations,
)
from polyseme.execution.threads import side_by_side

Floats = npt.NDArray[Any]

ROWS = 64
"""Rows of a product: large enough for a BLAS to reach its rate, small enough for one sentence."""

COLUMNS = 16
"""A product's columns are filled up to a multiple of these, the widest tile of a common BLAS."""


def operations(parameters: Mapping[str, Floats], config: EncoderConfig) -> Operations:
    """Primitives over NumPy parameters."""
    transposed = {
        name: np.ascontiguousarray(np.pad(array, ((0, -len(array) % COLUMNS), (0, 0))).T)
        for name, array in parameters.items()
        if name.endswith(".weight") and array.ndim == 2
    }
    plain = plain_operations(parameters, config)

    def linear(states: Floats, name: str) -> Floats:
        mapped = product_in_blocks(states, transposed[f"{name}.weight"])
        width = len(parameters[f"{name}.weight"])
        if width != mapped.shape[1]:
            mapped = mapped[:, :width].copy()
        bias = parameters.get(f"{name}.bias")
        if bias is not None:
            mapped += bias
        return mapped

    def norm(states: Floats, name: str) -> Floats:
        return in_blocks(lambda block: plain.norm(block, name), states)

    def activated(states: Floats, activation: Activation) -> Floats:
        return in_blocks(lambda block: activate(block, activation), states)

    return replace(plain, linear=linear, norm=norm, activate=activated, each=side_by_side)


def product_in_blocks(states: Floats, weight: Floats) -> Floats:
    """(T, d_in) @ (d_in, d_out), every product of ``ROWS`` rows."""
    rows, width = states.shape
    full = rows - rows % ROWS
    product = np.empty((rows, weight.shape[1]), dtype=np.result_type(states, weight))
    if full:
        blocks = states[:full].reshape(-1, ROWS, width)
        np.matmul(blocks, weight, out=product[:full].reshape(len(blocks), ROWS, -1))
    if full < rows:
        last = np.zeros((1, ROWS, width), dtype=states.dtype)
        last[0, : rows - full] = states[full:]
        product[full:] = np.matmul(last, weight)[0, : rows - full]
    return product


def in_blocks(function: Any, states: Floats) -> Floats:
    """A function of rows, computed over blocks that stay in the cache."""
    result = np.empty_like(states)
    for start in range(0, len(states), ROWS):
        result[start : start + ROWS] = function(states[start : start + ROWS])
    return result
