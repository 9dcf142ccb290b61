"""One long text: seconds and memory of attention of all its words over all, 128 to 65,536 words.

    python benchmarks/long_text.py                        # all forms and lengths
    python benchmarks/long_text.py --lengths 1024 16384 --forms "torch SDPA" "self_attend NumPy"

`attend` is given queries, keys and values; `self_attend`, the parameter-free form, takes the words
for all three and compares unit vectors; torch's `scaled_dot_product_attention` is the peer. All in
float32, one head, on the same vectors, each form and length in a fresh process, the median of
several calls where they are short. The peak is of the whole process (imports of NumPy take about 40
MB of it, of torch 200); all scores at once would be four bytes for each pair of words.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

FORMS = {
    "torch SDPA": """
import torch
words = torch.from_numpy(words)[None, None]
run = lambda: torch.nn.functional.scaled_dot_product_attention(words, words, words)
""",
    "attend torch": """
import torch
from polyseme import attention
words = torch.from_numpy(words)
run = lambda: attention.attend(words, words, words)
""",
    "attend NumPy": """
from polyseme import attention
run = lambda: attention.attend(words, words, words)
""",
    "self_attend NumPy": """
from polyseme import attention
run = lambda: attention.self_attend(words, temperature=0.4)
""",
}
MEASURE = """
import re, statistics, sys, time
import numpy as np
words = np.random.default_rng(0).standard_normal((int(sys.argv[1]), int(sys.argv[2])), np.float32)
{form}
times = []
while sum(times) < 1 and len(times) < 50 or len(times) < 2 and sum(times) < 10:
    start = time.perf_counter()
    assert run().shape == words.shape
    times.append(time.perf_counter() - start)
with open("/proc/self/status") as status:
    peak = re.search(r"VmHWM:\\s+(\\d+)", status.read())[1]
print(statistics.median(times[1:] or times), int(peak) / 1024)
"""


def measure(form: str, words: int, width: int) -> tuple[float, float]:
    """Seconds of a call and peak MB of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(form=FORMS[form]), str(words), str(width)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


def main() -> None:
    """Measure every form at every length and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[128, 512, 2048, 8192, 16384, 32768, 65536]
    )
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    chosen = parser.parse_args()
    print(
        f"{'words':>7}{'scores, MB':>12}" + "".join(f"{form + ', ms':>24}" for form in chosen.forms)
    )
    for length in chosen.lengths:
        cells = []
        for form in chosen.forms:
            seconds, peak = measure(form, length, chosen.width)
            cells.append(f"{seconds * 1e3:13,.2f} ({peak:,.0f} MB)".rjust(24))
        print(f"{length:7,}{4 * length**2 / 1e6:12,.1f}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
