"""The vectors of an index, as one array of NumPy's format in the order of ``occurrences``.

A search among all words reads a few rows in each of some thousand places. From a table that takes
4 µs a row, from a file in the system's cache a tenth of a microsecond.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
_ROWS_AT_ONCE = 1 << 11


class Vectors:
    """The vectors of a file, which stays open even if it is replaced meanwhile."""

    def __init__(self, folder: Path, number: int) -> None:
        self._rows: Numbers = np.load(file_of(folder, number), mmap_mode="r")
        self._mapped: Any = self._rows.base

    def take(self, rows: npt.NDArray[np.int64]) -> Numbers:
        """(n, dim) the vectors of some rows, as they are stored."""
        return np.concatenate([self._rows[:0], *self.blocks(rows)])

    def blocks(self, rows: npt.NDArray[np.int64]) -> Iterator[Numbers]:
        """The same, some at a time."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            yield np.asarray(self._rows[rows[start : start + _ROWS_AT_ONCE]])
            if isinstance(self._mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                # Else what was read, and what lies around it, would count as this process's memory.
                self._mapped.madvise(mmap.MADV_DONTNEED)


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
