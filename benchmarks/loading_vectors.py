"""How long word vectors take to load: GloVe-like text the first time, from the cache the second.

    python benchmarks/loading_vectors.py                  # 400,000 x 300, about 1 GB in a
    temporary folder python benchmarks/loading_vectors.py --words 50000    # quicker

Each measurement runs in a fresh process, so that neither memory nor a warm allocator helps; the
file itself is in the system's page cache, as it was just written. gensim is measured beside it
where it is installed (--gensim-python names another Python that has it).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

POLYSEME = """
import sys, time
from polyseme.vectors import WordVectors
start = time.perf_counter()
vectors = WordVectors.load(sys.argv[1], cache=sys.argv[2] == "cache")
"""
MEASURES = {
    "polyseme, no cache": (POLYSEME, "none"),
    "polyseme, first load, writing the cache": (POLYSEME, "cache"),
    "polyseme, second load": (POLYSEME, "cache"),
    "polyseme, second load and one look-up": (POLYSEME + "vectors['w77']\n", "cache"),
    "gensim, load_word2vec_format(no_header=True)": (
        """
import sys, time
from gensim.models import KeyedVectors
start = time.perf_counter()
KeyedVectors.load_word2vec_format(sys.argv[1], no_header=True)
""",
        "none",
    ),
}
REPORT = """
seconds = time.perf_counter() - start
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
except ImportError:
    peak = 0
print(seconds, peak)
"""


def write_glove(path: Path, words: int, dim: int) -> None:
    """Write text as GloVe does: five significant digits, exponents where numbers are tiny."""
    random = np.random.default_rng(0)
    # One block of distinct numbers, shifted for each word, is as hard to parse as all distinct
    # and sooner written.
    numbers = [f"{number:.5g}" for number in random.normal(0, 0.4, 1_000_003).tolist()]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for word in range(words):
            first = word * dim % (len(numbers) - dim)
            file.write(f"w{word} {' '.join(numbers[first : first + dim])}\n")


def measure(python: str, code: str, arguments: list[str], cache: Path) -> tuple[float, int] | None:
    """Seconds and peak MB of a load in a fresh process; None if what it needs is not installed."""
    done = subprocess.run(
        [python, "-c", code + REPORT, *arguments],
        env={**os.environ, "POLYSEME_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak)


def main() -> None:
    """Write the file, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=400_000)
    parser.add_argument("--dim", type=int, default=300)
    parser.add_argument("--gensim-python", default=sys.executable, help="a Python that has gensim")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder, "glove.txt"), Path(folder, "cache")
        write_glove(path, chosen.words, chosen.dim)
        megabytes = path.stat().st_size / 1e6
        print(f"{chosen.words:,} words, dim {chosen.dim}, {megabytes:,.0f} MB of text\n")
        print(f"{'':46}{'seconds':>9}{'MB/s':>8}{'peak MB':>9}")
        for name, (code, cached) in MEASURES.items():
            python = chosen.gensim_python if name.startswith("gensim") else sys.executable
            result = measure(python, code, [str(path), cached], cache)
            if result is None:
                print(f"{name:46}{'not installed':>17}")
            else:
                seconds, peak = result
                print(f"{name:46}{seconds:9.3f}{megabytes / seconds:8,.0f}{peak:9,}")


if __name__ == "__main__":
    main()
