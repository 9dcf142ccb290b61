"""Fields of csv of any length, while the user's process keeps the limit that it has.

The csv module has one limit, of 131,072 characters, for all its readers; so it is lifted while a
record is read, and as it was at any other time.
"""

from __future__ import annotations

import csv
import threading

_LONGEST = (1 << 31) - 1


class _AnyLength:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._limit = csv.field_size_limit(_LONGEST)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                csv.field_size_limit(self._limit)


ANY_LENGTH = _AnyLength()
"""A context in which ``next`` of a ``csv.reader`` takes fields of any length; of several threads,
the last one that leaves it puts the limit back.
"""
