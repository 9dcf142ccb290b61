"""Memory of an endless stream: resident MB while sentences go in one after the other.

    python benchmarks/streaming.py
    python benchmarks/streaming.py --seconds 60 --options backend=torch dtype=int8

polyseme-small; the sentences of a text, over and over. The last column is the peak of the process.
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle

import polyseme
from memory import megabytes
from sentences import sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", help="a file of one passage a line, .xz or plain")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--options", nargs="*", default=[], help="of polyseme.load: dtype=int8")
    options = parser.parse_args()
    model = polyseme.load(**dict(pair.split("=", 1) for pair in options.options))
    texts = sentences(20_000, options.text)
    print(model, f"{megabytes('VmRSS'):.0f} MB before the first text")
    print(f"{'sentences':>12}{'words':>12}{'words/s':>10}{'MB':>6}{'peak MB':>9}")
    begun, words, shown = time.perf_counter(), 0, 0.0
    for number, doc in enumerate(model.contextualize(cycle(texts)), 1):
        words += len(doc)
        passed = time.perf_counter() - begun
        if passed - shown >= options.seconds / 6:
            row = f"{number:12,}{words:12,}{words / passed:10,.0f}"
            print(f"{row}{megabytes('VmRSS'):6.0f}{megabytes('VmHWM'):9.0f}", flush=True)
            shown = passed
        if passed >= options.seconds:
            return


if __name__ == "__main__":
    main()
