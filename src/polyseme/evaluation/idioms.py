"""Idioms: can it be read off an expression's vector whether it is meant literally?

SemEval-2022 task 2, subtask A (Tayyar Madabushi et al. 2022, https://arxiv.org/abs/2204.10050), in
its zero-shot setting: no expression of dev is in train, so that a probe can't learn them by heart.
The vector of an expression is the mean of its words' vectors in its sentence, the model stays
frozen, a linear probe (``probe.py``) is fitted on train, and the measure is macro F1 on dev. The
sentences before and after, which the data has as well, are not given to the model.

An expression is found without regard to case, as it stands or hyphenated or in one word, else with
other endings ("wigs", "double-crossed"); its first use counts. Where it isn't found, the vector is
the mean of all words of the sentence; the result says how many rows that are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from polyseme.embedded import Span
from polyseme.evaluation.models import Evaluated, Integers, vectors_of_spans
from polyseme.evaluation.probe import fit, require_sklearn
from polyseme.evaluation.records import table
from polyseme.text import split_words


@dataclass(frozen=True, eq=False)
class Expressions:
    """Uses of expressions.

    Attributes:
        names: (n) the expressions.
        texts: (n) the sentences that they stand in.
        labels: (n,) int64: 0 idiomatic, 1 literal or a proper noun.
        spans: (n) a list of one span each: the characters of the expression, or of the whole
            sentence where it isn't found.
        not_found: how many of these there are.
    """

    names: list[str]
    texts: list[str]
    labels: Integers
    spans: list[list[Span]]
    not_found: int

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class IdiomsResult:
    """The result.

    Attributes:
        model: its name.
        rung: its rung.
        train: uses that the probe is fitted on.
        dev: uses that it is measured on.
        not_found: uses of both in which the expression wasn't found, see this module's docstring.
        strength: the probe's C.
        macro_f1: mean of the two labels' F1 on dev.
        accuracy: share of dev that is judged rightly.
        majority_f1: macro F1 of always saying what is more frequent in train.
    """

    model: str
    rung: str
    train: int
    dev: int
    not_found: int
    strength: float
    macro_f1: float
    accuracy: float
    majority_f1: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"task": "idioms", **vars(self)}


def read_folder(folder: Path) -> tuple[Expressions, Expressions]:
    """Read train.csv and dev.csv.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a record is not what it should be, and the message has the file and the line;
            or an expression is in both, or train has fewer than two expressions or labels.
    """
    train, dev = read_uses(folder / "train.csv"), read_uses(folder / "dev.csv")
    shared = sorted(set(train.names) & set(dev.names))
    if shared:
        raise ValueError(f"{folder}: {shared[0]!r} is in train.csv and in dev.csv: keep them apart")
    if len(set(train.names)) < 2 or len(set(train.labels.tolist())) < 2:
        raise ValueError(f"{folder / 'train.csv'}: two expressions and both labels are needed")
    return train, dev


def read_uses(path: Path) -> Expressions:
    """Read one file.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: a record is not what it should be; the message has the file and the line.
    """
    names, texts, labels, spans = [], [], [], []
    not_found = 0
    for place, (name, text, label) in table(path, ("MWE", "Target", "Label")):
        if not split_words(name):
            raise ValueError(f"{place}: the MWE {name!r} has no word")
        if not split_words(text):
            raise ValueError(f"{place}: the Target {text!r} has no word")
        if label not in ("0", "1"):
            raise ValueError(f"{place}: the Label {label!r} is neither 0 nor 1")
        span = find(name, text)
        not_found += span is None
        names.append(name.casefold())
        texts.append(text)
        labels.append(int(label))
        spans.append([span or (0, len(text))])
    if not names:
        raise ValueError(f"{path} is empty: at least one use is needed")
    return Expressions(names, texts, np.asarray(labels), spans, not_found)


def find(name: str, text: str) -> Span | None:
    """Characters of an expression's first use in a text; None if it isn't found.

    Example:
        >>> find("big wig", "The Big-Wigs met."), find("big wig", "A wig.")
        ((4, 12), None)
    """
    for pattern in _patterns(name):
        found = pattern.search(text)
        if found:
            return found.span()
    return None


def evaluate(
    model: Evaluated, data: tuple[Expressions, Expressions], *, progress: bool | None = False
) -> IdiomsResult:
    """Measure how well a linear probe tells idiomatic from literal uses of new expressions.

    Args:
        model: of any rung.
        data: train and dev, as ``read_folder`` gives them.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The same numbers at every run.

    Raises:
        ImportError: scikit-learn is missing.
    """
    require_sklearn()
    train, dev = data
    seen = vectors_of_spans(model, train.texts, train.spans, progress=progress)
    new = vectors_of_spans(model, dev.texts, dev.spans, progress=progress)
    probe = fit(seen, train.labels, np.asarray(train.names))
    judged = probe.predict(new)
    majority = np.full_like(dev.labels, int(train.labels.mean() >= 0.5))
    return IdiomsResult(
        model.name,
        model.rung,
        len(train),
        len(dev),
        train.not_found + dev.not_found,
        probe.strength,
        macro_f1(judged, dev.labels),
        float(np.mean(judged == dev.labels)),
        macro_f1(majority, dev.labels),
    )


def macro_f1(judged: Integers, gold: Integers) -> float:
    """Mean of the F1 of label 0 and of label 1; that of a label nobody has or says is 0.

    Example:
        >>> macro_f1(np.asarray([0, 0, 1, 1]), np.asarray([0, 0, 0, 1])).__round__(3)
        0.733
    """
    scores = []
    for label in (0, 1):
        right = int(np.sum((judged == label) & (gold == label)))
        named = int(np.sum(judged == label)) + int(np.sum(gold == label))
        scores.append(2 * right / named if named else 0.0)
    return float(np.mean(scores))


@lru_cache(maxsize=1024)
def _patterns(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The expression as it stands, and with other endings of its words."""
    words = re.split(r"[\s\-‐‑–]+", name.strip())
    between = r"[\s\-‐‑–]*"
    exact = between.join(map(re.escape, words))
    inflected = between.join(map(_inflected, words))
    return (
        re.compile(rf"(?<!\w){exact}(?!\w)", re.IGNORECASE),
        re.compile(rf"(?<!\w){inflected}(?!\w)", re.IGNORECASE),
    )


def _inflected(word: str) -> str:
    ending = r"[^\W\d_]{0,4}(?:['’]s?)?"
    if len(word) > 2 and word[-1] in "eyEY":
        return f"{re.escape(word[:-1])}(?:{word[-1]}|i|(?=ing)){ending}"
    return re.escape(word) + ending
