"""Calls from several threads, computed together: whoever comes first computes for those who wait.

A call with one text is mostly Python under one interpreter's lock, and many such calls side by side
get in each other's way. As a text's vectors do not depend on its neighbours, calls can be joined
without a trace in the result ("flat combining", Hendler et al. 2010,
https://doi.org/10.1145/1810479.1810540). One call at a time computes, so memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import chain
from threading import Event, Lock
from typing import Any, TypeVar

from polyseme.inputs import Text, size_of

Result = TypeVar("Result")

_MOMENT = 200e-6
"""Seconds, more than a thread takes to be woken and to leave with its result."""


class Together:
    """Functions of lists of texts that many threads may call at a time.

    Args:
        cut: (result, start, stop) -> the result for the texts start..stop alone, in memory of its
            own, so that a call that keeps it does not keep those of all.
        most: characters of the calls that are computed together.
    """

    def __init__(self, cut: Callable[[Any, int, int], Any], most: int) -> None:
        self._cut = cut
        self._most = most
        self._lock = Lock()
        self._computing: _Call | None = None
        self._waiting: list[_Call] = []
        self._leaving = 0
        self._all_left = Event()
        self._all_left.set()

    def __call__(
        self, compute: Callable[[list[Text]], Result], texts: list[Text], options: Hashable
    ) -> Result:
        """``compute(texts)``, perhaps together with the texts of other calls.

        Args:
            compute: texts -> result, which for a text must not depend on other texts; what it
                raises, it raises in the call that it computed for.
            texts: of this call.
            options: of equal options, any call's ``compute`` serves all calls.
        """
        call = _Call(texts, options)
        try:
            with self._lock:
                if self._computing is None:
                    self._computing = call
                else:
                    self._waiting.append(call)
            if self._computing is not call:
                call.woken.acquire()
            if not call.done:
                self._compute(compute, call)
        finally:
            self._leave(call)
        result: Result = call.result
        return result

    def _compute(self, compute: Callable[[list[Text]], Any], first: _Call) -> None:
        """Compute for the first call and for those that wait for the same, and wake them.

        Not while others still leave with what they got: woken threads and those that compute would
        stand in each other's way to the interpreter's lock, and who leaves may soon call again.
        """
        self._all_left.wait(self._leaving * _MOMENT)
        calls = self._taken(first)
        if len(calls) > 1:
            try:
                found = compute(list(chain.from_iterable(call.texts for call in calls)))
                start = 0
                for call in calls:
                    stop = start + len(call.texts)
                    call.result, call.done = self._cut(found, start, stop), True
                    start = stop
            except Exception:
                # Not for this call to answer for: each of them computes its own.
                pass
            finally:
                self._give_back(calls[1:])
        if not first.done:
            first.result, first.done = compute(first.texts), True

    def _taken(self, first: _Call) -> list[_Call]:
        """The first call and those that wait for the same; they are no longer waiting then."""
        taken, left, size = [first], [], first.size
        with self._lock:
            for call in self._waiting:
                if call.options == first.options and size + call.size <= self._most:
                    taken.append(call)
                    size += call.size
                else:
                    left.append(call)
            self._waiting = left
        return taken

    def _give_back(self, calls: list[_Call]) -> None:
        """Wake the calls that are done; the others wait on, before all that came later."""
        with self._lock:
            here = [call for call in calls if not call.left]
            self._waiting[:0] = [call for call in here if not call.done]
            done = [call for call in here if call.done]
            for call in done:
                call.leaving = True
            self._leaving += len(done)
            if done:
                self._all_left.clear()
        for call in done:
            call.woken.release()

    def _leave(self, call: _Call) -> None:
        """Let the next call compute; one that is interrupted while it waits is taken off."""
        with self._lock:
            call.left = True
            if call.leaving:
                self._leaving -= 1
                if not self._leaving:
                    self._all_left.set()
            if not call.done and call in self._waiting:
                self._waiting.remove(call)
            if self._computing is call:
                self._computing = self._waiting.pop(0) if self._waiting else None
                if self._computing is not None:
                    self._computing.woken.release()


class _Call:
    """One call, waiting or computed."""

    def __init__(self, texts: list[Text], options: Hashable) -> None:
        self.texts = texts
        self.size = sum(map(size_of, texts))
        self.options = options
        self.woken = Lock()
        self.woken.acquire()
        self.done = False
        self.left = False
        self.leaving = False
        self.result: Any = None
