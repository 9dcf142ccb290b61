"""A linear probe: what can be read off frozen vectors by a weighted sum of their dimensions?

Logistic regression over standardised features, the usual probe (Alain and Bengio 2016,
https://arxiv.org/abs/1610.01644). How strongly it is held back is chosen on the training data
alone, by cross-validation in which a group (an expression, a verb) is never on both sides.
Deterministic. Needs scikit-learn (extra ``train``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.evaluation.models import Doubles, Integers

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of C that are tried: the smaller, the more the weights are held back."""

_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe that was fitted.

    Attributes:
        pipeline: the standardisation and the regression.
        strength: the C that was chosen.
    """

    pipeline: Any
    strength: float

    def predict(self, features: Doubles) -> Integers:
        """(n,) a label for each row of features (n, dim)."""
        found: Integers = self.pipeline.predict(features)
        return found


def require_sklearn() -> None:
    """See that probes can be fitted.

    Raises:
        ImportError: scikit-learn is missing; the message names the extra.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ImportError(
            'the linear probe needs scikit-learn: pip install "polyseme[train]"'
        ) from None


def fit(features: Doubles, labels: Integers, groups: npt.NDArray[Any]) -> Probe:
    """Fit a probe.

    Args:
        features: (n, dim).
        labels: (n,) of two kinds or more.
        groups: (n,) what each row belongs to; two kinds or more.

    Returns:
        The probe with the strength of least cross-entropy on groups left out, fitted on all rows.

    Raises:
        ImportError: scikit-learn is missing.
    """
    require_sklearn()
    from sklearn.metrics import log_loss
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(min(_FOLDS, len(np.unique(groups))))
    classes = np.unique(labels)
    losses = np.zeros(len(STRENGTHS))
    for train, held_out in folds.split(features, labels, groups):
        if len(np.unique(labels[train])) < len(classes):
            continue
        for i, strength in enumerate(STRENGTHS):
            told = _pipeline(strength).fit(features[train], labels[train])
            judged = told.predict_proba(features[held_out])
            losses[i] += log_loss(labels[held_out], judged, normalize=False, labels=classes)
    strength = STRENGTHS[int(losses.argmin())]
    return Probe(_pipeline(strength).fit(features, labels), strength)


def _pipeline(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
