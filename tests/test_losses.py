from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is for torch")

from polyseme.training.losses import cosine_distance, masked_word, within_word  # noqa: E402


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
