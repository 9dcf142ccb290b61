"""Calibration: what a model's states look like on some text, which 8-bit products have to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from polyseme.checkpoints import Checkpoint
from polyseme.encoder import EncoderConfig
from polyseme.inputs import Text
from polyseme.packed import Offsets, Packed
from polyseme.sequences import sequences_of
from polyseme.text import Tokenizer

_TEXTS = Path(__file__).parent / "data" / "calibration.txt"
_TEXTS_OF_ANY_TOKENS = 64
_TOKENS = 32
_MOST_TOKENS = 8192


def calibrated(
    checkpoint: Checkpoint, tokenizer: Tokenizer, texts: Sequence[Text] | None = None
) -> Checkpoint:
    """The checkpoint with factors for the states in its layers (``execution.torch_int8``).

    Args:
        checkpoint: of a model with layers.
        tokenizer: its own.
        texts: like those that the model will read; if None, sentences that come with polyseme and
            as many tokens drawn evenly from the vocabulary, whatever its language.

    Raises:
        ValueError: there is no token in the texts, or there are more than 8,192.
    """
    import torch

    from polyseme.execution import torch_int8

    config = checkpoint.config
    given = _TEXTS.read_text(encoding="utf-8").splitlines() if texts is None else texts
    token_ids = sequences_of(
        tokenizer(list(given)),
        prefix=tokenizer.prefix,
        suffix=tokenizer.suffix,
        max_tokens=config.max_tokens,
    ).token_ids
    if texts is None:
        token_ids = Packed.from_arrays([*token_ids, *_drawn(config, tokenizer)])
    elif not 0 < len(token_ids.values) <= _MOST_TOKENS:
        raise ValueError(
            f"calibration has {len(token_ids.values):,} tokens: give texts of 1 to "
            f"{_MOST_TOKENS:,}, a few thousand are enough"
        )
    tensors = {
        name: torch.from_numpy(np.require(array, np.float32, "W"))
        for name, array in checkpoint.parameters.items()
    }
    factors = torch_int8.factors_of(tensors, config, token_ids)
    found = {name: tensor.numpy() for name, tensor in factors.items()}
    return replace(checkpoint, parameters={**checkpoint.parameters, **found})


def is_calibrated(checkpoint: Checkpoint) -> bool:
    """Whether the factors are there."""
    return any(name.endswith(".factors") for name in checkpoint.parameters)


def _drawn(config: EncoderConfig, tokenizer: Tokenizer) -> list[Offsets]:
    around = len(tokenizer.prefix) + len(tokenizer.suffix)
    tokens = max(0, min(_TOKENS, config.max_tokens or _TOKENS) - around)
    drawn = np.random.default_rng(0).integers(
        config.vocabulary_size, size=(_TEXTS_OF_ANY_TOKENS, tokens)
    )
    return [
        np.concatenate([tokenizer.prefix, ids, tokenizer.suffix]).astype(np.int64) for ids in drawn
    ]
