"""NumPy on several processors: each product in one thread, independent steps side by side.

The matrices of one text are small. A BLAS that splits each of their products among its own threads
spends its time waiting for them, many times longer than the product takes where the machine is
busy. So products run in one thread each while steps run, and NumPy, which lets go of the
interpreter's lock inside its operations, runs as many steps as there are processors. A GPU has a
queue of its own; there, threads only get its work ready (``ahead``).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LEAST_TOKENS = 256
"""Of the steps that are worth a thread."""


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The function's results for all items, in their order.

    Args:
        function: computes with NumPy; must not care about the order in which it is called.
        items: of about the same work each.

    Example:
        >>> side_by_side(str, range(5))
        ['0', '1', '2', '3', '4']
    """
    workers = min(processors(), len(items))
    with products_in_one_thread():
        if workers < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(workers, thread_name_prefix="polyseme") as pool:
            return list(pool.map(function, items))


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Each item and the function's result, in order, while the next ones are at work.

    For functions that mostly wait for a device: while one waits, the next gets its work ready.

    Args:
        function: may run in several threads at a time, if there is more than one worker.
        items: read in the caller's thread, as many ahead as there are workers.
        workers: with 1, nothing is ahead.

    Example:
        >>> list(ahead(str, iter([1, 2]), 2))
        [(1, '1'), (2, '2')]
    """
    if workers < 2:
        for item in items:
            yield item, function(item)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="polyseme") as pool:
        at_work: deque[tuple[Item, Future[Result]]] = deque()
        for item in items:
            at_work.append((item, pool.submit(function, item)))
            if len(at_work) == workers:
                done, result = at_work.popleft()
                yield done, result.result()
        while at_work:
            done, result = at_work.popleft()
            yield done, result.result()


def processors() -> int:
    """How many processors this process may use; fewer if OMP_NUM_THREADS says so.

    Ray and Spark set it for their workers, of which a machine has one for each processor.
    """
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    else:
        there = os.cpu_count() or 1
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(there, max(1, int(said))) if said.isdecimal() else there


_entering = Lock()
_inside = 0
_before: list[tuple[Any, int]] = []


@contextmanager
def products_in_one_thread() -> Iterator[None]:
    """Let the BLAS use one thread until the last of those who are inside has left."""
    global _inside  # noqa: PLW0603 -- the BLAS's number of threads is global as well
    with _entering:
        if _inside == 0:
            _before[:] = [(library, library.num_threads) for library in _blas().lib_controllers]
            for library, _ in _before:
                _set_threads(library, 1)
        _inside += 1
    try:
        yield
    finally:
        with _entering:
            _inside -= 1
            if _inside == 0:
                for library, threads in _before:
                    _set_threads(library, threads)


@lru_cache(maxsize=1)
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _set_threads(library: Any, number: int) -> None:
    """Of a BLAS, from any thread.

    Since threadpoolctl 3.8 only the first thread that sets OpenBLAS's number may ever set it;
    in others nothing happens. Here calls are counted, so they can't contradict each other.
    """
    getattr(library, "_real_set_num_threads", library.set_num_threads)(number)
