"""Packed: many texts of any length, end to end in one array, with offsets and no padding.

Text i holds rows ``offsets[i]`` to ``offsets[i + 1]``. This is the layout of Arrow's lists and of
the ragged batches of inference engines. Whatever is computed row by row needs no mask and wastes
nothing on padding; attention, which looks across rows, works on groups of texts of exactly equal
length (``by_length``), each group one array (texts, length, width) without padding either.

A text's vectors must not depend on its neighbours. Two habits keep that to the last bit: texts are
multiplied in matrices whose shape follows from the text alone, and rows in blocks of a fixed size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, is_torch_array
from array_api_compat import device as device_of

Array = Any
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Packed:
    """Rows of many texts end to end.

    Attributes:
        values: (n_rows, ...) NumPy array or torch tensor.
        offsets: (n_texts + 1,) int64, always NumPy: where each text starts and the last one ends.

    Example:
        >>> packed = Packed.from_arrays([np.ones((2, 3)), np.zeros((0, 3)), np.ones((1, 3))])
        >>> packed.offsets.tolist(), packed.values.shape, packed[2].shape
        ([0, 2, 2, 3], (3, 3), (1, 3))
    """

    values: Array
    offsets: Offsets

    def __post_init__(self) -> None:
        rows = self.values.shape[0]
        offsets = self.offsets
        if (
            offsets.ndim != 1
            or not len(offsets)
            or offsets[0] != 0
            or offsets[-1] != rows
            or (np.diff(offsets) < 0).any()
        ):
            raise ValueError(f"offsets must rise from 0 to the {rows} rows of values")

    @classmethod
    def from_arrays(cls, arrays: Sequence[Array]) -> Packed:
        """Put arrays (n_i, ...) of one kind and width end to end."""
        if not arrays:
            raise ValueError("arrays is empty: the width of a row is not known without any array")
        xp = array_namespace(*arrays)
        return cls(xp.concat(list(arrays), axis=0), offsets_of([len(array) for array in arrays]))

    @property
    def lengths(self) -> Offsets:
        """(n_texts,) int64, rows of each text."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Array:
        if not -len(self) <= i < len(self):
            raise IndexError(f"text {i} of {len(self)}")
        i %= len(self)
        return self.values[int(self.offsets[i]) : int(self.offsets[i + 1])]

    def __iter__(self) -> Iterator[Array]:
        return (self[i] for i in range(len(self)))


def offsets_of(lengths: Sequence[int] | npt.NDArray[Any]) -> Offsets:
    """Offsets (n + 1,) int64 of texts with these lengths (n,).

    Example:
        >>> offsets_of([2, 0, 3]).tolist()
        [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def rows_of(offsets: Offsets, texts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Row numbers of the given texts, end to end in the given order.

    Example:
        >>> rows_of(offsets_of([2, 1, 3]), np.asarray([2, 0])).tolist()
        [3, 4, 5, 0, 1]
    """
    return ragged_ranges(offsets[texts], np.diff(offsets)[texts])


def ragged_ranges(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The ranges start..start + length, end to end.

    Example:
        >>> ragged_ranges(np.asarray([7, 1]), np.asarray([2, 3])).tolist()
        [7, 8, 1, 2, 3]
    """
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def by_length(lengths: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Groups of texts of equal length: (length, numbers of the texts), shortest first.

    Example:
        >>> [(n, texts.tolist()) for n, texts in by_length(np.asarray([3, 1, 3]))]
        [(1, [1]), (3, [0, 2])]
    """
    order = np.argsort(lengths, kind="stable")
    if not len(order):
        return
    for group in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        yield int(lengths[group[0]]), group


def mean_of_ranges(
    values: Array, starts: Offsets, stops: Offsets, rows: Offsets | None = None
) -> Array:
    """Mean of the rows start..stop of each range; a zero row for an empty range.

    Rows are added one after the other, so the result does not depend on the other ranges.

    Args:
        values: (n_rows, d).
        starts: (n,) first row of each range.
        stops: (n,) one past its last row.
        rows: (m,) if given, the ranges are of these row numbers instead of the rows themselves.

    Returns:
        (n, d) of the dtype of ``values``; in float32 where that is half precision on a CPU.

    Example:
        >>> values = np.asarray([[1.0], [3.0], [8.0]])
        >>> mean_of_ranges(values, np.asarray([0, 2]), np.asarray([2, 3])).tolist()
        [[2.0], [8.0]]
    """
    # By NumPy where it can: quicker at small gathers, and no thread of torch's that spins after.
    by_numpy = is_torch_array(values) and values.device.type == "cpu" and not values.requires_grad
    source = _seen_by_numpy(values) if by_numpy else values
    counts = stops - starts
    height = len(values) if rows is None else len(rows)

    def at(places: Offsets) -> Array:
        if rows is not None:
            places = rows[places]
        return _wide(source[places]) if by_numpy else take(values, places)

    if not height:
        none = at(np.zeros(0, np.int64))
        xp, shape = array_namespace(none), (len(counts), *none.shape[1:])
        zeros = xp.zeros(shape, dtype=none.dtype, device=device_of(none))
        return _as_torch(zeros) if by_numpy else zeros
    total = at(np.minimum(starts, height - 1))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        total[index_of(total, empty)] = 0
    several = np.flatnonzero(counts > 1)
    added = 1
    while len(several):
        total[index_of(total, several)] += at(starts[several] + added)
        added += 1
        complete = several[counts[several] == added]
        if len(complete):
            total[index_of(total, complete)] /= added
            several = several[counts[several] > added]
    return _as_torch(total) if by_numpy else total


def _seen_by_numpy(values: Array) -> npt.NDArray[Any]:
    """Torch values on the CPU; of bfloat16, which NumPy does not have, the bits."""
    import torch

    seen: npt.NDArray[Any] = (
        _as_integers(values) if values.dtype == torch.bfloat16 else values.numpy()
    )
    return seen


def _wide(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values of ``_seen_by_numpy`` in float32 at least; bfloat16 is the first half of that."""
    if values.dtype == np.int16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.promote_types(values.dtype, np.float32), copy=False)


def _as_torch(values: npt.NDArray[Any]) -> Array:
    import torch

    return torch.from_numpy(values)


def split(values: Array, sizes: Sequence[int]) -> Sequence[Array]:
    """Cut rows into parts of these sizes, without a copy.

    On torch it is one operation, whose gradient is one array rather than one for each part.

    Example:
        >>> [part.tolist() for part in split(np.asarray([1, 2, 3]), [2, 1])]
        [[1, 2], [3]]
    """
    if is_torch_array(values):
        parts: Sequence[Array] = values.split(list(sizes))
        return parts
    return np.split(values, np.cumsum(sizes)[:-1]) if len(sizes) else []


def take(values: Array, rows: npt.NDArray[np.int64]) -> Array:
    """The given rows of ``values`` as a new array of its kind."""
    if is_torch_array(values):
        return values.index_select(0, index_of(values, rows))
    return array_namespace(values).take(values, rows, axis=0)


def put(values: Array, rows: npt.NDArray[np.int64], new: Array) -> None:
    """Set the given rows of ``values``.

    Example:
        >>> values = np.zeros((3, 1))
        >>> put(values, np.asarray([2, 0]), np.asarray([[5.0], [7.0]]))
        >>> values.tolist()
        [[7.0], [0.0], [5.0]]
    """
    if is_torch_array(values):
        if values.device.type != "cpu" or new.requires_grad:
            values.index_copy_(0, index_of(values, rows), new)
            return
        # By NumPy, which takes a third of the time of torch's own, and has no bfloat16.
        values, new = (_as_integers(array) for array in (values, new))
    values[rows] = new


def _as_integers(values: Array) -> npt.NDArray[Any]:
    """The bits of torch values on the CPU."""
    import torch

    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits: npt.NDArray[Any] = values.view(kinds[values.dtype.itemsize]).numpy()
    return bits


def index_of(values: Array, rows: npt.NDArray[Any]) -> Array:
    """Row numbers or a mask as an array of the kind and device of ``values``."""
    if not is_torch_array(values):
        return rows
    import torch

    index = torch.asarray(rows)
    if values.device.type == "cuda" and index.device.type == "cpu":
        # From pinned memory a copy does not wait for what the device is at.
        index = index.pin_memory()
    return index.to(values.device, non_blocking=True)
