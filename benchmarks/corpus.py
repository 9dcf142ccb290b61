"""Data sets of vectors: their rate beside vectors in memory, their memory, and what a kill costs.

    python benchmarks/corpus.py                    # rates, and kills
    python benchmarks/corpus.py --words 10000000   # memory, by texts and by words

Rates: the same texts by ``encode`` or ``contextualize`` from a list, and by ``embed_corpus`` from a
file of jsonl into Parquet, in turn; the median of rounds; "of CPU" is the ratio of the processor
time, all threads together, which other work on the machine disturbs less. Memory: the command
itself, on the first words of text/simplewiki.txt.xz. Kills: SIGKILL at random moments, and how many
texts have gone through the model more than once in the end.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polyseme
from memory import megabytes
from polyseme.corpus import Wanted, embed_corpus
from sentences import DEFAULT, sentences

STORES = ("float32", "float16", "int8")


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def rates(model: Any, texts: list[str], rounds: int, place: Path) -> None:
    """Print words a second in memory and into a data set, for each kind of data set."""
    file = write_jsonl(place / "texts.jsonl", texts)
    words = int(model.tokenizer(texts).word_offsets[-1])
    print(f"{len(texts):,} texts, {words:,} words, median of {rounds}; {model!r}")
    print(f"{'':20}{'in memory':>12}{'data set':>12}{'ratio':>8}{'of CPU':>8}{'MB':>8}")
    for by, compute in (("texts", model.encode), ("words", model.contextualize)):
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ("memory", *STORES)}
        sizes: dict[str, int] = {}
        for turn in range(rounds + 1):
            for name, own in times.items():
                begun, used = time.perf_counter(), time.process_time()
                if name == "memory":
                    compute(texts)
                else:
                    made = embed_corpus(file, place / name, model=model, wanted=Wanted(by, name))
                    sizes[name] = made.bytes
                taken = time.perf_counter() - begun, time.process_time() - used
                shutil.rmtree(place / name, ignore_errors=True)
                if turn:
                    own.append(taken)
        wall, used = (
            {name: statistics.median(pair[i] for pair in own) for name, own in times.items()}
            for i in (0, 1)
        )
        for store in STORES:
            print(
                f"{by + ', ' + store:20}{words / wall['memory']:12,.0f}{words / wall[store]:12,.0f}"
                f"{wall['memory'] / wall[store]:8.2f}{used['memory'] / used[store]:8.2f}"
                f"{sizes[store] / 1e6:8.1f}",
                flush=True,
            )


def first_words(words: int, place: Path) -> tuple[Path, int]:
    """The first lines of Simple English Wikipedia that hold so many words, packed as xz."""
    source = Path(os.environ.get("POLYSEME_DATA", DEFAULT)) / "text" / "simplewiki.txt.xz"
    if not source.exists():
        sys.exit(f"{source} is missing: name the data's folder as POLYSEME_DATA or by --data")
    path, seen = place / "simplewiki.txt.xz", 0
    with lzma.open(source, "rb") as lines, lzma.open(path, "wb", preset=0) as file:
        for line in lines:
            if seen >= words:
                break
            seen += len(line.split())
            file.write(line)
    return path, seen


def memory(words: int, kinds: list[str], options: list[str], place: Path) -> None:
    """Print the memory of the command as it goes on, and its peak."""
    file, seen = first_words(words, place)
    print(f"\n{seen:,} words between spaces, {file.stat().st_size / 1e6:.1f} MB packed")
    for by in kinds:
        kind = ["--by", by] + (["--store", "int8"] if by == "words" else [])
        out = place / "out"
        command = ["corpus", str(file), "-o", str(out), "--log-json", *kind, *options]
        print("polyseme " + " ".join(["corpus", "FILE", "-o", "DIR", *kind, *options]))
        print(f"{'words':>14}{'seconds':>10}{'words/s':>10}{'resident, MB':>14}")
        begun, done, shown = time.perf_counter(), 0, 0
        process = subprocess.Popen(
            [sys.executable, "-m", "polyseme", *command], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            told = json.loads(line) if line.startswith("{") else {"event": line.rstrip()}
            if told["event"] != "shard":
                print(told)
                continue
            done += told["words"]
            if done >= shown:
                seconds = time.perf_counter() - begun
                resident = megabytes("VmRSS", process.pid)
                print(
                    f"{done:14,}{seconds:10.0f}{done / seconds:10,.0f}{resident:14,.0f}", flush=True
                )
                shown = done + words // 10
        _, code, used = os.wait4(process.pid, 0)
        size = sum(part.stat().st_size for part in out.glob("*.parquet"))
        print(f"status {code}, peak {used.ru_maxrss / 1e3:,.0f} MB, {size / 1e6:,.0f} MB written")
        shutil.rmtree(out)


class Counting:
    """A model that writes down how many texts it has been given."""

    def __init__(self, model: Any, log: Path) -> None:
        self._model = model
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, texts: list[str], **options: Any) -> Any:
        """As the model."""
        with self._log.open("a") as log:
            log.write(f"{len(texts)}\n")
        return self._model.encode(texts, **options)


def kills(texts: list[str], times: int, shard_rows: int, place: Path) -> None:
    """Print how many texts were computed more than once after kills at random moments."""
    file, log = write_jsonl(place / "kills.jsonl", texts), place / "log"
    print(f"\n{times} kills in a data set of {len(texts):,} texts, {shard_rows:,} a part")
    command = [sys.executable, __file__, "--counted", str(file), str(place / "killed"), str(log)]
    command += ["--shard-rows", str(shard_rows)]
    draw = random.Random(0)
    seen: list[int] = []

    def finished() -> int:
        manifest = place / "killed" / "_manifest.json"
        if not manifest.exists():
            return 0
        return sum(shard["rows"] for shard in json.loads(manifest.read_text())["shards"])

    def given() -> int:
        return sum(map(int, log.read_text().split())) if log.exists() else 0

    for _ in range(times):
        process = subprocess.Popen(command)
        begun = given() + draw.randrange(shard_rows)
        while given() <= begun and process.poll() is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(given() - sum(seen) - finished())
    subprocess.run(command, check=True)
    print(f"computed twice after each kill: {', '.join(map(str, seen))}; at most {max(seen):,}")
    print(f"in all {given() - len(texts):,} more than the {len(texts):,} of an unbroken run")


def counted(file: str, out: str, log: str, shard_rows: int) -> None:
    """What is killed."""
    model: Any = Counting(polyseme.load(), Path(log))
    embed_corpus(file, out, model=model, shard_rows=shard_rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--text", help="a file of one passage a line, .xz or plain")
    parser.add_argument("--words", type=int, help="measure memory on so many words")
    parser.add_argument("--by", nargs="+", choices=["texts", "words"], help="for --words")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--shard-rows", type=int, default=2000)
    parser.add_argument("--data", help="in place of POLYSEME_DATA")
    parser.add_argument("--counted", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data:
        os.environ["POLYSEME_DATA"] = options.data
    if options.counted:
        counted(*options.counted, options.shard_rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.words:
            where = ["--backend", options.backend, "--dtype", options.dtype]
            memory(options.words, options.by or ["texts", "words"], where, place)
            return
        texts = sentences(options.sentences, options.text)
        if options.rounds:
            model = polyseme.load(backend=options.backend, dtype=options.dtype)
            rates(model, texts, options.rounds, place)
        if options.kills:
            kills(texts, options.kills, options.shard_rows, place)


if __name__ == "__main__":
    main()
