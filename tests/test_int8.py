"""Products of 8-bit numbers: near to those of float32, equal by every way, calibrated once."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="8-bit products are torch's")

import torch

import polyseme
from polyseme.encoder import encode
from polyseme.execution import Place, on_host, prepare, torch_int8

from .test_encoder import KINDS, config_of, ids_of, random_parameters
from .test_execution import INT8, factors_for

TEXTS = ["An apple a day keeps the doctor away.", "", "Apple just launched a new iPhone", "a"]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def states_in(where: Place, parameters: dict[str, Any], config: Any, ids: Any) -> np.ndarray:
    arrays, operations = prepare(parameters, config, where)
    return on_host(encode(arrays, config, ids, operations=operations).values)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_near_those_of_float32(
    kind: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(kind, width=64, inner=160, activation=activation)
    given = random_parameters(config)
    ids = ids_of([7, 30, 1, 64], seed=3)
    expected = states_in(Place("torch", "cpu", "float32"), given, config, ids)
    given |= factors_for(given, config)
    found = states_in(INT8, given, config, ids)
    # A gated network multiplies two states, so that few of its numbers are large and most small.
    assert cosines(found, expected).mean() > (0.97 if config.gated else 0.999)
    assert not np.array_equal(found, expected)
    monkeypatch.setattr(torch_int8, "has_integer_linear", lambda: False)
    plain = states_in(INT8, given, config, ids)
    # The same rounded numbers; a last bit may still decide how the next state is rounded.
    assert cosines(plain, found).mean() > 0.9995


def test_rounding_is_to_the_nearest_and_cut_to_what_there_is() -> None:
    states = torch.tensor([[0.0, 0.26, -0.26, 1e6, -1e6, 0.24]])
    rounded = torch_int8.Rounding(torch.tensor([2.0]), 128)(states)
    assert rounded.tolist() == [[128, 129, 127, 255, 0, 128]]
    assert torch_int8.Rounding(torch.tensor([2.0]), 3)(states).tolist() == [[3, 4, 2, 255, 0, 3]]


def test_operators_that_are_missing_or_overflow_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = torch_int8._integer_map

    def missing(*_: Any) -> Any:
        raise AttributeError("no such operator")

    def saturating(weight: Any, bias: Any, rounding: Any) -> Any:
        """As on a processor that adds products of two pairs up in 16 bits."""

        def product(states: Any, **options: Any) -> Any:
            rounded, _ = torch_int8._rounded_weight(weight, rounding)
            pairs = rounding(states).int()[:, None] * rounded.int()
            pairs = pairs.unflatten(-1, (-1, 2)).sum(-1).clamp(-(2**15), 2**15 - 1).sum(-1)
            wanted = rounding(states).int() @ rounded.int().T
            if torch.equal(pairs, wanted):
                return real(weight, bias, rounding)(states, **options)
            return real(weight, bias, rounding)(states, **options) + 1000

        return product

    torch_int8.has_integer_linear.cache_clear()
    try:
        for broken in (missing, saturating):
            monkeypatch.setattr(torch_int8, "_integer_map", broken)
            torch_int8.has_integer_linear.cache_clear()
            assert not torch_int8.has_integer_linear()
    finally:
        monkeypatch.undo()
        torch_int8.has_integer_linear.cache_clear()


def test_the_default_in_8_bits_is_near_and_the_same_alone() -> None:
    model, exact = polyseme.load(dtype="int8"), polyseme.load(dtype="float32")
    assert "int8" in repr(model)
    docs = model.contextualize(TEXTS)
    assert cosines(docs.vectors, exact.contextualize(TEXTS).vectors).mean() > 0.995
    for text, doc in zip(TEXTS, docs, strict=True):
        assert np.array_equal(model.contextualize(text).vectors, doc.vectors)
    assert model.static().place.dtype == "float32"
    assert np.array_equal(model.static().encode(TEXTS), exact.static().encode(TEXTS))
    assert model.explain(TEXTS[0], "apple").word == "apple"


def test_a_calibration_goes_where_the_model_goes(tmp_path: Path) -> None:
    own = polyseme.load(dtype="int8", calibration=TEXTS)
    expected = own.contextualize(TEXTS).vectors
    default = polyseme.load(dtype="int8").contextualize(TEXTS).vectors
    assert not np.array_equal(expected, default)
    own.save_pretrained(tmp_path / "model")
    for again in (
        pickle.loads(pickle.dumps(own)),
        polyseme.load(tmp_path / "model", dtype="int8"),
    ):
        assert np.array_equal(again.contextualize(TEXTS).vectors, expected)
    exact = polyseme.load(tmp_path / "model").contextualize(TEXTS).vectors
    assert np.array_equal(exact, polyseme.load().contextualize(TEXTS).vectors)


@pytest.mark.parametrize("kind", KINDS)
def test_factors_do_not_depend_on_how_much_is_computed_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(kind, width=32, inner=48)
    given = random_parameters(config)
    monkeypatch.setattr(torch_int8, "KEPT", 0.95)
    found = []
    for tokens in (1, 16, 1024):
        monkeypatch.setattr(torch_int8, "_TOKENS_AT_ONCE", tokens)
        found.append(factors_for(given, config))
    assert any(array.size > 1 for array in found[0].values())
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, array in found[0].items():
            assert np.array_equal(other[name], array)


def test_the_factor_after_an_activation_leaves_out_what_is_beyond_the_quantile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of("post-norm", width=32, inner=48, layers=1, activation="relu")
    given = random_parameters(config)
    hidden: list[np.ndarray] = []
    made = torch_int8.torch_cpu.operations

    def watched(*args: Any) -> Any:
        plain = made(*args)

        def linear_activated(states: Any, name: str, activation: Any) -> Any:
            found = plain.linear_activated(states, name, activation)
            hidden.append(found.numpy())
            return found

        return replace(plain, linear_activated=linear_activated)

    monkeypatch.setattr(torch_int8.torch_cpu, "operations", watched)
    monkeypatch.setattr(torch_int8, "KEPT", 0.9)
    factors = factors_for(given, config)
    assert len(hidden) == 1
    # Without the rows that fill the step up.
    values = np.sort(hidden[0][: 5 + 20 + 1 + 33].ravel())
    assert factors["layers.0.feed_forward.down.factors"] == pytest.approx(
        [255 / values[round(0.9 * len(values)) - 1]], rel=1e-6
    )


def test_what_cannot_be_calibrated_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="calibration is for dtype 'int8', not for 'auto'"):
        polyseme.load("nowhere", calibration=TEXTS)
    with pytest.raises(TypeError, match="text 1 is 3"):
        polyseme.load("nowhere", dtype="int8", calibration=["a", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="calibration has 0 tokens"):
        polyseme.load(dtype="int8", calibration=[])
    with pytest.raises(ValueError, match="give texts of 1 to 8,192"):
        polyseme.load(dtype="int8", calibration=["word " * 20_000])
    table = polyseme.WordVectors(["a"], np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match="for models with layers"):
        polyseme.load(table, dtype="int8")


def test_minilm_has_a_mean_cosine_of_0_995(minilm: Path) -> None:
    texts = [
        "The bank of the river was steep and covered with reeds.",
        "Her bank charged a fee for every transfer abroad.",
        "In 1912 the ship struck an iceberg on its first voyage and sank within three hours.",
        "Photosynthesis turns light into chemical energy.",
        "He ordered a piece of cake, which the exam had not been.",
    ]
    found = polyseme.load(minilm, dtype="int8").contextualize(texts).vectors
    expected = polyseme.load(minilm).contextualize(texts).vectors
    assert cosines(found, expected).mean() > 0.995
