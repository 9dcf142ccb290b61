"""Contextualizer: what users hold. Texts in, a vector for every word out, as it is meant there.

One class for all four rungs: static vectors, parameter-free attention over them, learned attention,
and pretrained checkpoints. The way of the data is tokenizer -> packed ids -> encoder -> packed
states -> pooled word vectors; this module joins the stages and knows nothing of how they work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.checkpoints import Checkpoint, Stored
from polyseme.embedded import EmbeddedText, EmbeddedTexts, joined
from polyseme.encoder import EncoderConfig, encode, encode_layers
from polyseme.execution import Place, on_host, prepare
from polyseme.execution.threads import ahead
from polyseme.execution.together import Together
from polyseme.hub import push
from polyseme.inputs import Text, as_list, batches, checked, is_stream, size_of
from polyseme.packed import Packed, mean_of_ranges, offsets_of, take
from polyseme.parameter_free import ParameterFree, contextualize_packed, prior_of
from polyseme.progress import progress_bar
from polyseme.sequences import Sequences, pooled, sentence_rows, sequences_of
from polyseme.text import Phrases, TokenizedTexts, Tokenizer
from polyseme.vectors import WordVectors

if TYPE_CHECKING:
    from polyseme.explain import Explanation
    from polyseme.neighbours import Neighbour
    from polyseme.pictures import Picture

Array = Any
Floats = npt.NDArray[np.float32]

Result = TypeVar("Result", EmbeddedTexts, npt.NDArray[np.float32])

# Characters of a batch: enough for many texts of each length; of a stream, few enough for memory
# that stays small (on a GPU, enough for a step), of a list, enough for few copies when the batches
# are joined.
_CHARACTERS_OF_A_STREAM = 3 << 13
_CHARACTERS_OF_A_GPU_STREAM = 1 << 18
_CHARACTERS_OF_A_LIST = 1 << 20
# Tokens of a step: what caches hold of its states, or what keeps a GPU busy.
_TOKENS_OF_A_STEP = 1 << 11
_TOKENS_OF_A_GPU_STEP = 1 << 15
# What may be computed together with other threads' calls, and how much of it at a time.
_CHARACTERS_OF_A_SMALL_CALL = 1 << 14
_CHARACTERS_TOGETHER = 1 << 17


class Contextualizer:
    """A model that gives each word of a text its vector there. ``polyseme.load`` makes one.

    A text's vectors are the same, to the last bit, whatever else is in the batch and however it is
    cut (on one machine, with the same settings, on a CPU). Models may be used by several threads at
    a time.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        where: Place,
        *,
        word_vectors: WordVectors | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.tokenizer = tokenizer
        self.place = where
        self.word_vectors = word_vectors
        self.own_vocabulary: tuple[list[str], Floats] | None = None
        self.origin: Path | None = None
        self._arrays, self._operations = prepare(checkpoint.parameters, checkpoint.config, where)
        self._together = Together(_part, most=_CHARACTERS_TOGETHER)
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

    def __repr__(self) -> str:
        where = f"{self.place.backend} on {self.place.device} in {self.place.dtype}"
        return f"Contextualizer({self.name!r}, {self.rung}, {self.layers} x {self.dim}, {where})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.checkpoint, self.tokenizer, self.place, self.word_vectors)

    def __deepcopy__(self, memo: dict[int, Any]) -> Contextualizer:
        # Nothing changes a model, so that estimators that hold one can be cloned at no cost.
        return self

    @overload
    def contextualize(
        self,
        texts: str,
        *,
        phrases: Phrases | Iterable[str] | None = ...,
        layer: int | None = ...,
        normalize: bool = ...,
        batch_tokens: int | None = ...,
        progress: bool | None = ...,
    ) -> EmbeddedText: ...
    @overload
    def contextualize(
        self,
        texts: Iterator[Any],
        *,
        phrases: Phrases | Iterable[str] | None = ...,
        layer: int | None = ...,
        normalize: bool = ...,
        batch_tokens: int | None = ...,
        progress: bool | None = ...,
    ) -> Iterator[EmbeddedText]: ...
    @overload
    def contextualize(
        self,
        texts: Any,
        *,
        phrases: Phrases | Iterable[str] | None = ...,
        layer: int | None = ...,
        normalize: bool = ...,
        batch_tokens: int | None = ...,
        progress: bool | None = ...,
    ) -> EmbeddedTexts: ...
    def contextualize(
        self,
        texts: Any,
        *,
        phrases: Phrases | Iterable[str] | None = None,
        layer: int | None = None,
        normalize: bool = False,
        batch_tokens: int | None = None,
        progress: bool | None = None,
    ) -> EmbeddedText | EmbeddedTexts | Iterator[EmbeddedText]:
        """Give every word of the texts its vector in its text.

        Args:
            texts: a str; a list, tuple, NumPy, pandas or Arrow array of str; or a generator, which
                is streamed. In place of a str, a text may be a list of the user's own words.
            phrases: phrases that are kept as one unit with one vector, such as "piece of cake".
            layer: the state after this layer, negative from the end; 0 is static. The last if None.
            normalize: scale each vector to length one.
            batch_tokens: tokens that are computed at a time; changes speed and memory, on a CPU no
                bit of the result. If None, 2,048 on a CPU and 32,768 on a GPU.
            progress: show a bar on stderr; if None, on long work at a terminal.

        Returns:
            An EmbeddedText for a str, an iterator of them for a generator, else EmbeddedTexts.

        Raises:
            TypeError: an unknown option, or a text that is no str; the message has its position.
            ValueError: an option out of range.

        Example:
            >>> import polyseme
            >>> model = polyseme.load()
            >>> docs = model.contextualize(["An apple a day", "Apple just launched a new iPhone"])
            >>> docs.vectors.shape, bool((docs[0]["apple"] == docs[1]["Apple"]).all())
            ((10, 256), False)
        """
        layer = self._layer(layer)
        if batch_tokens is not None:
            batch_tokens = _positive("batch_tokens", batch_tokens)
        if phrases is not None and not isinstance(phrases, Phrases):
            phrases = Phrases(phrases)

        def embed(batch: list[Text]) -> EmbeddedTexts:
            tokens = self.tokenizer(batch, phrases=phrases)
            vectors = self.vectors_of(tokens, layer=layer, batch_tokens=batch_tokens)
            if normalize:
                vectors = unit(vectors)
            return EmbeddedTexts(
                tokens.texts, tokens.word_offsets, tokens.spans, vectors, tokens.known
            )

        options = ("words", phrases, layer, batch_tokens, bool(normalize))
        if isinstance(texts, str):
            embedded: EmbeddedTexts = self._perhaps_together(embed, [texts], options)
            return embedded[0]
        if is_stream(texts):
            stream = self._each(embed, _checked_stream(texts), None, progress, options)
            return chain.from_iterable(stream)
        listed = as_list(texts)
        parts = list(self._each(embed, listed, len(listed), progress, options))
        return joined(parts or [embed([])])

    def encode(
        self,
        texts: Any,
        *,
        normalize: bool | None = None,
        batch_tokens: int | None = None,
        progress: bool | None = None,
    ) -> Floats:
        """Sentence vectors: one vector for a text.

        A model that comes from sentence-transformers is pooled and normalised as its modules.json
        says, so the vectors are those that this library gives (long texts excepted, which are read
        whole here). Models without layers take the mean of their words' contextual vectors.

        Args:
            texts: a str, or a list, tuple, NumPy, pandas or Arrow array, or generator of str.
            normalize: scale each vector to length one; if None, as the model is set.
            batch_tokens: tokens that are computed at a time; if None, as in ``contextualize``.
            progress: show a bar on stderr; if None, on long work at a terminal.

        Returns:
            (dim,) float32 for a str, else (n_texts, dim). A text without words is a zero vector in
            models without layers.

        Raises:
            TypeError: an unknown option, or a text that is no str; the message has its position.
            ValueError: an option out of range, or a model whose pooling is not supported.

        Example:
            >>> import polyseme
            >>> polyseme.load().encode(["An apple a day", "Apple pie"]).shape
            (2, 256)
        """
        if batch_tokens is not None:
            batch_tokens = _positive("batch_tokens", batch_tokens)
        sentence = self.checkpoint.sentence
        if sentence.unsupported:
            raise ValueError(
                f"{self.name}: {sentence.unsupported}, which polyseme does not have; contextualize "
                "works all the same"
            )
        if isinstance(texts, str):
            listed: Iterable[Text] = [texts]
        else:
            listed = _checked_stream(texts) if is_stream(texts) else as_list(texts)
        to_unit = sentence.normalize if normalize is None else normalize

        def embed(batch: list[Text]) -> Floats:
            vectors = self._sentence_vectors(self.tokenizer(batch), batch_tokens)
            return unit(vectors) if to_unit else vectors

        total = len(listed) if isinstance(listed, list) else None
        options = ("texts", batch_tokens, bool(to_unit))
        parts = self._each(embed, listed, total, progress, options)
        encoded = np.concatenate([np.zeros((0, self.dim), np.float32), *parts])
        return encoded[0] if isinstance(texts, str) else encoded

    def explain(self, text: Text, word: str | int, **options: Any) -> Explanation:
        """Which words of a text made a word what it is there; see ``polyseme.explain``."""
        from polyseme.explain import explain

        return explain(self, text, word, **options)

    def sense_map(self, word: str, texts: Any, **options: Any) -> Picture:
        """A map of a word's vectors before and after context; see ``polyseme.explain``."""
        from polyseme.explain import sense_map

        return sense_map(self, word, texts, **options)

    def most_similar(self, text: Text, word: str | int, **options: Any) -> list[Neighbour]:
        """What a word of a text is nearest to as meant there; see ``polyseme.neighbours``."""
        from polyseme.neighbours import most_similar

        return most_similar(self, text, word, **options)

    def static(self) -> Contextualizer:
        """This model's static vectors alone: the same vector in every text."""
        return self._without_layers(None, self._table_parameters())

    def parameter_free(
        self,
        *,
        frequency: Literal["model", "rank", "counts"] | None = "model",
        center: bool = False,
        **settings: Any,
    ) -> Contextualizer:
        """Parameter-free attention over this model's static vectors.

        Args:
            frequency: how much less a frequent word says than a rare one: "model" as the model has
                it (or not), "rank" from the vocabulary's order by Zipf's law, "counts" from the
                counts of the word vectors' file, None not at all.
            center: subtract the vocabulary's mean vector from every word.
            settings: temperature, normalize, include_self and own_similarity of ParameterFree;
                what is not given stays as the model has it.

        Raises:
            TypeError: an unknown setting.
            ValueError: a setting out of range, or counts that the model does not have.
        """
        parameters = self._table_parameters()
        if frequency != "model":
            parameters.pop("embeddings.log_prior", None)
            if frequency is not None:
                parameters["embeddings.log_prior"] = prior_of(self.word_vectors, frequency)
        if center:
            parameters["embeddings.center"] = parameters["embeddings.tokens"].mean(axis=0)
        return self._without_layers(
            replace(self.settings or ParameterFree(), **settings), parameters
        )

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: Stored = "float32") -> None:
        """Write the model as a folder that ``polyseme.load`` opens.

        Args:
            folder: made if it is not there.
            dtype: of the matrices; "int8" with a scale for each row is a quarter of the size, and
                is computed with in the precision that ``load`` is asked for all the same.

        Raises:
            NotADirectoryError: the path is a file.
            ValueError: an unknown dtype, or "int8" for a model over word vectors.
        """
        from polyseme.loading import save

        save(self, folder, dtype=dtype)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        dtype: Stored = "float32",
    ) -> str:
        """Upload the model to the Hugging Face hub, where ``polyseme.load(repo_id)`` finds it.

        Args:
            repo_id: "user/name"; made if it is not there.
            private: whether a new repository is; None for the default of the account.
            token: with the right to write; by default HF_TOKEN or what `hf auth login` kept.
            revision: branch, made if it is not there; None for main.
            commit_message: None for "Upload with polyseme".
            dtype: see ``save_pretrained``.

        Returns:
            The URL of the commit.

        Raises:
            ValueError: a malformed repo_id, an unknown dtype, or "int8" for word vectors.
            PermissionError: there is no token, or it doesn't allow this.
            ConnectionError: the hub can't be reached, or HF_HUB_OFFLINE is set.
            OSError: the hub refuses for another reason.
        """
        return push(
            lambda folder: self.save_pretrained(folder, dtype=dtype),
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message,
        )

    def static_vectors(self, texts: list[Text]) -> EmbeddedTexts:
        """The words of the texts with their static vectors, before any context."""
        tokens = self.tokenizer(texts)
        vectors = self.static_vectors_of(tokens)
        return EmbeddedTexts(tokens.texts, tokens.word_offsets, tokens.spans, vectors, tokens.known)

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

    def _sentence_vectors(self, tokens: TokenizedTexts, batch_tokens: int | None) -> Floats:
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

    def _each(
        self,
        embed: Callable[[list[Text]], Result],
        texts: Iterable[Text],
        total: int | None,
        progress: bool | None,
        options: Hashable,
    ) -> Iterator[Result]:
        with progress_bar(total, progress) as advance:
            size = _CHARACTERS_OF_A_LIST
            if total is None:
                size = _CHARACTERS_OF_A_GPU_STREAM if self._on_gpu else _CHARACTERS_OF_A_STREAM

            def run(batch: list[Text]) -> Result:
                return self._perhaps_together(embed, batch, options)

            # While a GPU computes, the next texts are tokenised.
            workers = 2 if self._on_gpu and total != 1 else 1
            for batch, result in ahead(run, batches(texts, size), workers):
                yield result
                advance(len(batch))

    def _perhaps_together(
        self, embed: Callable[[list[Text]], Result], batch: list[Text], options: Hashable
    ) -> Result:
        """What ``embed`` gives for the batch; small ones with those of other threads."""
        if sum(map(size_of, batch)) > _CHARACTERS_OF_A_SMALL_CALL:
            return embed(batch)
        return self._together(embed, batch, options)

    def _layer(self, layer: int | None) -> int:
        if layer is None:
            return self.layers
        if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)):
            raise TypeError(f"layer is {layer!r}: give an integer")
        if not -self.layers - 1 <= layer <= self.layers:
            raise ValueError(f"layer is {layer}: this model has layers 0 (static) to {self.layers}")
        return int(layer) % (self.layers + 1)

    def _table_parameters(self) -> dict[str, npt.NDArray[Any]]:
        kept = ("embeddings.tokens", "embeddings.log_prior", "embeddings.center")
        parameters = self.checkpoint.parameters
        return {name: parameters[name] for name in kept if name in parameters}

    def _without_layers(
        self, settings: ParameterFree | None, parameters: dict[str, npt.NDArray[Any]]
    ) -> Contextualizer:
        rows, dim = parameters["embeddings.tokens"].shape
        checkpoint = replace(
            self.checkpoint,
            config=EncoderConfig(vocabulary_size=rows, hidden_size=dim),
            parameters=parameters,
            parameter_free=settings,
            sentence=replace(self.checkpoint.sentence, pooling="mean", unsupported=None),
        )
        where = self.place
        if where.dtype == "int8":  # which is for products in layers
            where = replace(where, dtype="float32")
        return Contextualizer(checkpoint, self.tokenizer, where, word_vectors=self.word_vectors)

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


def _made(
    checkpoint: Checkpoint, tokenizer: Tokenizer, where: Place, word_vectors: WordVectors | None
) -> Contextualizer:
    return Contextualizer(checkpoint, tokenizer, where, word_vectors=word_vectors)


def _checked_stream(texts: Iterator[Any]) -> Iterator[Text]:
    return (checked(text, i) for i, text in enumerate(texts))


def _part(embedded: Result, start: int, stop: int) -> Result:
    """What belongs to the texts start..stop, in memory of its own."""
    if isinstance(embedded, EmbeddedTexts):
        return embedded.part(start, stop)
    return embedded[start:stop].copy()


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: give an integer")
    if value < 1:
        raise ValueError(f"{name} is {value}: it must be at least 1")
    return int(value)
