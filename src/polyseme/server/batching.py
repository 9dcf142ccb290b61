"""Texts of many requests, computed together.

While a batch is computed, texts gather; when it is done, those that want the same are the next
batch. Nobody waits for company: a request that comes alone is computed at once. As a text's vectors
do not depend on its neighbours, no answer shows what else was in its batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
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
        self._waiting: deque[_Job] = deque()
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="polyseme-batches")

    async def __call__(self, work: Work, texts: list[Text]) -> Any:
        """The result for these texts; what ``work`` raises on them is raised here."""
        loop = asyncio.get_running_loop()
        job = _Job(work, texts, sum(map(size_of, texts)), loop.create_future())
        self._waiting.append(job)
        if not self._busy:
            self._busy = True
            # Not yet: requests that have come by the same round of the loop go along.
            loop.call_soon(self._next, loop)
        try:
            result = await job.answer
        except asyncio.CancelledError:
            # Who has given up waiting is no longer counted, so the texts must not lie here.
            with suppress(ValueError):
                self._waiting.remove(job)
            raise
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Let the thread end once it has nothing to do."""
        self._thread.shutdown(wait=True)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = self._taken()
        self._busy = bool(jobs)
        if jobs:
            self._observe(len(jobs), sum(len(job.texts) for job in jobs))
            self._thread.submit(self._run, jobs, loop)

    def _taken(self) -> list[_Job]:
        """The oldest job and those that go with it; who has given up waiting is left out."""
        taken: list[_Job] = []
        others: deque[_Job] = deque()
        size = 0
        for job in self._waiting:
            if job.answer.done():
                continue
            fits = not taken or (job.work == taken[0].work and size + job.size <= self._most)
            if fits:
                taken.append(job)
                size += job.size
            else:
                others.append(job)
        self._waiting = others
        return taken

    def _run(self, jobs: list[_Job], loop: asyncio.AbstractEventLoop) -> None:
        results = self._results(jobs)
        loop.call_soon_threadsafe(self._done, jobs, results, loop)

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

    def _done(
        self, jobs: list[_Job], results: Sequence[Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._next(loop)
        for job, result in zip(jobs, results, strict=True):
            if not job.answer.done():
                # An exception too: as a future's own, asyncio would log what it says if nobody
                # comes for it.
                job.answer.set_result(result)


@dataclass(eq=False)
class _Job:
    """Texts of one request."""

    work: Work
    texts: list[Text]
    size: int
    answer: asyncio.Future[Any]
