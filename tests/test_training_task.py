from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="layers are trained with torch")
pytest.importorskip("sklearn", reason="tasks are learned with scikit-learn")

import polyseme
from polyseme import WordVectors
from polyseme.tasks import PairScorer, SpanClassifier, TextClassifier, WordTagger, open_task
from polyseme.training import task as training
from polyseme.training.task import Best, epoch_batches, with_attention
from tests.conftest import WORDS, write_model

OPTIONS: dict[str, Any] = {
    "device": "cpu",
    "progress": False,
    "epochs": 4,
    "patience": 4,
    "learning_rate": 1e-2,
    "batch_tokens": 64,
    "held_out": 0.25,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model", positions="learned")


def sentences(number: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(3, 9))) for _ in range(number)]


def first_words(texts: list[str]) -> tuple[list[Any], list[int]]:
    """Spans of the second word, labelled by which word stands before it."""
    examples, labels = [], []
    for text in texts:
        first, second, *_ = text.split()
        examples.append((text, len(first) + 1, len(first) + 1 + len(second)))
        labels.append(WORDS.index(first) % 2)
    return examples, labels


def test_attention_learns_what_the_head_alone_cannot(folder: Path) -> None:
    examples, labels = first_words(sentences(1000))
    told = SpanClassifier(folder, **{**OPTIONS, "epochs": 12, "patience": 12})
    told.fit(examples, labels)
    history = told.report_.loss
    assert history[0] > 0.65
    assert min(history) < 0.45
    assert told.report_.accuracy is not None
    assert told.report_.accuracy > 0.8
    before = polyseme.load(folder).checkpoint.parameters
    after = told.model_.checkpoint.parameters
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    assert all(name.split(".")[-2] in ("query", "key", "value") for name in changed)


def test_the_best_state_is_kept_and_patience_ends_the_training(folder: Path) -> None:
    texts = sentences(40)
    labels = np.random.default_rng(0).integers(0, 2, 40)
    options = {**OPTIONS, "epochs": 30, "patience": 2, "learning_rate": 0.05}
    told = TextClassifier(folder, **options).fit(texts, labels)
    history = told.report_.loss
    assert len(history) - 1 - int(np.argmin(history)) == 2
    assert len(history) < 31


@pytest.mark.parametrize(
    ("kind", "train"), [(SpanClassifier, "attention"), (WordTagger, "all"), (PairScorer, "all")]
)
def test_an_interrupted_training_goes_on_to_the_same_result(
    kind: Any, train: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(40)
    X: list[Any] = texts
    y: list[Any] = [i % 2 for i in range(40)]
    if kind is SpanClassifier:
        X, y = first_words(texts)
    elif kind is WordTagger:
        y = [["B" if word == "apple" else "O" for word in text.split()] for text in texts]
    else:
        X = list(zip(texts, texts[::-1], strict=True))
    options = {**OPTIONS, "train": train}
    unbroken = kind(folder, **options).fit(X, y, folder=tmp_path / "unbroken")

    kept = training.Best.add

    def broken(self: Best, loss: float, state: Any) -> None:
        kept(self, loss, state)
        if len(self.history) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Best, "add", broken)
    with pytest.raises(KeyboardInterrupt):
        kind(folder, **options).fit(X, y, folder=tmp_path / "broken")
    monkeypatch.undo()
    resumed = kind(folder, **options).fit(X, y, folder=tmp_path / "broken")
    assert resumed.report_ == unbroken.report_
    for name, array in unbroken.model_.checkpoint.parameters.items():
        assert np.array_equal(array, resumed.model_.checkpoint.parameters[name]), name
    assert np.array_equal(unbroken.head_.weight, resumed.head_.weight)
    with pytest.raises(ValueError, match="belongs to another run: its examples is"):
        kind(folder, **options).fit(X[:-4], y[:-4], folder=tmp_path / "broken")


def normed(rows: np.ndarray) -> np.ndarray:
    centered = rows - rows.mean(axis=-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-6)


def test_a_first_layer_attends_by_the_cosines_of_each_head_s_dimensions() -> None:
    random = np.random.default_rng(0)
    vectors = WordVectors(WORDS, random.normal(size=(len(WORDS), 16)))
    begun = with_attention(polyseme.load(vectors).parameter_free(temperature=0.3))
    rows = normed(np.stack([vectors[word] for word in WORDS[:5]]).astype(np.float64))
    mixed = np.zeros_like(rows)
    for part in np.split(np.arange(16), begun.config.heads):
        scores = rows[:, part] @ rows[:, part].T / len(part) / 0.3
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        mixed[:, part] = weights / weights.sum(axis=1, keepdims=True) @ rows[:, part]
    expected = normed(normed(rows + mixed))
    np.testing.assert_allclose(begun.contextualize([WORDS[:5]])[0].vectors, expected, atol=1e-4)
    assert with_attention(begun) is begun


def test_word_vectors_learn_their_first_layer_and_are_saved_with_it(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = WordVectors(WORDS, random.normal(size=(len(WORDS), 8)))
    vectors.save(tmp_path / "vectors.safetensors")
    glove = polyseme.load(tmp_path / "vectors.safetensors")
    examples, labels = first_words(sentences(60))
    told = SpanClassifier(glove, **OPTIONS).fit(examples, labels)
    told.save_pretrained(tmp_path / "task")
    opened = open_task(tmp_path / "task", device="cpu")
    np.testing.assert_allclose(
        opened.predict_proba(examples), told.predict_proba(examples), atol=1e-5
    )
    alone = polyseme.load(tmp_path / "task", device="cpu")
    assert (alone.layers, alone.rung) == (1, "learned")
    assert alone.contextualize("apple unheardof").words == ["apple", "unheardof"]
    table = told.model_.checkpoint.parameters["embeddings.tokens"]
    assert np.array_equal(table, glove.checkpoint.parameters["embeddings.tokens"])


def test_scores_and_several_labels_train_too(folder: Path) -> None:
    texts = sentences(40)
    pairs = list(zip(texts, texts[::-1], strict=True))
    scores = [float(i % 3) for i in range(40)]
    told = PairScorer(folder, **OPTIONS).fit(pairs, scores)
    assert len(told.report_.loss) == 5
    assert np.isfinite(told.predict(pairs)).all()
    several = [["a"] if i % 2 else ["a", "b"] for i in range(40)]
    assert len(TextClassifier(folder, **OPTIONS).fit(texts, several).predict(texts)) == 40


def test_without_a_held_out_part_the_last_state_counts(folder: Path) -> None:
    examples, labels = first_words(sentences(40))
    told = SpanClassifier(folder, **{**OPTIONS, "held_out": 0.0}).fit(examples, labels)
    assert told.report_.accuracy is None
    assert told.report_.loss == []
    before = polyseme.load(folder).checkpoint.parameters
    after = told.model_.checkpoint.parameters
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def test_a_loss_that_is_not_finite_stops_with_the_step(folder: Path) -> None:
    examples, labels = first_words(sentences(40))
    options = {**OPTIONS, "learning_rate": 1e30}
    with pytest.raises(FloatingPointError, match="step"):
        SpanClassifier(folder, **options).fit(examples, labels)


def test_an_epoch_has_every_example_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 500)
    examples = np.arange(0, 500, 2)
    batches = list(epoch_batches(examples, lengths, 100, np.random.default_rng(1)))
    assert sorted(row for batch in batches for row in batch) == examples.tolist()
    assert all(lengths[batch].sum() <= 100 for batch in batches)
    again = list(epoch_batches(examples, lengths, 100, np.random.default_rng(1)))
    assert batches == again
