"""Packed texts: offsets, groups of equal length, means of ranges that depend on nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyseme.packed import (
    Packed,
    by_length,
    index_of,
    mean_of_ranges,
    offsets_of,
    put,
    ragged_ranges,
    rows_of,
    take,
)

lengths = st.lists(st.integers(0, 6), max_size=8)


def arrays(kind: str, numbers: np.ndarray) -> Any:
    if kind == "numpy":
        return numbers
    return pytest.importorskip("torch", reason="arrays of torch").from_numpy(numbers)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@given(lengths=lengths.filter(bool))
@settings(max_examples=30)
def test_texts_come_out_as_they_went_in(kind: str, lengths: list[int]) -> None:
    random = np.random.default_rng(0)
    texts = [arrays(kind, random.normal(size=(n, 2))) for n in lengths]
    packed = Packed.from_arrays(texts)
    assert len(packed) == len(texts)
    assert packed.lengths.tolist() == lengths
    assert packed.values.shape == (sum(lengths), 2)
    assert isinstance(packed.offsets, np.ndarray)
    for i, (found, text) in enumerate(zip(packed, texts, strict=True)):
        assert np.array_equal(np.asarray(found), np.asarray(text))
        assert np.array_equal(np.asarray(packed[i - len(texts)]), np.asarray(text))


@pytest.mark.parametrize(
    "offsets",
    [[0, 2], [0, 4], [1, 3], [-1, 3], [0, 2, 1, 3], [], [[0, 3]]],
    ids=["too few", "too many", "late", "negative", "falling", "none", "two axes"],
)
def test_offsets_that_do_not_fit_the_values_are_refused(offsets: list[Any]) -> None:
    with pytest.raises(ValueError, match="offsets must rise from 0 to the 3 rows of values"):
        Packed(np.zeros((3, 2)), np.asarray(offsets, dtype=np.int64))


def test_no_texts_is_a_packed_array_too_but_needs_a_width() -> None:
    empty = Packed(np.zeros((0, 2)), offsets_of([]))
    assert len(empty) == 0
    assert list(empty) == []
    with pytest.raises(ValueError, match="arrays is empty"):
        Packed.from_arrays([])


@pytest.mark.parametrize("i", [2, -3])
def test_a_text_that_is_not_there_is_an_index_error(i: int) -> None:
    packed = Packed(np.zeros((3, 2)), offsets_of([1, 2]))
    with pytest.raises(IndexError, match=f"text {i} of 2"):
        packed[i]


@given(lengths=lengths, data=st.data())
@settings(max_examples=50)
def test_rows_of_texts_are_their_rows_in_the_given_order(
    lengths: list[int], data: st.DataObject
) -> None:
    offsets = offsets_of(lengths)
    chosen = data.draw(st.permutations(range(len(lengths))))
    chosen = chosen[: data.draw(st.integers(0, len(chosen)))]
    expected = [row for i in chosen for row in range(offsets[i], offsets[i + 1])]
    assert rows_of(offsets, np.asarray(chosen, dtype=np.int64)).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=8))
@settings(max_examples=50)
def test_ragged_ranges_are_the_ranges_end_to_end(ranges: list[tuple[int, int]]) -> None:
    starts, counts = np.asarray(ranges, dtype=np.int64).reshape(-1, 2).T
    expected = [row for start, count in ranges for row in range(start, start + count)]
    assert ragged_ranges(starts, counts).tolist() == expected


@given(lengths)
@settings(max_examples=50)
def test_groups_of_equal_length_hold_every_text_once(lengths: list[int]) -> None:
    groups = [(n, texts.tolist()) for n, texts in by_length(np.asarray(lengths, dtype=np.int64))]
    assert [n for n, _ in groups] == sorted(set(lengths))
    for n, texts in groups:
        assert texts == [i for i, length in enumerate(lengths) if length == n]


ranges_of_rows = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted), min_size=1, max_size=9
)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@given(ranges=ranges_of_rows, permuted=st.booleans())
@settings(max_examples=50)
def test_a_mean_is_that_of_its_own_range_to_the_last_bit(
    kind: str, ranges: list[list[int]], permuted: bool
) -> None:
    random = np.random.default_rng(7)
    numbers = random.normal(size=(9, 3)).astype(np.float32)
    values = arrays(kind, numbers)
    rows = random.permutation(9) if permuted else None
    source = numbers if rows is None else numbers[rows]
    starts, stops = np.asarray(ranges, dtype=np.int64).T
    means = np.asarray(mean_of_ranges(values, starts, stops, rows))
    assert means.dtype == np.float32
    for mean, (start, stop) in zip(means, ranges, strict=True):
        total = np.zeros(3, dtype=np.float32)
        for row in source[start:stop]:
            total = total + row
        expected = total / np.float32(max(1, stop - start))
        assert np.array_equal(mean, expected)
    assert np.array_equal(np.asarray(values), numbers)


def test_means_of_no_rows_are_zero() -> None:
    places = np.zeros(2, dtype=np.int64)
    assert mean_of_ranges(np.zeros((0, 3)), places, places).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_means_of_half_precision_are_those_of_the_same_numbers_in_float32(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="arrays of torch")
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 8, generator=generator).mul_(100).to(getattr(torch, dtype))
    values[0] = -torch.inf
    starts, stops = np.asarray([0, 3, 7, 12, 5]), np.asarray([1, 7, 7, 40, 9])
    for rows in (values, values[:0]):
        at = np.minimum(starts, len(rows)), np.minimum(stops, len(rows))
        found = mean_of_ranges(rows, *at)
        assert found.dtype == torch.float32
        assert torch.equal(found, mean_of_ranges(rows.float(), *at))


def test_taken_rows_are_a_copy_of_the_same_kind() -> None:
    torch = pytest.importorskip("torch", reason="arrays of torch")
    numbers = np.arange(6.0).reshape(3, 2)
    for values in (numbers, torch.from_numpy(numbers.copy())):
        taken = take(values, np.asarray([2, 0]))
        assert type(taken) is type(values)
        taken += 1
        assert np.asarray(values).tolist() == numbers.tolist()
    mask = index_of(torch.zeros(2), np.asarray([True, False]))
    assert mask.dtype == torch.bool


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_rows_that_are_put_are_those_that_are_taken(dtype: str, with_gradient: bool) -> None:
    torch = pytest.importorskip("torch", reason="arrays of torch")
    new = torch.arange(6.0).reshape(3, 2).to(getattr(torch, dtype)).requires_grad_(with_gradient)
    values = torch.zeros(5, 2, dtype=new.dtype)
    put(values, np.asarray([4, 0, 2]), new)
    assert torch.equal(take(values, np.asarray([4, 0, 2])), new)
    assert values[[1, 3]].abs().sum() == 0
    assert values.requires_grad == with_gradient
