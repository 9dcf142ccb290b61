"""What the estimators share: from labelled examples to a model that learned them.

What an example is differs by task (``estimators.py``); what is done with it does not. Examples
become ``Units`` and labels targets, a head is fitted on the frozen vectors, what is below the head
learns if asked to, and the probabilities are calibrated on the held-out part.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from polyseme.checkpoints import Stored
from polyseme.contextualizer import Contextualizer
from polyseme.hub import push
from polyseme.loading import load
from polyseme.packed import offsets_of
from polyseme.tasks.examples import Integers, Labelled, Place, Units, UnusableError, listed
from polyseme.tasks.features import Beside, features_of, nothing, width_of_vectors
from polyseme.tasks.heads import Doubles, Head, fit_head
from polyseme.tasks.labels import (
    as_list,
    balanced,
    check_label,
    classes_of,
    counts_of,
    groups_of,
    held_out,
    labels_of,
    targets_of,
)
from polyseme.tasks.reports import Report, report_of_labels, report_of_scores
from polyseme.tasks.saving import Learns, Trained, read, write

try:
    from sklearn.base import BaseEstimator
except ImportError:

    class BaseEstimator:  # type: ignore[no-redef]
        """Without scikit-learn, what was fitted elsewhere can be opened and predicts."""


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
    _may_score: ClassVar[bool] = False

    def __init__(
        self,
        model: Any = None,
        *,
        train: Learns = "attention",
        epochs: int = 10,
        patience: int = 3,
        learning_rate: float = 5e-4,
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
        _require(torch=self.train != "head")
        examples, labels = listed(X, self.columns), as_list(y)
        units, kept, told = self._units(examples, labels)
        if not len(units):
            raise ValueError("there is no example to learn from")
        self.classes_, self.kind_ = classes_of(told, scores=self._may_score)
        self.counts_ = {}
        if self.kind_ != "score":
            self.counts_ = counts_of(told, warn=self.class_weight is None)
        targets = targets_of(told, self.classes_, self.kind_)
        belongs = groups_of(groups, len(examples))
        belongs = None if belongs is None else belongs[kept]
        left_out = held_out(units, targets, self.held_out, groups=belongs, seed=self.seed)
        evenly = self.class_weight is None or self.kind_ == "score"
        weights = np.ones(len(targets)) if evenly else balanced(targets)
        rows = units.offsets // self._size
        labelled = Labelled(units, targets, weights, rows, left_out)
        model = self.model if isinstance(self.model, Contextualizer) else load(self.model)
        if self.train != "head":
            from polyseme.training.task import with_attention

            model = with_attention(model)
        features = self._features(model, units)
        learned, aside = labelled.rows_of(labelled.learned_from), labelled.rows_of(left_out)
        head = fit_head(
            features[learned],
            targets[learned],
            self.kind_,
            plain=features.shape[1] - width_of_vectors(model.dim, pairs=self._size == 2),
            groups=None if belongs is None else np.repeat(belongs, np.diff(rows))[learned],
            weights=labelled.weights[learned],
        )
        features = features[aside]
        history: list[float] = []
        if self.train != "head":
            model, head, history = self._learned(model, head, labelled, folder)
            if len(left_out):
                features = self._features(model, units.of(left_out))
        self.head_ = head.calibrated(features, targets[aside])
        self.model_ = model
        self.report_ = self._report(features, targets[aside], history if len(left_out) else [])
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
        units, _, labels = self._units(listed(X, self.columns), as_list(y), known=True)
        if not len(units):
            raise ValueError("there is no example to evaluate on")
        return self._report(
            self._features(self.model_, units), targets_of(labels, self.classes_, self.kind_), []
        )

    def check(self, X: Any, y: Any = None) -> None:
        """See that examples can be used, and labels were there in training, without any work.

        Raises:
            UnusableError: some can't; it lists them by row.
        """
        labels = None if y is None else as_list(y)
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
        self._check_fitted()
        labels = self.classes_.tolist()
        name = type(self).__name__
        trained = Trained(name, labels, self.train, self.head_, self.model_, self.report_)
        write(trained, folder, dtype=dtype)

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
        trained = read(folder, options)
        if trained.estimator != cls.__name__:
            raise ValueError(f"{folder} holds a {trained.estimator}, not a {cls.__name__}")
        found = cls(os.fspath(folder), train=trained.train)
        found.classes_, found.kind_ = np.asarray(trained.labels), trained.head.kind
        found.head_, found.model_ = trained.head, trained.model
        found.report_ = trained.report
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self._classifies:
            from sklearn.utils import ClassifierTags

            # Cross-validation then keeps the labels' shares.
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags

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
        check_label(label)
        if known and self.kind_ != "score":
            new = [one for one in labels_of(label) if one not in self.classes_]
            if new:
                raise ValueError(f"label {new[0]!r} was not there in training")

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


def _require(*, torch: bool) -> None:
    if find_spec("sklearn") is None:
        raise ImportError('learning a task needs scikit-learn: pip install "polyseme[train]"')
    if torch and find_spec("torch") is None:
        raise ImportError(
            'queries, keys and values learn with torch: pip install "polyseme[train]", or train '
            "only a head (train='head')"
        )


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
