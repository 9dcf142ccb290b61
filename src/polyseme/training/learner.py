"""A student in training: its parameters, and its losses on what it is given.

On texts that the teacher has read, on words' uses whose senses are known, and on pseudowords. Words
of texts may be masked; their targets stay those of the whole text (data2vec, Baevski et al. 2022,
https://arxiv.org/abs/2202.03555).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from polyseme.encoder import EncoderConfig, encode
from polyseme.execution import torch_eager
from polyseme.packed import Packed, mean_of_ranges
from polyseme.sequences import Sequences, sequences_of
from polyseme.text import TokenizedTexts, Tokenizer
from polyseme.training.loop import Loss
from polyseme.training.losses import (
    cosine_distance,
    masked_word,
    nearest_centroid,
    same_sense,
    within_word,
)
from polyseme.training.settings import Recipe
from polyseme.training.targets import Targets
from polyseme.training.uses import Use, words_at

Tensor = Any
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Student:
    """A small encoder in training.

    Args:
        config: its shape.
        parameters: NumPy arrays that it starts from.
        tokenizer: its own.
        recipe: masks and weights.
        device: where it is trained.
    """

    def __init__(
        self,
        config: EncoderConfig,
        parameters: Mapping[str, Floats],
        tokenizer: Tokenizer,
        recipe: Recipe,
        device: str,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.parameters = {
            name: torch.tensor(array, device=device, requires_grad=True)
            for name, array in parameters.items()
        }
        self.operations = torch_eager.operations(self.parameters, config)
        self.mask_id = mask_id(tokenizer) if recipe.masked else -1

    def losses(self, texts: list[str], targets: Targets, step: int) -> dict[str, Loss]:
        """The losses of texts."""
        tokens, sequences = self._read(texts)
        ids, masked = self._masked(sequences, texts, step)
        states = self._states(sequences, ids)
        found = self._taught(tokens, sequences, states, targets)
        if self.recipe.masked_word_weight:
            rows = torch.from_numpy(masked).to(states.device)
            hidden = torch.from_numpy(sequences.token_ids.values[masked]).to(states.device)
            found["masked words"] = Loss(
                masked_word(states[rows], self.parameters["embeddings.tokens"], hidden),
                len(masked),
                self.recipe.masked_word_weight,
            )
        return found

    def losses_of_senses(self, words: list[list[Use]], targets: Targets) -> dict[str, Loss]:
        """The losses of words' uses whose senses are known, and which the teacher has read."""
        uses = list(chain.from_iterable(words))
        tokens, sequences = self._read([use.text for use in uses])
        states = self._states(sequences, sequences.token_ids.values)
        found = {
            f"uses: {name}": loss
            for name, loss in self._taught(tokens, sequences, states, targets).items()
        }
        rows, word, sense = self._compared(tokens, words)
        vectors = self._at(rows, tokens, sequences, states)
        pairs = int((np.bincount(word.cpu()) ** 2).sum()) - len(rows)
        found["same sense"] = Loss(
            same_sense(vectors, word, sense), pairs, self.recipe.sense_weight
        )
        return found

    def loss_of_centroids(self, words: list[list[Use]], weight: float) -> Loss:
        """The loss of telling the senses of words' uses apart by their centroids."""
        tokens, sequences = self._read([use.text for use in chain.from_iterable(words)])
        states = self._states(sequences, sequences.token_ids.values)
        rows, word, sense = self._compared(tokens, words)
        vectors = self._at(rows, tokens, sequences, states)
        return Loss(nearest_centroid(vectors, word, sense), len(rows), weight)

    def _read(self, texts: list[str]) -> tuple[TokenizedTexts, Sequences]:
        tokens = self.tokenizer(texts)
        return tokens, sequences_of(
            tokens,
            prefix=self.tokenizer.prefix,
            suffix=self.tokenizer.suffix,
            max_tokens=self.config.max_tokens,
        )

    def _states(self, sequences: Sequences, ids: Integers) -> Tensor:
        return encode(
            self.parameters,
            self.config,
            Packed(ids, sequences.token_ids.offsets),
            operations=self.operations,
            batch_tokens=max(1, len(ids)),
        ).values

    def _at(
        self,
        rows: Integers,
        tokens: TokenizedTexts,
        sequences: Sequences,
        states: Tensor,
    ) -> Tensor:
        """The vectors of some words."""
        first, last = tokens.word_tokens[rows].T
        return mean_of_ranges(states, first, last, sequences.token_rows)

    def _taught(
        self, tokens: TokenizedTexts, sequences: Sequences, states: Tensor, targets: Targets
    ) -> dict[str, Loss]:
        """The losses of what the teacher says of words and texts."""
        first, last = tokens.word_tokens.T
        there = np.flatnonzero(last > first)
        words = self._at(there, tokens, sequences, states)
        told = torch.from_numpy(targets.words[there]).to(words.device)
        found = {"words": Loss(cosine_distance(words, told), len(there))}
        if targets.static is not None:
            static = torch.from_numpy(targets.static[there]).to(words.device)
            found["within words"] = Loss(
                within_word(words, told, static), len(there), self.recipe.within_weight
            )
        if self.recipe.sentence_weight and self.tokenizer.prefix:
            filled = np.flatnonzero(np.diff(tokens.token_offsets))
            rows = sequences.token_ids.offsets[sequences.first[filled]]
            wanted = torch.from_numpy(targets.sentences[filled]).to(states.device)
            found["sentences"] = Loss(
                cosine_distance(states[torch.from_numpy(rows).to(states.device)], wanted),
                len(filled),
                self.recipe.sentence_weight,
            )
        return found

    def _compared(
        self, tokens: TokenizedTexts, words: list[list[Use]]
    ) -> tuple[Integers, Tensor, Tensor]:
        """The rows of the uses' words that have a token, and which word and sense each is."""
        uses = list(chain.from_iterable(words))
        word = np.repeat(np.arange(len(words)), [len(own) for own in words])
        names = [f"{i} {use.sense}" for i, use in zip(word, uses, strict=True)]
        _, sense = np.unique(names, return_inverse=True)
        rows, there = words_at(tokens.spans, tokens.word_offsets, uses)
        first, last = tokens.word_tokens[rows].T
        rows, there = rows[last > first], there[last > first]
        device = next(iter(self.parameters.values())).device
        return (
            rows,
            torch.from_numpy(word[there]).to(device),
            torch.from_numpy(sense[there]).to(device),
        )

    def _masked(
        self, sequences: Sequences, texts: list[str], step: int
    ) -> tuple[Integers, Integers]:
        """Ids with some of them masked, and where; the same for a text in whatever process."""
        ids = sequences.token_ids.values
        if not self.recipe.masked:
            return ids, np.zeros(0, np.int64)
        drawn = np.ones(len(ids))
        starts = sequences.token_ids.offsets
        for i, text in enumerate(texts):
            seed = (self.recipe.seed, step, len(text), *text[:16].encode())
            here = slice(starts[sequences.first[i]], starts[sequences.last[i] + 1])
            drawn[here] = np.random.default_rng(seed).random(here.stop - here.start)
        own = np.zeros(len(ids), dtype=bool)
        own[sequences.token_rows] = True
        masked = np.flatnonzero((drawn < self.recipe.masked) & own)
        ids = ids.copy()
        ids[masked] = self.mask_id
        return ids, masked

    def arrays(self) -> dict[str, Floats]:
        """The parameters as they are now."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self.parameters.items()}


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    """The vocabulary in the order of its ids; "" where an id has no token."""
    vocabulary: dict[str, int] = json.loads(tokenizer.to_json())["model"].get("vocab", {})
    added = json.loads(tokenizer.to_json()).get("added_tokens", [])
    pairs = {**vocabulary, **{token["content"]: token["id"] for token in added}}
    tokens = [""] * (max(pairs.values()) + 1)
    for token, i in pairs.items():
        tokens[i] = token
    return tokens


def mask_id(tokenizer: Tokenizer) -> int:
    """The id of the mask.

    Raises:
        ValueError: the tokenizer has none.
    """
    tokens = tokens_of(tokenizer)
    for name in ("[MASK]", "<mask>"):
        if name in tokens:
            return tokens.index(name)
    raise ValueError("the tokenizer has no [MASK] or <mask>: train without masked tokens")
