"""A model whose vectors a test chooses, for the evaluation tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from polyseme.embedded import EmbeddedTexts
from polyseme.packed import offsets_of
from polyseme.text import split_words


class FakeModel:
    """``vector(words, i)`` is the vector of word i of a text; None means that it is unknown."""

    name = "fake"
    rung = "fake"

    def __init__(
        self, dim: int, vector: Callable[[list[str], int], Sequence[float] | None]
    ) -> None:
        self.dim = dim
        self.vector = vector
        self.asked: list[list[Any]] = []

    def contextualize(self, texts: Any, *, progress: bool | None = None) -> EmbeddedTexts:
        self.asked.append(list(texts))
        joined, spans, found = [], [], []
        for given in texts:
            text = given if isinstance(given, str) else " ".join(given)
            own = split_words(text)
            if not isinstance(given, str):
                starts = offsets_of([len(word) + 1 for word in given])[:-1].tolist()
                own = [(at, at + len(word)) for at, word in zip(starts, given, strict=True)]
            words = [text[start:end] for start, end in own]
            joined.append(text)
            spans.append(own)
            found += [self.vector(words, i) for i in range(len(words))]
        vectors = [[0.0] * self.dim if one is None else list(one) for one in found]
        return EmbeddedTexts(
            joined,
            offsets_of([len(own) for own in spans]),
            np.asarray([span for own in spans for span in own], np.int64).reshape(-1, 2),
            np.asarray(vectors, np.float32).reshape(-1, self.dim),
            np.asarray([one is not None for one in found], bool),
        )

    def encode(self, texts: Any, *, progress: bool | None = None) -> np.ndarray:
        docs = self.contextualize(texts)
        return np.stack([doc.vectors.mean(axis=0) for doc in docs])
