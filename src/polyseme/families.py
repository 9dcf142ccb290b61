"""Families of pretrained checkpoints: how each names its tensors and what its config means.

A family is a function from its config.json to ``EncoderConfig`` and a table from our parameter
names to its tensors' names. The facts are those of the published model code of each family in the
``transformers`` library; every family is compared with it in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.encoder import EncoderConfig
from polyseme.operations import Activation

Tensors = dict[str, npt.NDArray[Any]]
Sources = dict[str, str]

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


class Field:
    """Typed access to the fields of a config.json, with errors that name file and field."""

    def __init__(self, raw: Mapping[str, Any], path: Path) -> None:
        self.raw, self.path = raw, path

    def integer(self, name: str, default: int | None = None, *, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{self.path}: field {name!r} is {value!r}, not an integer >= {least}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{self.path}: field {name!r} is {value!r}, not a positive number")
        return float(value)

    def activation(self, name: str) -> Activation:
        """A known activation."""
        value = self._get(name, None)
        if value not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise ValueError(f"{self.path}: field {name!r} is {value!r}; polyseme knows {known}")
        return _ACTIVATIONS[value]

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse a field whose value changes the computation in a way this package lacks."""
        value = self.raw.get(name, allowed[0])
        if value not in allowed:
            raise ValueError(
                f"{self.path}: field {name!r} is {value!r}; polyseme reads {allowed[0]!r} only"
            )

    def heads(self, name: str, width: int) -> int:
        """A number of heads that divides the width."""
        heads = self.integer(name, least=1)
        if width % heads:
            raise ValueError(f"{self.path}: field {name!r} is {heads}, no divisor of width {width}")
        return heads

    def _get(self, name: str, default: Any) -> Any:
        value = self.raw.get(name, default)
        if value is None:
            raise ValueError(f"{self.path}: field {name!r} is missing")
        return value


@dataclass(frozen=True)
class Family:
    """One family of checkpoints.

    Attributes:
        config: reads config.json.
        prefixes: what a model with a head on top puts before its tensors' names.
        layer: prefix of layer ``{i}``.
        embeddings: our name -> the family's, for what is outside the layers.
        layers: the same for what is in layer i; without ".weight" and ".bias".
        finish: last changes to the converted tensors, for what a name cannot say.
    """

    config: Callable[[Field], EncoderConfig]
    prefixes: tuple[str, ...]
    layer: str
    embeddings: Mapping[str, str]
    layers: Mapping[str, str]
    finish: Callable[[Tensors, Sources, EncoderConfig], None] | None = field(default=None)

    def convert(
        self, tensors: Tensors, config: EncoderConfig, folder: Path
    ) -> tuple[Tensors, Sources]:
        """Our parameters, and where each of them comes from.

        Raises:
            ValueError: the file holds more layers than config.json says.
        """
        named = self._without_prefix(tensors)
        ours: Tensors = {}
        sources: Sources = {}

        def take(our_name: str, name: str) -> None:
            source = next((n for n in (name, _old_name(name)) if n in named), name)
            sources[our_name] = source
            if source in named:
                ours[our_name] = named[source].astype(np.float32, copy=False)

        for our_name, name in self.embeddings.items():
            take(our_name, name)
            if our_name == "embeddings.types" and our_name not in ours:
                raise ValueError(f"{folder}: tensor {name!r} is missing")
        for i in range(config.layers):
            for our_part, part in self.layers.items():
                for kind in ("weight", "bias"):
                    our_name = f"layers.{i}.{our_part}.{kind}"
                    take(our_name, f"{self.layer.format(i=i)}.{part}.{kind}")
        beyond = self.layer.format(i=config.layers) + "."
        surplus = next((name for name in named if name.startswith(beyond)), None)
        if surplus:
            raise ValueError(
                f"{folder}: tensor {surplus!r} belongs to layer {config.layers + 1}, config.json "
                f"says that there are {config.layers}"
            )
        if self.finish:
            self.finish(ours, sources, config)
        return ours, sources

    def _without_prefix(self, tensors: Tensors) -> Tensors:
        """Names without what a model with a head puts before those of its encoder."""
        anchor = self.embeddings["embeddings.tokens"]
        for prefix in self.prefixes:
            if prefix + anchor in tensors:
                return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        return tensors


def _old_name(name: str) -> str:
    """The name under which the first BERT checkpoints keep a norm's weight and bias."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


def _bert_config(read: Field, **changes: Any) -> EncoderConfig:
    read.only("position_embedding_type", "absolute")
    read.only("is_decoder", False)
    width = read.integer("hidden_size", least=1)
    settings: dict[str, Any] = {
        "vocabulary_size": read.integer("vocab_size", least=1),
        "hidden_size": width,
        "layers": read.integer("num_hidden_layers"),
        "heads": read.heads("num_attention_heads", width),
        "intermediate_size": read.integer("intermediate_size", least=1),
        "activation": read.activation("hidden_act"),
        "norm_epsilon": read.number("layer_norm_eps", 1e-12),
        "embedding_norm": True,
        "positions": "learned",
        "max_tokens": read.integer("max_position_embeddings", least=1),
    }
    return EncoderConfig(**(settings | changes))


def _after_padding(read: Field, padding: int) -> dict[str, int]:
    """Positions that are counted from the row behind the padding token's."""
    rows = read.integer("max_position_embeddings", least=padding + 2)
    return {"position_offset": padding + 1, "max_tokens": rows - padding - 1}


def _roberta_config(read: Field) -> EncoderConfig:
    return _bert_config(read, **_after_padding(read, read.integer("pad_token_id", 1)))


def _mpnet_config(read: Field) -> EncoderConfig:
    read.only("relative_attention_num_buckets", 32)
    return _bert_config(read, relative_buckets=32, **_after_padding(read, 1))


def _electra_config(read: Field) -> EncoderConfig:
    return _bert_config(read, embedding_size=read.integer("embedding_size", least=1))


def _distilbert_config(read: Field) -> EncoderConfig:
    width = read.integer("dim", least=1)
    return EncoderConfig(
        vocabulary_size=read.integer("vocab_size", least=1),
        hidden_size=width,
        layers=read.integer("n_layers"),
        heads=read.heads("n_heads", width),
        intermediate_size=read.integer("hidden_dim", least=1),
        activation=read.activation("activation"),
        embedding_norm=True,
        positions="learned",
        max_tokens=read.integer("max_position_embeddings", least=1),
    )


def _modernbert_config(read: Field) -> EncoderConfig:
    width = read.integer("hidden_size", least=1)
    layers = read.integer("num_hidden_layers")
    kinds = read.raw.get("layer_types")
    every = read.integer("global_attn_every_n_layers", 3, least=1)
    if kinds is not None:
        globals_ = [i for i, kind in enumerate(kinds) if kind == "full_attention"]
        every = globals_[1] if len(globals_) > 1 else max(1, len(kinds))
        if kinds != ["sliding_attention" if i % every else "full_attention" for i in range(layers)]:
            raise ValueError(
                f"{read.path}: field 'layer_types' is {kinds!r}; polyseme reads patterns with a "
                "global layer first and then at every n-th layer"
            )
    bases = {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
    old_names = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
    for kind, base in list(bases.items()):
        rope = (read.raw.get("rope_parameters") or {}).get(kind) or {}
        if rope.get("rope_type", "default") != "default":
            raise ValueError(
                f"{read.path}: field 'rope_parameters' asks for {rope['rope_type']!r}; polyseme "
                "reads 'default' only"
            )
        bases[kind] = float(rope.get("rope_theta") or read.raw.get(old_names[kind]) or base)
    return EncoderConfig(
        vocabulary_size=read.integer("vocab_size", least=1),
        hidden_size=width,
        layers=layers,
        heads=read.heads("num_attention_heads", width),
        intermediate_size=read.integer("intermediate_size", least=1),
        activation=read.activation("hidden_activation"),
        gated=True,
        norm="pre",
        norm_epsilon=read.number("norm_eps", 1e-5),
        bias=False,
        embedding_norm=True,
        positions="rotary",
        max_tokens=read.integer("max_position_embeddings", least=1),
        rotary_base=bases["full_attention"],
        local_rotary_base=bases["sliding_attention"],
        local_window=read.integer("local_attention", 128, least=1) // 2,
        global_every=every,
    )


def _add_first_type(ours: Tensors, sources: Sources, config: EncoderConfig) -> None:
    """Every token of a single text is of type 0: its vector joins the positions."""
    types = ours.pop("embeddings.types")
    if "embeddings.positions" in ours:
        ours["embeddings.positions"] = ours["embeddings.positions"] + types[0]


def _split_joint_maps(ours: Tensors, sources: Sources, config: EncoderConfig) -> None:
    """ModernBERT keeps query, key and value in one tensor, and the two maps of the GLU in one."""
    for i in range(config.layers):
        for joint, parts in (
            ("attention.qkv", ("query", "key", "value")),
            ("feed_forward.both", ("up", "gate")),
        ):
            for kind in ("weight", "bias"):
                name = f"layers.{i}.{joint}.{kind}"
                block = joint.split(".")[0]
                tensor = ours.pop(name, None)
                for number, part in enumerate(parts):
                    ours_name = f"layers.{i}.{block}.{part}.{kind}"
                    sources[ours_name] = sources[name]
                    if tensor is not None:
                        rows = tensor.shape[0] // len(parts)
                        ours[ours_name] = tensor[number * rows : (number + 1) * rows]


_EMBEDDINGS = {
    "embeddings.tokens": "embeddings.word_embeddings.weight",
    "embeddings.positions": "embeddings.position_embeddings.weight",
    "embeddings.norm.weight": "embeddings.LayerNorm.weight",
    "embeddings.norm.bias": "embeddings.LayerNorm.bias",
}
_TYPES = {"embeddings.types": "embeddings.token_type_embeddings.weight"}
_BERT_LAYERS = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward.norm": "output.LayerNorm",
}


def _like_bert(config: Callable[[Field], EncoderConfig], prefix: str, **more: str) -> Family:
    return Family(
        config,
        prefixes=(prefix,),
        layer="encoder.layer.{i}",
        embeddings=_EMBEDDINGS | _TYPES | more,
        layers=_BERT_LAYERS,
        finish=_add_first_type,
    )


_ROBERTA = _like_bert(_roberta_config, "roberta.")

FAMILIES: dict[str, Family] = {
    "bert": _like_bert(_bert_config, "bert."),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _like_bert(
        _electra_config,
        "electra.",
        **{
            "embeddings.projection.weight": "embeddings_project.weight",
            "embeddings.projection.bias": "embeddings_project.bias",
        },
    ),
    "mpnet": Family(
        _mpnet_config,
        prefixes=("mpnet.",),
        layer="encoder.layer.{i}",
        embeddings=_EMBEDDINGS | {"attention.relative": "encoder.relative_attention_bias.weight"},
        layers=_BERT_LAYERS
        | {
            "attention.query": "attention.attn.q",
            "attention.key": "attention.attn.k",
            "attention.value": "attention.attn.v",
            "attention.output": "attention.attn.o",
            "attention.norm": "attention.LayerNorm",
        },
    ),
    "distilbert": Family(
        _distilbert_config,
        prefixes=("distilbert.",),
        layer="transformer.layer.{i}",
        embeddings=_EMBEDDINGS,
        layers={
            "attention.query": "attention.q_lin",
            "attention.key": "attention.k_lin",
            "attention.value": "attention.v_lin",
            "attention.output": "attention.out_lin",
            "attention.norm": "sa_layer_norm",
            "feed_forward.up": "ffn.lin1",
            "feed_forward.down": "ffn.lin2",
            "feed_forward.norm": "output_layer_norm",
        },
    ),
    "modernbert": Family(
        _modernbert_config,
        prefixes=("model.",),
        layer="layers.{i}",
        embeddings={
            "embeddings.tokens": "embeddings.tok_embeddings.weight",
            "embeddings.norm.weight": "embeddings.norm.weight",
            "embeddings.norm.bias": "embeddings.norm.bias",
            "final_norm.weight": "final_norm.weight",
            "final_norm.bias": "final_norm.bias",
        },
        layers={
            "attention.qkv": "attn.Wqkv",
            "attention.output": "attn.Wo",
            "attention.norm": "attn_norm",
            "feed_forward.both": "mlp.Wi",
            "feed_forward.down": "mlp.Wo",
            "feed_forward.norm": "mlp_norm",
        },
        finish=_split_joint_maps,
    ),
}
