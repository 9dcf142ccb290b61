"""Attention against a slow version: loops over words and Python's floats, as in a textbook."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme import attention
from polyseme.attention import attend, attend_heads, multi_head_attention, self_attend, softmax

Array = Any

KINDS = [
    *(("numpy", dtype) for dtype in ("float16", "float32", "float64")),
    *(("torch", dtype) for dtype in ("float16", "bfloat16", "float32", "float64")),
]
EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
SMALLEST = {"float16": 2.0**-24, "bfloat16": 0.0, "float32": 0.0, "float64": 0.0}
every_kind = pytest.mark.parametrize(("kind", "dtype"), KINDS)
few = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 7)


def array_of(kind: str, dtype: str, numbers: Any) -> Array:
    """An array of the kind and dtype; skips the test where torch is not installed."""
    if kind == "numpy":
        return np.asarray(numbers).astype(dtype)
    torch = pytest.importorskip("torch", reason="arrays of torch")
    return torch.tensor(np.asarray(numbers), dtype=getattr(torch, dtype))


def mask_of(kind: str, mask: Any) -> Array:
    if mask is None or kind == "numpy":
        return mask
    return pytest.importorskip("torch").tensor(np.asarray(mask))


def wide(array: Array) -> np.ndarray:
    """What the array holds, in float64."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float64)
    return array.detach().double().numpy()


def dot(a: Any, b: Any) -> float:
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def slow_attend(
    scores: list[list[float | None]], values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Softmax over the visible keys of each query (None hides one), then the weighted sum."""
    weights = np.zeros((len(scores), len(values)))
    mixed = np.zeros((len(scores), values.shape[-1]))
    for i, row in enumerate(scores):
        seen = [j for j, score in enumerate(row) if score is not None]
        peak = max((row[j] for j in seen), default=0.0)
        exponentials = {j: math.exp(row[j] - peak) for j in seen}
        total = math.fsum(exponentials.values())
        for j in seen:
            weights[i, j] = exponentials[j] / total
        for column in range(values.shape[-1]):
            mixed[i, column] = dot(weights[i], values[:, column])
    return mixed, weights


def slow_scores(
    query: np.ndarray,
    key: np.ndarray,
    scale: float,
    bias: np.ndarray | None = None,
    visible: np.ndarray | None = None,
) -> list[list[float | None]]:
    n, m = len(query), len(key)
    bias = np.broadcast_to(0.0 if bias is None else bias, (n, m))
    visible = np.broadcast_to(True if visible is None else visible, (n, m))
    return [
        [
            scale * dot(query[i], key[j]) + float(bias[i, j]) if visible[i, j] else None
            for j in range(m)
        ]
        for i in range(n)
    ]


def slow_unit(rows: np.ndarray) -> np.ndarray:
    lengths = [math.sqrt(dot(row, row)) for row in rows]
    return np.asarray(
        [
            [x / length if length else 0.0 for x in row]
            for row, length in zip(rows, lengths, strict=True)
        ],
        dtype=np.float64,
    ).reshape(rows.shape)


def slow_map(rows: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    added = np.zeros(len(weight)) if bias is None else bias
    return np.asarray(
        [[dot(row, weight[o]) + added[o] for o in range(len(weight))] for row in rows]
    ).reshape(len(rows), len(weight))


def allowed(
    dtype: str, query: Any, key: Any, values: Any, scale: float, *, worse: float = 1
) -> float:
    """How far a right result may be from the slow one, from the rounding of each step.

    A dot product of d terms is off by at most (d + 2) eps * sum |q k|, with eps that of the dtype
    computed in; a weight, relatively, by twice a score's error and (m + 4) eps; a sum of m of them
    by m eps more. ``worse`` multiplies the scores' error, where the vectors compared are rounded.
    """
    if not (query.size and key.size and values.size):
        return 0.0
    m, d = key.shape[-2], key.shape[-1]
    score = scale * float((np.abs(query) @ np.swapaxes(np.abs(key), -1, -2)).max())
    eps = max(EPSILON["float32"] if dtype != "float64" else 0, EPSILON["float64"])
    return float(np.abs(values).max()) * eps * (2 * (d + 4) * score * worse + 2 * m + 8)


def assert_close(found: Array, expected: np.ndarray, dtype: str, tolerance: float) -> None:
    """Half precision is rounded once, at the end: half an eps of the number itself."""
    assert str(found.dtype).removeprefix("torch.") == dtype
    assert tuple(found.shape) == expected.shape
    last = 0.5 * EPSILON[dtype] * (np.abs(expected) + tolerance) + SMALLEST[dtype]
    error = np.abs(wide(found) - expected)
    assert (error <= tolerance + last).all(), f"off by {(error - last).max()} of {tolerance}"


def drawn_mask(random: np.random.Generator, shape: tuple[int, int], choice: str) -> Any:
    if choice == "none":
        return None
    return random.random(shape[1:] if choice == "keys" else shape) < 0.6


@every_kind
@few
@given(
    seed=seeds,
    n=sizes,
    m=sizes,
    width=st.integers(0, 6),
    causal=st.booleans(),
    masked=st.sampled_from(["none", "keys", "all"]),
    biased=st.booleans(),
    scale=st.sampled_from([None, 0.3, 4.0]),
    size=st.sampled_from([0.1, 1.0, 6.0]),
)
def test_attend_is_softmax_of_scores_times_values(
    *,
    kind: str,
    dtype: str,
    seed: int,
    n: int,
    m: int,
    width: int,
    causal: bool,
    masked: str,
    biased: bool,
    scale: float | None,
    size: float,
) -> None:
    random = np.random.default_rng(seed)
    m = n if causal else m
    query, key = (
        array_of(kind, dtype, size * random.normal(size=(rows, width))) for rows in (n, m)
    )
    value = array_of(kind, dtype, random.normal(size=(m, 3)))
    bias = array_of(kind, dtype, random.normal(size=(n, m))) if biased else None
    mask = drawn_mask(random, (n, m), masked)
    mixed, weights = attend(
        query,
        key,
        value,
        scale=scale,
        bias=bias,
        mask=mask_of(kind, mask),
        causal=causal,
        return_weights=True,
    )
    seen = np.broadcast_to(True if mask is None else mask, (n, m))
    seen = seen & (np.arange(m) <= np.arange(n)[:, None]) if causal else seen
    factor = 1 / math.sqrt(max(1, width)) if scale is None else scale
    scores = slow_scores(wide(query), wide(key), factor, None if bias is None else wide(bias), seen)
    expected, expected_weights = slow_attend(scores, wide(value))
    # A bias of size 4 adds to a score, and so to its rounding, like a dot product of that size.
    ones = np.ones((max(n, 1), 1)), np.full((max(m, 1), 1), 4.0 * biased)
    extra = allowed(dtype, *ones, np.ones((m, 1)), 1.0)
    tolerance = allowed(dtype, wide(query), wide(key), np.ones((m, 1)), factor) + extra
    assert_close(weights, expected_weights, dtype, tolerance)
    peak = float(np.abs(wide(value)).max(initial=0))
    empty_width = (2 * m + 8) * EPSILON["float32" if dtype != "float64" else "float64"]
    assert_close(mixed, expected, dtype, (tolerance + empty_width) * peak)


@every_kind
@few
@given(
    seed=seeds,
    n=sizes,
    width=st.integers(1, 6),
    temperature=st.sampled_from([0.1, 1.0, 3.0]),
    normalize=st.booleans(),
    include_self=st.booleans(),
    own=st.sampled_from([None, 0.0, 0.7]),
    weighted=st.booleans(),
    centered=st.booleans(),
    masked=st.sampled_from(["none", "keys", "all"]),
    causal=st.booleans(),
)
def test_self_attend_is_its_formula(
    *,
    kind: str,
    dtype: str,
    seed: int,
    n: int,
    width: int,
    temperature: float,
    normalize: bool,
    include_self: bool,
    own: float | None,
    weighted: bool,
    centered: bool,
    masked: str,
    causal: bool,
) -> None:
    random = np.random.default_rng(seed)
    vectors = array_of(kind, dtype, random.normal(size=(n, width)))
    center = array_of(kind, dtype, 0.3 * random.normal(size=width)) if centered else None
    frequency = array_of(kind, dtype, random.uniform(0.01, 1, n)) if weighted else None
    mask = drawn_mask(random, (n, n), masked)
    mixed, weights = self_attend(
        vectors,
        temperature=temperature,
        normalize=normalize,
        include_self=include_self,
        own_similarity=own,
        frequency_weights=frequency,
        center=center,
        mask=mask_of(kind, mask),
        causal=causal,
        return_weights=True,
    )
    words = wide(vectors) - (0.0 if center is None else wide(center))
    compared = slow_unit(words) if normalize else words
    index = np.arange(n)
    seen = np.array(np.broadcast_to(True if mask is None else mask, (n, n)))
    seen &= (index <= index[:, None]) | (not causal)
    seen &= (index != index[:, None]) | include_self
    prior = 0.0 if frequency is None else np.log(wide(frequency))
    scores = slow_scores(compared, compared, 1 / temperature, prior, seen)
    if own is not None:
        for i in range(n):
            if scores[i][i] is not None:
                scores[i][i] = own / temperature + float(np.broadcast_to(prior, n)[i])
    expected, expected_weights = slow_attend(scores, words)
    # Where a word nearly equals the centre, what is left of it is mostly rounding.
    lengths = np.linalg.norm(words, axis=-1)
    before = np.linalg.norm(wide(vectors), axis=-1) + np.linalg.norm(wide(vectors) - words, axis=-1)
    worse = 2 + float((before / np.where(lengths, lengths, 1)).max(initial=1)) * 2
    compared = np.concatenate([compared, np.ones((n, 1))], axis=-1)  # log f is up to 5
    tolerance = allowed(
        dtype, compared, compared, np.ones((n, 1)), 5 + 1 / temperature, worse=worse
    )
    assert_close(weights, expected_weights, dtype, tolerance)
    peak = float(before.max(initial=0))
    assert_close(mixed, expected, dtype, tolerance * (peak + 1))


@every_kind
@few
@given(
    seed=seeds,
    n=st.integers(0, 6),
    heads=st.integers(1, 3),
    head_dim=st.integers(1, 3),
    width=st.integers(1, 5),
    causal=st.booleans(),
    masked=st.sampled_from(["none", "keys", "all"]),
    with_biases=st.booleans(),
)
def test_multi_head_attention_is_three_maps_several_heads_and_an_output_map(
    *,
    kind: str,
    dtype: str,
    seed: int,
    n: int,
    heads: int,
    head_dim: int,
    width: int,
    causal: bool,
    masked: str,
    with_biases: bool,
) -> None:
    random = np.random.default_rng(seed)
    states = array_of(kind, dtype, random.normal(size=(n, width)))
    inner = heads * head_dim
    parameters = {}
    for name in ("query", "key", "value", "output"):
        shape = (width, inner) if name == "output" else (inner, width)
        parameters[f"{name}.weight"] = array_of(kind, dtype, 0.5 * random.normal(size=shape))
        if with_biases:
            parameters[f"{name}.bias"] = array_of(kind, dtype, random.normal(size=shape[0]))
    mask = drawn_mask(random, (n, n), masked)
    mixed, weights = multi_head_attention(
        states,
        parameters,
        heads=heads,
        mask=mask_of(kind, mask),
        causal=causal,
        return_weights=True,
    )
    alone = multi_head_attention(
        states, parameters, heads=heads, mask=mask_of(kind, mask), causal=causal
    )
    assert np.array_equal(wide(alone), wide(mixed))
    numbers = {name: wide(array) for name, array in parameters.items()}
    query, key, value = (
        slow_map(wide(states), numbers[f"{name}.weight"], numbers.get(f"{name}.bias"))
        for name in ("query", "key", "value")
    )
    seen = np.broadcast_to(True if mask is None else mask, (n, n))
    seen = seen & (np.arange(n) <= np.arange(n)[:, None]) if causal else seen
    expected_heads = []
    tolerance = 0.0
    for head in range(heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        scores = slow_scores(
            query[:, part], key[:, part], 1 / math.sqrt(head_dim), visible=np.asarray(seen)
        )
        part_mixed, part_weights = slow_attend(scores, value[:, part])
        expected_heads.append(part_mixed)
        # Queries and keys are rounded results of maps of `width` terms.
        size = np.abs(wide(states)) @ np.abs(numbers["query.weight"][part]).T + 4
        other = np.abs(wide(states)) @ np.abs(numbers["key.weight"][part]).T + 4
        tolerance = allowed(
            dtype, size, other, np.ones((n, 1)), 1 / math.sqrt(head_dim), worse=2 + width
        )
        assert_close(weights[head], part_weights, dtype, tolerance)
    joined = np.concatenate(expected_heads, axis=-1)
    expected = slow_map(joined, numbers["output.weight"], numbers.get("output.bias"))
    peak = float(np.abs(value).max(initial=0)) + 4
    output = float(np.abs(numbers["output.weight"]).sum(axis=-1).max())
    computed = EPSILON["float64" if dtype == "float64" else "float32"]
    whole = (tolerance + (width + inner + 4) * computed) * peak * (output + 1)
    assert_close(mixed, expected, dtype, whole)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@few
@given(
    seed=seeds,
    n=st.integers(1, 12),
    rows=st.integers(1, 5),
    causal=st.booleans(),
    masked=st.sampled_from(["none", "keys", "all"]),
    own=st.sampled_from([None, 0.2]),
    include_self=st.booleans(),
)
def test_queries_in_blocks_give_what_they_give_at_once(
    *,
    kind: str,
    seed: int,
    n: int,
    rows: int,
    causal: bool,
    masked: str,
    own: float | None,
    include_self: bool,
) -> None:
    random = np.random.default_rng(seed)
    vectors = array_of(kind, "float64", random.normal(size=(2, n, 4)))
    bias = array_of(kind, "float64", random.normal(size=(n, n)))
    mask = mask_of(kind, drawn_mask(random, (n, n), masked))
    options: dict[str, Any] = {
        "scale": 0.7,
        "bias": bias,
        "mask": mask,
        "causal": causal,
        "own_score": own,
        "include_self": include_self,
    }
    expected = attention.attend_unchecked(vectors, vectors, vectors, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_SCORES_AT_ONCE", 1)
        patch.setattr(attention, "_LEAST_ROWS", rows)
        found = attention.attend_unchecked(vectors, vectors, vectors, **options)
    np.testing.assert_allclose(wide(found), wide(expected), rtol=0, atol=1e-13)


@every_kind
def test_leading_axes_are_batches(kind: str, dtype: str) -> None:
    random = np.random.default_rng(1)
    vectors = array_of(kind, dtype, random.normal(size=(2, 3, 5, 4)))
    bias = array_of(kind, dtype, random.normal(size=(3, 1, 5)))
    together = attend(vectors, vectors, vectors, bias=bias)
    for i in range(2):
        for j in range(3):
            one = vectors[i, j]
            alone = attend(one, one, one, bias=bias[j])
            # Another matrix product may be used; both are right to a few eps, rounded to the dtype.
            np.testing.assert_allclose(
                wide(together[i, j]), wide(alone), rtol=EPSILON[dtype], atol=32 * EPSILON[dtype]
            )


@every_kind
def test_an_empty_text_stays_empty_and_a_lone_word_stays_itself(kind: str, dtype: str) -> None:
    nothing = array_of(kind, dtype, np.zeros((0, 3)))
    assert tuple(self_attend(nothing).shape) == (0, 3)
    mixed, weights = self_attend(nothing, return_weights=True)
    assert tuple(mixed.shape) == (0, 3)
    assert tuple(weights.shape) == (0, 0)
    word = array_of(kind, dtype, [[0.25, -3.0, 1.5]])
    mixed, weights = self_attend(word, return_weights=True)
    assert np.array_equal(wide(mixed), wide(word))
    assert wide(weights).tolist() == [[1.0]]
    mixed, weights = self_attend(word, include_self=False, return_weights=True)
    assert wide(mixed).tolist() == [[0.0, 0.0, 0.0]]
    assert wide(weights).tolist() == [[0.0]]


@every_kind
def test_rows_that_see_nothing_become_zero(kind: str, dtype: str) -> None:
    words = array_of(kind, dtype, np.random.default_rng(0).normal(size=(3, 4)))
    mask = mask_of(kind, np.asarray([[True, False, True], [False] * 3, [False, True, False]]))
    mixed, weights = attend(words, words, words, mask=mask, return_weights=True)
    assert wide(weights)[1].tolist() == [0.0] * 3
    assert wide(mixed)[1].tolist() == [0.0] * 4
    assert np.array_equal(wide(mixed)[2], wide(words)[1])
    hidden = attend(words, words, words, mask=mask_of(kind, np.zeros(3, dtype=bool)))
    assert not wide(hidden).any()
    no_keys = attend(words, words[:0], words[:0])
    assert wide(no_keys).tolist() == [[0.0] * 4] * 3


@every_kind
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_errors_that_say_where(kind: str, dtype: str, bad: float) -> None:
    words = array_of(kind, dtype, np.ones((3, 2)))
    spoilt = np.ones((3, 2))
    spoilt[2, 1] = bad
    wrong = array_of(kind, dtype, spoilt)
    where = rf"{bad} at \[2, 1\]"
    with pytest.raises(ValueError, match=f"query holds {where}"):
        attend(wrong, words, words)
    with pytest.raises(ValueError, match=f"key holds {where}"):
        attend(words, wrong, words)
    with pytest.raises(ValueError, match=f"value holds {where}"):
        attend(words, words, wrong)
    with pytest.raises(ValueError, match=f"bias holds {where}"):
        attend(words, words[:2], words[:2], bias=wrong)
    with pytest.raises(ValueError, match=f"vectors holds {where}"):
        self_attend(wrong)
    with pytest.raises(ValueError, match=rf"center holds {bad} at \[1\]"):
        self_attend(words, center=wrong[2])
    with pytest.raises(ValueError, match=rf"frequency_weights holds {bad} at \[2\]"):
        self_attend(words, frequency_weights=wrong[:, 1])
    maps = {
        f"{name}.weight": array_of(kind, dtype, np.eye(2))
        for name in ("query", "key", "value", "output")
    }
    with pytest.raises(ValueError, match=f"states holds {where}"):
        multi_head_attention(wrong, maps, heads=1)
    with pytest.raises(ValueError, match=f"value.weight holds {bad} at "):
        multi_head_attention(words, maps | {"value.weight": wrong[1:]}, heads=1)


def test_arguments_that_do_not_fit_are_refused() -> None:
    words = np.ones((3, 4))
    with pytest.raises(TypeError, match="query is of dtype int64"):
        attend(words.astype(np.int64), words, words)
    with pytest.raises(ValueError, match=r"vectors has shape \(4,\)"):
        self_attend(words[0])
    with pytest.raises(ValueError, match="query is 3 wide and key 4"):
        attend(words[:, :3], words, words)
    with pytest.raises(ValueError, match="3 keys and 2 values"):
        attend(words, words, words[:2])
    with pytest.raises(ValueError, match="as many queries as keys, not 2 and 3"):
        attend(words[:2], words, words, causal=True)
    with pytest.raises(ValueError, match=r"mask has shape \(2,\)"):
        self_attend(words, mask=np.ones(2, dtype=bool))
    with pytest.raises(ValueError, match=r"bias has shape \(2, 3\)"):
        attend(words, words, words, bias=np.ones((2, 3)))
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature is"):
            self_attend(words, temperature=temperature)
    with pytest.raises(ValueError, match="frequency_weights must all be above 0"):
        self_attend(words, frequency_weights=np.asarray([1.0, 0.0, 1.0]))
    maps = {f"{name}.weight": np.eye(4) for name in ("query", "key", "value", "output")}
    for heads in (0, 3):
        with pytest.raises(ValueError, match=f"heads is {heads}"):
            multi_head_attention(words, maps, heads=heads)
    with pytest.raises(KeyError, match=r"output\.weight"):
        multi_head_attention(words, {k: v for k, v in maps.items() if "out" not in k}, heads=2)


@every_kind
def test_large_numbers_that_do_not_overflow_are_right(kind: str, dtype: str) -> None:
    random = np.random.default_rng(2)
    size = {"float16": 6e4, "bfloat16": 1e18, "float32": 1e18, "float64": 1e150}[dtype]
    vectors = array_of(kind, dtype, size * random.uniform(-1, 1, size=(6, 16)))
    rows = wide(vectors)
    # Scores of this size leave all weight on the best key, which no rounding changes here.
    best = [int(np.argmax([dot(a / size, b / size) for b in rows])) for a in rows]
    for mixed in (attend(vectors, vectors, vectors), self_attend(vectors, normalize=False)):
        assert np.array_equal(wide(mixed), rows[best])
    expected, _ = slow_attend(slow_scores(slow_unit(rows), slow_unit(rows), 1.0), rows)
    tolerance = allowed(dtype, slow_unit(rows), slow_unit(rows), rows, 1.0, worse=4)
    assert_close(self_attend(vectors), expected, dtype, tolerance)


@every_kind
def test_scores_of_ten_thousand_do_not_overflow_the_exponential(kind: str, dtype: str) -> None:
    words = array_of(kind, dtype, 100 * np.eye(3))
    mixed, weights = attend(words, words, words, scale=1.0, return_weights=True)
    assert np.array_equal(wide(weights), np.eye(3))
    assert np.array_equal(wide(mixed), wide(words))
    far = attend(words, -words, words, scale=1.0)  # scores -10,000 and 0
    assert np.allclose(wide(far), (100 - 100 * np.eye(3)) / 2)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e30), ("float64", 1e200)])
def test_scores_that_overflow_are_an_error_and_never_nan(
    kind: str, dtype: str, size: float
) -> None:
    words = array_of(kind, dtype, np.full((3, 4), size))
    maps = {
        f"{name}.weight": array_of(kind, dtype, np.eye(4))
        for name in ("query", "key", "value", "output")
    }
    mask = mask_of(kind, np.asarray([True, True, False]))
    for arguments in ({}, {"mask": mask}):
        with pytest.raises(ValueError, match="overflow"):
            attend(words, words, words, **arguments)
        with pytest.raises(ValueError, match="overflow"):
            attend(words, -words, words, **arguments)
        with pytest.raises(ValueError, match="overflow"):
            self_attend(words, normalize=False, **arguments)
        with pytest.raises(ValueError, match="overflow"):
            multi_head_attention(words, maps, heads=2, **arguments)
    assert np.allclose(wide(self_attend(words)) / size, 1)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_softmax_leaves_its_input_as_it_was(kind: str) -> None:
    numbers = np.asarray([[1.0, 2.0, -5.0], [0.0, 0.0, 3.0]])
    scores = array_of(kind, "float64", numbers)
    mask = mask_of(kind, np.asarray([True, False, True]))
    for weights in (softmax(scores), softmax(scores, mask)):
        assert np.allclose(wide(weights).sum(axis=-1), 1)
        assert np.array_equal(wide(scores), numbers)
    vectors = array_of(kind, "float64", numbers)
    self_attend(vectors, center=array_of(kind, "float64", [1.0, 1.0, 1.0]), own_similarity=0.0)
    assert np.array_equal(wide(vectors), numbers)


def test_attend_heads_cuts_the_width_into_heads() -> None:
    random = np.random.default_rng(4)
    query, key, value = random.normal(size=(3, 5, 6))
    mixed, weights = attend_heads(query, key, value, heads=3, return_weights=True)
    for head in range(3):
        part = slice(2 * head, 2 * head + 2)
        alone, alone_weights = attend(
            query[:, part], key[:, part], value[:, part], return_weights=True
        )
        np.testing.assert_allclose(mixed[:, part], alone, atol=1e-14)
        np.testing.assert_allclose(weights[head], alone_weights, atol=1e-14)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rows", [2, 96])
def test_gradients_through_torch_are_right(
    masked: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="gradients are torch's")
    monkeypatch.setattr(attention, "_SCORES_AT_ONCE", 1)
    monkeypatch.setattr(attention, "_LEAST_ROWS", rows)
    torch.manual_seed(0)

    def leaf(*shape: int) -> Array:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    # The second word sees nothing.
    seen = [[True, False, True], [False, False, False], [True, True, True]]
    mask = torch.tensor(seen) if masked else None
    query, key, value, bias = leaf(3, 4), leaf(3, 4), leaf(3, 2), leaf(3, 3)
    check = torch.autograd.gradcheck
    assert check(lambda q, k, v, b: attend(q, k, v, bias=b, mask=mask), (query, key, value, bias))
    assert check(
        lambda q, k, v: attend(q, k, v, mask=mask, causal=True, return_weights=True),
        (query, key, value),
    )
    frequency = torch.rand(3, dtype=torch.float64) + 0.1
    for normalize in (True, False):
        assert check(
            lambda v, f, c, normalize=normalize: self_attend(
                v,
                normalize=normalize,
                frequency_weights=f,
                center=c,
                own_similarity=0.0,
                temperature=0.5,
                mask=mask,
            ),
            (leaf(3, 4), frequency.requires_grad_(), leaf(4)),
        )
    names = [f"{m}.{p}" for m in ("query", "key", "value", "output") for p in ("weight", "bias")]
    tensors = [leaf(4, 4) if name.endswith("weight") else leaf(4) for name in names]
    assert check(
        lambda states, *parts: multi_head_attention(
            states, dict(zip(names, parts, strict=True)), heads=2, mask=mask
        ),
        (leaf(3, 4), *tensors),
    )


def test_memory_grows_with_the_length_and_not_with_its_square() -> None:
    def peak(n: int) -> int:
        words = np.random.default_rng(0).standard_normal((n, 16), dtype=np.float32)
        tracemalloc.start()
        try:
            self_attend(words)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak(10_000), peak(20_000)
    assert long < 20_000**2 * 4 / 8
    assert long < 2 * short
