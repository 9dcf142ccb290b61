"""Contextual vectors as a step of a scikit-learn pipeline.

Texts, or places in texts, go in; a matrix comes out that any estimator of scikit-learn takes.
Nothing is learned here: the estimators of ``polyseme.tasks`` learn.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.contextualizer import Contextualizer
from polyseme.inputs import as_list
from polyseme.loading import load
from polyseme.tasks.estimators import SpanClassifier
from polyseme.tasks.examples import listed
from polyseme.tasks.features import features_of, nothing

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError:
    raise ImportError(
        'polyseme.sklearn needs scikit-learn: pip install "polyseme[train]"'
    ) from None


class ContextualVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Texts, or words and spans in their texts, to vectors.

    Args:
        model: what ``polyseme.load`` takes, or what it gave; the bundled default if None.
        of: "texts": X are texts, and get their sentence vectors (``Contextualizer.encode``);
            "spans": X are as ``polyseme.tasks.SpanClassifier`` takes them, and get the mean of
            their words' vectors.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Example:
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn.pipeline import make_pipeline
        >>> pipeline = make_pipeline(ContextualVectorizer(), KNeighborsClassifier(1))
        >>> told = pipeline.fit(["a sunny day", "stocks fell again"], ["weather", "money"])
        >>> told.predict(["it rained all day"]).tolist()
        ['weather']
    """

    def __init__(
        self,
        model: Any = None,
        *,
        of: Literal["texts", "spans"] = "texts",
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.of = of
        self.progress = progress

    def fit(self, X: Any = None, y: Any = None) -> ContextualVectorizer:
        """Open the model; nothing is learned.

        Raises:
            ValueError: ``of`` is unknown.
            FileNotFoundError: there is no such model.
        """
        if self.of not in ("texts", "spans"):
            raise ValueError(f"of is {self.of!r}: use 'texts' or 'spans'")
        opened = self.model if isinstance(self.model, Contextualizer) else load(self.model)
        self.model_, self.n_features_out_ = opened, opened.dim
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:
        """(n, dim) float32.

        Raises:
            TypeError: X is no collection of texts.
            UnusableError: spans can't be used; it lists them by row.
        """
        if not hasattr(self, "model_"):
            self.fit()
        if self.of == "texts":
            given = listed(X, ("text",)) if hasattr(X, "columns") else as_list(X)
            vectors: npt.NDArray[np.float32] = self.model_.encode(given, progress=self.progress)
            return vectors
        units = SpanClassifier().units(X)
        if not len(units):
            return np.zeros((0, self.model_.dim), np.float32)
        return features_of(self.model_, units, nothing, pairs=False, progress=self.progress)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """Names of the columns, (dim,): vector0, vector1, and so on."""
        if not hasattr(self, "model_"):
            self.fit()
        return np.asarray([f"vector{i}" for i in range(self.model_.dim)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True
