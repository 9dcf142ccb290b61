"""Parameter-free attention over packed texts, held against one text at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.attention import self_attend
from polyseme.packed import Packed, offsets_of
from polyseme.parameter_free import ParameterFree, contextualize_packed, log_prior

KINDS = [
    ("numpy", "float32"),
    ("numpy", "float64"),
    ("torch", "float32"),
    ("torch", "float64"),
    ("torch", "bfloat16"),
]


def array_of(kind: str, dtype: str, numbers: np.ndarray) -> Any:
    if kind == "numpy":
        return numbers.astype(dtype)
    torch = pytest.importorskip("torch", reason="arrays of torch")
    return torch.tensor(numbers, dtype=getattr(torch, dtype))


def numbers_of(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.double().numpy()


def texts_of(seed: int, lengths: list[int], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Words (n_words, width) with zero rows for the unknown ones, and which are known."""
    random = np.random.default_rng(seed)
    known = random.random(sum(lengths)) < 0.8
    return random.normal(size=(len(known), width)) * known[:, None], known


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=12),
    width=st.sampled_from([3, 50, 256, 300]),
    weighted=st.booleans(),
    chosen=st.builds(
        ParameterFree,
        temperature=st.sampled_from([0.1, 0.4]),
        include_self=st.booleans(),
        normalize=st.just(True),
        own_similarity=st.sampled_from([None, 0.0]),
    ),
    data=st.data(),
)
def test_a_text_is_the_same_to_the_last_bit_in_every_batch(
    *,
    kind: str,
    dtype: str,
    seed: int,
    lengths: list[int],
    width: int,
    weighted: bool,
    chosen: ParameterFree,
    data: st.DataObject,
) -> None:
    words, known = texts_of(seed, lengths, width)
    prior = np.linspace(-4, 0, len(words)).astype(np.float32) if weighted else None
    offsets = offsets_of(lengths)

    def run(texts: list[int]) -> Packed:
        rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in texts])
        return contextualize_packed(
            Packed(array_of(kind, dtype, words[rows]), offsets_of([lengths[i] for i in texts])),
            chosen,
            known=known[rows],
            log_prior=None if prior is None else array_of(kind, "float32", prior[rows]),
        )

    order = data.draw(st.permutations(range(len(lengths))))
    # Twice the same text: then more texts share a step than when each is alone.
    together = run([*order, *order])
    for place, text in enumerate([*order, *order]):
        alone = run([text])[0]
        assert together[place].dtype == alone.dtype
        assert np.array_equal(numbers_of(together[place]), numbers_of(alone))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    include_self=st.booleans(),
)
def test_packed_texts_are_what_self_attend_makes_of_each(
    seed: int, lengths: list[int], include_self: bool
) -> None:
    words, known = texts_of(seed, lengths, 4)
    frequency = np.random.default_rng(seed).uniform(0.1, 1, len(words))
    packed = Packed(words, offsets_of(lengths))
    chosen = ParameterFree(include_self=include_self)
    found = contextualize_packed(packed, chosen, known=known, log_prior=np.log(frequency))
    for i, text in enumerate(packed):
        rows = slice(packed.offsets[i], packed.offsets[i + 1])
        expected = self_attend(
            text,
            temperature=chosen.temperature,
            include_self=include_self,
            own_similarity=chosen.own_similarity,
            frequency_weights=frequency[rows],
            mask=known[rows],
        )
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_an_unknown_word_becomes_the_mean_of_its_context(kind: str, dtype: str) -> None:
    words = np.asarray([[1.0, 0.0], [0.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    packed = Packed(array_of(kind, dtype, words), offsets_of([3, 1]))
    found = contextualize_packed(
        packed, ParameterFree(), known=np.asarray([True, False, True, False])
    )
    assert numbers_of(found.values)[1].tolist() == [0.5, 1.5]
    assert numbers_of(found.values)[3].tolist() == [0.0, 0.0]  # nothing known in its text


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_recorded_weights_make_the_vectors(kind: str, dtype: str) -> None:
    words, known = texts_of(1, [5, 5], 4)
    packed = Packed(array_of(kind, dtype, words), offsets_of([5, 5]))
    weights: list[Any] = []
    mixed = contextualize_packed(packed, ParameterFree(), known=known, record=weights)
    rows = np.concatenate([numbers_of(part) for part in weights])
    assert rows.shape == (2, 5, 5)
    for i, text in enumerate(packed):
        expected = rows[i] @ numbers_of(text)
        tolerance = 2.0**-7 if dtype == "bfloat16" else 1e-6
        np.testing.assert_allclose(numbers_of(mixed[i]), expected, rtol=tolerance, atol=tolerance)
    unknown = np.flatnonzero(~known)
    assert all(not rows[i // 5, :, i % 5].any() for i in unknown)


def test_no_words_stay_no_words() -> None:
    empty = Packed(np.zeros((0, 3)), offsets_of([0, 0]))
    found = contextualize_packed(empty, ParameterFree(), known=np.zeros(0, dtype=bool))
    assert found.values.shape == (0, 3)
    assert len(found) == 2


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_must_be_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature is"):
        ParameterFree(temperature=temperature)


def test_the_log_prior_is_that_of_smooth_inverse_frequencies() -> None:
    probabilities = np.asarray([0.0, 1e-5, 0.07])
    expected = np.log(1e-3 / (1e-3 + probabilities))
    found = log_prior(probabilities)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)
