"""The primitives of an encoder: what costs time, as it is defined.

``polyseme.execution`` has faster ones for the same functions, which are held against these. Each is
a function of states (T, d) and the names of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, is_torch_array

from polyseme import attention

if TYPE_CHECKING:
    from polyseme.encoder import EncoderConfig

Array = Any
Parameters = Mapping[str, Array]
Lengths = npt.NDArray[np.int64]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


@dataclass(frozen=True)
class Operations:
    """The primitives of an encoder, each a function of states (T, d) and a parameter's name.

    Attributes:
        linear: (states, name) -> states @ name.weight.T + name.bias.
        linears: (states, names) -> ``linear`` for each of several names: a layer's queries, keys
            and values, which faster primitives compute at once and by no other way.
        linear_activated: (states, name, activation) -> ``activate`` of ``linear``.
        linear_added: (states, name, residual) -> residual + ``linear``.
        norm: (states, name) -> layer norm with name.weight and name.bias.
        activate: (states, activation) -> elementwise.
        attend: ``attention.attend_heads`` on (texts, n, d) queries, keys and values.
        each: (function, steps) -> the function's result for every step, in order.
        rows: T -> how many rows a step of T tokens is filled up to, where some numbers of rows are
            quicker than others.
        lengths: (texts,) lengths -> how many tokens each text is filled up to in attention, where
            some are quicker than others; they are masked there.
        workers: T -> among how many the steps of T tokens are shared, as ``each`` runs so many at a
            time.
        packing: (texts,) lengths of a step and the number of rows that fill it up -> what
            ``attend_packed`` has to know of its texts, None if it does not take them; None where
            there is no such thing.
        attend_packed: attention on packed (T, d) queries, keys and values, in place of ``attend``
            for all texts of a step, as ``torch_gpu.attend_packed``.
        as_states: rows of the table of static vectors -> the same in the dtype of the states.
    """

    linear: Callable[[Array, str], Array]
    linears: Callable[[Array, Sequence[str]], Sequence[Array]]
    linear_activated: Callable[[Array, str, Activation], Array]
    linear_added: Callable[[Array, str, Array], Array]
    norm: Callable[[Array, str], Array]
    activate: Callable[[Array, Activation], Array]
    attend: Callable[..., Array]
    each: Callable[[Callable[[Any], Any], list[Any]], list[Any]]
    rows: Callable[[int], int] = lambda rows: rows
    lengths: Callable[[Lengths], Lengths] = lambda lengths: lengths
    workers: Callable[[int], int] = lambda tokens: 1
    packing: Callable[[Lengths, int], Any] | None = None
    attend_packed: Callable[..., Array] | None = None
    as_states: Callable[[Array], Array] = lambda rows: rows


def plain_operations(parameters: Parameters, config: EncoderConfig) -> Operations:
    """The primitives as their definitions say; every faster version is held against these."""

    def linear(states: Array, name: str) -> Array:
        return attention.linear(
            states, parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
        )

    def norm(states: Array, name: str) -> Array:
        return layer_norm(
            states,
            parameters[f"{name}.weight"],
            parameters.get(f"{name}.bias"),
            config.norm_epsilon,
        )

    return operations_of(linear, norm, activate, attention.attend_heads, each=one_after_the_other)


def one_after_the_other(run: Callable[[Any], Any], order: list[Any]) -> list[Any]:
    """The function's result for every step, in order."""
    return [run(step) for step in order]


def operations_of(
    linear: Callable[[Array, str], Array],
    norm: Callable[[Array, str], Array],
    activate: Callable[[Array, Activation], Array],
    attend: Callable[..., Array],
    *,
    each: Callable[[Callable[[Any], Any], list[Any]], list[Any]],
    rows: Callable[[int], int] = lambda rows: rows,
    lengths: Callable[[Lengths], Lengths] = lambda lengths: lengths,
) -> Operations:
    """Operations whose joined forms are made of these, one after the other."""
    return Operations(
        linear,
        lambda states, names: [linear(states, name) for name in names],
        lambda states, name, activation: activate(linear(states, name), activation),
        lambda states, name, residual: residual + linear(states, name),
        norm,
        activate,
        attend,
        each,
        rows,
        lengths,
    )


def layer_norm(states: Array, weight: Array, bias: Array | None, epsilon: float) -> Array:
    """Layer norm over the last axis (Ba et al. 2016, https://arxiv.org/abs/1607.06450)."""
    xp = array_namespace(states)
    centered = states - xp.mean(states, axis=-1, keepdims=True)
    variance = xp.mean(centered * centered, axis=-1, keepdims=True)
    normed = centered / xp.sqrt(variance + epsilon) * weight
    return normed if bias is None else normed + bias


def activate(states: Array, activation: Activation) -> Array:
    """The activation of the feed-forward network, elementwise.

    Example:
        >>> activate(np.asarray([-1.0, 0.0, 1.0]), "gelu").round(4).tolist()
        [-0.1587, 0.0, 0.8413]
    """
    xp = array_namespace(states)
    if activation == "relu":
        return xp.where(states > 0, states, xp.zeros_like(states))
    if activation == "silu":
        # An exponent that is never above 0 does not overflow.
        small = xp.exp(-xp.abs(states))
        return states * xp.where(states < 0, small, xp.ones_like(small)) / (1 + small)
    if activation == "gelu_tanh":
        # Beyond 10 the tanh is 1 in every dtype, and the cube cannot overflow.
        x = xp.clip(states, -10.0, 10.0)
        return 0.5 * states * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    if is_torch_array(states):
        import torch

        return torch.nn.functional.gelu(states)
    if states.dtype == np.float64:
        erf = np.frompyfunc(math.erf, 1, 1)(states / math.sqrt(2)).astype(np.float64)
        return 0.5 * states * (1 + erf)
    return _gelu_float32(states)


# Least-maximum fit of log(Phi(x) / Phi(-x)) / x by a polynomial in x * x for |x| <= 6, where Phi is
# the normal distribution function; GELU then is within 6e-7, as the tests show.
_GELU_LIMIT = 6.0
_GELU_POLYNOMIAL = (
    1.5957684322888983,
    0.07266856688581828,
    -6.625990366054347e-05,
    -0.0001104803342703832,
    7.938219799767252e-06,
    -2.668927450718812e-07,
    3.6112275282844896e-09,
)


def _gelu_float32(states: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute x * Phi(x), with Phi(x) = 1 / (1 + exp(-x * polynomial(x * x))); NumPy has no erf."""
    limited = np.clip(states, -_GELU_LIMIT, _GELU_LIMIT)
    square = limited * limited
    polynomial = np.full_like(square, _GELU_POLYNOMIAL[-1])
    for coefficient in _GELU_POLYNOMIAL[-2::-1]:
        polynomial *= square
        polynomial += np.float32(coefficient)
    polynomial *= limited
    np.negative(polynomial, out=polynomial)
    np.exp(polynomial, out=polynomial)
    polynomial += np.float32(1)
    # Phi is not 0 below the limit, so x must not fall further either.
    np.divide(np.maximum(states, -_GELU_LIMIT, out=square), polynomial, out=polynomial)
    return polynomial
