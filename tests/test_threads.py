"""Products in one thread each, steps side by side; on torch too."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from polyseme.execution import threads
from polyseme.execution.threads import ahead, products_in_one_thread, side_by_side


def blas_threads() -> list[int]:
    """Of the BLAS that NumPy brought; libraries that came later have their own."""
    return [pool["num_threads"] for pool in threads._blas().info() if pool["user_api"] == "blas"]


def test_results_come_in_order_whatever_the_number_of_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count in (1, 3):
        monkeypatch.setattr(threads, "processors", lambda count=count: count)
        assert side_by_side(lambda i: i * i, list(range(50))) == [i * i for i in range(50)]
        assert side_by_side(str, []) == []


def test_steps_run_in_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 2)
    meet = threading.Barrier(2, timeout=20)
    names = side_by_side(lambda _: (meet.wait(), threading.current_thread().name)[1], [0, 1])
    assert len(set(names)) == 2


def test_the_blas_gets_its_threads_back_when_the_last_has_left() -> None:
    before = blas_threads()
    with products_in_one_thread():
        with products_in_one_thread():
            assert set(blas_threads()) <= {1}
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before


def test_the_blas_has_one_thread_whoever_asks() -> None:
    before = blas_threads()
    with products_in_one_thread():
        pass
    seen: list[list[int]] = []

    def ask() -> None:
        with products_in_one_thread():
            seen.append(blas_threads())
        seen.append(blas_threads())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert set(seen[0]) <= {1}
    assert seen[1] == before


def test_an_error_in_a_step_reaches_the_caller_and_frees_the_blas() -> None:
    before = blas_threads()

    def fail(step: int) -> None:
        raise ZeroDivisionError(step)

    with pytest.raises(ZeroDivisionError):
        side_by_side(fail, [0, 1, 2])
    assert blas_threads() == before


def test_many_callers_at_once_leave_the_blas_as_it_was() -> None:
    before = blas_threads()
    matrix = np.eye(64)

    def work() -> None:
        for _ in range(20):
            side_by_side(lambda m: m @ m, [matrix] * 4)

    callers = [threading.Thread(target=work) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert blas_threads() == before


def test_steps_of_torch_run_in_threads_of_one_thread_each() -> None:
    torch = pytest.importorskip("torch", reason="steps of torch")
    from polyseme.execution import torch_cpu

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        meet = threading.Barrier(2, timeout=20)

        def step(number: int) -> tuple[int, str, int, bool]:
            if number < 2:
                meet.wait()
            own = threading.current_thread().name
            return number, own, torch.get_num_threads(), torch.is_inference_mode_enabled()

        with torch.inference_mode():
            seen = torch_cpu.side_by_side(step, list(range(5)))
        assert [number for number, *_ in seen] == list(range(5))
        assert len({name for _, name, *_ in seen}) == 2
        assert {(threads, inference) for *_, threads, inference in seen} == {(1, True)}
        assert torch.get_num_threads() == 2

        in_new_thread: list[int] = []
        thread = threading.Thread(target=lambda: in_new_thread.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert in_new_thread == [2]

        def fail(number: int) -> None:
            raise ZeroDivisionError(number)

        with pytest.raises(ZeroDivisionError):
            torch_cpu.side_by_side(fail, [0, 1, 2])
        assert torch_cpu.side_by_side(lambda _: torch.get_num_threads(), [0]) == [2]
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    torch = pytest.importorskip("torch", reason="steps of torch")
    from polyseme.execution import torch_cpu

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch_cpu.side_by_side(str, [0, 1])
        child = multiprocessing.get_context("fork").Process(
            target=torch_cpu.side_by_side, args=(str, [0, 1])
        )
        child.start()
        child.join(20)
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_what_is_ahead_comes_in_order(workers: int) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for i in range(7):
            read.append(i)
            yield i

    found = []
    for item, result in ahead(lambda i: i * i, items(), workers):
        found.append((item, result))
        assert len(read) <= item + workers
    assert found == [(i, i * i) for i in range(7)]
    assert list(ahead(str, [], workers)) == []


def test_the_next_is_at_work_while_one_waits() -> None:
    second = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(10)
        second.set()
        return item

    assert [result for _, result in ahead(work, range(4), 2)] == [0, 1, 2, 3]


def test_what_was_done_before_an_error_is_not_lost() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("the third")
        return item

    found = []
    with pytest.raises(ValueError, match="the third"):
        for _, result in ahead(work, range(5), 2):
            found.append(result)
    assert found == [0, 1]
