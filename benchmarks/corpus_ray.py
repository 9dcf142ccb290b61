"""A data set on a Ray cluster of this machine beside the local engine, and what each side costs.

    python benchmarks/corpus_ray.py ../shared/data/text/simplewiki.txt.xz --dtype bfloat16

Prints the time of both over the same sentences, whether their bytes are equal, and the sentences
for a second of CPU time of a worker (with one thread) and of the driver, which reads, hands out and
writes. CPU times are those of all sentences less those of a fifth of them, so that starting is left
out; the driver's are taken with static vectors, so that it is never waiting. Needs psutil and ray.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import tempfile
import time
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import psutil

import polyseme
from polyseme.contextualizer import Contextualizer
from polyseme.corpus import RayCluster, embed_corpus
from polyseme.files import source

_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")


@dataclass(frozen=True)
class Cost:
    """Seconds that a run took.

    Attributes:
        wall: by the clock, with the start of the workers.
        driver: CPU time of this process.
        workers: CPU time of all workers.
        words: words a second.
    """

    wall: float
    driver: float
    workers: float
    words: float


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measured(
    texts: Path, folder: Path, model: Contextualizer, shard_rows: int, cluster: RayCluster | None
) -> Cost:
    me = psutil.Process()
    spent: dict[int, float] = {}
    looking = 0.0

    def finished(shard: object, seconds: float) -> None:
        nonlocal looking
        since = cpu(me)
        for process in psutil.process_iter(["cmdline"]):
            if "ray::_Worker" in " ".join(process.info["cmdline"] or ()):
                spent[process.pid] = cpu(process)
        looking += cpu(me) - since

    begun, before = time.monotonic(), cpu(me)
    made = embed_corpus(
        texts,
        folder,
        model=model,
        shard_rows=shard_rows,
        cluster=cluster,
        progress=False,
        finished=finished,
    )
    wall = time.monotonic() - begun
    return Cost(
        wall, cpu(me) - before - looking, sum(spent.values()), made.new_words / made.seconds
    )


def same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    equal, _, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    return len(equal) == len(names) == len(list(other.iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts")
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--backend", default="auto")
    given = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    model = polyseme.load(dtype=given.dtype, backend=given.backend)
    cluster = RayCluster(workers=given.workers)
    lines = map(str, source(given.texts, "txt", "text").texts())
    sentences = chain.from_iterable(_END.split(line.strip()) for line in lines)
    chosen = list(islice(filter(None, sentences), given.sentences))
    shard_rows = max(1, len(chosen) // 20)
    ray.init(
        address="local",
        num_cpus=given.workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=500_000_000,
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "all.txt").write_text("\n".join(chosen) + "\n")
        (folder / "some.txt").write_text("\n".join(chosen[: len(chosen) // 5]) + "\n")
        model.encode(chosen[:100])
        local = measured(folder / "all.txt", folder / "local", model, shard_rows, None)
        some = measured(folder / "some.txt", folder / "some", model, shard_rows, cluster)
        there = measured(folder / "all.txt", folder / "ray", model, shard_rows, cluster)
        equal = same(folder / "local", folder / "ray")
        static = polyseme.load(backend="numpy").static()
        few = measured(folder / "some.txt", folder / "few", static, shard_rows, cluster)
        many = measured(folder / "all.txt", folder / "many", static, shard_rows, cluster)
    ray.shutdown()
    rows = len(chosen) - len(chosen) // 5
    words = sum(len(text.split()) for text in chosen) / len(chosen)
    print(f"{model}, {len(chosen):,} sentences of {words:.1f} words")
    print(f"local, {os.cpu_count()} processors: {local.wall:.1f} s, {local.words:,.0f} words/s")
    print(
        f"ray, {given.workers} workers: {there.wall:.1f} s, {there.words:,.0f} words/s, "
        f"{local.wall / there.wall:.2f}x of local; equal bytes: {equal}"
    )
    print(f"worker: {rows / (there.workers - some.workers):,.0f} sentences a second of CPU time")
    print(f"driver: {rows / (many.driver - few.driver):,.0f} sentences a second of CPU time")


if __name__ == "__main__":
    main()
