"""Calls from several threads, computed together: whoever comes first computes for those who wait.

A call with one text keeps a processor busy with small products, and many such calls side by side
get in each other's way. As a text's vectors do not depend on its neighbours, calls can be joined
without a trace in the result ("flat combining", Hendler et al. 2010,
https://doi.org/10.1145/1810479.1810540). One call at a time computes, so memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from polyseme.packed import Packed, offsets_of

Compute = Callable[[Packed, Any], Sequence[Any]]


class Together:
    """A function of packed rows that many threads may call at a time.

    Args:
        compute: (rows, options) -> arrays of as many rows; what it gives for a text must not depend
            on other texts.
        most: rows of waiting calls that are joined to the first one's.
    """

    def __init__(self, compute: Compute, most: int = 1 << 14) -> None:
        self._compute = compute
        self._most = most
        self._turn = Lock()
        self._listing = Lock()
        self._waiting: list[_Call] = []

    def __call__(self, given: Packed, options: Hashable) -> Sequence[Any]:
        """``compute`` of the rows; what it raises, it raises in the call that it computed for."""
        call = _Call(given, options)
        with self._listing:
            self._waiting.append(call)
        with self._turn:
            if call.result is None:
                self._run(self._joined(call))
        assert call.result is not None
        return call.result

    def _joined(self, first: _Call) -> list[_Call]:
        """The first call and those that wait for the same; they are no longer waiting then."""
        calls, rows = [first], len(first.given.values)
        with self._listing:
            for call in list(self._waiting):
                more = rows + len(call.given.values)
                if call is not first and call.options == first.options and more <= self._most:
                    calls.append(call)
                    rows = more
            self._waiting = [call for call in self._waiting if call not in calls]
        return calls

    def _run(self, calls: list[_Call]) -> None:
        if len(calls) == 1:
            calls[0].result = self._compute(calls[0].given, calls[0].options)
            return
        given = Packed(
            np.concatenate([call.given.values for call in calls]),
            offsets_of(np.concatenate([call.given.lengths for call in calls])),
        )
        try:
            found = self._compute(given, calls[0].options)
        except Exception:
            # Not for this call to answer for: each of them computes its own.
            found = self._compute(calls[0].given, calls[0].options)
            calls = calls[:1]
        ends = offsets_of([len(call.given.values) for call in calls])
        for call, start, stop in zip(calls, ends[:-1], ends[1:], strict=True):
            call.result = [array[start:stop] for array in found]


class _Call:
    """One call, waiting or computed."""

    def __init__(self, given: Packed, options: Hashable) -> None:
        self.given = given
        self.options = options
        self.result: Sequence[Any] | None = None
