"""Batches across requests: what is joined, what is kept apart, who gets which answer."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from polyseme.server.batching import Batcher


@dataclass(frozen=True)
class Lengths:
    """Characters of each text; "bad" can't be counted."""

    kind: str = ""

    def compute(self, model: Any, texts: list[Any]) -> list[int]:
        return model(texts)

    def part(self, result: list[int], start: int, stop: int) -> list[int]:
        return result[start:stop]


class Counting:
    """A model that waits for its turn, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, texts: list[str]) -> list[int]:
        self.batches.append(list(texts))
        self.begun.set()
        assert self.go.wait(20)
        if "bad" in texts:
            raise ValueError("bad")
        return [len(text) for text in texts]


async def first_at_work(batcher: Batcher, model: Counting) -> asyncio.Task[Any]:
    """A request that the model waits in."""
    first = asyncio.create_task(batcher(Lengths(), ["first"]))
    while not model.begun.is_set():
        await asyncio.sleep(0.001)
    return first


async def asked(
    batcher: Batcher, model: Counting, requests: list[tuple[Lengths, list[str]]]
) -> list[Any]:
    """The answers to a first request that is alone, and then to those that wait behind it."""
    first = await first_at_work(batcher, model)
    others = [asyncio.create_task(batcher(work, texts)) for work, texts in requests]
    await asyncio.sleep(0.01)
    model.go.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def run(most: int, requests: list[tuple[Lengths, list[str]]]) -> tuple[Counting, list[Any]]:
    model = Counting()
    batcher = Batcher(model, most)  # type: ignore[arg-type]
    answers = asyncio.run(asked(batcher, model, requests))
    batcher.close()
    return model, answers


def test_what_waits_is_computed_together_and_each_gets_its_own() -> None:
    texts = [["a", "bb"], [], ["ccc"], ["dddd"], ["eeeee"]]
    model, answers = run(1000, [(Lengths(), own) for own in texts])
    # Half of the six that are there, and while those are answered the others.
    assert model.batches == [["first"], ["a", "bb", "ccc"], ["dddd", "eeeee"]]
    assert answers == [[5], [1, 2], [], [3], [4], [5]]


def test_requests_that_come_at_once_are_computed_in_two_halves() -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*(batcher(Lengths(), ["a" * i]) for i in range(8)))

    model = Counting()
    model.go.set()
    batcher = Batcher(model, 1000)  # type: ignore[arg-type]
    assert asyncio.run(main()) == [[i] for i in range(8)]
    batcher.close()
    assert [len(batch) for batch in model.batches] == [4, 4]


def test_the_next_batch_does_not_wait_for_the_loop() -> None:
    async def main() -> None:
        first = await first_at_work(batcher, model)
        second = asyncio.create_task(batcher(Lengths(), ["second"]))
        await asyncio.sleep(0.01)
        model.go.set()
        given_up = time.monotonic() + 20
        while len(model.batches) < 2 and time.monotonic() < given_up:
            time.sleep(0.001)  # the loop is busy
        assert model.batches == [["first"], ["second"]]
        assert not first.done()
        assert await asyncio.gather(first, second) == [[5], [6]]

    model = Counting()
    batcher = Batcher(model, 1000)  # type: ignore[arg-type]
    asyncio.run(main())
    batcher.close()


def test_only_equal_work_is_joined() -> None:
    model, answers = run(
        1000, [(Lengths("x"), ["a"]), (Lengths("y"), ["bb"]), (Lengths("x"), ["ccc"])]
    )
    assert model.batches == [["first"], ["a", "ccc"], ["bb"]]
    assert answers == [[5], [1], [2], [3]]


def test_a_batch_is_bounded_but_for_a_request_that_is_larger_by_itself() -> None:
    long, longer = "b" * 100, "c" * 1000
    model, _ = run(200, [(Lengths(), ["a"]), (Lengths(), [longer]), (Lengths(), [long])])
    assert model.batches == [["first"], ["a", long], [longer]]


def test_a_request_that_fails_fails_alone() -> None:
    _, answers = run(1000, [(Lengths(), ["a"]), (Lengths(), ["bad"]), (Lengths(), ["ccc"])])
    assert answers[1] == [1] and answers[3] == [3]
    assert isinstance(answers[2], ValueError)


def test_who_has_given_up_is_not_computed() -> None:
    async def main() -> None:
        first = await first_at_work(batcher, model)
        impatient = asyncio.create_task(batcher(Lengths(), ["gone"]))
        patient = asyncio.create_task(batcher(Lengths(), ["here"]))
        await asyncio.sleep(0.01)
        impatient.cancel()
        await asyncio.sleep(0.01)
        assert [job.texts for job in batcher._waiting] == [["here"]], "its texts are kept"
        model.go.set()
        assert await first == [5]
        assert await patient == [4]
        with pytest.raises(asyncio.CancelledError):
            await impatient

    model = Counting()
    batcher = Batcher(model, 1000)  # type: ignore[arg-type]
    asyncio.run(main())
    batcher.close()
    assert model.batches == [["first"], ["here"]]
