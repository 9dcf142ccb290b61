"""A checkpoint at work: from texts already tokenised to vectors.

The way is packed ids -> encoder -> packed states -> pooled word vectors; this module joins the
stages and knows nothing of how they work. ``Contextualizer`` adds what users hand over and get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.checkpoints import Checkpoint
from polyseme.encoder import EncoderConfig, encode, encode_layers
from polyseme.execution import Place, on_host, prepare
from polyseme.packed import Packed, mean_of_ranges, offsets_of, take
from polyseme.parameter_free import ParameterFree, contextualize_packed
from polyseme.sequences import Sequences, pooled, sentence_rows, sequences_of
from polyseme.text import TokenizedTexts, Tokenizer

Array = Any
Floats = npt.NDArray[np.float32]

# Tokens of a step: what caches hold of its states, or what keeps a GPU busy.
_TOKENS_OF_A_STEP = 1 << 11
_TOKENS_OF_A_GPU_STEP = 1 << 15


class Model:
    """The vectors of tokenised texts by a checkpoint of any rung.

    Attributes:
        checkpoint: parameters and configuration, as they were read.
        tokenizer: that the texts are tokenised with.
        place: where it runs, and in which precision.
    """

    def __init__(self, checkpoint: Checkpoint, tokenizer: Tokenizer, where: Place) -> None:
        self.checkpoint = checkpoint
        self.tokenizer = tokenizer
        self.place = where
        self._arrays, self._operations = prepare(checkpoint.parameters, checkpoint.config, where)
        self._one_at_a_time = Lock()
        self._on_gpu = where.device != "cpu"
        self._step_tokens = _TOKENS_OF_A_GPU_STEP if self._on_gpu else _TOKENS_OF_A_STEP

    @property
    def name(self) -> str:
        """As it was given to ``load``."""
        return self.checkpoint.name

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.config.hidden_size

    @property
    def layers(self) -> int:
        """Steps of context: layers of learned attention, 1 for parameter-free, 0 for static."""
        return self.config.layers or int(self.settings is not None)

    @property
    def config(self) -> EncoderConfig:
        """Shape of the encoder."""
        return self.checkpoint.config

    @property
    def settings(self) -> ParameterFree | None:
        """Settings of parameter-free attention; None for a model of another rung."""
        return self.checkpoint.parameter_free

    @property
    def rung(self) -> Literal["static", "parameter-free", "learned", "pretrained"]:
        """Which of the four ways from a word to its vector this model takes."""
        if self.config.layers:
            return "learned" if self.checkpoint.model_type == "polyseme" else "pretrained"
        return "static" if self.settings is None else "parameter-free"

    def static_vectors_of(self, tokens: TokenizedTexts) -> Floats:
        """(n_words, dim) float32 static vectors of texts already tokenised."""
        return on_host(self._static_words(tokens).values)

    def table_rows(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Floats:
        """(n, dim) float32 rows of the table of static vectors."""
        return on_host(take(self._arrays["embeddings.tokens"], np.asarray(rows, np.int64)))

    def centered(self, vectors: Floats) -> Floats:
        """Static vectors less the vocabulary's mean, if the model subtracts it."""
        center = self.checkpoint.parameters.get("embeddings.center")
        return vectors if center is None else vectors - center

    def weights(self, tokens: TokenizedTexts) -> tuple[list[Array], Sequences | None]:
        """Attention weights of one text, layer by layer.

        Args:
            tokens: one text.

        Returns:
            A list of (heads, n, n) weights over the tokens of its sequence and that sequence; for
            parameter-free attention one (1, n_words, n_words) over its words, and None.

        Raises:
            ValueError: the text is longer than the model's positions.
        """
        record: list[Array] = []
        with self._no_gradients():
            if not self.config.layers:
                self._attended_words(tokens, record)
                return [on_host(weights) for weights in record], None
            sequences = self.sequences(tokens)
            if len(sequences.token_ids) > 1:
                raise ValueError(
                    f"the text has {len(tokens.token_ids)} tokens, more than the model's "
                    f"{self.config.max_tokens} positions: explain a shorter part of it"
                )
            encode(
                self._arrays,
                self.config,
                sequences.token_ids,
                operations=self._operations,
                record=record,
            )
        return [on_host(weights)[0] for weights in record], sequences

    def vectors_of(
        self, tokens: TokenizedTexts, *, layer: int | None = None, batch_tokens: int | None = None
    ) -> Floats:
        """(n_words, dim) float32 states of the words after a layer, of texts already tokenised."""
        layer = self._layer(layer)
        if self.config.layers:
            return self.vectors_of_layers(tokens, (layer,), batch_tokens=batch_tokens)[0]
        with self._no_gradients():
            attends = layer > 0 and self.settings is not None
            words = self._attended_words(tokens) if attends else self._static_words(tokens)
            return on_host(words.values)

    def vectors_of_layers(
        self, tokens: TokenizedTexts, layers: Sequence[int], *, batch_tokens: int | None = None
    ) -> list[Floats]:
        """``vectors_of`` after each of several layers, from one pass of a model with layers."""
        first, last = tokens.word_tokens.T
        with self._no_gradients():
            sequences = self.sequences(tokens)
            return [
                on_host(mean_of_ranges(states, first, last, sequences.token_rows))
                for states in self.states(sequences, layers, batch_tokens)
            ]

    def sequences(self, tokens: TokenizedTexts) -> Sequences:
        """What the encoder reads of texts already tokenised: special tokens, windows."""
        return sequences_of(
            tokens,
            prefix=self.tokenizer.prefix,
            suffix=self.tokenizer.suffix,
            max_tokens=self.config.max_tokens,
        )

    def states(
        self, sequences: Sequences, layers: Sequence[int], batch_tokens: int | None = None
    ) -> list[Array]:
        """(n_tokens, dim) states of every token after each of several layers."""
        with self._one_at_a_time, self._no_gradients():
            packed = encode_layers(
                self._arrays,
                self.config,
                sequences.token_ids,
                layers,
                operations=self._operations,
                batch_tokens=batch_tokens or self._step_tokens,
            )
        return [states.values for states in packed]

    def sentence_vectors(self, tokens: TokenizedTexts, batch_tokens: int | None) -> Floats:
        """(n_texts, dim) float32 pooled states."""
        if not self.config.layers:
            vectors = self.vectors_of(tokens, batch_tokens=batch_tokens)[tokens.known]
            counts = np.diff(np.append(0, np.cumsum(tokens.known))[tokens.word_offsets])
            return pooled(vectors, offsets_of(counts), "mean")
        with self._no_gradients():
            sequences = self.sequences(tokens)
            (states,) = self.states(sequences, (self.layers,), batch_tokens)
            rows = sentence_rows(
                sequences,
                len(self.tokenizer.prefix),
                len(self.tokenizer.suffix),
                tokens.token_offsets,
            )
            gathered = on_host(take(states, rows.values))
        return pooled(gathered, rows.offsets, self.checkpoint.sentence.pooling)

    def _static_words(self, tokens: TokenizedTexts) -> Packed:
        """Static vectors: the mean of a word's rows in the table; zero if it has none."""
        first, last = tokens.word_tokens.T
        table = self._arrays["embeddings.tokens"]
        vectors = mean_of_ranges(table, first, last, tokens.token_ids)
        if "embeddings.center" in self._arrays:
            vectors = vectors - self._arrays["embeddings.center"]
            vectors[~tokens.known] = 0
        return Packed(vectors, tokens.word_offsets)

    def _attended_words(self, tokens: TokenizedTexts, record: list[Array] | None = None) -> Packed:
        prior = self._arrays.get("embeddings.log_prior")
        if prior is not None:
            first, last = tokens.word_tokens.T
            prior = mean_of_ranges(prior, first, last, tokens.token_ids)
        return contextualize_packed(
            self._static_words(tokens),
            self.settings or ParameterFree(),
            known=tokens.known,
            log_prior=prior,
            record=record,
        )

    def _layer(self, layer: int | None) -> int:
        if layer is None:
            return self.layers
        if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)):
            raise TypeError(f"layer is {layer!r}: give an integer")
        if not -self.layers - 1 <= layer <= self.layers:
            raise ValueError(f"layer is {layer}: this model has layers 0 (static) to {self.layers}")
        return int(layer) % (self.layers + 1)

    @contextmanager
    def _no_gradients(self) -> Iterator[None]:
        if self.place.backend == "numpy":
            yield
            return
        import torch

        # The model's precision is its own, whatever the caller's autocast says.
        device = self.place.device.partition(":")[0]
        with torch.inference_mode(), torch.autocast(device, enabled=False):
            yield
