"""Parameter-free attention on NumPy where scores are bounded: half of the dot products, no maximum.

The cosine of two words is at most 1, so no score is above 1 / temperature, and

    w_ij = f_j exp((cos_ij - 1) / temperature)

needs no maximum of its row before the exponential. Without the factors f, which are as well the
values' as the weights', it is symmetric: of two blocks of words, one product and one exponential
give what either takes from the other. The sum of the weights is divided out at the end, from the
vectors instead of from the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.execution.threads import side_by_side

Floats = npt.NDArray[Any]

BLOCK = 512
"""Words of a block: as many as their weights fit in a core's cache."""

LEAST_TEMPERATURE = 0.03
"""Below it the least weight, exp(-2 / temperature), is near the end of float32."""


def fits(vectors: Any, temperature: float, own_similarity: float | None) -> bool:
    """Whether the weights of these vectors can be had this way."""
    bounded = temperature >= LEAST_TEMPERATURE and abs(own_similarity or 0) <= 1
    return isinstance(vectors, np.ndarray) and bounded


def self_attend(
    compared: Floats,
    values: Floats,
    *,
    temperature: float,
    include_self: bool,
    own_similarity: float | None = None,
    factors: Floats | None = None,
) -> Floats:
    """``attention.self_attend_unchecked`` of unit vectors.

    Args:
        compared: (..., n, d) rows of length one, or zero.
        values: (..., n, d_value).
        temperature: at least ``LEAST_TEMPERATURE``.
        include_self: may a word attend to itself?
        own_similarity: what a word's dot product with itself is taken for; as it is if None.
        factors: (..., n) of the words as keys, 0 for one that nobody sees; 1 if None.

    Returns:
        (..., n, d_value); a zero row for a word that sees nobody.
    """
    n, scale = compared.shape[-2], compared.dtype.type(1 / temperature)
    if factors is None:
        factors = np.ones(n, compared.dtype)
    factors = np.broadcast_to(factors, compared.shape[:-1]).astype(compared.dtype, copy=False)
    given = values * factors[..., None]
    scaled = compared * scale
    mixed, total = np.zeros_like(given), np.zeros((*given.shape[:-1], 1), given.dtype)
    blocks = [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]

    def add(rows: slice, weights: Floats, keys: slice) -> None:
        mixed[..., rows, :] += weights @ given[..., keys, :]
        total[..., rows, :] += weights @ factors[..., keys, None]

    def meet(pair: tuple[int, int]) -> None:
        rows, keys = (blocks[i] for i in pair)
        weights = scaled[..., rows, :] @ np.swapaxes(compared[..., keys, :], -1, -2)
        weights -= scale
        np.exp(weights, out=weights)
        if rows is not keys:
            add(keys, np.swapaxes(weights, -1, -2), rows)
        elif not include_self or own_similarity is not None:
            own = 0.0 if not include_self else math.exp((float(own_similarity or 0) - 1) * scale)
            index = np.arange(rows.stop - rows.start)
            weights[..., index, index] = own
        add(rows, weights, keys)

    each = side_by_side if len(blocks) > 1 else map
    for pairs in rounds(len(blocks)):
        list(each(meet, pairs))
    mixed /= np.where(total > 0, total, 1)
    return mixed


def rounds(players: int) -> Iterator[list[tuple[int, int]]]:
    """Let each of them meet itself, then every other, none more than once in a round.

    The circle method of tournaments: pairs of a round can be worked on side by side, and the order
    in which somebody's results add up does not depend on how many are.

    Example:
        >>> list(rounds(3))
        [[(0, 0), (1, 1), (2, 2)], [(1, 2)], [(0, 2)], [(0, 1)]]
    """
    if players:
        yield [(i, i) for i in range(players)]
    seats = players + players % 2
    circle = list(range(seats))
    for _ in range(seats - 1):
        pairs = zip(circle[: seats // 2], reversed(circle[seats // 2 :]), strict=True)
        if players > 1:
            yield [(min(pair), max(pair)) for pair in pairs if max(pair) < players]
        circle = [circle[0], circle[-1], *circle[1:-1]]
