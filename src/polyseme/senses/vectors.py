"""The vectors of an index, as one array of NumPy's format in the order of ``occurrences``.

A search among all words reads a few rows in each of some thousand places. From a table that takes
4 µs a row, from a file in the system's cache a tenth of a microsecond.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
_ROWS_AT_ONCE = 1 << 11


class Vectors:
    """The vectors of a file, which stays open even if it is replaced meanwhile.

    Rows are read, not mapped: mapped pages would count as this process's memory, and a page that is
    met for the first time costs more than reading it.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._path = file_of(folder, number)
        self._mapped: Any = np.load(self._path, mmap_mode="r")
        self._file = self._path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def take(self, rows: npt.NDArray[np.int64]) -> Numbers:
        """(n, dim) the vectors of some rows, as they are stored."""
        if not hasattr(os, "preadv"):  # Windows has no such call.
            return np.take(self._mapped, rows, axis=0)
        found = np.empty((len(rows), self._mapped.shape[1]), self._mapped.dtype)
        # Each run of consecutive rows at once.
        edges = np.append(np.flatnonzero(np.diff(rows, prepend=-2) != 1), len(rows))
        size = self._mapped.strides[0]
        places = (self._mapped.offset + rows[edges[:-1]] * size).tolist()
        bytes_of = found.reshape(-1).view(np.uint8).data
        file = self._file.fileno()
        for place, (start, stop) in zip(places, pairwise((edges * size).tolist()), strict=True):
            into = bytes_of[start:stop]
            if os.preadv(file, (into,), place) < len(into):
                self._read(into, place)
        return found

    def blocks(self, rows: npt.NDArray[np.int64]) -> Iterator[Numbers]:
        """The same, some at a time."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            yield self.take(rows[start : start + _ROWS_AT_ONCE])

    def _read(self, left: memoryview, place: int) -> None:
        """Read on until it is full, where a system gives less at a time."""
        while left:
            got = os.preadv(self._file.fileno(), (left,), place)
            if not got:
                row = (place + len(left) - self._mapped.offset) // self._mapped.strides[0]
                raise OSError(f"{self._path}: the file ends before row {row}")
            left, place = left[got:], place + got


def written(
    folder: Path, number: int, store: str, shape: tuple[int, int], blocks: Iterable[Numbers]
) -> None:
    """Write vectors (rows, dim), in place of a file that was cut off."""
    kind = np.lib.format.dtype_to_descr(np.dtype(store))
    with file_of(folder, number).open("wb") as file:
        header = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
        file.flush()
        os.fsync(file.fileno())


def removed(folder: Path, but: int | None = None) -> None:
    """Remove the files of all vectors, but for those of one number."""
    for file in folder.glob("vectors-*.npy"):
        if but is None or file != file_of(folder, but):
            file.unlink()


def file_of(folder: Path, number: int) -> Path:
    """Where the vectors of a number are."""
    return folder / f"vectors-{number}.npy"
