"""A function over a stream of batches, several at a time, results in order.

NumPy lets go of the interpreter's lock inside its operations, so batches that are many small
operations run side by side. At most a few results wait, so memory stays bounded on endless streams.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Results of the function, in the items' order.

    Args:
        function: called in a thread of its own, or in this one where there is one worker.
        items: taken from this thread, only as far ahead as there are workers.
        workers: how many threads.

    Example:
        >>> list(ordered_map(str, range(4), 2))
        ['0', '1', '2', '3']
    """
    if workers < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="polyseme") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
