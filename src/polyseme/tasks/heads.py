"""The head: labels from a vector by weighted sums of its dimensions.

    z = W (x - mean) / scale + b;    p = softmax(z / temperature), or the sigmoid of each

Fitted as a logistic regression on vectors that do not change (the linear probe), it is where the
training of the layers below it starts. Its probabilities are calibrated afterwards by one number,
the temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Kind = Literal["one", "several", "score"]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of C that are tried: the smaller, the more the weights are held back."""

PROMINENCE = 8.0

_FOLDS = 5
_ROWS_OF_A_CHOICE = 4000
_MOST_ROWS_OF_A_CHOICE = 20_000
_SURE = 30.0


@dataclass(frozen=True, eq=False)
class Head:
    """A head that was fitted.

    Attributes:
        kind: "one" label of all, "several" labels each for itself, or a "score".
        weight: (k, d).
        bias: (k,).
        mean: (d,) of the features it was fitted on.
        scale: (d,) their standard deviation, less for plain numbers; see ``fit_head``.
        temperature: what z is divided by before it becomes a probability.
        penalty: how much the squared weights count beside the mean loss; see ``fit_head``.
    """

    kind: Kind
    weight: Doubles
    bias: Doubles
    mean: Doubles
    scale: Doubles
    temperature: float = 1.0
    penalty: float = 0.0

    def logits(self, features: npt.NDArray[Any]) -> Doubles:
        """Z (n, k) of features (n, d); for a score, the score."""
        given: Doubles = (features - self.mean) / self.scale
        return given @ self.weight.T + self.bias

    def probabilities(self, features: npt.NDArray[Any]) -> Doubles:
        """(n, k) of each label; rows sum to one where there is one label of all."""
        return probabilities(self.logits(features) / self.temperature, self.kind)

    def calibrated(self, features: npt.NDArray[Any], targets: Doubles) -> Head:
        """The same head with the temperature of least cross-entropy on rows it has not seen."""
        if self.kind == "score" or not len(features):
            return self
        logits = self.logits(features)
        tried = np.geomspace(0.25, 8, 61)
        losses = [loss(logits / t, targets, self.kind) for t in tried]
        return replace(self, temperature=float(tried[int(np.argmin(losses))]))


def probabilities(logits: Doubles, kind: Kind) -> Doubles:
    """Softmax of rows, or the sigmoid of each entry.

    Example:
        >>> probabilities(np.zeros((1, 4)), "one").tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    if kind == "one":
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: Doubles = weights / weights.sum(axis=1, keepdims=True)
        return found
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))


def loss(logits: Doubles, targets: Doubles, kind: Kind) -> float:
    """Mean over rows of the cross-entropy, or of the squared error of a score; (n, k) each.

    Example:
        >>> round(loss(np.zeros((1, 2)), np.asarray([[0.0, 1.0]]), "one"), 3)
        0.693
    """
    if kind == "score":
        return float(((logits - targets) ** 2).sum(axis=1).mean())
    judged = np.clip(probabilities(logits, kind), 1e-12, 1 - 1e-12)
    if kind == "one":
        return float(-(targets * np.log(judged)).sum(axis=1).mean())
    each = targets * np.log(judged) + (1 - targets) * np.log(1 - judged)
    return float(-each.sum(axis=1).mean())


def fit_head(
    features: npt.NDArray[Any],
    targets: Doubles,
    kind: Kind,
    *,
    plain: int = 0,
    groups: npt.NDArray[Any] | None = None,
    weights: Doubles | None = None,
) -> Head:
    """Fit a head on features that do not change.

    Args:
        features: (n, d).
        targets: (n, k) 1 for a label that a row has, 0 for others; (n, 1) scores.
        kind: of the head.
        plain: how many of the last features are plain numbers: they are few and each says something
            by itself, so they are taken ``PROMINENCE`` times, which holds their weights back less
            than those of a vector's dimensions.
        groups: (n,) what each row belongs to: groups are not torn apart when the strength of the
            regression is chosen by cross-validation.
        weights: (n,) of the rows; 1 if None.

    Raises:
        ImportError: scikit-learn is missing.
    """
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-6, scale, 1.0)
    scale[len(scale) - plain :] /= PROMINENCE
    given = (features - mean) / scale
    weights = np.ones(len(given)) if weights is None else weights
    losses = np.zeros(len(STRENGTHS))
    chosen = np.random.default_rng(0).permutation(len(given))[:_MOST_ROWS_OF_A_CHOICE]
    for train, held_out in _folds(np.sort(chosen), groups):
        for i, strength in enumerate(STRENGTHS):
            weight, bias = _regression(given[train], targets[train], kind, weights[train], strength)
            losses[i] += loss(given[held_out] @ weight.T + bias, targets[held_out], kind)
    strength = STRENGTHS[int(losses.argmin())] if losses.any() else STRENGTHS[2]
    weight, bias = _regression(given, targets, kind, weights, strength)
    penalty = _penalty(kind, len(weight)) / (strength * len(given))
    return Head(kind, weight, bias, mean, scale, penalty=penalty)


def _penalty(kind: Kind, labels: int) -> float:
    """What the squared weights count for in scikit-learn's regressions, beside the summed loss.

    Ridge regression has |w|^2 / C, logistic regression half of it; of two labels, of which only the
    difference has a meaning, half of the weights' squares is missing in ours.
    """
    return 0.5 if kind == "several" or (kind == "one" and labels > 2) else 1.0


def _folds(rows: Integers, groups: npt.NDArray[Any] | None) -> Iterator[tuple[Integers, Integers]]:
    """Rows to learn from and to measure on, in turn; nothing of too few rows, one turn of many."""
    from sklearn.model_selection import GroupKFold, KFold

    belongs = None if groups is None else groups[rows]
    kinds = len(rows) if belongs is None else len(np.unique(belongs))
    if kinds < 2 or len(rows) < 2 * _FOLDS:
        return
    parts = min(_FOLDS, kinds)
    folds = KFold(parts, shuffle=True, random_state=0) if groups is None else GroupKFold(parts)
    for train, held_out in folds.split(rows, groups=belongs):
        yield rows[train], rows[held_out]
        if len(rows) > _ROWS_OF_A_CHOICE:
            return


def _regression(
    given: Doubles, targets: Doubles, kind: Kind, weights: Doubles, strength: float
) -> tuple[Doubles, Doubles]:
    from sklearn.linear_model import LogisticRegression, Ridge

    if kind == "score":
        ridge = Ridge(alpha=1 / strength).fit(given, targets[:, 0], sample_weight=weights)
        return np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)

    def logistic(labels: npt.NDArray[Any]) -> Any:
        model = LogisticRegression(C=strength, max_iter=1000)
        return model.fit(given, labels, sample_weight=weights)

    weight, bias = np.zeros((targets.shape[1], given.shape[1])), np.zeros(targets.shape[1])
    if kind == "several":
        for i, column in enumerate(targets.T):
            if column.min() == column.max():
                bias[i] = _SURE * (2 * column[0] - 1)
            else:
                told = logistic(column)
                weight[i], bias[i] = told.coef_[0], told.intercept_[0]
        return weight, bias
    labels = targets.argmax(axis=1)
    there = np.unique(labels)
    bias[:] = -_SURE
    if len(there) == 1:
        bias[there] = 0.0
        return weight, bias
    told = logistic(labels)
    halves = len(there) == 2  # of two labels, scikit-learn gives one row: that of the second
    rows = np.concatenate([-told.coef_ / 2, told.coef_ / 2]) if halves else told.coef_
    weight[there] = rows
    bias[there] = (
        np.append(-told.intercept_ / 2, told.intercept_ / 2) if halves else told.intercept_
    )
    return weight, bias
