"""Texts of many requests, computed together.

While a batch is computed, texts gather; when it is done, those that want the same are the next
batch, up to half of all who are there: the others are computed while these are answered. Nobody
waits for company: a request that comes alone is computed at once. As a text's vectors do not depend
on its neighbours, no answer shows what else was in its batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from polyseme.inputs import Text, size_of

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer


class Work(Protocol):
    """What is to be done with texts; equal work can be done together. Hashable."""

    def compute(self, model: Contextualizer, texts: list[Text]) -> Any:
        """The result for all texts."""

    def part(self, result: Any, start: int, stop: int) -> Any:
        """The result for some of them, in memory of its own: not to keep that of all."""


class Batcher:
    """One thread that computes, and the requests that wait for it.

    Args:
        model: that computes.
        most: characters of texts in a batch, a short text counted as 64; a request with more is a
            batch by itself.
        observe: is told of each batch: requests, texts.
    """

    def __init__(
        self,
        model: Contextualizer,
        most: int,
        observe: Callable[[int, int], None] = lambda requests, texts: None,
    ) -> None:
        self._model = model
        self._most = most
        self._observe = observe
        self._lock = Lock()
        self._waiting: deque[_Job] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="polyseme-batches")

    async def __call__(self, work: Work, texts: list[Text]) -> Any:
        """The result for these texts; what ``work`` raises on them is raised here."""
        loop = asyncio.get_running_loop()
        job = _Job(work, texts, sum(map(size_of, texts)), loop.create_future())
        with self._lock:
            self._waiting.append(job)
            idle, self._busy = not self._busy, True
        if idle:
            # Not yet: requests that have come by the same round of the loop go along.
            loop.call_soon(self._thread.submit, self._run, loop)
        try:
            result = await job.answer
        except asyncio.CancelledError:
            # Who has given up waiting is no longer counted, so the texts must not lie here.
            with self._lock, suppress(ValueError):
                self._waiting.remove(job)
            raise
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Let the thread end once it has nothing to do."""
        self._thread.shutdown(wait=True)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Compute until nobody waits.

        The thread takes its next jobs by itself: the loop may be at work on many answers.
        """
        jobs: list[_Job] = []
        while jobs := self._taken(len(jobs)):
            self._observe(len(jobs), sum(len(job.texts) for job in jobs))
            loop.call_soon_threadsafe(_answer, jobs, self._results(jobs))

    def _taken(self, answered: int) -> list[_Job]:
        """The oldest job and those that go with it; who has given up waiting is left out.

        Args:
            answered: jobs that have just been computed. Half of them and of those that wait are
                taken at most, lest all wait for the thread, and then the thread for all.
        """
        taken: list[_Job] = []
        others: deque[_Job] = deque()
        size = 0
        with self._lock:
            waiting = [job for job in self._waiting if not job.answer.done()]
            half = -(-(answered + len(waiting)) // 2)
            for job in waiting:
                if not taken or (
                    len(taken) < half
                    and job.work == taken[0].work
                    and size + job.size <= self._most
                ):
                    taken.append(job)
                    size += job.size
                else:
                    others.append(job)
            self._waiting = others
            self._busy = bool(taken)
        return taken

    def _results(self, jobs: list[_Job]) -> Sequence[Any]:
        """A result or an exception for each job."""
        try:
            work = jobs[0].work
            found = work.compute(self._model, [text for job in jobs for text in job.texts])
            if len(jobs) == 1:
                return [found]
            parts, start = [], 0
            for job in jobs:
                parts.append(work.part(found, start, start + len(job.texts)))
                start += len(job.texts)
            return parts
        except Exception as error:
            if len(jobs) == 1:
                return [error]
            # One request must not spoil the answers of others.
            return [result for job in jobs for result in self._results([job])]


@dataclass(eq=False)
class _Job:
    """Texts of one request."""

    work: Work
    texts: list[Text]
    size: int
    answer: asyncio.Future[Any]


def _answer(jobs: list[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if not job.answer.done():
            # An exception too: as a future's own, asyncio would log what it says if nobody comes
            # for it.
            job.answer.set_result(result)
