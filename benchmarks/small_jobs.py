"""One sentence at a time: latency of a warm call, and 64 threads that each ask for one.

    pip install -c constraints.txt ".[bench]"
    python benchmarks/small_jobs.py

The ratios are the throughput of 64 threads, a call for each sentence, against one caller: with all
sentences in one call, and with 64 in each. The threads are there before their time starts.
"""

from __future__ import annotations

import statistics
import time
from threading import Barrier, Thread
from typing import Any

import polyseme
from peers import checkpoint
from sentences import sentences

SENTENCE = "Apple just launched a new iPhone and everybody wants to have one, it seems."
THREADS = 64
ROUNDS = 5
MODELS: dict[str, dict[str, Any]] = {
    "polyseme-small, NumPy float32": {"backend": "numpy"},
    "polyseme-small, torch float32": {"backend": "torch"},
    "polyseme-small, torch bfloat16": {"dtype": "bfloat16"},
    "polyseme-small, torch int8": {"dtype": "int8"},
    "all-MiniLM-L6-v2, torch float32": {"source": checkpoint(), "backend": "torch"},
    "all-MiniLM-L6-v2, torch bfloat16": {"source": checkpoint(), "dtype": "bfloat16"},
    "all-MiniLM-L6-v2, torch int8": {"source": checkpoint(), "dtype": "int8"},
}


def seconds(run: Any) -> float:
    """That a call takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def seconds_of_threads(run: Any, items: list[Any]) -> float:
    """From when all threads start until the last has called for each of its share of the items."""
    start = Barrier(THREADS + 1)

    def work(share: list[Any]) -> None:
        start.wait()
        for item in share:
            run(item)

    threads = [Thread(target=work, args=(items[i::THREADS],)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    return seconds(lambda: [thread.join() for thread in threads])


def main() -> None:
    """Print a row for each model."""
    texts = sentences(16 * THREADS)
    columns = f"{'together, s':>13}{'in 64s, s':>11}{'64 threads, s':>15}{'ratios':>8}"
    print(f"{'':34}{'one, ms':>9}{columns}")
    for name, options in MODELS.items():
        model = polyseme.load(**options)
        for _ in range(50):
            model.contextualize(SENTENCE)
        times = []
        for _ in range(300):
            begun = time.perf_counter()
            model.contextualize(SENTENCE)
            times.append(time.perf_counter() - begun)
        parts = [texts[i : i + THREADS] for i in range(0, len(texts), THREADS)]
        rounds = []
        for _ in range(ROUNDS + 1):
            together = seconds(lambda call=model.contextualize: call(texts))
            in_parts = seconds(lambda call=model.contextualize, parts=parts: [*map(call, parts)])
            rounds.append((together, in_parts, seconds_of_threads(model.contextualize, texts)))
        together, in_parts, apart = map(statistics.median, zip(*rounds[1:], strict=True))
        print(
            f"{name:34}{1e3 * statistics.median(times):9.2f}{together:13.3f}{in_parts:11.3f}"
            f"{apart:15.3f}{together / apart:8.2f}{in_parts / apart:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
