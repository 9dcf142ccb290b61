from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from polyseme.execution.together import Together
from polyseme.packed import Packed


def packed(*texts: list[int]) -> Packed:
    return Packed.from_arrays([np.asarray(text) for text in texts])


def called_by_threads(together: Together, calls: list[tuple[Packed, Any]]) -> list[Any]:
    """What each call returns or raises, all of them waiting while the first one is computed."""
    found: list[Any] = [None] * len(calls)

    def work(number: int) -> None:
        try:
            found[number] = together(*calls[number])
        except ValueError as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return found


def test_every_call_gets_its_own_rows() -> None:
    computed: list[int] = []
    everyone = threading.Event()

    def compute(given: Packed, factor: Any) -> list[Any]:
        if not computed:
            everyone.wait(timeout=60)
        computed.append(len(given.values))
        return [given.values * factor, given.values + factor]

    together = Together(compute)
    calls = [(packed([i, i + 1], [i]), 2 + i % 2) for i in range(64)]
    asking = threading.Timer(0.5, everyone.set)
    asking.start()
    found = called_by_threads(together, calls)
    for (given, factor), (times, plus) in zip(calls, found, strict=True):
        np.testing.assert_array_equal(times, given.values * factor)
        np.testing.assert_array_equal(plus, given.values + factor)
    assert sum(computed) == 64 * 3
    # The first one alone, and those that waited for each of the two factors.
    assert len(computed) < 10


def test_calls_are_joined_up_to_a_number_of_rows() -> None:
    computed: list[int] = []

    def compute(given: Packed, options: Any) -> list[Any]:
        computed.append(len(given.values))
        return [given.values]

    together = Together(compute, most=5)
    called_by_threads(together, [(packed([1, 2]), None)] * 20 + [(packed([0] * 9), None)])
    assert max(size for size in computed if size != 9) <= 5


def test_an_error_is_raised_in_the_call_that_it_is_of() -> None:
    def compute(given: Packed, options: Any) -> list[Any]:
        if 13 in given.values:
            raise ValueError("thirteen")
        return [given.values]

    calls = [(packed([i, i]), None) for i in range(20)]
    for number, result in enumerate(called_by_threads(Together(compute), calls)):
        if number == 13:
            assert str(result) == "thirteen"
        else:
            np.testing.assert_array_equal(result[0], [number, number])


def test_a_call_that_was_interrupted_leaves_the_others_their_results() -> None:
    interrupted: list[bool] = []

    def compute(given: Packed, options: Any) -> list[Any]:
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return [given.values]

    together = Together(compute)
    with pytest.raises(KeyboardInterrupt):
        together(packed([1]), None)
    np.testing.assert_array_equal(together(packed([2]), None)[0], [2])
