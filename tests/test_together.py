from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from polyseme.execution import together as module
from polyseme.execution.together import Together, _Call

Texts = list[Any]


def cut(found: list[str], start: int, stop: int) -> list[str]:
    return found[start:stop]


def called_by_threads(
    calls: list[tuple[Texts, Any]],
    compute: Callable[[Texts, Any], list[str]],
    together: Together,
) -> list[Any]:
    """What each call returns or raises, all of them waiting while the first one is computed."""
    found: list[Any] = [None] * len(calls)
    everyone = threading.Event()

    def work(number: int) -> None:
        texts, options = calls[number]

        def patient(joined: Texts) -> list[str]:
            everyone.wait(timeout=60)
            return compute(joined, options)

        try:
            found[number] = together(patient, texts, options)
        except ValueError as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    threading.Timer(0.5, everyone.set).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return found


def test_every_call_gets_its_own_texts() -> None:
    computed: list[int] = []

    def compute(texts: Texts, mark: str) -> list[str]:
        computed.append(len(texts))
        return [text + mark for text in texts]

    calls = [([f"{i} one", f"{i} two"], "!?"[i % 2]) for i in range(64)]
    found = called_by_threads(calls, compute, Together(cut, most=1 << 20))
    assert found == [[text + mark for text in texts] for texts, mark in calls]
    assert sum(computed) == 64 * 2
    # The first one alone, and those that waited for each of the two marks.
    assert len(computed) <= 4


def test_calls_are_joined_up_to_a_number_of_characters() -> None:
    computed: list[Texts] = []

    def compute(texts: Texts, _: Any) -> list[str]:
        computed.append(texts)
        return texts

    calls: list[tuple[Texts, Any]] = [(["a" * 100], None)] * 20 + [(["b" * 900], None)]
    called_by_threads(calls, compute, Together(cut, most=500))
    assert max(len(texts) for texts in computed) == 5
    assert ["b" * 900] in computed


def test_an_error_is_raised_in_the_call_that_it_is_of() -> None:
    def compute(texts: Texts, _: Any) -> list[str]:
        if "13" in texts:
            raise ValueError("thirteen")
        return texts

    calls = [([str(i)], None) for i in range(20)]
    for number, result in enumerate(called_by_threads(calls, compute, Together(cut, most=1 << 20))):
        if number == 13:
            assert str(result) == "thirteen"
        else:
            assert result == [str(number)]


def test_a_call_that_is_interrupted_leaves_the_others_their_results() -> None:
    together = Together(cut, most=1 << 20)
    begun, go_on = threading.Event(), threading.Event()
    found: list[Any] = []

    def interrupted(texts: Texts) -> list[str]:
        begun.set()
        go_on.wait(timeout=60)
        raise KeyboardInterrupt

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            together(interrupted, ["first"], None)

    def others() -> None:
        found.append(together(list, ["other"], None))

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert begun.wait(timeout=60)
    threads += [threading.Thread(target=others) for _ in range(5)]
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert found == [["other"]] * 5
    assert together(list, ["later"], None) == ["later"]


def test_a_call_that_is_interrupted_while_it_waits_is_taken_off() -> None:
    class Interrupted:
        """In place of the lock that a waiting call sleeps on."""

        def acquire(self) -> None:
            raise KeyboardInterrupt

        def release(self) -> None:
            pytest.fail("it was given the turn, though it is gone")

    together = Together(cut, most=1 << 20)
    computed: list[Texts] = []

    def compute(texts: Texts) -> list[str]:
        if texts == ["first"]:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr("polyseme.execution.together._Call.__init__", with_such_a_lock)
                together(compute, ["second"], None)
        computed.append(texts)
        return texts

    made = _Call.__init__

    def with_such_a_lock(call: Any, texts: Texts, options: Any) -> None:
        made(call, texts, options)
        call.woken = Interrupted()

    assert together(compute, ["first"], None) == ["first"]
    assert together(compute, ["third"], None) == ["third"]
    assert computed == [["first"], ["third"]]


@pytest.mark.parametrize("patient", [True, False])
def test_who_leaves_with_a_result_does_so_before_the_next_is_computed(
    patient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOMENT", 60.0 if patient else 0.05)
    waits = {text: threading.Event() for text in ("second", "slow")}
    at_work, go_on, begun = (threading.Event() for _ in range(3))
    made = _Call.__init__

    class Watched:
        """In place of the lock that a waiting call sleeps on."""

        def __init__(self, text: str) -> None:
            self.text = text
            self.woken = threading.Semaphore(0)

        def acquire(self) -> None:
            waits[self.text].set()
            self.woken.acquire()
            if self.text == "slow":
                go_on.wait(timeout=60)

        def release(self) -> None:
            self.woken.release()

    def watched(call: Any, texts: Texts, options: Any) -> None:
        made(call, texts, options)
        if texts[0] in waits:
            call.woken = Watched(texts[0])

    def compute(texts: Texts) -> Texts:
        if texts == ["first"]:
            at_work.set()
            assert waits["slow"].wait(timeout=60)
        if texts == ["last"]:
            begun.set()
        return texts

    monkeypatch.setattr(_Call, "__init__", watched)
    together = Together(cut, most=1 << 20)
    found: list[Texts] = []

    def called(text: str) -> threading.Thread:
        thread = threading.Thread(target=lambda: found.append(together(compute, [text], None)))
        thread.start()
        return thread

    threads = [called("first")]
    assert at_work.wait(timeout=60)
    threads.append(called("second"))
    assert waits["second"].wait(timeout=60)
    # The second call computes for this one too, and is gone before it wakes up.
    slow = called("slow")
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    last = called("last")
    assert begun.wait(timeout=0.5 if patient else 60) is not patient
    go_on.set()
    for thread in (slow, last):
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert sorted(found) == [["first"], ["last"], ["second"], ["slow"]]
