from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.attention import self_attend
from polyseme.execution import bounded


def plainly(vectors: np.ndarray, **options: Any) -> np.ndarray:
    """By softmax over all of a row's scores, in float64."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded, "fits", lambda *given: False)
        wide = {
            name: option.astype(np.float64) if name == "frequency_weights" else option
            for name, option in options.items()
        }
        return np.asarray(self_attend(vectors.astype(np.float64), **wide))


@settings(max_examples=60)
@given(data=st.data(), block=st.integers(1, 6))
def test_it_is_parameter_free_attention(data: st.DataObject, block: int) -> None:
    texts, n, width = (data.draw(st.integers(1, most)) for most in (3, 14, 5))
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    vectors = random.normal(size=(texts, n, width)).astype(np.float32)
    vectors[random.random((texts, n)) < 0.1] = 0
    options: dict[str, Any] = {"temperature": data.draw(st.sampled_from([0.03, 0.4, 5.0]))}
    if data.draw(st.booleans()):
        options["frequency_weights"] = random.uniform(0.01, 1, (texts, n)).astype(np.float32)
    if data.draw(st.booleans()):
        options["mask"] = random.random((texts, 1, n)) < 0.6
    options["include_self"] = data.draw(st.booleans())
    options["own_similarity"] = data.draw(st.sampled_from([None, 0.0, 1.0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded, "BLOCK", block)
        found = self_attend(vectors, **options)
    expected = plainly(vectors, **options)
    # An exponent of 2 / 0.03 at most, rounded to eight digits, in weights that sum to one.
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-5 * np.abs(vectors).max())


@pytest.mark.parametrize("options", [{"temperature": 0.02}, {"own_similarity": 2.0}])
def test_scores_without_a_bound_go_the_plain_way(options: dict[str, Any]) -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    assert not bounded.fits(vectors, options.get("temperature", 1.0), options.get("own_similarity"))
    np.testing.assert_allclose(self_attend(vectors, **options), plainly(vectors, **options), 1e-3)


def test_the_number_of_processors_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(70, 8)).astype(np.float32)
    monkeypatch.setattr(bounded, "BLOCK", 8)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr("polyseme.execution.threads.processors", lambda count=count: count)
        found.append(self_attend(vectors))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("players", range(8))
def test_everybody_meets_everybody_once_and_nobody_twice_in_a_round(players: int) -> None:
    rounds = list(bounded.rounds(players))
    met = [pair for pairs in rounds for pair in pairs]
    assert sorted(met) == [(i, j) for i in range(players) for j in range(i, players)]
    for pairs in rounds:
        busy = [player for pair in pairs for player in set(pair)]
        assert len(busy) == len(set(busy))
