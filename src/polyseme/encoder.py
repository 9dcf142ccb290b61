"""The encoder: token ids in, contextual states out; static vectors, then N layers.

A layer is self-attention and a feed-forward network, each with a residual and a norm (Vaswani et
al. 2017, https://arxiv.org/abs/1706.03762). ``EncoderConfig`` holds the few choices by which BERT,
RoBERTa, DistilBERT, MPNet, ELECTRA, ModernBERT and our own models differ; everything else is a
function of arrays and a plain mapping of named parameters, the same code for NumPy and torch.

Texts run packed (``packed.py``): T tokens of all texts end to end, no padding. The primitives that
cost time are collected in ``Operations``; ``polyseme.execution`` has faster ones for the same
functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, is_torch_array
from array_api_compat import device as device_of

from polyseme import attention
from polyseme.packed import Offsets, Packed, by_length, index_of, offsets_of, rows_of, split, take

Array = Any
Parameters = Mapping[str, Array]
Lengths = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]

_SCORES_IN_A_GROUP = 1 << 20


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder.

    Attributes:
        vocabulary_size: rows of the table of static vectors.
        hidden_size: width of the states.
        layers: how many; with 0 the encoder is a table of static vectors.
        heads: attention heads of a layer.
        intermediate_size: width inside the feed-forward network.
        embedding_size: width of the static vectors where it differs from ``hidden_size``.
        activation: of the feed-forward network.
        gated: the feed-forward network multiplies the activation by a second map (GLU).
        norm: "post" norms the sum of a block and its residual, "pre" the input of the block.
        norm_epsilon: added to the variance.
        bias: whether every map and norm has a bias; if not, those that are there are used.
        embedding_norm: whether static vectors are normed before the first layer.
        positions: "none", "learned" (added to the static vectors) or "rotary".
        position_offset: row of the position table that the first token takes.
        max_tokens: longest sequence, with special tokens; None if there is no limit.
        relative_buckets: rows of a bias by relative distance, shared by all layers; 0 for none.
        rotary_base: wavelength base of rotary positions.
        local_rotary_base: the same in layers with local attention.
        local_window: how far a token sees to each side in layers with local attention.
        global_every: every how many layers attention is global; 1 if all are.
    """

    vocabulary_size: int
    hidden_size: int
    layers: int = 0
    heads: int = 1
    intermediate_size: int = 0
    embedding_size: int | None = None
    activation: Activation = "gelu"
    gated: bool = False
    norm: Literal["post", "pre"] = "post"
    norm_epsilon: float = 1e-12
    bias: bool = True
    embedding_norm: bool = False
    positions: Literal["none", "learned", "rotary"] = "none"
    position_offset: int = 0
    max_tokens: int | None = None
    relative_buckets: int = 0
    rotary_base: float = 10_000.0
    local_rotary_base: float = 10_000.0
    local_window: int = 0
    global_every: int = 1

    def is_local(self, layer: int) -> bool:
        """Whether the layer sees ``local_window`` tokens to each side only."""
        return layer % self.global_every != 0


@dataclass(frozen=True)
class Operations:
    """The primitives of an encoder, each a function of states (T, d) and a parameter's name.

    Attributes:
        linear: (states, name) -> states @ name.weight.T + name.bias.
        linears: (states, names) -> ``linear`` for each of several names.
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


def encode(
    parameters: Parameters,
    config: EncoderConfig,
    token_ids: Packed,
    *,
    operations: Operations | None = None,
    layer: int | None = None,
    batch_tokens: int = 2048,
    record: list[Array] | None = None,
) -> Packed:
    """Contextual states of packed texts.

    Args:
        parameters: name -> array; ``parameter_shapes`` lists the names.
        config: the encoder's shape.
        token_ids: (n_tokens,) ids with offsets, special tokens included.
        operations: how the primitives are computed; as defined if None.
        layer: state after this many layers, 0 being the static vectors with their positions; all
            layers if None.
        batch_tokens: tokens that are computed at a time.
        record: filled with the weights (n_texts, heads, n, n) of every layer; needs texts of one
            length n.

    Returns:
        (n_tokens, hidden_size) states with the same offsets.

    Raises:
        ValueError: an id outside the vocabulary, a text longer than ``max_tokens``, a layer that
            is not there.
    """
    wanted = config.layers if layer is None else layer
    return encode_layers(
        parameters,
        config,
        token_ids,
        (wanted,),
        operations=operations,
        batch_tokens=batch_tokens,
        record=record,
    )[0]


def encode_layers(
    parameters: Parameters,
    config: EncoderConfig,
    token_ids: Packed,
    layers: Sequence[int],
    *,
    operations: Operations | None = None,
    batch_tokens: int = 2048,
    record: list[Array] | None = None,
) -> list[Packed]:
    """States after each of several layers, from one pass; see ``encode``."""
    for layer in layers:
        _check_request(config, token_ids, layer)
    operations = operations or plain_operations(parameters, config)
    table = parameters["embeddings.tokens"]
    xp = array_namespace(table)
    lengths = token_ids.lengths

    def run(texts: npt.NDArray[np.int64]) -> list[Array]:
        step = _Step(config, parameters, operations, lengths[texts], record)
        ids = token_ids.values[rows_of(token_ids.offsets, texts)]
        return [states[: len(ids)] for states in step.run(ids, layers)]

    order = list(steps(lengths, batch_tokens))
    pieces = operations.each(run, order)
    if not pieces:
        shape = (0, config.hidden_size)
        nothing = xp.zeros(shape, dtype=table.dtype, device=device_of(table))
        return [Packed(nothing, token_ids.offsets) for _ in layers]
    if len(order) == 1 and np.array_equal(order[0], np.arange(len(lengths))):
        return [Packed(states, token_ids.offsets) for states in pieces[0]]
    rows = rows_of(token_ids.offsets, np.concatenate(order))
    back = np.empty_like(rows)
    back[rows] = np.arange(len(rows))
    return [
        Packed(take(xp.concat(list(of_layer), axis=0), back), token_ids.offsets)
        for of_layer in zip(*pieces, strict=True)
    ]


def steps(lengths: npt.NDArray[np.int64], batch_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cut texts into steps of about ``batch_tokens`` tokens, texts of equal length together.

    Example:
        >>> [texts.tolist() for texts in steps(np.asarray([5, 1, 5, 0]), 6)]
        [[1, 0], [2]]
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    ends = np.cumsum(lengths[order])
    start = 0
    while start < len(order):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + batch_tokens, side="right")))
        yield order[start:stop]
        start = stop


_Group = tuple[int, int, Flags | None]
"""Length, number of texts, and which tokens are theirs (texts, 1, 1, n); None where all are."""


class _Groups:
    """The texts of a step in groups, of one length each, that attend in one array operation.

    Where lengths are filled up, what a text lacks are repetitions of its last token; nobody sees
    them.

    Args:
        lengths: (texts,) rising.
        filled: (texts,) the lengths that they are filled up to, rising.
        heads: of a layer.
        like: an array of the kind and device of the states.

    Attributes:
        rows: (filled tokens,) which of the step's rows the groups have, in order; None if they have
            all of them as they are.
        back: (tokens,) where the step's rows are among those; None likewise.
    """

    def __init__(self, lengths: Lengths, filled: Lengths, heads: int, like: Array) -> None:
        self.rows: Array = None
        self.back: Array = None
        self._groups: list[_Group] = []
        for n, texts in by_length(filled):
            at_once = max(1, _SCORES_IN_A_GROUP // (heads * n * n))
            for first in range(0, len(texts), at_once):
                own = lengths[texts[first : first + at_once]]
                mask = None
                if own[0] < n:
                    mask = (np.arange(n) < own[:, None])[:, None, None, :]
                self._groups.append((n, len(own), mask))
        if (filled > lengths).any():
            starts, filled_starts = offsets_of(lengths), offsets_of(filled)
            inside = np.arange(filled_starts[-1]) - np.repeat(filled_starts[:-1], filled)
            last = np.repeat(lengths - 1, filled)
            rows = np.repeat(starts[:-1], filled) + np.minimum(inside, last)
            self.rows = index_of(like, rows)
            self.back = index_of(like, np.flatnonzero(inside <= last))

    def __iter__(self) -> Iterator[_Group]:
        return iter(self._groups)

    def __getitem__(self, number: int) -> _Group:
        return self._groups[number]


class _Step:
    """One forward pass over texts that are sorted by length; T tokens in all."""

    def __init__(
        self,
        config: EncoderConfig,
        parameters: Parameters,
        operations: Operations,
        lengths: Lengths,
        record: list[Array] | None,
    ) -> None:
        self.config = config
        self.parameters = parameters
        self.operations = operations
        self.record = record
        rows = int(lengths.sum())
        self.filling = operations.rows(rows) - rows
        position = np.arange(rows) - np.repeat(offsets_of(lengths)[:-1], lengths)
        self.position = np.append(position, np.zeros(self.filling, np.int64))
        self.seen: dict[tuple[int, bool], dict[str, Array]] = {}
        filled = lengths if record is not None else operations.lengths(lengths)
        self.groups = _Groups(lengths, filled, config.heads, parameters["embeddings.tokens"])

    def run(self, ids: npt.NDArray[np.int64], layers: Sequence[int]) -> list[Array]:
        """States of T tokens and, behind them, of what fills up the rows, after some layers."""
        states = self.embed(np.append(ids, np.zeros(self.filling, np.int64)))
        found = {0: states}
        for i in range(max(layers)):
            states = found[i + 1] = self.layer(states, i)
            if i not in layers:
                del found[i]
        last = self.config.layers
        if self.config.norm == "pre" and last and last in found:
            found[last] = self.operations.norm(states, "final_norm")
        return [found[layer] for layer in layers]

    def embed(self, ids: npt.NDArray[np.int64]) -> Array:
        config, parameters = self.config, self.parameters
        states = take(parameters["embeddings.tokens"], ids)
        if config.positions == "learned":
            position = self.position + config.position_offset
            states = states + take(parameters["embeddings.positions"], position)
        if config.embedding_norm:
            states = self.operations.norm(states, "embeddings.norm")
        if "embeddings.projection.weight" in parameters:
            states = self.operations.linear(states, "embeddings.projection")
        return states

    def layer(self, states: Array, i: int) -> Array:
        norm = self.operations.norm
        attention_norm, feed_norm = f"layers.{i}.attention.norm", f"layers.{i}.feed_forward.norm"
        if self.config.norm == "post":
            states = norm(self.attention(states, states, i), attention_norm)
            return norm(self.feed_forward(states, states, i), feed_norm)
        normed = states
        if f"{attention_norm}.weight" in self.parameters:
            normed = norm(states, attention_norm)
        states = self.attention(normed, states, i)
        return self.feed_forward(norm(states, feed_norm), states, i)

    def attention(self, states: Array, residual: Array, i: int) -> Array:
        """The residual and what the attention of layer i makes of the states."""
        prefix = f"layers.{i}.attention"
        query, key, value = self.operations.linears(
            states, (f"{prefix}.query", f"{prefix}.key", f"{prefix}.value")
        )
        if self.config.positions == "rotary":
            query, key = self.rotate(query, i), self.rotate(key, i)
        mixed = self.mix(query, key, value, i)
        return self.operations.linear_added(mixed, f"{prefix}.output", residual)

    def mix(self, query: Array, key: Array, value: Array, i: int) -> Array:
        """Weighted sums within each text: one array operation a group of equal lengths."""
        xp = array_namespace(query)
        groups, filling = self.groups, value[value.shape[0] - self.filling :]
        if groups.rows is not None:
            query, key, value = (take(array, groups.rows) for array in (query, key, value))
        sizes = [n * texts for n, texts, _ in groups]
        parts = [split(array[: sum(sizes)], sizes) for array in (query, key, value)]
        mixed = []
        for number, ((n, texts, _), *own) in enumerate(zip(groups, *parts, strict=True)):
            shaped = [xp.reshape(part, (texts, n, part.shape[-1])) for part in own]
            options = self.visibility(number, self.config.is_local(i), query)
            if self.record is None:
                part = self.operations.attend(*shaped, heads=self.config.heads, **options)
            else:
                part, weights = attention.attend_heads(
                    *shaped, heads=self.config.heads, return_weights=True, **options
                )
                self.record.append(weights)
            mixed.append(xp.reshape(part, (texts * n, part.shape[-1])))
        if groups.back is not None:
            mixed = [take(mixed[0] if len(mixed) == 1 else xp.concat(mixed, axis=0), groups.back)]
        if self.filling:
            mixed.append(filling)
        return mixed[0] if len(mixed) == 1 else xp.concat(mixed, axis=0)

    def visibility(self, group: int, local: bool, like: Array) -> dict[str, Array]:
        """The bias or mask of a group in layers with local attention or global; kept for others."""
        if (group, local) not in self.seen:
            self.seen[group, local] = self._visibility(*self.groups[group], local, like)
        return self.seen[group, local]

    def _visibility(
        self, n: int, texts: int, mask: Flags | None, local: bool, like: Array
    ) -> dict[str, Array]:
        xp, where = array_namespace(like), device_of(like)
        if local and n > self.config.local_window + 1:
            index = np.arange(n)
            near = np.abs(index[:, None] - index) <= self.config.local_window
            # What fills a text up sees itself, lest its weights be of nothing.
            mask = near if mask is None else near & (mask | np.eye(n, dtype=bool))
        visible = None if mask is None else xp.asarray(mask, device=where)
        if not self.config.relative_buckets:
            return {} if visible is None else {"mask": visible}
        buckets = relative_buckets(n, self.config.relative_buckets)
        bias = take(self.parameters["attention.relative"], buckets.reshape(-1))
        bias = xp.moveaxis(xp.reshape(bias, (n, n, -1)), -1, 0)
        if visible is not None:
            never = xp.asarray(-math.inf, dtype=bias.dtype, device=where)
            bias = xp.where(visible, bias, never)
        return {"bias": bias}

    def rotate(self, states: Array, i: int) -> Array:
        """Rotary positions (Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.4.2)."""
        xp = array_namespace(states)
        config = self.config
        head_dim = states.shape[-1] // config.heads
        base = config.local_rotary_base if config.is_local(i) else config.rotary_base
        # In float32, as the checkpoints were trained.
        frequency = np.float32(1) / np.float32(base) ** (
            np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        )
        angle = self.position[:, None].astype(np.float32) * frequency
        angle = np.concatenate([angle, angle], axis=1)[:, None, :]
        cosine, sine = (
            xp.asarray(function(angle), dtype=states.dtype, device=device_of(states))
            for function in (np.cos, np.sin)
        )
        parts = xp.reshape(states, (states.shape[0], config.heads, head_dim))
        first, second = parts[..., : head_dim // 2], parts[..., head_dim // 2 :]
        turned = xp.concat([-second, first], axis=-1)
        return xp.reshape(parts * cosine + turned * sine, states.shape)

    def feed_forward(self, states: Array, residual: Array, i: int) -> Array:
        """The residual and what the feed-forward network of layer i makes of the states."""
        operations, prefix = self.operations, f"layers.{i}.feed_forward"
        hidden = operations.linear_activated(states, f"{prefix}.up", self.config.activation)
        if self.config.gated:
            hidden = hidden * operations.linear(states, f"{prefix}.gate")
        return operations.linear_added(hidden, f"{prefix}.down", residual)


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


@lru_cache(maxsize=64)
def relative_buckets(n: int, buckets: int, max_distance: int = 128) -> npt.NDArray[np.int64]:
    """Bucket (n, n) of each distance key - query: exact when near, by logarithm when far.

    The scheme of T5 (Raffel et al. 2020, https://arxiv.org/abs/1910.10683), as MPNet uses it.
    """
    index = np.arange(n)
    distance = index[:, None] - index[None, :]
    half = buckets // 2
    exact = half // 2
    absolute = np.abs(distance)
    ratio = np.log(np.maximum(absolute, 1).astype(np.float32) / np.float32(exact))
    far = exact + (ratio / np.float32(math.log(max_distance / exact)) * (half - exact)).astype(int)
    bucket = np.where(absolute < exact, absolute, np.minimum(far, half - 1))
    return np.asarray(bucket + (distance < 0) * half, dtype=np.int64)


def parameter_shapes(config: EncoderConfig, parameters: Parameters) -> dict[str, tuple[int, ...]]:
    """Every parameter that an encoder of this configuration needs, with its shape.

    A pre-norm's first norm and, without ``config.bias``, the biases are optional: they are listed
    where ``parameters`` has them.
    """
    width, inner = config.hidden_size, config.intermediate_size
    narrow = config.embedding_size or width
    shapes: dict[str, tuple[int, ...]] = {"embeddings.tokens": (config.vocabulary_size, narrow)}
    if config.positions == "learned" and config.max_tokens is not None:
        rows = config.max_tokens + config.position_offset
        shapes["embeddings.positions"] = (rows, narrow)
    if config.embedding_norm:
        shapes["embeddings.norm.weight"] = (narrow,)
    if narrow != width:
        shapes["embeddings.projection.weight"] = (width, narrow)
    if config.relative_buckets:
        shapes["attention.relative"] = (config.relative_buckets, config.heads)
    for i in range(config.layers):
        for name in ("query", "key", "value", "output"):
            shapes[f"layers.{i}.attention.{name}.weight"] = (width, width)
        optional = config.norm == "pre" and i == 0
        if not optional or f"layers.{i}.attention.norm.weight" in parameters:
            shapes[f"layers.{i}.attention.norm.weight"] = (width,)
        for name in ("up", "gate") if config.gated else ("up",):
            shapes[f"layers.{i}.feed_forward.{name}.weight"] = (inner, width)
        shapes[f"layers.{i}.feed_forward.down.weight"] = (width, inner)
        shapes[f"layers.{i}.feed_forward.norm.weight"] = (width,)
    if config.norm == "pre" and config.layers:
        shapes["final_norm.weight"] = (width,)
    for name in list(shapes):
        bias = name.removesuffix(".weight") + ".bias"
        if bias != f"{name}.bias" and (config.bias or bias in parameters):
            shapes[bias] = shapes[name][:1]
    return shapes


def _check_request(config: EncoderConfig, token_ids: Packed, layer: int | None) -> None:
    if layer is not None and not 0 <= layer <= config.layers:
        raise ValueError(f"layer is {layer}: this encoder has layers 0 to {config.layers}")
    ids: Offsets = token_ids.values
    if len(ids) and (ids.min() < 0 or ids.max() >= config.vocabulary_size):
        wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
        raise ValueError(f"token id {wrong} is outside the vocabulary of {config.vocabulary_size}")
    longest = int(token_ids.lengths.max()) if len(token_ids) else 0
    if config.max_tokens is not None and longest > config.max_tokens:
        raise ValueError(f"a text of {longest} tokens is longer than {config.max_tokens} positions")
