"""One sentence at a time: latency of a warm call, and 64 threads that each ask for one.

    pip install -c constraints.txt ".[bench]"
    python benchmarks/small_jobs.py

The ratio is the throughput of 64 threads, a call for each sentence, against one call with all.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polyseme
from peers import checkpoint
from sentences import sentences

SENTENCE = "Apple just launched a new iPhone and everybody wants to have one, it seems."
MODELS: dict[str, dict[str, Any]] = {
    "polyseme-small, NumPy float32": {"backend": "numpy"},
    "polyseme-small, torch float32": {"backend": "torch"},
    "polyseme-small, torch bfloat16": {"dtype": "bfloat16"},
    "all-MiniLM-L6-v2, torch float32": {"source": checkpoint(), "backend": "torch"},
    "all-MiniLM-L6-v2, torch bfloat16": {"source": checkpoint(), "dtype": "bfloat16"},
}


def seconds(run: Any) -> float:
    """Of a second call."""
    run()
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def main() -> None:
    """Print a row for each model."""
    texts = sentences(1000)
    print(f"{'':34}{'one, ms':>9}{'together, s':>13}{'64 threads, s':>15}{'ratio':>7}")
    for name, options in MODELS.items():
        model = polyseme.load(**options)
        for _ in range(50):
            model.contextualize(SENTENCE)
        times = []
        for _ in range(300):
            begun = time.perf_counter()
            model.contextualize(SENTENCE)
            times.append(time.perf_counter() - begun)
        together = seconds(lambda model=model: model.contextualize(texts))
        with ThreadPoolExecutor(64) as pool:
            apart = seconds(lambda model=model: list(pool.map(model.contextualize, texts)))
        print(
            f"{name:34}{1e3 * statistics.median(times):9.2f}{together:13.3f}{apart:15.3f}"
            f"{together / apart:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
