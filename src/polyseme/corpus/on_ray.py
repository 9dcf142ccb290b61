"""The parts of a data set, computed on a Ray cluster, in order, whatever dies on the way.

Rows go out to workers, whole parts come back; this process reads and writes, so that nodes need no
file of the input and no folder in common. Workers are Ray actors, which open the model once. A
worker that is lost, with its node or by itself, costs its shards, which are given to others, and is
replaced as soon as the cluster has room. (Ray Data writes whatever blocks came about under random
names; docs/scale.md says what was seen of it.)
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from io import BytesIO
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from polyseme import __version__
from polyseme.corpus.parts import Fill, Made, PartMaker
from polyseme.corpus.reading import Place as Reached
from polyseme.corpus.reading import Row
from polyseme.execution import Place, place

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

Shards: TypeAlias = "Iterator[tuple[list[Row], Reached]]"
"""The rows of each shard, and how far the input is read behind them."""

Part = tuple[Any, Made]
Count = Callable[[int, int, int], None]

_IN_HAND = 2
"""Shards that a worker has: while the part of one is fetched, the next is computed."""
_AHEAD = 3
"""Shards for each worker between what was read last and what was written last."""
_ATTEMPTS = 4
_PATIENCE = 15.0


@dataclass(frozen=True)
class RayCluster:
    """Where a data set is computed.

    Attributes:
        address: "host:port" of a cluster that this machine belongs to, or "auto" to find it;
            "local" for a cluster of this machine alone. If None, as RAY_ADDRESS says, else "auto"
            if one runs here, else "local". In a process that is connected to Ray, leave it None:
            the connection is used.
        workers: processes that compute; None for as many as the cluster has room for now, more if
            it is to grow.
        cpus_per_worker: threads of each.
        gpus_per_worker: 1, or less for workers that share a GPU, which are computed on with torch;
            0 for none. If None, 1 if the model is on a GPU, else 0.

    Example:
        >>> RayCluster(workers=2).workers
        2
    """

    address: str | None = None
    workers: int | None = None
    cpus_per_worker: int = 1
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("workers", self.workers), ("cpus_per_worker", self.cpus_per_worker)):
            if least is not None and least < 1:
                raise ValueError(f"{name} is {least}: it must be at least 1")
        if self.gpus_per_worker is not None and not 0 <= self.gpus_per_worker <= 1:
            raise ValueError(
                f"gpus_per_worker is {self.gpus_per_worker}: a worker computes on one GPU (1), "
                "shares it (such as 0.5), or has none (0)"
            )

    def gpus(self, model: Contextualizer) -> float:
        """GPUs of each worker."""
        if self.gpus_per_worker is None:
            return float(_on_gpu(model))
        return self.gpus_per_worker

    def place_of(self, model: Contextualizer) -> Place:
        """Where workers compute with a model: not where it was opened, if only they have GPUs.

        Raises:
            ValueError: the model is on a GPU, and workers are to have none.
        """
        if self.gpus(model):
            # Ray shows each worker its own GPU alone.
            return Place("torch", "cuda", model.place.dtype)
        if _on_gpu(model):
            raise ValueError(
                f"the model is on {model.place.device!r} and gpus_per_worker is 0: open it on 'cpu'"
            )
        return model.place


def _on_gpu(model: Contextualizer) -> bool:
    return model.place.device.startswith("cuda")


@contextmanager
def fills_of(
    cluster: RayCluster,
    maker: PartMaker,
    shards: Shards,
    count: Count,
    note: Callable[[str], None],
) -> Iterator[Iterator[Fill]]:
    """What each part holds, in the order of the shards, computed by a cluster's workers.

    Args:
        cluster: where.
        maker: what is to be made; its model is sent out once.
        shards: are read as the work goes on, never far ahead of it.
        count: is told of the rows, words and rejects of each part that is written.
        note: is told what a user should know.

    Raises, while it is iterated:
        WrongLineError: as the local engine, after the parts before it.
        RuntimeError: workers were lost again and again, or have other versions installed.
        ConnectionError: there is no cluster.
    """
    ray = require_ray()
    began = not ray.is_initialized()
    if not began and cluster.address is not None:
        raise ValueError(
            f"address is {cluster.address!r}, but this process is connected to Ray already: leave "
            "it out, or call ray.shutdown() first"
        )
    first = next(shards)
    maker.settled(first[0])
    pool = None
    try:
        if began:
            # Whatever workers print would run through the progress bar.
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        pool = _Pool(ray, cluster, maker, note)
        yield (partial(_fill, part, count) for part in pool.parts(chain([first], shards)))
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"Ray failed: {error}") from error
    finally:
        if began:
            ray.shutdown()
        elif pool is not None:
            pool.dismiss()


def require_ray() -> Any:
    """Ray, or how to get it.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError('a cluster needs Ray: pip install "polyseme[ray]"') from error
    return ray


def _fill(part: Part, count: Count, file: IO[bytes]) -> Made:
    content, made = part
    file.write(content)
    count(made.rows, made.words, len(made.rejects))
    return made


def versions(place: Place) -> dict[str, str]:
    """Versions of what the bytes of a part follow from, beside the model."""
    names = ["numpy", "pyarrow", "tokenizers"]
    # A process without a GPU may have no torch, or another build of it.
    names += ["torch"] if (place.backend, place.device) == ("torch", "cpu") else []
    return {"polyseme": __version__, **{name: version(name) for name in names}}


class _Worker:
    """A Ray actor: makes parts, in a process of its own on some node."""

    def open(
        self, wanted: dict[str, str], model: tuple[Any, ...], settings: dict[str, Any]
    ) -> None:
        """Open the model here; not in ``__init__``, whose errors Ray wraps beyond recognition."""
        import platform

        from polyseme.contextualizer import Contextualizer

        checkpoint, tokenizer, there, vectors = model
        layers = checkpoint.config.layers
        # Says what is missing, if this node can't compute there.
        place(device=there.device, dtype=there.dtype, backend=there.backend, layers=layers)
        for name, here in versions(there).items():
            if here != wanted[name]:
                raise RuntimeError(
                    f"the node {platform.node()} has {name} {here}, and this process has "
                    f"{wanted[name]}: install the same"
                )
        opened = Contextualizer(checkpoint, tokenizer, there, word_vectors=vectors)
        self._maker = PartMaker(opened, **settings)

    def make(self, rows: list[Row]) -> Part:
        """A part as the bytes of its file."""
        import pyarrow

        file = BytesIO()
        made = self._maker.make(rows, file)
        # A buffer crosses between processes of a node without being copied.
        return pyarrow.py_buffer(file.getbuffer()), made


@dataclass(eq=False)
class _Hired:
    """A worker, and how many shards are in its hands."""

    actor: Any
    shards: int = 0


@dataclass(order=True)
class _Shard:
    """A shard that is not made yet."""

    number: int
    rows: Any = field(compare=False)
    reached: Reached = field(compare=False)
    losses: int = field(default=0, compare=False)


class _Pool:
    """Workers, what they have in hand, and what they have made ahead of its turn."""

    def __init__(
        self, ray: Any, cluster: RayCluster, maker: PartMaker, note: Callable[[str], None]
    ) -> None:
        self._ray = ray
        self._note = note
        model = maker.model
        gpus = cluster.gpus(model)
        self._room = f"a worker of {cluster.cpus_per_worker} CPUs and {gpus:g} GPUs"
        self._class = ray.remote(_Worker).options(
            num_cpus=cluster.cpus_per_worker, num_gpus=gpus, scheduling_strategy="SPREAD"
        )
        place = cluster.place_of(model)
        self._versions = versions(place)
        self._sent = ray.put((model.checkpoint, model.tokenizer, place, model.word_vectors))
        self._settings = {
            "wanted": maker.wanted,
            "keep": maker.keep,
            "sources": (),
            "metadata": maker.metadata,
            "skip": maker.skip,
            "types": maker.types,
        }
        self._opening: dict[Any, _Hired] = {}
        self._opened: list[_Hired] = []
        self._waiting: list[_Shard] = []
        self._making: dict[Any, tuple[_Shard, _Hired]] = {}
        self._made: dict[int, Part | Exception] = {}
        self._lost_opening = 0
        self._size = cluster.workers or _room(ray, cluster.cpus_per_worker, gpus)
        for _ in range(self._size):
            self._hire()

    def parts(self, shards: Shards) -> Iterator[Part]:
        """The part of each shard, in their order; an error in its turn."""
        begun = time.monotonic()
        read, turn = 0, 0
        failed: Exception | None = None
        more = True
        while more or turn < read:
            # One shard is read ahead for the next worker that is free.
            while more and not self._waiting and read - turn < self._ahead:
                try:
                    rows, reached = next(shards)
                except StopIteration:
                    more = False
                except Exception as error:
                    # Raised below, after the parts before it.
                    failed, more = error, False
                else:
                    heapq.heappush(self._waiting, _Shard(read, self._ray.put(rows), reached))
                    read += 1
                self._give()
            self._give()
            if turn in self._made:
                part = self._made.pop(turn)
                if isinstance(part, Exception):
                    raise part
                yield part
                turn += 1
            elif turn < read:
                self._collect()
                if not self._opened and time.monotonic() - begun > _PATIENCE:
                    self._note(f"no worker is ready yet: has the cluster room for {self._room}?")
                    begun = float("inf")
        if failed is not None:
            raise failed

    @property
    def _ahead(self) -> int:
        """Shards that may be read before the first of them is written."""
        return _AHEAD * max(1, len(self._opened))

    def dismiss(self) -> None:
        """Let all workers go."""
        for hired in (*self._opening.values(), *self._opened):
            self._ray.kill(hired.actor)

    def _hire(self) -> None:
        actor = self._class.remote()
        opening = actor.open.remote(self._versions, self._sent, self._settings)
        self._opening[opening] = _Hired(actor)

    def _give(self) -> None:
        """Hand out shards that wait, the first to whom has least to do."""
        while self._waiting and self._opened:
            hired = min(self._opened, key=lambda hired: hired.shards)
            if hired.shards >= _IN_HAND:
                return
            shard = heapq.heappop(self._waiting)
            self._making[hired.actor.make.remote(shard.rows)] = shard, hired
            hired.shards += 1

    def _collect(self) -> None:
        """Wait until something is opened, made or lost, but not for long."""
        pending = [*self._opening, *self._making]
        ready, _ = self._ray.wait(pending, num_returns=1, timeout=1.0)
        for reference in ready:
            if reference in self._opening:
                self._welcome(reference)
            else:
                self._take(reference)

    def _welcome(self, reference: Any) -> None:
        hired = self._opening.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            self._lost_opening += 1
            if self._lost_opening > _ATTEMPTS * self._size:
                raise RuntimeError(f"no worker could be started: {error}") from error
            self._hire()
        else:
            self._lost_opening = 0
            self._opened.append(hired)

    def _take(self, reference: Any) -> None:
        shard, hired = self._making.pop(reference)
        hired.shards -= 1
        try:
            content, made = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            self._made[shard.number] = error.cause
        except self._ray.exceptions.RayError as error:
            if hired in self._opened:
                self._note(f"a worker was lost ({type(error).__name__}), others get its shards")
                self._opened.remove(hired)
                self._ray.kill(hired.actor)
                self._hire()
            shard.losses += 1
            if shard.losses < _ATTEMPTS:
                heapq.heappush(self._waiting, shard)
            else:
                self._made[shard.number] = RuntimeError(
                    f"a shard was lost {shard.losses} times with its worker: {error}"
                )
        else:
            self._made[shard.number] = content, replace(made, place=shard.reached)


def _room(ray: Any, cpus: int, gpus: float) -> int:
    """How many workers a cluster has room for."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 0) // cpus)
    return max(1, min(room, int(there.get("GPU", 0) / gpus)) if gpus else room)
