"""Contextualizer: what users hold. Texts in, a vector for every word out, as it is meant there.

One class for all four rungs: static vectors, parameter-free attention over them, learned attention,
and pretrained checkpoints. Texts of any kind come in, are cut into batches and tokenised; what is
computed of them then is the concern of ``Model``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.checkpoints import Checkpoint, Stored
from polyseme.embedded import EmbeddedText, EmbeddedTexts, joined
from polyseme.encoder import EncoderConfig
from polyseme.execution import Place
from polyseme.execution.threads import ahead
from polyseme.execution.together import Together
from polyseme.hub import push
from polyseme.inputs import Text, as_list, batches, checked, is_stream, size_of
from polyseme.model import Model
from polyseme.parameter_free import ParameterFree, prior_of
from polyseme.progress import progress_bar
from polyseme.text import Phrases, Tokenizer
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
# What may be computed together with other threads' calls, and how much of it at a time.
_CHARACTERS_OF_A_SMALL_CALL = 1 << 14
_CHARACTERS_TOGETHER = 1 << 17


class Contextualizer(Model):
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
        super().__init__(checkpoint, tokenizer, where)
        self.word_vectors = word_vectors
        self.own_vocabulary: tuple[list[str], Floats] | None = None
        self.origin: Path | None = None
        self._together = Together(_part, most=_CHARACTERS_TOGETHER)

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
            vectors = self.sentence_vectors(self.tokenizer(batch), batch_tokens)
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
