"""How long one long text takes, and how much memory: parameter-free attention over all its words.

    python benchmarks/long_text.py                        # 1,000, 10,000 and 100,000 words
    python benchmarks/long_text.py --lengths 1000 30000 --width 300
    python benchmarks/long_text.py --heads 4              # the learned form, with four maps

Every length runs in a fresh process on NumPy, in float32. The peak is of the whole process (the
interpreter and its imports take about 40 MB of it); all scores at once would be four bytes for each
pair of words, 40 GB for 100,000.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

MEASURE = """
import resource, sys, time
import numpy as np
from polyseme.attention import multi_head_attention, self_attend
n, width, heads = map(int, sys.argv[1:])
random = np.random.default_rng(0)
words = random.standard_normal((n, width), dtype=np.float32)
if heads:
    maps = {
        f"{name}.weight": random.standard_normal((width, width), dtype=np.float32) / width**0.5
        for name in ("query", "key", "value", "output")
    }
start = time.perf_counter()
mixed = multi_head_attention(words, maps, heads=heads) if heads else self_attend(words)
seconds = time.perf_counter() - start
assert mixed.shape == words.shape
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, peak * (1 if sys.platform == "darwin" else 1024))
"""


def measure(words: int, width: int, heads: int) -> tuple[float, float]:
    """Seconds and peak MB of one text in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(words), str(width), str(heads)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak) / 1e6


def main() -> None:
    """Measure every length and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=0, help="0: the parameter-free form")
    chosen = parser.parse_args()
    print(f"{'words':>9}{'seconds':>10}{'peak MB':>9}{'all scores, MB':>16}")
    for length in chosen.lengths:
        seconds, peak = measure(length, chosen.width, chosen.heads)
        scores = 4 * max(1, chosen.heads) * length**2 / 1e6
        print(f"{length:9,}{seconds:10.2f}{peak:9,.0f}{scores:16,.0f}", flush=True)


if __name__ == "__main__":
    main()
