"""A word's vectors into senses, as many as there are.

The vectors, less their mean, are laid into the few directions in which they differ most, and
mixtures of 1, 2, ... Gaussians are fitted to them there; the number of senses is that of the
mixture with the best Bayesian information criterion (Schwarz 1978, "Estimating the dimension of a
model"; Fraley and Raftery 1998, "How many clusters?"). What is too small for a sense goes to the
nearest one. The mixtures are fitted to a few hundred vectors, as the senses are no Gaussians: the
more vectors, the more finely the criterion cuts them up. Dimensions and sample were chosen on made
words, see docs/benchmarks.md.
"""

from __future__ import annotations

from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.senses.tables import Floats

Integers = npt.NDArray[np.int64]

DIMENSIONS = 8
MOST = 8
"""Senses of a word, at most."""

_SAMPLE = 350
_LEAST_SHARE = 0.02
_LEAST = 3
_FEW = 20
_EQUAL = 1e-3


def centroids_of(vectors: Floats) -> Floats:
    """The senses that vectors fall apart into.

    Args:
        vectors: (n, dim) of length one, at least one.

    Returns:
        (k, dim) float32 of length one, the mean direction of each sense, the largest sense first;
        the same at every call.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> two = np.repeat(np.eye(8)[:2], 60, axis=0) + 0.1 * draw.normal(size=(120, 8))
        >>> centroids_of(unit(two.astype(np.float32))).shape
        (2, 8)
    """
    step = max(1, -(-len(vectors) // _SAMPLE))
    sample = vectors[::step]
    members = _mixed(sample)
    sizes = np.bincount(members)
    big = np.flatnonzero(sizes >= max(_LEAST, _LEAST_SHARE * len(sample)))
    if len(big) < 2:
        mean: Floats = unit(vectors.mean(axis=0, keepdims=True))
        return mean
    means = unit(np.stack([sample[members == one].mean(axis=0) for one in big]))
    # Once more by the nearest centroid, as this is how an occurrence gets its sense.
    nearest = nearest_to(means, vectors)
    found = [vectors[nearest == one] for one in range(len(big)) if (nearest == one).any()]
    found.sort(key=len, reverse=True)
    centroids: Floats = unit(np.stack([of_sense.mean(axis=0) for of_sense in found]))
    return centroids


def nearest_to(centroids: Floats, vectors: Floats) -> Integers:
    """(n,) which centroid each vector is nearest to."""
    nearest: Integers = (vectors @ centroids.T).argmax(axis=1)
    return nearest


def _mixed(vectors: Floats) -> Integers:
    """Which Gaussian of the best mixture each vector belongs to."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    if len(vectors) < _FEW:
        return np.zeros(len(vectors), np.int64)
    rest = vectors - vectors.mean(axis=0)
    if np.linalg.norm(rest, axis=1).mean() < _EQUAL:
        return np.zeros(len(vectors), np.int64)
    rest = unit(rest).astype(np.float64)
    dimensions = min(DIMENSIONS, rest.shape[1])
    points = PCA(dimensions, svd_solver="full").fit_transform(rest)
    best, members = np.inf, np.zeros(len(points), np.int64)
    for number in range(1, MOST + 1):
        if number * _FEW > len(points) and number > 1:
            break
        with catch_warnings():
            simplefilter("ignore")  # that a fit has not converged: another number is better then
            mixture = GaussianMixture(number, n_init=2, reg_covar=1e-4, random_state=0).fit(points)
        criterion = mixture.bic(points)
        if criterion < best:
            best, members = criterion, mixture.predict(points)
    return members
