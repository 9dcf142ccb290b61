"""The encoder's own pieces; ``test_families`` holds the whole against reference checkpoints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.encoder import EncoderConfig, encode, parameter_shapes, steps
from polyseme.layers import relative_buckets
from polyseme.operations import activate, layer_norm
from polyseme.packed import Packed, offsets_of

VOCABULARY = 50

KINDS: dict[str, dict[str, Any]] = {
    # As BERT, MPNet and ModernBERT choose, the three ways that differ most.
    "post-norm": {"embedding_norm": True, "positions": "learned", "max_tokens": 80},
    "relative": {
        "embedding_norm": True,
        "positions": "learned",
        "max_tokens": 80,
        "position_offset": 2,
        "relative_buckets": 32,
        "activation": "gelu_tanh",
    },
    "rotary": {
        "embedding_norm": True,
        "positions": "rotary",
        "norm": "pre",
        "gated": True,
        "bias": False,
        "norm_epsilon": 1e-5,
        "local_window": 4,
        "global_every": 2,
        "local_rotary_base": 100.0,
        "activation": "silu",
    },
}


def config_of(
    kind: str, *, width: int = 24, inner: int = 40, heads: int = 4, layers: int = 2, **more: Any
) -> EncoderConfig:
    chosen = KINDS[kind] | {"intermediate_size": inner, "heads": heads, "layers": layers} | more
    return EncoderConfig(VOCABULARY, width, **chosen)


def random_parameters(config: EncoderConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters of a size at which attention is neither even nor on one word."""
    random = np.random.default_rng(seed)
    parameters = {}
    for name, shape in parameter_shapes(config, {}).items():
        numbers = random.normal(size=shape)
        if name.endswith("norm.weight"):
            numbers = 1 + 0.1 * numbers
        elif name.endswith(".weight"):
            numbers *= 1.5 / math.sqrt(shape[1])
        parameters[name] = numbers.astype(np.float32)
    return parameters


def ids_of(lengths: list[int], seed: int = 0) -> Packed:
    random = np.random.default_rng(seed)
    return Packed(random.integers(0, VOCABULARY, sum(lengths)), offsets_of(lengths))


@pytest.mark.parametrize("wrong", [-1, VOCABULARY])
def test_an_id_outside_the_vocabulary_is_refused(wrong: int) -> None:
    config = config_of("post-norm")
    ids = Packed(np.asarray([3, wrong, 4]), offsets_of([2, 1]))
    with pytest.raises(ValueError, match=f"token id {wrong} is outside the vocabulary of 50"):
        encode(random_parameters(config), config, ids)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_is_not_there_is_refused(layer: int) -> None:
    config = config_of("post-norm")
    with pytest.raises(ValueError, match=f"layer is {layer}: this encoder has layers 0 to 2"):
        encode(random_parameters(config), config, ids_of([3]), layer=layer)


def test_a_text_longer_than_the_positions_is_refused_and_one_as_long_is_not() -> None:
    config = config_of("post-norm")
    parameters = random_parameters(config)
    with pytest.raises(ValueError, match="a text of 81 tokens is longer than 80 positions"):
        encode(parameters, config, ids_of([5, 81]))
    assert encode(parameters, config, ids_of([5, 80])).values.shape == (85, 24)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_texts_and_no_texts_give_no_rows(kind: str) -> None:
    config = config_of(kind)
    parameters = random_parameters(config)
    assert encode(parameters, config, ids_of([])).values.shape == (0, 24)
    assert encode(parameters, config, ids_of([0, 0])).values.shape == (0, 24)
    found = encode(parameters, config, ids_of([0, 3, 0]))
    assert found.lengths.tolist() == [0, 3, 0]
    assert np.isfinite(found.values).all()


def test_layer_zero_is_the_table_where_there_are_no_positions() -> None:
    config = EncoderConfig(VOCABULARY, 8)
    table = np.random.default_rng(0).normal(size=(VOCABULARY, 8)).astype(np.float32)
    ids = ids_of([4, 0, 2])
    found = encode({"embeddings.tokens": table}, config, ids)
    assert np.array_equal(found.values, table[ids.values])


def test_static_vectors_of_another_width_are_projected() -> None:
    config = config_of("post-norm", embedding_size=6)
    parameters = random_parameters(config)
    assert parameters["embeddings.tokens"].shape == (VOCABULARY, 6)
    found = encode(parameters, config, ids_of([3]), layer=0)
    table = parameters["embeddings.tokens"][ids_of([3]).values]
    normed = layer_norm(
        table + parameters["embeddings.positions"][:3],
        parameters["embeddings.norm.weight"],
        parameters["embeddings.norm.bias"],
        config.norm_epsilon,
    )
    expected = normed @ parameters["embeddings.projection.weight"].T
    expected = expected + parameters["embeddings.projection.bias"]
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_weights_sum_to_one_and_change_nothing(kind: str) -> None:
    config = config_of(kind)
    parameters = random_parameters(config)
    ids = ids_of([9, 9, 9])
    record: list[np.ndarray] = []
    found = encode(parameters, config, ids, record=record)
    assert [weights.shape for weights in record] == [(3, 4, 9, 9)] * 2
    for weights in record:
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    plain = encode(parameters, config, ids)
    np.testing.assert_allclose(found.values, plain.values, atol=1e-6)
    if config.local_window:
        far = np.abs(np.arange(9)[:, None] - np.arange(9)) > config.local_window
        assert not record[1][:, :, far].any()
        assert record[0][:, :, far].all()


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_and_torch_run_the_same_encoder(kind: str) -> None:
    torch = pytest.importorskip("torch", reason="arrays of torch")
    config = config_of(kind)
    parameters = {
        name: array.astype(np.float64) for name, array in random_parameters(config).items()
    }
    tensors = {name: torch.from_numpy(array) for name, array in parameters.items()}
    ids = ids_of([7, 1, 40, 7])
    for layer in range(3):
        ours = encode(parameters, config, ids, layer=layer).values
        theirs = encode(tensors, config, ids, layer=layer).values
        # Rotary angles are float32 in both, so float64 agrees to its own rounding.
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=0, atol=1e-11)


@given(
    lengths=st.lists(st.integers(0, 30), max_size=20),
    batch_tokens=st.integers(1, 100),
    workers=st.integers(1, 3),
)
@settings(max_examples=60)
def test_steps_hold_every_text_once_and_are_no_larger_than_asked(
    lengths: list[int], batch_tokens: int, workers: int
) -> None:
    array = np.asarray(lengths, dtype=np.int64)
    cut = [texts.tolist() for texts in steps(array, batch_tokens, workers)]
    assert sorted(i for texts in cut for i in texts) == [i for i, n in enumerate(lengths) if n]
    for texts in cut:
        assert texts
        assert len(texts) == 1 or array[texts].sum() <= batch_tokens


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_steps_are_even_and_as_many_for_every_worker(workers: int) -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=600)
    sizes = [int(lengths[texts].sum()) for texts in steps(lengths, 2048, workers)]
    assert len(sizes) % workers == 0
    assert max(sizes) - min(sizes) < 2 * 60
    assert max(sizes) > 2048 - 2048 * workers // len(sizes) - 60


def test_rotary_states_depend_on_distances_only() -> None:
    config = config_of("rotary", layers=1, local_window=0)
    parameters = random_parameters(config)
    first = np.asarray([1, 2, 3, 4])
    record: list[np.ndarray] = []
    ids = np.concatenate([first, first])
    encode(parameters, config, Packed(ids, offsets_of([8])), record=record)
    weights = record[0][0]
    # The second copy sees itself as the first does: the ratios of its weights are the same.
    early, late = weights[:, :4, :4], weights[:, 4:, 4:]
    early, late = (part / part.sum(axis=-1, keepdims=True) for part in (early, late))
    np.testing.assert_allclose(early, late, rtol=1e-4)


def test_relative_buckets_are_exact_when_near_and_logarithmic_when_far() -> None:
    buckets = relative_buckets(300, 32)
    # The textbook's scheme, one pair of words at a time.
    for query in (0, 17, 299):
        for key in range(300):
            distance = abs(key - query)
            bucket = distance
            if distance >= 8:
                share = math.log(distance / 8) / math.log(128 / 8)
                bucket = min(15, 8 + int(share * 8 + 1e-6))
            expected = bucket + (16 if key > query else 0)
            assert buckets[query, key] == expected, (query, key)


def test_layer_norm_is_its_definition() -> None:
    random = np.random.default_rng(3)
    states, weight, bias = random.normal(size=(4, 7)), *random.normal(size=(2, 7))
    found = layer_norm(states, weight, bias, 1e-5)
    for row, normed in zip(states.tolist(), found, strict=True):
        mean = math.fsum(row) / 7
        variance = math.fsum((x - mean) ** 2 for x in row) / 7
        for i, x in enumerate(row):
            expected = (x - mean) / math.sqrt(variance + 1e-5) * weight[i] + bias[i]
            assert abs(normed[i] - expected) < 1e-14
    without = layer_norm(states, weight, None, 1e-5)
    np.testing.assert_allclose(without, found - bias, atol=1e-15)


def slow_activation(x: float, activation: str) -> float:
    if activation == "relu":
        return max(0.0, x)
    if activation == "silu":
        return x / (1 + math.exp(-x)) if x > -700 else 0.0
    if activation == "gelu":
        return x * 0.5 * math.erfc(-x / math.sqrt(2))
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)])
def test_activations_are_their_definitions(
    activation: Any, kind: str, dtype: str, tolerance: float
) -> None:
    states = np.linspace(-20, 20, 4001).astype(dtype)
    array: Any = states
    if kind == "torch":
        array = pytest.importorskip("torch", reason="arrays of torch").from_numpy(states)
    found = np.asarray(activate(array, activation))
    assert found.dtype == states.dtype
    expected = np.asarray([slow_activation(x, activation) for x in states.tolist()])
    # float32 has 1e-6 near 20, so large results are compared by their own size.
    assert (np.abs(found - expected) <= tolerance * np.maximum(1, np.abs(expected) / 5)).all()


def test_the_float32_gelu_is_within_a_millionth_of_the_error_function() -> None:
    states = np.linspace(-20, 20, 200_001).astype(np.float32)
    expected = np.asarray([slow_activation(x, "gelu") for x in states.tolist()])
    error = np.abs(activate(states, "gelu").astype(np.float64) - expected)
    assert error[np.abs(states) <= 6].max() < 1e-6
    # Beyond 6 it is x or next to nothing, up to half a unit of float32's last place.
    assert error.max() < 1e-6


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_of_huge_numbers_neither_overflow_nor_warn(activation: Any, dtype: str) -> None:
    states = np.asarray([-1e30, -1000, 0, 1000, 1e30], dtype=dtype)
    with np.errstate(all="raise", under="ignore"):
        found = activate(states, activation)
    np.testing.assert_allclose(found, [0, 0, 0, 1000, 1e30], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_every_listed_parameter_is_used(kind: str) -> None:
    config = config_of(kind)
    parameters = random_parameters(config)
    before = encode(parameters, config, ids_of([20])).values
    for name in parameters:
        # A key's bias shifts all scores of a query alike, which a softmax does not see.
        if name.endswith("key.bias"):
            continue
        changed = dict(parameters)
        changed[name] = parameters[name] + np.random.default_rng(1).normal(
            size=parameters[name].shape
        ).astype(np.float32)
        assert not np.allclose(encode(changed, config, ids_of([20])).values, before), name
