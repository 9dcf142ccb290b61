"""Models of another library, as the tasks take them, for comparison.

``SentenceTransformersModel`` runs a model by sentence-transformers (extra ``bench``) instead of our
engine. The words are ours: a word's vector is the mean of the states of the tokens that share a
character with it. Texts are cut where that library cuts them, and it is said how much was lost.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from polyseme.embedded import EmbeddedTexts
from polyseme.evaluation.models import Floats, Integers
from polyseme.inputs import Text, as_list
from polyseme.packed import offsets_of
from polyseme.text import split_words

_TEXTS_AT_ONCE = 32


class SentenceTransformersModel:
    """A model that sentence-transformers runs.

    Args:
        source: a folder or hub id.
        device: as torch names it; if None, what the library chooses.

    Raises:
        ImportError: sentence-transformers is missing.
        ValueError: the model's tokenizer can't say which characters a token is from.
    """

    def __init__(self, source: str, *, device: str | None = None) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise ImportError(
                'models of sentence-transformers need that library: pip install "polyseme[bench]"'
            ) from None
        self.name = source
        self.rung = "sentence-transformers"
        self._model: Any = SentenceTransformer(source, device=device)
        if not getattr(self._model.tokenizer, "is_fast", False):
            raise ValueError(
                f"{source}: its tokenizer has no character offsets; a fast one is needed (a "
                "tokenizer.json in the model's folder)"
            )

    @property
    def dim(self) -> int:
        """Width of the words' vectors."""
        transformer = self._model[0]
        # The library renamed it after version 5.
        if hasattr(transformer, "get_embedding_dimension"):
            return int(transformer.get_embedding_dimension())
        return int(transformer.get_word_embedding_dimension())

    def contextualize(self, texts: Any, *, progress: bool | None = None) -> EmbeddedTexts:
        """Give every word of the texts its vector in its text.

        Args:
            texts: a list, each a str or a list of words.
            progress: show a bar on stderr; if None, on long work at a terminal.

        Returns:
            As ``Contextualizer.contextualize`` gives them; a word behind the end of what the model
            reads has a zero vector and is not known.
        """
        from polyseme.progress import progress_bar

        read = [_with_spans(text) for text in as_list(texts)]
        offsets = offsets_of(np.asarray([len(spans) for _, spans in read], dtype=np.int64))
        vectors = np.zeros((int(offsets[-1]), self.dim), dtype=np.float32)
        known = np.zeros(len(vectors), dtype=bool)
        by_length = sorted(range(len(read)), key=lambda i: len(read[i][0]))
        with progress_bar(len(read), progress) as advance:
            for start in range(0, len(read), _TEXTS_AT_ONCE):
                batch = by_length[start : start + _TEXTS_AT_ONCE]
                states, tokens = self._states([read[i][0] for i in batch])
                for i, own_states, own_tokens in zip(batch, states, tokens, strict=True):
                    rows = slice(int(offsets[i]), int(offsets[i + 1]))
                    vectors[rows], known[rows] = _pooled(own_states, own_tokens, read[i][1])
                advance(len(batch))
        if not known.all():
            warnings.warn(
                f"{self.name}: {np.sum(~known)} of {len(known)} words have no token, as "
                f"sentence-transformers reads {self._model.max_seq_length} tokens of a text; "
                "their vectors are zero",
                stacklevel=2,
            )
        spans = np.concatenate([np.zeros((0, 2), np.int64), *(spans for _, spans in read)])
        return EmbeddedTexts([text for text, _ in read], offsets, spans, vectors, known)

    def encode(self, texts: Any, *, progress: bool | None = None) -> Floats:
        """(n_texts, dim) float32 sentence vectors, as the library gives them."""
        encoded: Floats = self._model.encode(as_list(texts), show_progress_bar=bool(progress))
        return encoded

    def _states(self, texts: list[str]) -> tuple[Floats, Integers]:
        """(n, length, dim) states of the tokens, and (n, length, 2) their characters."""
        import torch

        features = self._model.tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._model.max_seq_length,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        tokens = features.pop("offset_mapping").numpy()
        with torch.inference_mode():
            features = {name: value.to(self._model.device) for name, value in features.items()}
            states = self._model[0](features)["token_embeddings"]
        return states.float().cpu().numpy(), tokens


def _with_spans(text: Text) -> tuple[str, Integers]:
    """The text, and (n_words, 2) the characters of its words."""
    if isinstance(text, str):
        return text, np.asarray(split_words(text), dtype=np.int64).reshape(-1, 2)
    lengths = np.asarray([len(word) for word in text], dtype=np.int64)
    starts = offsets_of(lengths + 1)[:-1]
    return " ".join(text), np.stack([starts, starts + lengths], axis=1)


def _pooled(states: Floats, tokens: Integers, spans: Integers) -> tuple[Floats, Any]:
    """(n_words, dim) means of the tokens that each word shares characters with, and which have any.

    Special tokens and padding have no characters.
    """
    starts, ends = tokens.T
    shared = (starts < spans[:, 1:]) & (ends > spans[:, :1]) & (ends > starts)
    counts = shared.sum(axis=1, keepdims=True)
    means: Floats = shared.astype(np.float32) @ states / np.maximum(counts, 1)
    return means, counts[:, 0] > 0
