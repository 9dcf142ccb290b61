"""The encoder: token ids in, contextual states out; static vectors, then N layers.

``EncoderConfig`` holds the few choices by which BERT,
RoBERTa, DistilBERT, MPNet, ELECTRA, ModernBERT and our own models differ; everything else is a
function of arrays and a plain mapping of named parameters, the same code for NumPy and torch.

Texts run packed (``packed.py``): T tokens of all texts end to end, no padding; here they are cut
into steps, which go through the layers (``layers.py``) by primitives (``operations.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace
from array_api_compat import device as device_of

from polyseme.layers import Step
from polyseme.operations import Activation, Array, Operations, Parameters, plain_operations
from polyseme.packed import Offsets, Packed, put, rows_of, take


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
        step = Step(config, parameters, operations, lengths[texts], record)
        ids = token_ids.values[rows_of(token_ids.offsets, texts)]
        found = step.run(ids, layers)
        return [xp.astype(states[: len(ids)], table.dtype, copy=False) for states in found]

    order = steps(lengths, batch_tokens, operations.workers(len(token_ids.values)))
    if len(order) == 1:
        (found,) = operations.each(run, order)
        if not np.array_equal(order[0], np.arange(len(lengths))):
            back = np.argsort(rows_of(token_ids.offsets, order[0]))
            found = [take(states, back) for states in found]
        return [Packed(states, token_ids.offsets) for states in found]
    shape = (len(token_ids.values), config.hidden_size)
    whole = [xp.empty(shape, dtype=table.dtype, device=device_of(table)) for _ in layers]

    def run_into(texts: npt.NDArray[np.int64]) -> None:
        rows = rows_of(token_ids.offsets, texts)
        for of_layer, states in zip(whole, run(texts), strict=True):
            put(of_layer, rows, states)

    operations.each(run_into, order)
    return [Packed(states, token_ids.offsets) for states in whole]


def steps(
    lengths: npt.NDArray[np.int64], batch_tokens: int, workers: int = 1
) -> list[npt.NDArray[np.int64]]:
    """Cut texts into even steps of at most ``batch_tokens`` tokens, texts of equal length together.

    Args:
        lengths: (texts,)
        batch_tokens: which only a text that is longer by itself exceeds.
        workers: among how many the steps are shared; they get the same number of them.

    Example:
        >>> [texts.tolist() for texts in steps(np.asarray([5, 1, 5, 0]), 6)]
        [[1, 0], [2]]
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    ends = np.cumsum(lengths[order])
    total = int(lengths.sum())
    rounds = -(-total // (workers * batch_tokens))
    while True:
        count = max(1, workers * rounds)
        # A text belongs to the step in which its first token is.
        cuts = np.searchsorted(ends - lengths[order], np.arange(1, count) * (total / count))
        cut = [texts for texts in np.split(order, cuts) if len(texts)]
        if all(len(texts) == 1 or lengths[texts].sum() <= batch_tokens for texts in cut):
            return cut
        rounds += 1 + rounds // 16


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
