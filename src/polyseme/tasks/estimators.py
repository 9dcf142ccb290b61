"""Estimators in scikit-learn's way: labelled examples in, a model that learned the task out.

What an example is differs by task; what is done with it does not. Each estimator turns its
examples into ``Units`` and its labels into targets, fits a head on the frozen vectors, lets what is
below the head learn if asked to, and calibrates the probabilities on the held-out part.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from polyseme.checkpoints import Stored, resolve, write_whole
from polyseme.contextualizer import Contextualizer
from polyseme.hub import FOLDER, push
from polyseme.loading import load, made_from
from polyseme.packed import offsets_of
from polyseme.tasks.examples import (
    WHOLE,
    Integers,
    Labelled,
    Place,
    Units,
    UnusableError,
    checked_text,
    listed,
    place_of,
)
from polyseme.tasks.features import Beside, features_of, nothing, of_pairs, of_spans, writing
from polyseme.tasks.heads import Doubles, Head, Kind, fit_head
from polyseme.tasks.reports import Report, report_of_labels, report_of_scores
from polyseme.text import split_words

try:
    from sklearn.base import BaseEstimator
except ImportError:

    class BaseEstimator:  # type: ignore[no-redef]
        """Without scikit-learn, what was fitted elsewhere can be opened and predicts."""


Trained = Literal["head", "attention", "all"]

_TASK = "task.json"
_HEAD = "head.safetensors"
_UNEQUAL = 10


class Task(BaseEstimator):  # type: ignore[misc]
    """What the estimators share.

    Args:
        model: what ``polyseme.load`` takes, or what it gave; the bundled default if None.
        train: "head": only a head on the model's frozen vectors; "attention": also the queries,
            keys and values of its layers (static vectors alone and parameter-free attention get a
            layer first); "all": also everything else. All but "head" need torch.
        epochs: passes over the examples, at most.
        patience: epochs without a lower loss on the held-out part after which training stops.
        learning_rate: its peak.
        held_out: share of the examples that nothing is learned from. The best state is the one
            with the lowest loss on them, probabilities are calibrated and the report made on them;
            with 0, the last state counts.
        batch_tokens: tokens of a training step.
        class_weight: "balanced" lets each label weigh the same, however many examples it has.
        on_error: "raise" lists the examples that can't be used and stops; "skip" warns of them and
            leaves them out.
        device: where layers are trained: "auto", "cpu", "cuda".
        seed: of the held-out part and the order of the examples.
        progress: show bars on stderr; if None, on long work at a terminal.

    Attributes:
        classes_: the labels, sorted; empty for scores.
        counts_: label -> examples, over all of them.
        skipped_: row -> why it was left out.
        report_: how the held-out part is judged.
        model_: the Contextualizer that learned.
        head_: the head on it.
    """

    columns: ClassVar[tuple[str, ...]] = ("text",)
    """Of a table that examples are taken from."""

    _size = 1
    _classifies: ClassVar[bool] = True

    def __init__(
        self,
        model: Any = None,
        *,
        train: Trained = "attention",
        epochs: int = 10,
        patience: int = 2,
        learning_rate: float = 3e-4,
        held_out: float = 0.1,
        batch_tokens: int = 2048,
        class_weight: Literal["balanced"] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        device: str = "auto",
        seed: int = 0,
        progress: bool | None = None,
    ) -> None:
        self.model = model
        self.train = train
        self.epochs = epochs
        self.patience = patience
        self.learning_rate = learning_rate
        self.held_out = held_out
        self.batch_tokens = batch_tokens
        self.class_weight = class_weight
        self.on_error = on_error
        self.device = device
        self.seed = seed
        self.progress = progress

    def fit(self, X: Any, y: Any, *, groups: Any = None, folder: Any = None) -> Any:
        """Learn from examples and their labels.

        Args:
            X: the examples.
            y: a label for each.
            groups: what each example belongs to, such as its expression: the held-out part has
                groups of its own.
            folder: where the state of the training is kept, so that the same call goes on after an
                interruption; nowhere if None.

        Returns:
            The estimator.

        Raises:
            TypeError: X is no collection of examples.
            ValueError: an option is out of range, or (``UnusableError``) examples can't be used.
            ImportError: scikit-learn is missing; or layers are to learn, and torch is.
        """
        self._check_options()
        if self.train != "head":
            _require_torch()
        examples, labels = listed(X, self.columns), _as_list(y)
        units, kept, told = self._units(examples, labels)
        if not len(units):
            raise ValueError("there is no example to learn from")
        self.classes_, self.kind_ = self._classes(told)
        self._count(told)
        targets = self._targets(told)
        belongs = _groups(groups, len(examples))
        belongs = None if belongs is None else belongs[kept]
        held_out = self._held_out(units, targets, belongs)
        rows = units.offsets // self._size
        labelled = Labelled(units, targets, self._weights(targets), rows, held_out)
        model = self.model if isinstance(self.model, Contextualizer) else load(self.model)
        if self.train != "head":
            from polyseme.training.task import with_attention

            model = with_attention(model)
        features = self._features(model, units)
        learned, aside = labelled.rows_of(labelled.learned_from), labelled.rows_of(held_out)
        head = fit_head(
            features[learned],
            targets[learned],
            self.kind_,
            plain=features.shape[1] - model.dim * self._size,
            groups=None if belongs is None else np.repeat(belongs, np.diff(rows))[learned],
            weights=labelled.weights[learned],
        )
        features = features[aside]
        history: list[float] = []
        if self.train != "head":
            model, head, history = self._learned(model, head, labelled, folder)
            if len(held_out):
                features = self._features(model, units.of(held_out))
        self.head_ = head.calibrated(features, targets[aside])
        self.model_ = model
        self.report_ = self._report(features, targets[aside], history)
        return self

    def predict_proba(self, X: Any) -> Any:
        """(n, k) calibrated probability of each label, in the order of ``classes_``.

        Raises:
            AttributeError: scores have no probabilities, or nothing was fitted.
            UnusableError: examples can't be used.
        """
        self._check_fitted()
        if self.kind_ == "score":
            raise AttributeError("scores have no probabilities: use predict")
        features, _ = self._seen(X)
        return self.head_.probabilities(features)

    def predict(self, X: Any) -> Any:
        """The most probable label of each example; all that are likelier than not of several.

        Raises:
            AttributeError: nothing was fitted.
            UnusableError: examples can't be used.
        """
        self._check_fitted()
        features, _ = self._seen(X)
        return self._said(features)

    def judged(self, X: Any) -> list[dict[str, Any]]:
        """For each example, as JSON takes it: label and probabilities, or the score."""
        self._check_fitted()
        features, units = self._seen(X)
        said = self._said(features)
        if self.kind_ == "score":
            return [{"score": float(value)} for value in said]
        names = [str(label) for label in self.classes_.tolist()]
        shares = [
            dict(zip(names, row.tolist(), strict=True))
            for row in self.head_.probabilities(features)
        ]
        told = said if isinstance(said, list) else said.tolist()
        return self._lines(told, shares, units)

    def score(self, X: Any, y: Any) -> float | None:
        """Share of examples that are judged rightly, in all of their labels; Spearman of scores.

        Raises:
            AttributeError: nothing was fitted.
            UnusableError: examples can't be used, or have labels that were not there in training.
        """
        report = self.evaluate(X, y)
        return report.spearman if self.kind_ == "score" else report.accuracy

    def evaluate(self, X: Any, y: Any) -> Report:
        """The report on labelled examples; see ``score``."""
        self._check_fitted()
        units, _, labels = self._units(listed(X, self.columns), _as_list(y), known=True)
        if not len(units):
            raise ValueError("there is no example to evaluate on")
        return self._report(self._features(self.model_, units), self._targets(labels), [])

    def check(self, X: Any, y: Any = None) -> None:
        """See that examples can be used, and labels were there in training, without any work.

        Raises:
            UnusableError: some can't; it lists them by row.
        """
        labels = None if y is None else _as_list(y)
        self._units(listed(X, self.columns), labels, known=hasattr(self, "classes_"))

    def units(self, X: Any) -> Units:
        """The places of examples.

        Raises:
            UnusableError: examples can't be used.
        """
        found, _, _ = self._units(listed(X, self.columns), None)
        return found

    def save_pretrained(self, folder: str | os.PathLike[str], *, dtype: Stored = "float32") -> None:
        """Write the model and its head; ``polyseme.load`` opens the model, ``open_task`` both."""
        from safetensors.numpy import save

        self._check_fitted()
        path = Path(folder)
        self.model_.save_pretrained(path, dtype=dtype)
        arrays = {name: getattr(self.head_, name) for name in ("weight", "bias", "mean", "scale")}
        write_whole(path / _HEAD, save({n: np.ascontiguousarray(a) for n, a in arrays.items()}))
        told = {
            "estimator": type(self).__name__,
            "labels": self.classes_.tolist(),
            "kind": self.kind_,
            "temperature": self.head_.temperature,
            "train": self.train,
            "report": self.report_.to_dict(),
        }
        write_whole(path / _TASK, (json.dumps(told, indent=2) + "\n").encode())
        write_whole(path / "README.md", self._card().encode())

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
        """Upload model and head to the Hugging Face hub, where ``open_task(repo_id)`` finds them.

        Arguments, the URL that is returned and errors are those of ``Contextualizer.push_to_hub``.

        Raises:
            AttributeError: nothing was fitted.
        """
        self._check_fitted()
        return push(
            lambda folder: self.save_pretrained(folder, dtype=dtype),
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message,
        )

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> Any:
        """Open what ``save_pretrained`` wrote, or ``push_to_hub`` sent.

        Args:
            folder: or a hub id.
            **options: those of ``polyseme.load``.

        Raises:
            FileNotFoundError: there is no trained task.
            ValueError: it is another estimator's.
        """
        from safetensors.numpy import load_file

        path = _trained(folder, options)
        told = json.loads((path / _TASK).read_text(encoding="utf-8"))
        if told["estimator"] != cls.__name__:
            raise ValueError(f"{folder} holds a {told['estimator']}, not a {cls.__name__}")
        found = cls(str(path), train=told["train"])
        found.classes_, found.kind_ = np.asarray(told["labels"]), told["kind"]
        arrays = load_file(str(path / _HEAD))
        found.head_ = Head(told["kind"], temperature=told["temperature"], **arrays)
        found.model_ = load(folder, **options)
        found.report_ = Report(**told["report"])
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self._classifies:
            from sklearn.utils import ClassifierTags

            # Cross-validation then keeps the labels' shares.
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags

    def _card(self) -> str:
        """A model card with the head that the hub reads."""
        report, kind = self.report_, type(self).__name__
        judged = "Nothing was held out to judge it on."
        if report.accuracy is not None:
            judged = f"Accuracy on held-out examples: {report.accuracy:.3f}."
        elif report.spearman is not None:
            judged = f"Spearman on held-out pairs: {report.spearman:.3f}."
        return f"""---
library_name: polyseme
tags:
- polyseme
- word-vectors
- self-attention
---

# A {kind} of polyseme

{judged} Per label: `task.json`.

Made from {made_from(self.model_)!r}; its licence holds for these weights too.

```python
from polyseme.tasks import open_task

task = open_task("{FOLDER}")
```
"""

    def _example(
        self, example: Any, label: Any, *, labelled: bool
    ) -> tuple[list[Place], list[Any]]:
        """The places of an example and a label for each ``_size`` of them.

        Raises:
            ValueError: it can't be used.
        """
        return self._places(example), [label]

    def _places(self, example: Any) -> list[Place]:
        raise NotImplementedError

    def _beside(self) -> Beside:
        """The numbers beside the vectors."""
        return nothing

    def _lines(
        self, said: list[Any], shares: list[dict[str, float]], units: Units
    ) -> list[dict[str, Any]]:
        return [
            {"label": label, "probabilities": share}
            for label, share in zip(said, shares, strict=True)
        ]

    def _check_options(self) -> None:
        for name, allowed in (
            ("train", ("head", "attention", "all")),
            ("on_error", ("raise", "skip")),
            ("class_weight", (None, "balanced")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}: use one of {allowed}")
        for name in ("epochs", "patience", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}: it must be from 0 to below 1")

    def _check_fitted(self) -> None:
        if not hasattr(self, "head_"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet: call fit")

    def _units(
        self, examples: list[Any], labels: list[Any] | None, *, known: bool = False
    ) -> tuple[Units, Integers, list[Any]]:
        """The units of the examples that can be used, which these are, and the rows' labels.

        Args:
            examples: as the user gave them.
            labels: of them; None if they have none.
            known: labels must be among ``classes_``.
        """
        if labels is not None and len(labels) != len(examples):
            raise ValueError(f"{len(examples)} examples and {len(labels)} labels: give as many")
        places: list[Place] = []
        sizes: list[int] = []
        kept: list[int] = []
        told: list[Any] = []
        reasons: dict[int, str] = {}
        for row, example in enumerate(examples):
            label = None if labels is None else labels[row]
            try:
                found, own = self._example(example, label, labelled=labels is not None)
                if labels is not None:
                    for one in own:
                        self._check_label(one, known=known)
            except (TypeError, ValueError) as error:
                reasons[row] = str(error)
                continue
            places += found
            sizes.append(len(found))
            told += own
            kept.append(row)
        may_skip = labels is not None and not known
        if reasons and not (may_skip and self.on_error == "skip"):
            hint = " (on_error='skip' leaves them out)" if may_skip else ""
            raise UnusableError(reasons, len(examples), hint)
        if reasons:
            warnings.warn(str(UnusableError(reasons, len(examples), ", left out")), stacklevel=3)
        if may_skip:
            self.skipped_ = reasons
        spans = np.asarray([span for _, span in places], np.int64).reshape(-1, 2)
        units = Units([text for text, _ in places], spans, offsets_of(sizes))
        return units, np.asarray(kept, np.int64), told

    def _check_label(self, label: Any, *, known: bool) -> None:
        several = labels_of(label)
        if label is None or (isinstance(label, float) and math.isnan(label)):
            raise ValueError("the label is missing")
        if known and self.kind_ != "score":
            new = [one for one in several if one not in self.classes_]
            if new:
                raise ValueError(f"label {new[0]!r} was not there in training")

    def _classes(self, labels: list[Any]) -> tuple[npt.NDArray[Any], Kind]:
        several = [isinstance(label, (list, tuple, set, frozenset)) for label in labels]
        if any(several) != all(several):
            row = several.index(not several[0])
            raise ValueError(f"labels are lists or single ones: {labels[0]!r} and {labels[row]!r}")
        try:
            found = np.asarray(sorted({one for label in labels for one in labels_of(label)}))
        except TypeError:
            raise ValueError("labels must be of one type: all strings, or all numbers") from None
        if len(found) < 2 and not several[0]:
            raise ValueError(f"all examples have the label {found[0]!r}: two labels are needed")
        return found, "several" if several[0] else "one"

    def _count(self, labels: list[Any]) -> None:
        """Count the labels, and warn if they are very unequal."""
        counts = Counter(one for label in labels for one in labels_of(label))
        self.counts_ = dict(counts.most_common()) if self.kind_ != "score" else {}
        if self.kind_ == "one" and self.class_weight is None and len(counts) > 1:
            (most, many), *_, (least, few) = counts.most_common()
            if many > _UNEQUAL * few:
                warnings.warn(
                    f"label {most!r} has {many} examples and {least!r} has {few}: "
                    "class_weight='balanced' lets both weigh the same",
                    stacklevel=3,
                )

    def _targets(self, labels: list[Any]) -> Doubles:
        """(n, k) 1 for each label that a row has; (n, 1) scores."""
        if self.kind_ == "score":
            return np.asarray(labels, np.float64)[:, None]
        place = {label: i for i, label in enumerate(self.classes_.tolist())}
        targets = np.zeros((len(labels), len(place)))
        for row, given in enumerate(labels):
            for label in labels_of(given):
                targets[row, place[label]] = 1
        return targets

    def _weights(self, targets: Doubles) -> Doubles:
        """(n,) mean 1; the labels' sums alike if they are to be balanced."""
        if self.class_weight is None or self.kind_ == "score":
            return np.ones(len(targets))
        each = 1 / np.maximum(targets.mean(axis=0), 1 / len(targets))
        own = (targets * each).sum(axis=1) / np.maximum(targets.sum(axis=1), 1)
        own[targets.sum(axis=1) == 0] = 1
        return np.asarray(own / own.mean(), np.float64)

    def _held_out(
        self, units: Units, targets: Doubles, groups: npt.NDArray[Any] | None
    ) -> Integers:
        """The examples that are held out: a share of the groups, or of each label's."""
        random = np.random.default_rng(self.seed)
        if not self.held_out:
            return np.zeros(0, np.int64)
        if groups is not None:
            names = np.unique(groups)
            if len(names) < 2:
                raise ValueError("all examples are of one group: two are needed to hold one out")
            chosen = random.permutation(names)[: max(1, round(self.held_out * len(names)))]
            return np.flatnonzero(np.isin(groups, chosen))
        kind = np.zeros(len(units), np.int64)
        if self.kind_ != "score" and len(targets) == len(units):
            kind = targets.argmax(axis=1)
        rows: list[int] = []
        for label in np.unique(kind):
            own = random.permutation(np.flatnonzero(kind == label))
            rows += own[: round(self.held_out * len(own))].tolist()
        return np.sort(np.asarray(rows, np.int64))

    def _learned(
        self, model: Contextualizer, head: Head, labelled: Labelled, folder: Any
    ) -> tuple[Contextualizer, Head, list[float]]:
        from polyseme.execution import place
        from polyseme.training.settings import Steps
        from polyseme.training.task import Learner, learn

        device = place(device=self.device, dtype="float32", backend="torch", layers=1).device
        pairs = self._size == 2
        learner = Learner(model, head, self.train, self._beside(), pairs=pairs, device=device)
        with _folder(folder) as path:
            return learn(
                learner,
                labelled,
                folder=path,
                epochs=self.epochs,
                patience=self.patience,
                settings=Steps(learning_rate=self.learning_rate, dtype="float32"),
                batch_tokens=self.batch_tokens,
                seed=self.seed,
                resume=folder is not None,
                progress=self.progress,
            )

    def _features(self, model: Contextualizer, units: Units) -> npt.NDArray[np.float32]:
        pairs = self._size == 2
        return features_of(model, units, self._beside(), pairs=pairs, progress=self.progress)

    def _seen(self, X: Any) -> tuple[npt.NDArray[np.float32], Units]:
        units = self.units(X)
        if not len(units):
            width = len(self.head_.mean)
            return np.zeros((0, width), np.float32), units
        return self._features(self.model_, units), units

    def _said(self, features: npt.NDArray[Any]) -> Any:
        if self.kind_ == "score":
            return self.head_.logits(features)[:, 0]
        judged = self.head_.probabilities(features)
        if self.kind_ == "several":
            return [self.classes_[row >= 0.5].tolist() for row in judged]
        return self.classes_[judged.argmax(axis=1)]

    def _report(self, features: npt.NDArray[Any], targets: Doubles, history: list[float]) -> Report:
        if self.kind_ == "score":
            return report_of_scores(self.head_.logits(features), targets, loss=history)
        judged = self.head_.probabilities(features)
        several = self.kind_ == "several"
        said = judged >= 0.5 if several else np.eye(judged.shape[1])[judged.argmax(axis=1)]
        names = self.classes_.tolist()
        return report_of_labels(
            names, said.astype(np.float64), targets, several=several, loss=history
        )


class SpanClassifier(Task):
    """A label for a word or a span in its text: a sense, idiom or literal, the kind of a name.

    Examples of X are pairs of a text and the words in question, which stand in it once; or triples
    of a text and the first and one-past-last character; or a table with the columns text, start and
    end. See ``Task`` for the arguments.

    Example:
        >>> texts = ["I sat on the bank of the river.", "The bank raised its rates.",
        ...          "We fished from the bank of a stream.", "My bank lends money to firms.",
        ...          "Trees grew on the muddy bank of the lake.", "The bank closed her account."]
        >>> told = SpanClassifier(train="head", held_out=0.0)
        >>> told = told.fit([(text, "bank") for text in texts], ["shore", "money"] * 3)
        >>> told.predict([("A bank offers loans and savings.", "bank")]).tolist()
        ['money']
    """

    columns = ("text", "start", "end")

    def _places(self, example: Any) -> list[Place]:
        if not isinstance(example, (tuple, list)) or len(example) not in (2, 3):
            raise ValueError(f"{example!r} is no text with a span")
        return [place_of(example[0], example[1:])]

    def _beside(self) -> Beside:
        return of_spans


class TextClassifier(Task):
    """A label, or several, for a text.

    Examples of X are texts: str, or lists of words. Several labels of a text are a list of them.
    See ``Task`` for the arguments.

    Example:
        >>> texts = ["What a lovely film!", "A dull, bad film."] * 4
        >>> told = TextClassifier(train="head", held_out=0.0).fit(texts, ["good", "bad"] * 4)
        >>> told.predict(["Lovely!"]).tolist()
        ['good']
    """

    def _places(self, example: Any) -> list[Place]:
        return [(checked_text(example), WHOLE)]


class WordTagger(Task):
    """A label for every word of a text, such as BIO tags of names.

    Examples of X are texts, lists of words or str, which are cut as ``contextualize`` cuts them; of
    y, lists of as many labels as a text has words. ``predict`` and ``predict_proba`` give a list of
    what each text's words get. See ``Task`` for the arguments.

    Example:
        >>> texts, tags = [["Ann", "sings"], ["He", "sees", "Bob"]], [["B", "O"], ["O", "O", "B"]]
        >>> told = WordTagger(train="head", held_out=0.0).fit(texts * 4, tags * 4)
        >>> told.predict(["Bob sings"])
        [['B', 'O']]
    """

    _classifies = False

    def _example(
        self, example: Any, label: Any, *, labelled: bool
    ) -> tuple[list[Place], list[Any]]:
        text = checked_text(example)
        if isinstance(text, str):
            text = [text[start:end] for start, end in split_words(text)]
        places: list[Place] = [(text, (i, i + 1)) for i in range(len(text))]
        if not labelled:
            return places, []
        if isinstance(label, str) or not isinstance(label, (list, tuple, np.ndarray)):
            raise ValueError(f"{label!r} is no list of labels")
        if len(label) != len(text):
            raise ValueError(f"{len(text)} words and {len(label)} labels")
        return places, list(label)

    def _beside(self) -> Beside:
        return writing

    def _lines(
        self, said: list[Any], shares: list[dict[str, float]], units: Units
    ) -> list[dict[str, Any]]:
        ranges = list(itertools.pairwise(units.offsets.tolist()))
        return [{"label": said[a:b], "probabilities": shares[a:b]} for a, b in ranges]

    def predict_proba(self, X: Any) -> list[Doubles]:
        """For each text, (n_words, k) calibrated probabilities of the labels of ``classes_``."""
        self._check_fitted()
        features, units = self._seen(X)
        judged = self.head_.probabilities(features)
        return np.split(judged, units.offsets[1:-1]) if len(units) else []

    def predict(self, X: Any) -> list[list[Any]]:
        """For each text, the most probable label of each word."""
        self._check_fitted()
        features, units = self._seen(X)
        said = self._said(features)
        return [part.tolist() for part in np.split(said, units.offsets[1:-1])] if len(units) else []


class PairScorer(Task):
    """A label or a score for a pair of texts, or of a word in two texts (word in context).

    Examples of X are pairs: of two texts, or of two examples of ``SpanClassifier``; or a table with
    the columns first and second. Labels that are floating-point numbers are scores: ``predict``
    gives them, and ``score`` is their rank correlation. See ``Task`` for the arguments.

    Example:
        >>> pairs = [(("the bank of a river", "bank"), ("my bank lends", "bank"))] * 4
        >>> pairs += [(("the bank of a lake", "bank"), ("the bank of a river", "bank"))] * 4
        >>> told = PairScorer(train="head", held_out=0.0).fit(pairs, [False] * 4 + [True] * 4)
        >>> told.predict([(("a bank of the sea", "bank"), ("the bank of a lake", "bank"))]).tolist()
        [True]
    """

    columns = ("first", "second")
    _size = 2

    def _places(self, example: Any) -> list[Place]:
        if not isinstance(example, (tuple, list)) or len(example) != 2:
            raise ValueError(f"{example!r} is no pair")
        return [
            place_of(side[0], side[1:])
            if isinstance(side, (tuple, list)) and len(side) in (2, 3)
            else (checked_text(side), WHOLE)
            for side in example
        ]

    def _beside(self) -> Beside:
        return of_pairs

    def _classes(self, labels: list[Any]) -> tuple[npt.NDArray[Any], Kind]:
        if all(isinstance(label, (float, np.floating)) for label in labels):
            return np.zeros(0), "score"
        return super()._classes(labels)


ESTIMATORS: dict[str, type[Task]] = {
    kind.__name__: kind for kind in (SpanClassifier, TextClassifier, WordTagger, PairScorer)
}


def open_task(folder: str | os.PathLike[str], **options: Any) -> Task:
    """Open a trained task of whatever kind.

    Args:
        folder: or a hub id.
        **options: those of ``polyseme.load``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was made by an estimator that this version doesn't know.
    """
    path = _trained(folder, options) / _TASK
    name = json.loads(path.read_text(encoding="utf-8")).get("estimator")
    if name not in ESTIMATORS:
        raise ValueError(f"{path}: unknown estimator {name!r}; known are {', '.join(ESTIMATORS)}")
    opened: Task = ESTIMATORS[name].from_pretrained(folder, **options)
    return opened


def _trained(folder: str | os.PathLike[str], options: dict[str, Any]) -> Path:
    """Where the files of a trained task are; from the hub, if need be."""
    revision, token = options.get("revision"), options.get("token")
    path = resolve(folder, revision=revision, token=token, files=(_TASK, _HEAD))
    if not (path / _TASK).exists():
        raise FileNotFoundError(f"{path / _TASK} is missing: {folder} holds no trained task")
    return path


def labels_of(label: Any) -> Sequence[Any]:
    """The labels of a row: its one label, or several."""
    return list(label) if isinstance(label, (list, tuple, set, frozenset)) else [label]


def _as_list(labels: Any) -> list[Any]:
    for name in ("to_pylist", "tolist"):
        if hasattr(labels, name):
            return list(getattr(labels, name)())
    return list(labels)


def _groups(groups: Any, total: int) -> npt.NDArray[Any] | None:
    if groups is None:
        return None
    found = np.asarray([str(group) for group in _as_list(groups)])
    if len(found) != total:
        raise ValueError(f"{total} examples and {len(found)} groups: give as many")
    return found


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ImportError(
            'queries, keys and values learn with torch: pip install "polyseme[train]", or train '
            "only a head (train='head')"
        ) from None


@contextmanager
def _folder(given: Any) -> Iterator[Path]:
    """The folder, made if it is not there; or a temporary one."""
    if given is not None:
        path = Path(given)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
