from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is for torch")

from polyseme.training.losses import (  # noqa: E402
    cosine_distance,
    masked_word,
    nearest_centroid,
    same_sense,
    within_word,
)


def test_cosine_distance_is_what_its_equation_says() -> None:
    random = np.random.default_rng(0)
    student, teacher = random.normal(size=(2, 7, 5))
    expected = sum(
        1 - s @ t / np.sqrt((s @ s) * (t @ t)) for s, t in zip(student, teacher, strict=True)
    )
    found = cosine_distance(torch.tensor(student), torch.tensor(teacher))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_within_word_is_what_its_equation_says() -> None:
    random = np.random.default_rng(2)
    student, teacher, static = random.normal(size=(3, 7, 5))
    expected = 0.0
    for s, t, e in zip(student, teacher, static, strict=True):
        a, b = s / np.linalg.norm(s) - e, t / np.linalg.norm(t) - e
        expected += 1 - a @ b / np.sqrt((a @ a) * (b @ b))
    found = within_word(torch.tensor(student), torch.tensor(teacher), torch.tensor(static))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_masked_word_is_what_its_equation_says() -> None:
    random = np.random.default_rng(1)
    student, table = random.normal(size=(4, 6)), random.normal(size=(9, 6))
    ids = np.asarray([0, 8, 3, 3])
    expected = 0.0
    for row, i in zip(student, ids, strict=True):
        scores = np.exp(table @ row)
        expected -= np.log(scores[i] / scores.sum())
    found = masked_word(torch.tensor(student), torch.tensor(table), torch.tensor(ids))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 10, 4)
    parts = sum(cosine_distance(student[i::3], teacher[i::3]) for i in range(3))
    assert parts.item() == pytest.approx(cosine_distance(student, teacher).item(), rel=1e-5)


def cosines_of(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


WORDS = [0, 0, 1, 1, 1, 0, 2]
SENSES = [3, 4, 5, 5, 6, 3, 7]
PAIRS = [(i, j) for i in range(7) for j in range(7) if i != j and WORDS[i] == WORDS[j]]


def test_same_sense_is_what_its_equation_says() -> None:
    student = np.random.default_rng(4).normal(size=(7, 5))
    likely = 1 / (1 + np.exp(-8 * (cosines_of(student) - 0.5)))
    expected = -sum(
        np.log(likely[i, j] if SENSES[i] == SENSES[j] else 1 - likely[i, j]) for i, j in PAIRS
    )
    found = same_sense(torch.tensor(student), torch.tensor(WORDS), torch.tensor(SENSES))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_nearest_centroid_is_what_its_equation_says() -> None:
    student = np.random.default_rng(5).normal(size=(7, 5))
    unit = student / np.linalg.norm(student, axis=1, keepdims=True)
    expected = 0.0
    for i in range(7):
        scores = {}
        for sense in {SENSES[j] for j in range(7) if WORDS[j] == WORDS[i]}:
            others = [j for j in range(7) if SENSES[j] == sense and j != i]
            centroid = unit[others].mean(axis=0) if others else np.zeros(5)
            scores[sense] = 20 * unit[i] @ centroid / max(np.linalg.norm(centroid), 1e-12)
        expected -= scores[SENSES[i]] - np.log(sum(np.exp(list(scores.values()))))
    found = nearest_centroid(torch.tensor(student), torch.tensor(WORDS), torch.tensor(SENSES))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_losses_of_too_few_uses_are_zero(count: int) -> None:
    student = torch.ones(count, 4, requires_grad=True)
    words = torch.zeros(count, dtype=torch.int64)
    for loss in (
        same_sense(student, words, words),
        nearest_centroid(student, words, words),
    ):
        loss.backward()
        assert loss.item() == 0
        assert student.grad is not None and torch.isfinite(student.grad).all()
