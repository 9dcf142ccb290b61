"""Targets: what a teacher says that each word, and each text, is to mean.

A word's vector h after a middle layer and u after the last one, and the mean m of the u of its
text, each centred and of length one, make its target:

    middle_share * h + last_share * u + mean_share * m

projected on as many principal components as the student is wide. Where a student has learned
already, from whomever, the components are turned (orthogonal Procrustes; Schoenemann 1966) to where
its own vectors are: it need not learn anew which direction is which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyseme.attention import linear, unit
from polyseme.contextualizer import Contextualizer
from polyseme.packed import mean_of_ranges
from polyseme.training.settings import Recipe
from polyseme.training.student import least_squares, principal_components

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Targets:
    """What a batch's vectors are to be.

    Attributes:
        words: (n_words, dim) float32.
        sentences: (n_texts, dim) float32.
        static: (n_words, dim) float32, what the words' static vectors alone tell of the unit
            vectors of ``words``; None where the recipe has no use for it.
    """

    words: Floats
    sentences: Floats
    static: Floats | None


class Teacher:
    """A model and how its vectors become targets.

    Args:
        model: any with layers.
        recipe: the shares.
        dim: width of the targets.
        texts: from which means and principal components are taken.
        student: one that has learned already, with vectors of ``dim``.

    Raises:
        ValueError: the model does not have the middle layer.
    """

    def __init__(
        self,
        model: Contextualizer,
        recipe: Recipe,
        dim: int,
        texts: Sequence[str],
        student: Contextualizer | None = None,
    ) -> None:
        last = model.config.layers
        middle = max(1, last // 2) if recipe.middle_layer is None else recipe.middle_layer
        if not 0 <= middle <= last:
            raise ValueError(f"middle_layer is {middle}: {model.name} has layers 0 to {last}")
        self.model = model
        self.layers = (middle, last)
        self.shares = (recipe.middle_share, recipe.last_share, recipe.mean_share)
        parts, _ = self._parts(texts)
        self.centers = [part.mean(axis=0) for part in parts]
        sums, _ = self._sums(texts)
        self.projection = np.eye(model.dim, dim, dtype=np.float32)
        if dim < model.dim:
            self.projection = principal_components(sums, dim)
        if student is not None:
            told = unit(sums @ self.projection)
            self.projection = self.projection @ rotation(
                told, unit(student.contextualize(list(texts)).vectors)
            )
        self._within = recipe.within_weight > 0
        table = model.static_vectors(list(texts)).vectors
        self._scale = np.float32(1 / np.sqrt(np.mean(table**2)))
        self._static = least_squares(table * self._scale, unit(sums @ self.projection))

    def __call__(self, texts: Sequence[str]) -> Targets:
        """The targets of texts."""
        words, sentences = self._sums(texts)
        return Targets(words @ self.projection, sentences @ self.projection, self.static(texts))

    def static(self, texts: Sequence[str]) -> Floats | None:
        """What the static vectors of the texts' words tell of their targets; see ``Targets``."""
        if not self._within:
            return None
        table = self.model.static_vectors(list(texts)).vectors
        told: Floats = linear(table * self._scale, *self._static)
        return told

    def _sums(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        parts, owner = self._parts(texts)
        middle, last, mean = (
            part - center for part, center in zip(parts, self.centers, strict=True)
        )
        middle_share, last_share, mean_share = map(np.float32, self.shares)
        return middle_share * middle + last_share * last + mean_share * mean[owner], mean

    def _parts(self, texts: Sequence[str]) -> tuple[list[Floats], npt.NDArray[np.int64]]:
        """Unit vectors of words after both layers and of texts; and which text a word is from."""
        tokens = self.model.tokenizer(texts)
        middle, last = self.model.vectors_of_layers(tokens, self.layers)
        means = mean_of_ranges(last, tokens.word_offsets[:-1], tokens.word_offsets[1:])
        owner = np.repeat(np.arange(len(texts)), np.diff(tokens.word_offsets))
        return [unit(middle), unit(last), unit(means)], owner


def rotation(given: Floats, wanted: Floats) -> Floats:
    """The orthogonal matrix R (d, d) for which ``given @ R`` is nearest to ``wanted``, (n, d) each.

    Example:
        >>> rotation(np.eye(2), np.asarray([[0.0, 1.0], [-1.0, 0.0]])).tolist()
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    left, _, right = np.linalg.svd((given.T @ wanted).astype(np.float64))
    return np.ascontiguousarray(left @ right, dtype=np.float32)
