"""An encoder as an ONNX graph, for whatever runs ONNX; its tokenizer beside it.

In: a model with layers. Out: model.onnx with the inputs ``input_ids`` and ``attention_mask``,
(batch, sequence) int64, filled up behind the texts, and the outputs ``last_hidden_state`` (batch,
sequence, dim) and ``sentence_embedding`` (batch, dim), float32. The graph is built from the
parameters, operator by operator, and says what ``encoder.py`` says; a test holds the two against
each other.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.checkpoints import own_json, write_whole
from polyseme.contextualizer import Contextualizer
from polyseme.encoder import EncoderConfig
from polyseme.layers import relative_buckets

Value = npt.NDArray[Any] | np.floating[Any]

_OPSET = 17  # the first with LayerNormalization
_NEVER = -1e9
_LARGEST = (1 << 31) - (1 << 20)  # of a protobuf message, which a graph is
_WITHOUT_POSITIONS = 8192


def export_onnx(
    model: Contextualizer, folder: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Write a model as model.onnx, tokenizer.json and config.json.

    Texts longer than the model's positions must be cut by whoever runs the graph; ``contextualize``
    reads them in windows.

    Args:
        model: with layers; rung 2 or 3.
        folder: made if it is not there.
        force: overwrite those of the three files that are there.

    Returns:
        The path of model.onnx.

    Raises:
        ImportError: onnx is missing.
        ValueError: the model has no layers, no tokenizer.json (it is over word vectors), or more
            than 2 GB of parameters.
        NotADirectoryError: the folder is a file.
        FileExistsError: one of the files is there, and ``force`` is not given.

    Example:
        >>> import polyseme, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_onnx(polyseme.load(), folder).name
        'model.onnx'
    """
    path = Path(folder) / "model.onnx"
    tokenizer_path, config_path = path.with_name("tokenizer.json"), path.with_name("config.json")
    if not model.config.layers:
        raise ValueError(f"{model.name} has no layers: ONNX is for learned and pretrained models")
    if model.word_vectors is not None:
        raise ValueError(
            f"{model.name} is over word vectors, so it has no tokenizer.json to go with a graph"
        )
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(f"{path.parent} is a file: give a folder")
    # The folder may be a model's own, whose config.json says how it is read.
    there = next((p for p in (path, tokenizer_path, config_path) if p.exists()), None)
    if there and not force:
        raise FileExistsError(f"{there} is there already: name another folder, or use force")
    content = graph_of(model).SerializeToString()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    write_whole(tokenizer_path, model.tokenizer.to_json().encode())
    write_whole(config_path, own_json(model.checkpoint))
    return path


def graph_of(model: Contextualizer) -> Any:
    """The model as an ``onnx.ModelProto``, checked.

    Raises:
        ImportError: onnx is missing.
        ValueError: it has more than 2 GB of parameters.
    """
    try:
        import onnx
    except ImportError:
        raise ImportError('export needs onnx: pip install "polyseme[onnx]"') from None
    helper = onnx.helper
    parameters = {
        name: np.asarray(array, np.float32)
        for name, array in model.checkpoint.parameters.items()
        if array.ndim
    }
    if sum(array.nbytes for array in parameters.values()) > _LARGEST:
        raise ValueError(f"{model.name} has more than 2 GB of parameters, too many for one file")
    graph = _Graph(parameters)
    states = _encoder(graph, model.config)
    outputs: dict[str, tuple[str | int, ...]] = {}
    outputs[graph.named(states, "last_hidden_state")] = ("batch", "sequence", model.dim)
    sentence = model.checkpoint.sentence
    if not sentence.unsupported:
        pooled = _pooled(graph, states, sentence.pooling)
        if sentence.normalize:
            pooled = graph("Div", pooled, graph("ReduceL2", pooled, axes=[-1], keepdims=1))
        outputs[graph.named(pooled, "sentence_embedding")] = ("batch", model.dim)
    integers, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info(name, integers, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "polyseme",
            inputs,
            [helper.make_tensor_value_info(n, floats, shape) for n, shape in outputs.items()],
            [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        producer_name="polyseme",
        ir_version=8,
    )
    onnx.checker.check_model(made)
    return made


class _Graph:
    """Nodes and constants as they are added; calling it adds a node.

    Args:
        parameters: of the encoder, by name.
    """

    def __init__(self, parameters: dict[str, npt.NDArray[np.float32]]) -> None:
        self.parameters = parameters
        self.nodes: list[Any] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def __call__(self, operator: str, *inputs: str | Value, **attributes: Any) -> str:
        """The name of what an operator makes of its inputs, which are names or constants."""
        import onnx

        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, names, [output], **attributes))
        return output

    def constant(self, array: Value, name: str | None = None) -> str:
        """The name of a constant."""
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(array, order="C")  # a number stays one
        return name

    def named(self, value: str, name: str) -> str:
        """The same value under a name of its own."""
        import onnx

        self.nodes.append(onnx.helper.make_node("Identity", [value], [name]))
        return name

    def linear(self, states: str, name: str) -> str:
        """States times the weights, plus the bias if there is one."""
        weight = self.constant(self.parameters[f"{name}.weight"].T, f"{name}.weight")
        found = self("MatMul", states, weight)
        if f"{name}.bias" not in self.parameters:
            return found
        return self("Add", found, self.constant(self.parameters[f"{name}.bias"], f"{name}.bias"))

    def norm(self, states: str, name: str, epsilon: float) -> str:
        """Layer norm with the parameters of this name."""
        inputs = [self.constant(self.parameters[f"{name}.weight"], f"{name}.weight")]
        if f"{name}.bias" in self.parameters:
            inputs.append(self.constant(self.parameters[f"{name}.bias"], f"{name}.bias"))
        return self("LayerNormalization", states, *inputs, axis=-1, epsilon=epsilon)


@dataclass(frozen=True)
class _Sight:
    """Names of what attention goes by.

    Attributes:
        place: (sequence,) int64, 0 and up.
        everywhere: added to the scores: the bias by distance, and what hides what is filled up.
        near: the same in layers with local attention.
    """

    place: str
    everywhere: str
    near: str


def _encoder(graph: _Graph, config: EncoderConfig) -> str:
    """(batch, sequence, dim) states after the last layer."""
    length = graph("Gather", graph("Shape", "input_ids"), np.asarray(1), axis=0)
    place = graph("Range", np.asarray(0), length, np.asarray(1))
    distance = graph(
        "Sub",
        graph("Unsqueeze", place, np.asarray([0])),
        graph("Unsqueeze", place, np.asarray([1])),
    )
    states = _embedded(graph, config, place)
    mask = graph("Cast", "attention_mask", to=1)
    hidden = graph("Mul", graph("Sub", np.float32(1), mask), np.float32(_NEVER))
    seen = graph("Unsqueeze", hidden, np.asarray([1, 2]))
    if config.relative_buckets:
        seen = graph("Add", seen, _relative(graph, config, distance))
    near = seen
    if config.local_window:
        far = graph("Greater", graph("Abs", distance), np.asarray(config.local_window))
        away = graph("Mul", graph("Cast", far, to=1), np.float32(_NEVER))
        near = graph("Add", seen, away)
    sight = _Sight(place, seen, near)
    for i in range(config.layers):
        states = _layer(graph, config, i, states, sight)
    if config.norm == "pre":
        states = graph.norm(states, "final_norm", config.norm_epsilon)
    return states


def _embedded(graph: _Graph, config: EncoderConfig, place: str) -> str:
    parameters = graph.parameters
    table = graph.constant(parameters["embeddings.tokens"], "embeddings.tokens")
    states = graph("Gather", table, "input_ids", axis=0)
    if config.positions == "learned":
        rows = parameters["embeddings.positions"][config.position_offset :]
        positions = graph.constant(rows, "embeddings.positions")
        states = graph("Add", states, graph("Gather", positions, place, axis=0))
    if config.embedding_norm:
        states = graph.norm(states, "embeddings.norm", config.norm_epsilon)
    if "embeddings.projection.weight" in parameters:
        states = graph.linear(states, "embeddings.projection")
    return states


def _layer(graph: _Graph, config: EncoderConfig, i: int, states: str, sight: _Sight) -> str:
    """Attention, then the feed-forward network; norms behind or before them."""
    attention, feed = f"layers.{i}.attention", f"layers.{i}.feed_forward"
    epsilon = config.norm_epsilon
    if config.norm == "post":
        mixed = graph("Add", _attention(graph, config, i, states, sight), states)
        states = graph.norm(mixed, f"{attention}.norm", epsilon)
        fed = graph("Add", _feed_forward(graph, config, i, states), states)
        return graph.norm(fed, f"{feed}.norm", epsilon)
    normed = states
    if f"{attention}.norm.weight" in graph.parameters:
        normed = graph.norm(states, f"{attention}.norm", epsilon)
    states = graph("Add", _attention(graph, config, i, normed, sight), states)
    normed = graph.norm(states, f"{feed}.norm", epsilon)
    return graph("Add", _feed_forward(graph, config, i, normed), states)


def _attention(graph: _Graph, config: EncoderConfig, i: int, states: str, sight: _Sight) -> str:
    prefix = f"layers.{i}.attention"
    head_dim = config.hidden_size // config.heads
    apart = np.asarray([0, 0, config.heads, head_dim])
    query, key, value = (
        graph(
            "Transpose",
            graph("Reshape", graph.linear(states, f"{prefix}.{name}"), apart),
            perm=[0, 2, 1, 3],
        )
        for name in ("query", "key", "value")
    )
    if config.positions == "rotary":
        query, key = (_rotated(graph, config, i, heads, sight.place) for heads in (query, key))
    scores = graph("MatMul", query, graph("Transpose", key, perm=[0, 1, 3, 2]))
    scores = graph("Mul", scores, np.float32(1 / math.sqrt(head_dim)))
    seen = sight.near if config.is_local(i) else sight.everywhere
    weights = graph("Softmax", graph("Add", scores, seen), axis=-1)
    mixed = graph("Transpose", graph("MatMul", weights, value), perm=[0, 2, 1, 3])
    joined = graph("Reshape", mixed, np.asarray([0, 0, config.hidden_size]))
    return graph.linear(joined, f"{prefix}.output")


def _feed_forward(graph: _Graph, config: EncoderConfig, i: int, states: str) -> str:
    prefix = f"layers.{i}.feed_forward"
    hidden = _activated(graph, graph.linear(states, f"{prefix}.up"), config.activation)
    if config.gated:
        hidden = graph("Mul", hidden, graph.linear(states, f"{prefix}.gate"))
    return graph.linear(hidden, f"{prefix}.down")


def _activated(graph: _Graph, states: str, activation: str) -> str:
    if activation == "relu":
        return graph("Relu", states)
    if activation == "silu":
        return graph("Mul", states, graph("Sigmoid", states))
    if activation == "gelu":
        inside = graph("Erf", graph("Div", states, np.float32(math.sqrt(2))))
    else:
        cube = graph("Mul", graph("Mul", states, states), states)
        bent = graph("Add", states, graph("Mul", cube, np.float32(0.044715)))
        inside = graph("Tanh", graph("Mul", bent, np.float32(math.sqrt(2 / math.pi))))
    half = graph("Mul", states, np.float32(0.5))
    return graph("Mul", half, graph("Add", inside, np.float32(1)))


def _rotated(graph: _Graph, config: EncoderConfig, i: int, heads: str, place: str) -> str:
    """Rotary positions on (batch, heads, sequence, head_dim)."""
    head_dim = config.hidden_size // config.heads
    base = config.local_rotary_base if config.is_local(i) else config.rotary_base
    frequency = np.float32(1) / np.float32(base) ** (
        np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    )
    places = graph("Unsqueeze", graph("Cast", place, to=1), np.asarray([1]))
    angle = graph("Mul", places, frequency[None, :])
    angle = graph("Concat", angle, angle, axis=-1)
    half = np.asarray([head_dim // 2])
    axis = np.asarray([3])
    first = graph("Slice", heads, np.asarray([0]), half, axis)
    second = graph("Slice", heads, half, np.asarray([head_dim]), axis)
    turned = graph("Concat", graph("Neg", second), first, axis=-1)
    return graph(
        "Add",
        graph("Mul", heads, graph("Cos", angle)),
        graph("Mul", turned, graph("Sin", angle)),
    )


def _relative(graph: _Graph, config: EncoderConfig, distance: str) -> str:
    """(heads, sequence, sequence) the bias by distance, of key less query."""
    longest = config.max_tokens or _WITHOUT_POSITIONS
    buckets = relative_buckets(longest, config.relative_buckets)
    # Row 0 has the distances 0 and up, column 0 those below 0, from the last to the first.
    by_distance = np.concatenate([buckets[:0:-1, 0], buckets[0]])
    table = graph.parameters["attention.relative"][by_distance]
    shifted = graph("Add", distance, np.asarray(longest - 1))
    bias = graph("Gather", graph.constant(table, "attention.relative"), shifted, axis=0)
    return graph("Transpose", bias, perm=[2, 0, 1])


def _pooled(graph: _Graph, states: str, pooling: str) -> str:
    """(batch, dim) one vector for each text."""
    if pooling == "cls":
        return graph("Gather", states, np.asarray(0), axis=1)
    mask = graph("Unsqueeze", graph("Cast", "attention_mask", to=1), np.asarray([2]))
    if pooling == "max":
        hidden = graph("Mul", graph("Sub", np.float32(1), mask), np.float32(_NEVER))
        return graph("ReduceMax", graph("Add", states, hidden), axes=[1], keepdims=0)
    axis = np.asarray([1])
    total = graph("ReduceSum", graph("Mul", states, mask), axis, keepdims=0)
    return graph("Div", total, graph("ReduceSum", mask, axis, keepdims=0))
