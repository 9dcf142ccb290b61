"""Packed texts through the layers of an encoder, in one step.

A layer is self-attention and a feed-forward network, each with a residual and a norm (Vaswani et
al. 2017, https://arxiv.org/abs/1706.03762). In: T tokens of texts that are sorted by length. All
maps run over the packed tokens; only attention looks at texts, one group of equal lengths at a
time, or all of them packed where there is a kernel for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from polyseme import attention
from polyseme.operations import Array, Lengths, Operations, Parameters
from polyseme.packed import by_length, index_of, offsets_of, split, take

if TYPE_CHECKING:
    from polyseme.encoder import EncoderConfig

Flags = npt.NDArray[np.bool_]

_SCORES_IN_A_GROUP = 1 << 20

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
        filling: rows of the step behind those of its texts.
        like: an array of the kind and device of the states.

    Attributes:
        rows: (filled tokens,) which of the step's rows the groups have, in order; None if they have
            all of them as they are.
        back: (tokens + filling,) where the step's rows are among those, anywhere for those that
            fill it up; None likewise.
    """

    def __init__(
        self, lengths: Lengths, filled: Lengths, heads: int, filling: int, like: Array
    ) -> None:
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
            back = np.flatnonzero(inside <= last)
            self.back = index_of(like, np.append(back, np.zeros(filling, np.int64)))

    def __iter__(self) -> Iterator[_Group]:
        return iter(self._groups)

    def __getitem__(self, number: int) -> _Group:
        return self._groups[number]


class Step:
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
        self.turns: dict[bool, tuple[Array, Array]] = {}
        self.lengths = lengths
        self.packing: Any = None
        if operations.packing is not None and record is None:
            self.packing = operations.packing(lengths, self.filling)

    @cached_property
    def groups(self) -> _Groups:
        """The texts that attend in one operation each, where they do not attend packed."""
        lengths = self.lengths
        filled = lengths if self.record is not None else self.operations.lengths(lengths)
        like = self.parameters["embeddings.tokens"]
        return _Groups(lengths, filled, self.config.heads, self.filling, like)

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
        """Static vectors with their positions: the states before the first layer."""
        config, parameters = self.config, self.parameters
        states = self.operations.as_states(take(parameters["embeddings.tokens"], ids))
        if config.positions == "learned":
            position = self.position + config.position_offset
            states = states + take(parameters["embeddings.positions"], position)
        if config.embedding_norm:
            states = self.operations.norm(states, "embeddings.norm")
        if "embeddings.projection.weight" in parameters:
            states = self.operations.linear(states, "embeddings.projection")
        return states

    def layer(self, states: Array, i: int) -> Array:
        """The states after layer i."""
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
        """Weighted sums within each text: of all at once, or of a group of equal lengths."""
        if self.operations.attend_packed is not None and self.packing is not None:
            window = self.config.local_window if self.config.is_local(i) else None
            return self.operations.attend_packed(
                query, key, value, heads=self.config.heads, window=window, packing=self.packing
            )
        xp = array_namespace(query)
        groups, behind = self.groups, value[value.shape[0] - self.filling :]
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
        if groups.back is None and self.filling:
            mixed.append(behind)
        states = mixed[0] if len(mixed) == 1 else xp.concat(mixed, axis=0)
        return states if groups.back is None else take(states, groups.back)

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
        local = self.config.is_local(i)
        if local not in self.turns:
            self.turns[local] = self._turns(local, states)
        cosine, sine = self.turns[local]
        heads = self.config.heads
        parts = xp.reshape(states, (states.shape[0], heads, states.shape[-1] // heads))
        half = parts.shape[-1] // 2
        turned = xp.concat([-parts[..., half:], parts[..., :half]], axis=-1)
        return xp.reshape(parts * cosine + turned * sine, states.shape)

    def _turns(self, local: bool, like: Array) -> tuple[Array, Array]:
        """(T, 1, head_dim) cosine and sine of each token's angles, the same in many layers."""
        config = self.config
        head_dim = config.hidden_size // config.heads
        base = config.local_rotary_base if local else config.rotary_base
        # In float32, as the checkpoints were trained.
        frequency = np.float32(1) / np.float32(base) ** (
            np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        )
        there = np.arange(1 + self.position.max(initial=0), dtype=np.float32)
        angle = there[:, None] * frequency
        angle = np.concatenate([angle, angle], axis=1)[:, None, :]
        xp, where = array_namespace(like), device_of(like)
        cosine, sine = (
            take(xp.asarray(function(angle), dtype=like.dtype, device=where), self.position)
            for function in (np.cos, np.sin)
        )
        return cosine, sine

    def feed_forward(self, states: Array, residual: Array, i: int) -> Array:
        """The residual and what the feed-forward network of layer i makes of the states."""
        operations, prefix = self.operations, f"layers.{i}.feed_forward"
        hidden = operations.linear_activated(states, f"{prefix}.up", self.config.activation)
        if self.config.gated:
            hidden = hidden * operations.linear(states, f"{prefix}.gate")
        return operations.linear_added(hidden, f"{prefix}.down", residual)


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
