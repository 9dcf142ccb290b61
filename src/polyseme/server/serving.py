"""What all routes share: the model, who computes for it, and the kinds of work that are batched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from polyseme.embedded import EmbeddedTexts
from polyseme.inputs import Text
from polyseme.loading import made_from
from polyseme.server.answers import arrow_stream
from polyseme.server.batching import Batcher
from polyseme.server.errors import RequestError
from polyseme.server.metrics import Metrics
from polyseme.server.settings import Settings

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

Result = TypeVar("Result")


@dataclass(frozen=True)
class Words:
    """Every word's vector, as ``contextualize`` takes the options."""

    phrases: tuple[str, ...] | None
    layer: int | None
    normalize: bool

    def compute(self, model: Contextualizer, texts: list[Text]) -> EmbeddedTexts:
        """The vectors of all words."""
        return model.contextualize(
            texts,
            phrases=self.phrases,
            layer=self.layer,
            normalize=self.normalize,
            progress=False,
        )

    def part(self, result: EmbeddedTexts, start: int, stop: int) -> EmbeddedTexts:
        """Those of some texts."""
        return result.part(start, stop)


@dataclass(frozen=True)
class SentenceVectors:
    """A text's vector, and how many tokens it has."""

    def compute(self, model: Contextualizer, texts: list[Text]) -> tuple[Any, Any]:
        """(n_texts, dim) float32 and (n_texts,) int64."""
        vectors = model.encode(texts, progress=False)
        return vectors, np.diff(model.tokenizer(texts).token_offsets)

    def part(
        self, result: tuple[npt.NDArray[Any], npt.NDArray[Any]], start: int, stop: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Those of some texts."""
        return result[0][start:stop].copy(), result[1][start:stop].copy()


class Index(Protocol):
    """What is asked of ``polyseme.senses.SenseIndex``."""

    @property
    def folder(self) -> Path:
        """Where it is."""

    def info(self) -> dict[str, Any]:
        """What is known of it."""

    def search(
        self,
        text: Text,
        word: str | int,
        k: int = ...,
        *,
        same: bool = ...,
        where: str | None = ...,
        words: Iterable[str] | None = ...,
    ) -> Sequence[Told]:
        """Occurrences of a word in the sense that it has in a text."""

    def synonyms(
        self, text: Text, word: str | int, k: int = ..., *, where: str | None = ...
    ) -> Sequence[Told]:
        """Occurrences of other words in that sense."""

    def senses(self, word: str) -> Sequence[Told]:
        """The senses of a word."""

    def tag(
        self, texts: Sequence[Text], *, words: Iterable[str] | None = ...
    ) -> Sequence[Sequence[Told]]:
        """The senses that words have in new texts."""


class Told(Protocol):
    """An occurrence, a sense or a tag."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""


class Serving:
    """A model, at work for many.

    Args:
        model: of any rung.
        settings: limits.
        index: of word occurrences, if there is one.

    Attributes:
        batches: computes words' and texts' vectors for many requests at a time.
        rungs: the model and those below it, by name; None is the model itself.
        ready: whether requests are taken.
        created: when it was started, in seconds since 1970.
    """

    def __init__(
        self, model: Contextualizer, settings: Settings, index: Index | None = None
    ) -> None:
        self.model = model
        self.index = index
        self.settings = settings
        self.metrics = Metrics()
        self.name = settings.name or made_from(model)
        self.created = int(time.time())
        self.batches = Batcher(model, settings.batch_characters, self.metrics.observe_batch)
        self.rungs: dict[str | None, Contextualizer] = {
            None: model,
            "static": model.static(),
            "parameter-free": model if model.rung == "parameter-free" else model.parameter_free(),
        }
        self.ready = False
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="polyseme-aside"), asyncio.Lock()
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="polyseme-slow"), asyncio.Lock()

    async def warm_up(self) -> None:
        """Do once what takes longer the first time: imports, kernels that are compiled."""
        docs = await self.batches(Words(None, None, False), ["An apple a day"])
        with suppress(RequestError):  # without pyarrow there is nothing to import
            arrow_stream(docs)

    async def aside(self, function: Callable[[], Result], *, slow: bool = False) -> Result:
        """The result of work that is not batched, one at a time in a thread of its own.

        What may take long, such as a vocabulary's vectors, has another thread than what does not.

        Raises:
            RequestError: the function finds the request wrong.
        """
        loop = asyncio.get_running_loop()
        thread, turn = self._slow if slow else self._aside
        # Not the thread's own queue, which would keep what nobody waits for any more.
        await turn.acquire()
        at_work = loop.run_in_executor(thread, _result_or_error, function)
        at_work.add_done_callback(lambda _: turn.release())
        result = await asyncio.shield(at_work)
        if isinstance(result, (LookupError, ValueError)):
            raise refused(result)
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Let the threads end."""
        self.batches.close()
        for thread, _ in (self._aside, self._slow):
            thread.shutdown(wait=True)


def _result_or_error(function: Callable[[], Result]) -> Result | Exception:
    """An exception as a value: asyncio would log what it says if nobody waits for it any more."""
    try:
        return function()
    except Exception as error:
        return error


def refused(error: Exception) -> RequestError:
    """What the library finds wrong with a request, as an answer."""
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return RequestError(422, message)
