"""Labels as users give them, and the numbers that are learned.

In: a label for each row, one or a list of several, or a score. Out: the labels' names, targets
(n, k), weights of the rows, and which examples are held out.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from polyseme.tasks.examples import Integers, Units
from polyseme.tasks.heads import Doubles, Kind

_UNEQUAL = 10


def labels_of(label: Any) -> Sequence[Any]:
    """The labels of a row: its one label, or several."""
    return list(label) if isinstance(label, (list, tuple, set, frozenset)) else [label]


def as_list(labels: Any) -> list[Any]:
    """A list, or what NumPy, pandas and Arrow have, as a list."""
    for name in ("to_pylist", "tolist"):
        if hasattr(labels, name):
            return list(getattr(labels, name)())
    return list(labels)


def check_label(label: Any) -> None:
    """See that there is a label.

    Raises:
        ValueError: it is None or NaN.
    """
    if label is None or (isinstance(label, float) and math.isnan(label)):
        raise ValueError("the label is missing")


def classes_of(labels: list[Any], *, scores: bool) -> tuple[npt.NDArray[Any], Kind]:
    """The names of the labels, sorted, and of which kind they are.

    Args:
        labels: of all rows.
        scores: whether floating-point numbers are scores.

    Raises:
        ValueError: there is but one label, or they are of more than one type.

    Example:
        >>> classes_of(["b", "a", "b"], scores=True)
        (array(['a', 'b'], dtype='<U1'), 'one')
    """
    if scores and all(isinstance(label, (float, np.floating)) for label in labels):
        return np.zeros(0), "score"
    several = [isinstance(label, (list, tuple, set, frozenset)) for label in labels]
    if any(several) != all(several):
        row = several.index(not several[0])
        raise ValueError(f"labels are lists or single ones: {labels[0]!r} and {labels[row]!r}")
    try:
        found = sorted({one for label in labels for one in labels_of(label)})
    except TypeError:
        raise ValueError("labels must be of one type: all strings, or all numbers") from None
    if len(found) < 2 and not several[0]:
        raise ValueError(f"all examples have the label {found[0]!r}: two labels are needed")
    return np.asarray(found), "several" if several[0] else "one"


def counts_of(labels: list[Any], *, warn: bool) -> dict[Any, int]:
    """How many rows have each label, the most frequent first.

    Warns:
        UserWarning: if asked to, that one has more than ten times as many as another.
    """
    counts = Counter(one for label in labels for one in labels_of(label)).most_common()
    if warn and len(counts) > 1:
        (most, many), *_, (least, few) = counts
        if many > _UNEQUAL * few:
            warnings.warn(
                f"label {most!r} has {many} examples and {least!r} has {few}: "
                "class_weight='balanced' lets both weigh the same",
                stacklevel=3,
            )
    return dict(counts)


def targets_of(labels: list[Any], classes: npt.NDArray[Any], kind: Kind) -> Doubles:
    """(n, k) 1 for each label that a row has; (n, 1) scores."""
    if kind == "score":
        return np.asarray(labels, np.float64)[:, None]
    place = {label: i for i, label in enumerate(classes.tolist())}
    targets = np.zeros((len(labels), len(place)))
    for row, given in enumerate(labels):
        for label in labels_of(given):
            targets[row, place[label]] = 1
    return targets


def balanced(targets: Doubles) -> Doubles:
    """(n,) weights of mean 1 with which all labels weigh the same.

    Example:
        >>> balanced(np.asarray([[1, 0], [1, 0], [1, 0], [0, 1]])).round(2).tolist()
        [0.67, 0.67, 0.67, 2.0]
    """
    each = 1 / np.maximum(targets.mean(axis=0), 1 / len(targets))
    own = (targets * each).sum(axis=1) / np.maximum(targets.sum(axis=1), 1)
    own[targets.sum(axis=1) == 0] = 1
    return np.asarray(own / own.mean(), np.float64)


def groups_of(groups: Any, total: int) -> npt.NDArray[Any] | None:
    """(total,) strings; None for None.

    Raises:
        ValueError: there are more or fewer.
    """
    if groups is None:
        return None
    found = np.asarray([str(group) for group in as_list(groups)])
    if len(found) != total:
        raise ValueError(f"{total} examples and {len(found)} groups: give as many")
    return found


def held_out(
    units: Units,
    targets: Doubles,
    share: float,
    *,
    groups: npt.NDArray[Any] | None,
    seed: int,
) -> Integers:
    """The examples that are held out: a share of the groups, or of each label's examples.

    Raises:
        ValueError: there is but one group.
    """
    random = np.random.default_rng(seed)
    if not share:
        return np.zeros(0, np.int64)
    if groups is not None:
        names = np.unique(groups)
        if len(names) < 2:
            raise ValueError("all examples are of one group: two are needed to hold one out")
        chosen = random.permutation(names)[: max(1, round(share * len(names)))]
        return np.flatnonzero(np.isin(groups, chosen))
    kind = np.zeros(len(units), np.int64)
    if targets.shape[1] > 1 and len(targets) == len(units):
        kind = targets.argmax(axis=1)
    rows: list[int] = []
    for label in np.unique(kind):
        own = random.permutation(np.flatnonzero(kind == label))
        rows += own[: round(share * len(own))].tolist()
    return np.sort(np.asarray(rows, np.int64))
