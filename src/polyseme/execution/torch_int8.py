"""Primitives for torch on a CPU whose products run in 8 bits: states in uint8, weights in int8.

A map's weights are rounded with a scale for each output, its states with factors that were found
once, on calibration text (``factors_of``): factors found in the batch would let neighbours show in
a text's vector. A channel of large states gets a smaller factor and larger weights, so that a few
of them don't cost all others their precision (SmoothQuant, Xiao et al. 2023,
https://arxiv.org/abs/2211.10438, section 4). Attention, norms and residuals are in bfloat16, what
is outside the layers in float32.

Sums of products of integers are exact, so rows cannot depend on the batch by the order in which
they are added up. Where oneDNN's operators are missing, or overflow as they may on a processor
without VNNI, the same rounded numbers are multiplied in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from polyseme.encoder import EncoderConfig, encode, steps
from polyseme.execution import torch_attention, torch_cpu
from polyseme.execution.torch_eager import stacked
from polyseme.operations import Activation, Operations
from polyseme.packed import Packed

Tensor = Any
Map = Callable[..., Tensor]

SMOOTHING = 0.75
"""How much of the states' range goes over to the weights: SmoothQuant's alpha."""

KEPT = 0.99998
"""Share of what comes after an activation that is rounded as it is; what is beyond is cut to this
quantile."""

_TOKENS_AT_ONCE = 1024
"""Of the texts on which factors are found: what is computed of them is held at once."""

_ROUNDS = 1.5 * 2.0**23

_FUSED: dict[Any, tuple[str, float]] = {"gelu": ("none", -0.17), "relu": ("", 0.0)}
"""Activations that a product applies before it rounds: oneDNN's algorithm, and the least value."""


@dataclass(frozen=True)
class Rounding:
    """How states become uint8: ``round(states * factors) + zero``, cut to what there is.

    Attributes:
        factors: (d,) or, for all channels alike, (1,).
        zero: what 0 becomes.
    """

    factors: Tensor
    zero: int

    def __call__(self, states: Tensor) -> Tensor:
        """(T, d) of any float dtype as uint8."""
        wide = states.float()
        own = None if wide is states else wide
        # Adding 1.5 * 2**23 rounds to an integer, which then stands in the last bits.
        scaled = torch.mul(wide, self.factors, out=own).add_(_ROUNDS + self.zero)
        bits = scaled.clamp_(_ROUNDS, _ROUNDS + 255).view(torch.int32)
        # By way of int8: torch's conversion to uint8 takes longer.
        return bits.to(torch.int8).view(torch.uint8)


def operations(parameters: Mapping[str, Tensor], config: EncoderConfig) -> Operations:
    """Primitives over float32 parameters on the CPU, ``factors_of`` among them, for inference."""
    inside = {f"{name}.weight" for names in joined_maps(config) for name in names}
    outside = {name: tensor for name, tensor in parameters.items() if name not in inside}
    plain = torch_cpu.operations(outside, replace(config, layers=0), torch.float32)
    roundings = {
        name: _rounding(name, parameters[factors_name(name)], config)
        for name, *_ in joined_maps(config)
    }
    make = _integer_map if has_integer_linear() else _float_map
    maps = {
        names[0]: make(*stacked(parameters, names), roundings[names[0]])
        for names in joined_maps(config)
    }

    def linear(states: Tensor, name: str) -> Tensor:
        return maps[name](states) if name in maps else plain.linear(states, name)

    def linears(states: Tensor, names: Sequence[str]) -> Sequence[Tensor]:
        joined = maps[names[0]](states, dtype=torch.bfloat16)
        parts: Sequence[Tensor] = joined.chunk(len(names), dim=-1)
        return parts

    def linear_activated(states: Tensor, name: str, activation: Activation) -> Tensor:
        if not rounds_hidden(config):
            return torch_cpu.activated(maps[name](states), activation)
        into = roundings[name.removesuffix("up") + "down"]
        return maps[name](states, activation=activation, into=into)

    def linear_added(states: Tensor, name: str, residual: Tensor) -> Tensor:
        # Residuals in bfloat16: half the bytes to move, and far finer than what is rounded.
        return maps[name](states, residual=residual.bfloat16(), dtype=torch.bfloat16)

    return replace(
        plain,
        linear=linear,
        linears=linears,
        linear_activated=linear_activated,
        linear_added=linear_added,
        packing=torch_attention.packing_of(config, torch.bfloat16),
    )


def factors_of(
    parameters: Mapping[str, Tensor], config: EncoderConfig, token_ids: Packed
) -> dict[str, Tensor]:
    """Factors for the states that go into each map of the layers, found on some texts.

    Args:
        parameters: float32 tensors on the CPU.
        config: the encoder's shape.
        token_ids: (n_tokens,) ids with offsets; a few thousand are enough.

    Returns:
        name.factors -> (d,) or, where a product rounds its own result, (1,).
    """
    plain = torch_cpu.operations(parameters, config, torch.float32)
    names_of = {names[0]: names for names in joined_maps(config)}
    hidden = {name for name in names_of if name.endswith("down") and rounds_hidden(config)}
    values = len(token_ids.values) * config.intermediate_size
    beyond = values - max(1, round(values * KEPT)) + 1
    seen: dict[str, npt.NDArray[np.float32]] = {}
    rows = 0

    def see(states: Tensor, name: str) -> None:
        states = states[:rows]
        if name in hidden:
            # The largest of all, down to the one that is still kept.
            own = _largest(states.numpy().ravel(), beyond)
            seen[name] = _largest(np.concatenate([own, seen.get(name, own[:0])]), beyond)
        else:
            large = states.abs().amax(dim=0).numpy()
            seen[name] = np.maximum(large, seen.get(name, 0))

    def linear(states: Tensor, name: str) -> Tensor:
        if name in names_of:
            see(states, name)
        return plain.linear(states, name)

    def linears(states: Tensor, names: Sequence[str]) -> Sequence[Tensor]:
        see(states, names[0])
        return plain.linears(states, names)

    def linear_activated(states: Tensor, name: str, activation: Activation) -> Tensor:
        see(states, name)
        return plain.linear_activated(states, name, activation)

    def linear_added(states: Tensor, name: str, residual: Tensor) -> Tensor:
        see(states, name)
        return plain.linear_added(states, name, residual)

    seeing = replace(
        plain,
        linear=linear,
        linears=linears,
        linear_activated=linear_activated,
        linear_added=linear_added,
        workers=lambda tokens: 1,
    )
    with torch.inference_mode():
        for texts in steps(token_ids.lengths, _TOKENS_AT_ONCE):
            part = Packed.from_arrays([token_ids[i] for i in texts])
            rows = len(part.values)
            encode(parameters, config, part, operations=seeing, batch_tokens=rows)
    tiny = torch.finfo(torch.float32).tiny
    found: dict[str, Tensor] = {}
    for name, array in seen.items():
        large = torch.from_numpy(array)
        if name in hidden:
            kept = large.min().clamp_min(tiny)
            factors = (255 / (kept - _FUSED[config.activation][1])).reshape(1)
        else:
            weight = torch.cat([parameters[f"{part}.weight"] for part in names_of[name]])
            weights = weight.abs().amax(dim=0).clamp_min(tiny)
            even = weights ** (1 - SMOOTHING) / large.clamp_min(tiny) ** SMOOTHING
            factors = even * (127 / (large * even).max().clamp_min(tiny))
        found[factors_name(name)] = factors
    return found


def _largest(values: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
    """So many of the values (n,), in no order; all if there are fewer."""
    return np.partition(values, -number)[-number:] if number < len(values) else values


def joined_maps(config: EncoderConfig) -> Iterator[tuple[str, ...]]:
    """Names of the layers' maps; those that are computed as one, together."""
    for i in range(config.layers):
        attention, feed_forward = f"layers.{i}.attention", f"layers.{i}.feed_forward"
        yield tuple(f"{attention}.{part}" for part in ("query", "key", "value"))
        for name in (f"{attention}.output", f"{feed_forward}.up", f"{feed_forward}.down"):
            yield (name,)
        if config.gated:
            yield (f"{feed_forward}.gate",)


def factors_name(name: str) -> str:
    """What the factors of a map's states are called among the parameters."""
    return f"{name}.factors"


def rounds_hidden(config: EncoderConfig) -> bool:
    """Whether the product before the activation can round what comes after it."""
    return config.activation in _FUSED and not config.gated


def _rounding(name: str, factors: Tensor, config: EncoderConfig) -> Rounding:
    if not (name.endswith("down") and rounds_hidden(config)):
        return Rounding(factors, 128)
    return Rounding(factors, round(-_FUSED[config.activation][1] * float(factors)))


def _rounded_weight(weight: Tensor, rounding: Rounding) -> tuple[Tensor, Tensor]:
    """int8 (out, in), for states as they are rounded, and each output's scale (out,)."""
    wanted = weight / rounding.factors
    scale = wanted.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (wanted / scale[:, None]).round().to(torch.int8), scale


def _integer_map(weight: Tensor, bias: Tensor | None, rounding: Rounding) -> Map:
    rounded, scales = _rounded_weight(weight, rounding)
    packed = torch.ops.onednn.qlinear_prepack(rounded, None)
    zeros = torch.zeros(len(weight), dtype=torch.int32)
    operator = torch.ops.onednn.qlinear_pointwise

    def product(
        states: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        activation: Activation | None = None,
        into: Rounding | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        if states.dtype != torch.uint8:
            states = rounding(states)
        given = (states, 1.0, rounding.zero, packed, scales, zeros)
        if residual is not None:
            return operator.binary(
                *given, residual, bias, 1.0, 0, dtype, 1.0, 0, "add", 1.0, "none", [], ""
            )
        result = (1.0, 0, dtype)
        if into is not None:
            result = (1 / float(into.factors), into.zero, torch.uint8)
        algorithm = "" if activation is None else _FUSED[activation][0]
        return operator(*given, bias, *result, activation or "none", [], algorithm)

    return torch_cpu.in_parts(product, torch_cpu.LEAST_ROWS)


def _float_map(weight: Tensor, bias: Tensor | None, rounding: Rounding) -> Map:
    rounded, scales = _rounded_weight(weight, rounding)
    linear = torch_cpu.linear_of(rounded * scales[:, None], bias)

    def product(
        states: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        activation: Activation | None = None,
        into: Rounding | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        if states.dtype != torch.uint8:
            states = rounding(states)
        mapped = linear(states.float() - rounding.zero)
        if activation is not None:
            mapped = torch_cpu.activated(mapped, activation)
        if into is not None:
            return into(mapped)
        return (mapped if residual is None else residual + mapped).to(dtype)

    return product


@lru_cache(maxsize=1)
def has_integer_linear() -> bool:
    """Whether this torch has the oneDNN operators and they compute what they should.

    The largest numbers are among them, whose sums of two don't fit in 16 bits.
    """
    generator = torch.Generator().manual_seed(0)
    weight, bias, states, residual = (
        torch.randn(*shape, generator=generator)
        for shape in ((24, 64), (24,), (torch_cpu.LEAST_ROWS, 64), (torch_cpu.LEAST_ROWS, 24))
    )
    weight[:8], states[:8] = 1, 100
    rounding, into = Rounding(torch.full((64,), 40.0), 128), Rounding(torch.full((1,), 40.0), 7)
    options: list[dict[str, Any]] = [
        {"residual": residual},
        {"dtype": torch.bfloat16},
        *({"activation": name, "into": into} for name in _FUSED),
    ]
    expected = _float_map(weight, bias, rounding)
    try:
        linear = _integer_map(weight, bias, rounding)
        pairs = [(linear(states, **each), expected(states, **each)) for each in options]
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(
        # Where the last bit of a float decides how a number is rounded, it may be the next one.
        torch.allclose(a.float(), b.float(), rtol=2**-7, atol=1 if a.dtype == torch.uint8 else 1e-3)
        for a, b in pairs
    )
