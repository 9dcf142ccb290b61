"""The fast primitives against the plain ones, and the same bits in every batch."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme import execution
from polyseme.encoder import encode
from polyseme.execution import Place, numpy_blocks, on_host, place, prepare
from polyseme.operations import Operations, plain_operations
from polyseme.packed import Packed, offsets_of

from .test_encoder import KINDS, config_of, ids_of, random_parameters

PLACES = [
    Place("numpy", "cpu", "float32"),
    Place("numpy", "cpu", "float64"),
    Place("torch", "cpu", "float32"),
    Place("torch", "cpu", "float64"),
    Place("torch", "cpu", "bfloat16"),
    Place("torch", "cpu", "float16"),
]
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
HAS_TORCH = importlib.util.find_spec("torch") is not None
INT8 = Place("torch", "cpu", "int8")
every_place_and_int8 = pytest.mark.parametrize(
    "where", [*PLACES, INT8], ids=lambda p: f"{p.backend}-{p.dtype}"
)
every_place = pytest.mark.parametrize("where", PLACES, ids=lambda p: f"{p.backend}-{p.dtype}")
lists_of_lengths = st.lists(st.integers(0, 70), min_size=1, max_size=8)


def needs(where: Place) -> None:
    if where.backend == "torch":
        pytest.importorskip("torch", reason="a place on torch")


@contextmanager
def threads_of_torch(where: Place, number: int) -> Iterator[None]:
    """Torch divides work by its number of threads, whatever the processors."""
    if where.backend == "numpy":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_packed_linear(where: Place) -> Iterator[None]:
    """As with a torch that lacks the oneDNN operators."""
    with pytest.MonkeyPatch.context() as patch:
        if where.backend == "torch":
            from polyseme.execution import torch_attention, torch_cpu, torch_int8

            patch.setattr(torch_cpu, "has_packed_linear", lambda dtype: False)
            patch.setattr(torch_attention, "has_products", lambda *shape: False)
            patch.setattr(torch_int8, "has_integer_linear", lambda: False)
        yield


@contextmanager
def steps_side_by_side(where: Place) -> Iterator[None]:
    """As with so many texts that every thread has steps of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_blocks, "LEAST_TOKENS", 8)
        if where.backend == "torch":
            from polyseme.execution import torch_cpu

            patch.setattr(torch_cpu, "LEAST_TOKENS", 8)
        yield


def factors_for(parameters: dict[str, np.ndarray], config: Any) -> dict[str, np.ndarray]:
    """What 8-bit products have to know of the states, from some texts."""
    from polyseme.execution import torch_int8

    tensors, _ = prepare(parameters, config, Place("torch", "cpu", "float32"))
    found = torch_int8.factors_of(tensors, config, ids_of([5, 20, 1, 33], seed=99))
    return {name: tensor.numpy() for name, tensor in found.items()}


def check_that_batches_do_not_matter(
    where: Place,
    config: Any,
    lengths: list[int],
    *,
    order: list[int],
    batch_tokens: int,
    layer: int | None = None,
) -> None:
    """Hold every text of a batch against the same text alone, with ``==``."""
    given = random_parameters(config)
    if where == INT8:
        given |= factors_for(given, config)
    parameters, operations = prepare(given, config, where)

    def states_of(texts: Packed, tokens: int) -> Packed:
        return encode(
            parameters, config, texts, operations=operations, layer=layer, batch_tokens=tokens
        )

    texts = list(ids_of(lengths, seed=sum(lengths)))
    together = states_of(Packed.from_arrays([texts[i] for i in order]), batch_tokens)
    for number, i in enumerate(order):
        alone = states_of(Packed(texts[i], offsets_of([len(texts[i])])), 8192).values
        assert alone.dtype == together[number].dtype
        different = wide(alone) != wide(together[number])
        assert not different.any(), f"text {i} of {lengths[i]} tokens: {different.sum()} numbers"


@pytest.mark.parametrize("where", [Place("torch", "cpu", "bfloat16"), INT8], ids=lambda p: p.dtype)
def test_short_texts_attend_alike_packed_in_groups_and_beside_long_ones(where: Place) -> None:
    needs(where)
    config = config_of("post-norm", width=64, max_tokens=200)
    given = random_parameters(config)
    if where == INT8:
        given |= factors_for(given, config)
    parameters, operations = prepare(given, config, where)
    lengths = [16, 3, 30, 0, 31, 16, 70, *([9] * 11)]
    for texts in (ids_of(lengths), ids_of([5])):
        packed = encode(parameters, config, texts, operations=operations).values
        grouped = encode(parameters, config, texts, operations=replace(operations, packing=None))
        assert (wide(packed) == wide(grouped.values)).all()
    check_that_batches_do_not_matter(
        where, config, [150, *lengths, 129], order=[5, 0, *range(1, 20)], batch_tokens=8192
    )


@pytest.mark.parametrize("kind", ["post-norm", "relative"])
@pytest.mark.parametrize("where", [Place("torch", "cpu", "bfloat16"), INT8], ids=lambda p: p.dtype)
def test_many_texts_of_one_length_attend_as_one_does(where: Place, kind: str) -> None:
    needs(where)
    config = config_of(kind, width=128, inner=64, heads=4, layers=1)
    lengths = [*([20] * 77), *([60] * 29), 33, *([33] * 6)]
    for count in (20, len(lengths)):
        check_that_batches_do_not_matter(
            where, config, lengths, order=list(range(count)), batch_tokens=8192
        )


@given(texts=st.integers(0, 3000), most=st.integers(0, 300))
def test_pieces_are_few_numbers_and_little_more_than_the_texts(texts: int, most: int) -> None:
    pytest.importorskip("torch", reason="pieces are for torch")
    from polyseme.execution.torch_attention import pieces

    sizes = list(pieces(texts, most))
    largest = 1 << max(1, most).bit_length() - 1
    assert set(sizes) <= {1, 4, 16, 64, largest}
    assert max(sizes, default=1) <= largest
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes[:-1]) < max(1, texts)
    assert texts <= sum(sizes) <= 4 / 3 * texts


@every_place_and_int8
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(
    lengths=lists_of_lengths,
    shape=st.sampled_from([(24, 40, 4), (32, 48, 1), (36, 37, 3), (20, 50, 2)]),
    batch_tokens=st.sampled_from([1, 20, 100, 333, 8192]),
    layer=st.sampled_from([None, 0, 1]),
    threads=st.integers(1, 3),
    packed=st.booleans(),
    data=st.data(),
)
def test_a_text_is_the_same_to_the_last_bit_in_every_batch(
    *,
    where: Place,
    kind: str,
    lengths: list[int],
    shape: tuple[int, int, int],
    batch_tokens: int,
    layer: int | None,
    threads: int,
    packed: bool,
    data: st.DataObject,
) -> None:
    needs(where)
    width, inner, heads = shape
    config = config_of(kind, width=width, inner=inner, heads=heads)
    # Every text twice, so that texts of equal length share an operation.
    order = data.draw(st.permutations([*range(len(lengths)), *range(len(lengths))]))
    with (
        threads_of_torch(where, threads),
        without_packed_linear(where) if not packed else threads_of_torch(where, threads),
    ):
        check_that_batches_do_not_matter(
            where, config, lengths, order=order, batch_tokens=batch_tokens, layer=layer
        )


@every_place_and_int8
@pytest.mark.parametrize(
    ("kind", "width", "inner", "heads"),
    [
        ("post-norm", 384, 1536, 12),
        ("relative", 256, 1024, 4),
        ("rotary", 256, 1024, 4),
        ("post-norm", 300, 700, 4),
    ],
)
@settings(max_examples=3)
@given(
    lengths=lists_of_lengths,
    batch_tokens=st.sampled_from([100, 8192]),
    threads=st.integers(2, 3),
    data=st.data(),
)
def test_batches_do_not_matter_at_the_sizes_of_real_models(
    *,
    where: Place,
    kind: str,
    width: int,
    inner: int,
    heads: int,
    lengths: list[int],
    batch_tokens: int,
    threads: int,
    data: st.DataObject,
) -> None:
    needs(where)
    config = config_of(kind, width=width, inner=inner, heads=heads, layers=1)
    lengths = [*lengths, 13]
    order = data.draw(st.permutations([*range(len(lengths)), *range(len(lengths))]))
    with threads_of_torch(where, threads), steps_side_by_side(where):
        check_that_batches_do_not_matter(
            where, config, lengths, order=order, batch_tokens=batch_tokens
        )


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@every_place
def test_an_activation_is_the_same_wherever_its_row_stands(
    where: Place, activation: Any, packed: bool
) -> None:
    needs(where)
    config = config_of("post-norm", layers=1)
    # 29 columns do not fill a vector register, and 5,000 rows of them are shared among threads.
    states = np.random.default_rng(0).normal(0, 3, size=(5000, 29))
    array = as_arrays(where, states)
    with without_packed_linear(where) if not packed else threads_of_torch(where, 3):
        _, operations = prepare(random_parameters(config), config, where)
        with threads_of_torch(where, 3):
            together = wide(operations.activate(array, activation))
            for start, stop in [(0, 1), (1, 2), (3, 10), (4990, 5000), (100, 1129)]:
                part = operations.activate(array[start:stop], activation)
                assert np.array_equal(wide(part), together[start:stop])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("width", "inner"), [(5, 7), (11, 64), (37, 64), (50, 24), (80, 300), (384, 150)]
)
@every_place
def test_a_linear_map_is_the_same_wherever_its_row_stands(
    where: Place, width: int, inner: int, packed: bool
) -> None:
    needs(where)
    config = config_of("post-norm", width=width, inner=inner, heads=1, layers=1)
    states = as_arrays(where, np.random.default_rng(0).normal(size=(200, width)))
    with without_packed_linear(where) if not packed else threads_of_torch(where, 2):
        _, operations = prepare(random_parameters(config), config, where)
    for threads in (1, 2, 3):
        with threads_of_torch(where, threads):
            together = wide(operations.linear(states, "layers.0.feed_forward.up"))
            for count in (1, 5, 17, 40, 63, 64, 65, 130):
                for start in (0, 1, 3, 6, 11, 30):
                    rows = as_arrays(where, wide(states[start : start + count]))
                    part = operations.linear(rows, "layers.0.feed_forward.up")
                    assert np.array_equal(wide(part), together[start : start + count])


@pytest.mark.parametrize("way", [*numpy_blocks.WAYS, numpy_blocks.ROW_BY_ROW], ids=str)
@pytest.mark.parametrize("rows", [0, 1, 16, 17, 48, 49, 63, 64, 65, 300, 1100])
def test_every_way_to_cut_a_product_gives_the_product(way: numpy_blocks.Way, rows: int) -> None:
    random = np.random.default_rng(rows)
    states, weight = random.normal(size=(rows, 24)), random.normal(size=(24, 48))
    assert np.allclose(way.product(states, weight), states @ weight, rtol=1e-12, atol=1e-12)


def test_a_way_in_which_rows_round_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uneven(numpy_blocks.Way):
        def product(self, states: np.ndarray, weight: np.ndarray) -> np.ndarray:
            product = super().product(states, weight)
            product[self.sizes[0] - 1 :, 3] += EPSILON["float32"] * np.abs(product).max()
            return product

    uneven, even = Uneven((64,)), numpy_blocks.ROW_BY_ROW
    assert not uneven.keeps_bits(24, 48, "float32")
    assert even.keeps_bits(24, 48, "float32")
    for ways, taken in (((uneven, even), even), ((uneven,), numpy_blocks.ROW_BY_ROW)):
        monkeypatch.setattr(numpy_blocks, "WAYS", ways)
        numpy_blocks.way_of.cache_clear()
        assert numpy_blocks.way_of(24, 48, "float32") == taken
    numpy_blocks.way_of.cache_clear()


@pytest.mark.parametrize("n", [1, 2, 5, 13, 16, 17, 31, 32, 33, 65])
@pytest.mark.parametrize("heads", [1, 2, 4])
@every_place
def test_attention_is_the_same_wherever_its_text_stands(where: Place, heads: int, n: int) -> None:
    needs(where)
    config = config_of("post-norm", layers=1)
    _, operations = prepare(random_parameters(config), config, where)
    random = np.random.default_rng(n)
    own, n = n, int(operations.lengths(np.asarray([n]))[0])
    index = np.arange(n)
    for width in (heads * 5, heads * 7, heads * 64):
        # Three rows of another text stand before, as they do in a packed array.
        packed = [as_arrays(where, random.normal(size=(3 + 7 * n, width))) for _ in range(3)]
        near = as_mask(where, (np.abs(index[:, None] - index) <= 3) & (index < own)[None, None])
        bias = as_arrays(where, random.normal(size=(heads, n, n)).astype(np.float32))
        for options in ({}, {"mask": near}, {"bias": bias}, {"mask": near, "bias": bias}):
            for threads in (2, 3):
                with threads_of_torch(where, threads):
                    texts = [array[3:].reshape(7, n, width) for array in packed]
                    together = wide(operations.attend(*texts, heads=heads, **options))
                    for start, stop in [(0, 1), (1, 2), (6, 7), (2, 5)]:
                        parts = [array[start:stop] for array in texts]
                        for copied in (parts, [as_arrays(where, wide(part)) for part in parts]):
                            part = operations.attend(*copied, heads=heads, **options)
                            assert np.array_equal(wide(part), together[start:stop])


def as_arrays(where: Place, numbers: np.ndarray) -> Any:
    if where.backend == "numpy":
        return numbers.astype(where.dtype)
    import torch

    return torch.from_numpy(numbers).to(getattr(torch, where.dtype))


def as_mask(where: Place, mask: np.ndarray) -> Any:
    if where.backend == "numpy":
        return mask
    import torch

    return torch.from_numpy(mask)


def exact_operations(where: Place, parameters: dict[str, Any], config: Any) -> Operations:
    """The plain primitives in NumPy's float64, over the place's rounded parameters."""
    rounded = {name: wide(as_arrays(where, wide(array))) for name, array in parameters.items()}
    return plain_operations(rounded, config)


def wide(array: Any) -> np.ndarray:
    """What the array holds, in float64; ``on_host`` would hide the last bits of a float64."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float64)
    return array.double().numpy()


def computed(where: Place) -> float:
    """The eps that sums are kept in: half precision is added up in float32."""
    return EPSILON["float64" if where.dtype == "float64" else "float32"]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("rows", [1, 15, 16, 63, 64, 200])
@every_place
def test_linear_maps_and_norms_agree_with_the_plain_ones(
    where: Place, rows: int, packed: bool
) -> None:
    needs(where)
    config = config_of("post-norm", width=36, inner=50, layers=1)
    states = as_arrays(
        where, np.random.default_rng(rows).normal(size=(rows, 36)).astype(np.float32)
    )
    with without_packed_linear(where) if not packed else threads_of_torch(where, 2):
        parameters, fast = prepare(random_parameters(config), config, where)
    plain = exact_operations(where, parameters, config)
    for name in ("layers.0.attention.output", "layers.0.feed_forward.up"):
        found = wide(fast.linear(states, name))
        expected = plain.linear(wide(states), name)
        terms = np.abs(wide(states)) @ np.abs(wide(parameters[f"{name}.weight"])).T
        # (d + 2) eps of the terms' sum bounds a dot product; the result is rounded to the dtype,
        # where the bias is added apart twice.
        last = 2 * EPSILON[where.dtype] * (np.abs(expected) + 4)
        assert (np.abs(found - expected) <= 38 * computed(where) * terms + last).all()
    found = wide(fast.norm(states, "layers.0.attention.norm"))
    expected = plain.norm(wide(states), "layers.0.attention.norm")
    # Numbers of a norm are below 6 here; mean, variance and quotient each add a few eps.
    allowed = 64 * computed(where) + EPSILON[where.dtype] * np.abs(expected)
    assert (np.abs(found - expected) <= allowed).all()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("rows", [1, 16, 130])
@every_place
def test_products_with_what_follows_them_agree_with_the_plain_ones(
    where: Place, rows: int, packed: bool
) -> None:
    needs(where)
    config = config_of("post-norm", width=36, inner=50, layers=1)
    random = np.random.default_rng(rows)
    states, residual = (
        as_arrays(where, random.normal(size=(rows, 36)).astype(np.float32)) for _ in range(2)
    )
    with without_packed_linear(where) if not packed else threads_of_torch(where, 2):
        parameters, fast = prepare(random_parameters(config), config, where)
        prefix = "layers.0.attention"
        names = [f"{prefix}.{part}" for part in ("query", "key", "value")]
        pairs = list(zip(fast.linears(states, names), names, strict=True))
        found = [(wide(mapped), name, wide(states) * 0, None) for mapped, name in pairs]
        added = fast.linear_added(states, f"{prefix}.output", residual)
        found.append((wide(added), f"{prefix}.output", wide(residual), None))
        for activation in ("relu", "gelu", "silu"):
            mapped = fast.linear_activated(states, "layers.0.feed_forward.up", activation)
            found.append((wide(mapped), "layers.0.feed_forward.up", 0, activation))
    plain = exact_operations(where, parameters, config)
    for result, name, more, activation in found:
        expected = plain.linear(wide(states), name)
        terms = np.abs(wide(states)) @ np.abs(wide(parameters[f"{name}.weight"])).T
        # As for a product alone; where the passes are apart, what lies between them is rounded too.
        last = 4 * EPSILON[where.dtype] * (np.abs(expected) + np.abs(more) + 4)
        expected = expected + more
        if activation:
            expected = plain.activate(expected, activation)
        assert (np.abs(result - expected) <= 40 * computed(where) * terms + last + 6e-7).all()


@pytest.mark.parametrize(("width", "inner"), [(384, 1536), (256, 512)])
@every_place
def test_products_with_what_follows_them_keep_their_bits(
    where: Place, width: int, inner: int
) -> None:
    """In bfloat16 some processors add up a long row otherwise where there are few rows."""
    needs(where)
    config = config_of("post-norm", width=width, inner=inner, heads=4, layers=1)
    random = np.random.default_rng(0)
    hidden = as_arrays(where, random.normal(size=(1100, inner)).astype(np.float32))
    residual = as_arrays(where, random.normal(size=(1100, width)).astype(np.float32))
    with threads_of_torch(where, 2):
        _, operations = prepare(random_parameters(config), config, where)
        name = "layers.0.feed_forward.down"
        together = wide(operations.linear_added(hidden, name, residual))
        for start, stop in ((0, 1), (0, 40), (3, 131), (600, 1000)):
            part = operations.linear_added(hidden[start:stop], name, residual[start:stop])
            assert np.array_equal(wide(part), together[start:stop])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@every_place
def test_activations_agree_with_the_plain_ones(where: Place, activation: Any, packed: bool) -> None:
    needs(where)
    config = config_of("post-norm", layers=1)
    with without_packed_linear(where) if not packed else threads_of_torch(where, 2):
        parameters, fast = prepare(random_parameters(config), config, where)
        states = as_arrays(where, np.linspace(-12, 12, 3003).astype(np.float32).reshape(-1, 13))
        found = wide(fast.activate(states, activation))
    expected = exact_operations(where, parameters, config).activate(wide(states), activation)
    # 6e-7 is what the float32 polynomial for GELU is fitted to; 8 eps is ours for the rest.
    polynomial = 6e-7 if where.dtype != "float64" and activation == "gelu" else 0
    size = np.maximum(1, np.abs(expected))
    allowed = polynomial + 8 * computed(where) * size + EPSILON[where.dtype] * np.abs(expected)
    assert (np.abs(found - expected) <= allowed + (2.0**-24 if "16" in where.dtype else 0)).all()


@pytest.mark.parametrize("head_dim", [5, 16])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("n", [1, 7, 33, 130])
@every_place
def test_attention_agrees_with_the_plain_one(
    where: Place, n: int, heads: int, head_dim: int
) -> None:
    needs(where)
    config = config_of("post-norm", layers=1)
    parameters, fast = prepare(random_parameters(config), config, where)
    plain = exact_operations(where, parameters, config)
    random = np.random.default_rng(n)
    query, key, value = (
        as_arrays(where, random.normal(size=(2, n, heads * head_dim)).astype(np.float32))
        for _ in range(3)
    )
    index = np.arange(n)
    near = np.abs(index[:, None] - index) <= 3
    bias = as_arrays(where, random.normal(size=(heads, n, n)).astype(np.float32))
    for masked, biased in ((False, False), (True, False), (False, True), (True, True)):
        exact: dict[str, Any] = {}
        ours: dict[str, Any] = {}
        if masked:
            exact["mask"], ours["mask"] = near, as_mask(where, near)
        if biased:
            exact["bias"], ours["bias"] = wide(bias), bias
        found = wide(fast.attend(query, key, value, heads=heads, **ours))
        expected = plain.attend(wide(query), wide(key), wide(value), heads=heads, **exact)
        # Scores stay below 12 and a value below 4; half precision also rounds scores and weights.
        allowed = 4 * (2 * 12 * 9 + 2 * n + 8) * computed(where) + 4 * 2 * EPSILON[where.dtype]
        assert np.abs(found - expected).max() <= allowed


@every_place
@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_the_same_with_fast_and_plain_operations(kind: str, where: Place) -> None:
    needs(where)
    config = config_of(kind)
    parameters, fast = prepare(random_parameters(config), config, where)
    ids = ids_of([7, 1, 70, 7])
    found = on_host(encode(parameters, config, ids, operations=fast).values)
    numbers = {name: wide(array) for name, array in parameters.items()}
    expected = encode(numbers, config, ids).values
    # The states are of size 1; two layers pass on what the sixteen roundings before them left.
    error = np.abs(found - expected)
    assert error.mean() < 16 * EPSILON[where.dtype if where.dtype != "float64" else "float32"]
    assert np.isfinite(found).all()


def test_a_result_on_the_host_is_float32() -> None:
    assert on_host(np.ones(2)).dtype == np.float32
    if HAS_TORCH:
        import torch

        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            assert on_host(torch.ones(2, dtype=dtype)).dtype == np.float32


AUTO = {"device": "auto", "dtype": "auto", "backend": "auto"}


def test_a_model_without_layers_runs_on_numpy() -> None:
    assert place(**AUTO, layers=0) == Place("numpy", "cpu", "float32")


def test_without_torch_everything_runs_on_numpy_or_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "find_spec", lambda name: None)
    assert place(**AUTO, layers=6) == Place("numpy", "cpu", "float32")
    assert place(**AUTO | {"dtype": "float64"}, layers=6).dtype == "float64"
    for asked in ({"device": "cuda"}, {"dtype": "bfloat16"}, {"backend": "torch"}):
        with pytest.raises(ImportError, match=r"polyseme\[torch\]"):
            place(**AUTO | asked, layers=6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"backend": "jax"}, "backend is 'jax'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"dtype": "int4"}, "dtype is 'int4'"),
        ({"dtype": "int8", "device": "cuda"}, "dtype 'int8' runs on device 'cpu'"),
        ({"dtype": "int8", "backend": "numpy"}, "float32 or float64"),
        ({"backend": "numpy", "device": "cuda"}, "backend 'numpy' runs on device 'cpu'"),
        ({"backend": "numpy", "dtype": "bfloat16"}, "float32 or float64"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(asked: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        place(**AUTO | asked, layers=6)


def test_a_device_that_is_missing_is_an_error_and_never_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch", reason="devices are torch's")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert place(**AUTO, layers=6) == Place("torch", "cpu", "float32")
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(RuntimeError, match=f"device is '{device}'"):
            place(**AUTO | {"device": device}, layers=6)


@pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")
def test_packed_linear_maps_are_used_where_they_exist() -> None:
    import torch

    from polyseme.execution import torch_cpu

    has_operators = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    assert torch_cpu.has_packed_linear(torch.float32) == has_operators
    weight = torch.randn(40, 24)
    states = torch.randn(math.prod((3, 7)), 24)
    blocked = torch_cpu._blocked_linear(weight, None)(states)
    torch.testing.assert_close(blocked, states @ weight.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_table_and_weights_of_layers_are_not_copied_but_for_the_products(dtype: str) -> None:
    where = Place("torch", "cpu", dtype)
    needs(where)
    config = config_of("post-norm", layers=2)
    given = {name: array.astype(np.float32) for name, array in random_parameters(config).items()}
    arrays, _ = prepare(given, config, where)
    weights = [name for name in given if name.startswith("layers.") and given[name].ndim == 2]
    assert len(weights) == 2 * 6
    for name in [*weights, "embeddings.tokens"]:
        assert arrays[name].data_ptr() == given[name].ctypes.data
    assert str(arrays["layers.0.attention.norm.weight"].dtype) == f"torch.{dtype}"
