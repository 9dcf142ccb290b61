"""The index of senses: does it find what means the same, how fast, in how much memory.

Quality, on CoarseWSD-20's words: an index of their training occurrences is asked with the test
occurrences, and the senses that are found are held against the gold ones, which nothing else sees.
Speed: an index of a million occurrences of Simple English Wikipedia.

    python benchmarks/senses.py --data DATA quality
    python benchmarks/senses.py --data DATA speed --folder INDEX
    python benchmarks/senses.py --data DATA made
    python benchmarks/senses.py measure --folder INDEX
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

import polyseme
from memory import megabytes
from polyseme.attention import unit
from polyseme.contextualizer import Contextualizer
from polyseme.evaluation.models import vectors_at
from polyseme.evaluation.wsd import AmbiguousWord, Occurrences, read_folder
from polyseme.senses import SenseIndex, build_index
from polyseme.senses.clustering import centroids_of, nearest_to
from polyseme.senses.searching import forms_of
from polyseme.senses.words import is_content
from polyseme.text import split_words

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("quality", "speed", "made", "measure"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("POLYSEME_DATA", "data")))
    parser.add_argument("--folder", type=Path, help="of the large index; made if it is not there")
    parser.add_argument("--occurrences", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100, help="of each word, or in all")
    parser.add_argument("--draw", type=int, default=0, help="seed of which occurrences are asked")
    parser.add_argument("--no-recall", action="store_true", help="which takes a minute to measure")
    parser.add_argument("--models", default="static,parameter-free,default")
    asked = parser.parse_args()
    if asked.what == "quality":
        quality(asked.data / "wsd", asked.queries, asked.models.split(","))
    elif asked.what == "made":
        made(asked.data / "text" / "simplewiki.txt.xz")
    elif asked.what == "speed":
        folder = asked.folder or Path(tempfile.mkdtemp(), "index")
        large(asked.data / "text" / "simplewiki.txt.xz", folder, asked.occurrences)
        # In a process of its own, so that the memory is that of an index that is searched.
        command = [sys.executable, __file__, "measure", "--folder", str(folder)]
        options = ["--queries", str(asked.queries), "--draw", str(asked.draw)]
        subprocess.run([*command, *options], check=True)
    else:
        measure(asked.folder, asked.queries, asked.draw, not asked.no_recall)


def quality(folder: Path, queries: int, names: list[str]) -> None:
    words = read_folder(folder)
    default = polyseme.load()
    models = {
        "static": default.static,
        "parameter-free": default.parameter_free,
        "default": lambda: default,
    }
    print(f"{'':16}precision at {K} | farthest {K} | senses found | V-measure | B-cubed F1")
    one = [scores(word.train.senses, np.zeros(len(word.train), np.int64)) for word in words]
    row("one sense", float("nan"), float("nan"), one)
    for name in names:
        model = models[name]()
        # Static vectors are equal everywhere, and any order of equals is chance.
        found, far = by_chance(words) if name == "static" else searched(model, words, queries)
        clustered = []
        for word in words:
            vectors = unit(vectors_at(model, word.train.texts, word.train.positions))
            vectors = vectors.astype(np.float32)
            clustered.append(scores(word.train.senses, nearest_to(centroids_of(vectors), vectors)))
        row(
            name,
            float(np.mean(list(found.values()))),
            float(np.mean(list(far.values()))),
            clustered,
        )
        for word, (number, v, b) in zip(words, clustered, strict=True):
            gold = len(np.unique(word.train.senses))
            print(
                f"  {word.word:14}{found[word.word]:.3f} | {far[word.word]:.3f} | "
                f"{number} of {gold} | {v:.3f} | {b:.3f}"
            )


def row(name: str, found: float, far: float, clustered: list[tuple[int, float, float]]) -> None:
    number, v, b = np.mean(clustered, axis=0)
    print(f"{name:16}{found:.3f} | {far:.3f} | {number:.1f} | {v:.3f} | {b:.3f}", flush=True)


def searched(
    model: Contextualizer, words: list[AmbiguousWord], queries: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Of the 10 nearest occurrences, the share of the same sense; of the 10 farthest, of others."""
    found, far = {}, {}
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "train.jsonl")
        with file.open("w") as out:
            for word in words:
                for text, at, sense in each(word.train):
                    start = sum(len(token) + 1 for token in text[:at])
                    line = {"text": text, "at": start, "sense": sense, "of": word.word}
                    out.write(json.dumps(line) + "\n")
        listed = [word.word for word in words]
        build_index(
            file, Path(place, "index"), model=model, words=listed, keep=["at", "sense", "of"]
        )
        index = SenseIndex.open(Path(place, "index"), model)
        for word in words:
            step = max(1, len(word.test) // queries)
            asked = list(islice(each(word.test), 0, None, step))
            # The word may stand in a text once more, where nobody has said what it means.
            where = f"at = start AND \"of\" = '{word.word}'"
            good = {True: 0.0, False: 0.0}
            for text, at, sense in asked:
                for same in good:
                    hits = index.search(text, at, K, same=same, where=where, words=[word.word])
                    right = [(hit.metadata["sense"] == sense) == same for hit in hits]
                    good[same] += sum(right) / K
            found[word.word], far[word.word] = (good[same] / len(asked) for same in (True, False))
    return found, far


def by_chance(words: list[AmbiguousWord]) -> tuple[dict[str, float], dict[str, float]]:
    """What any ten occurrences of the word have on average."""
    found = {}
    for word in words:
        share = np.bincount(word.train.senses) / len(word.train)
        found[word.word] = float(share[word.test.senses].mean())
    return found, {word: 1 - share for word, share in found.items()}


def each(occurrences: Occurrences) -> Iterator[tuple[list[str], int, int]]:
    return zip(
        occurrences.texts,
        occurrences.positions.tolist(),
        occurrences.senses.tolist(),
        strict=True,
    )


def scores(gold: np.ndarray, found: np.ndarray) -> tuple[int, float, float]:
    """Number of senses found, V-measure, and F1 of B-cubed precision and recall."""
    from sklearn.metrics import v_measure_score  # not in the memory that ``measure`` tells

    table = np.zeros((gold.max() + 1, found.max() + 1))
    np.add.at(table, (gold, found), 1)
    precision = (table**2 / np.maximum(table.sum(axis=0), 1)).sum() / len(gold)
    recall = (table**2 / np.maximum(table.sum(axis=1, keepdims=True), 1)).sum() / len(gold)
    f1 = 2 * precision * recall / (precision + recall)
    return len(np.unique(found)), v_measure_score(gold, found), float(f1)


def made(text: Path, words: int = 56) -> None:
    """Pseudowords: the uses of one to four words, each replaced by one and the same other word."""
    with lzma.open(text, "rt") as file:
        texts = [line.rstrip("\n") for line in islice(file, 40_000)]
    at = defaultdict(list)
    for i, one in enumerate(texts):
        for start, end in split_words(one):
            word = one[start:end]
            if word.isalpha() and word.islower() and len(word) > 3 and is_content(word):
                at[word].append((i, start, end))
    draw = random.Random(1)
    usable = sorted(word for word, places in at.items() if 60 <= len(places) <= 500)
    draw.shuffle(usable)
    model, pool, result = polyseme.load(), iter(usable), []
    for number in range(words):
        senses = (1, 2, 2, 3)[number % 4] + (number % 8 == 7)
        sources, carrier = list(islice(pool, senses)), next(pool)
        given, starts, gold = [], [], []
        for sense, source in enumerate(sources):
            for i, start, end in draw.sample(at[source], min(250, len(at[source]))):
                before = texts[i][max(0, start - 300) : start]
                given.append(before + carrier + texts[i][end : end + 300])
                starts.append(len(before))
                gold.append(sense)
        docs = model.contextualize(given, progress=False)
        vectors = np.stack(
            [doc[start, start + len(carrier)] for doc, start in zip(docs, starts, strict=True)]
        )
        vectors = unit(vectors)
        result.append(
            (senses, *scores(np.asarray(gold), nearest_to(centroids_of(vectors), vectors)))
        )
    right = np.mean([number == senses for senses, number, _, _ in result])
    off = np.mean([abs(number - senses) for senses, number, _, _ in result])
    v, b = np.mean([one[2:] for one in result], axis=0)
    print(f"{words} pseudowords: number right {right:.2f}, off by {off:.2f}, V {v:.3f}, B3 {b:.3f}")


def large(text: Path, folder: Path, occurrences: int) -> None:
    """Build the large index, a file of 10,000 paragraphs at a time, if it is not there."""
    if (folder / "index.json").exists() and len(SenseIndex.open(folder)) >= occurrences:
        return
    model = polyseme.load()
    with lzma.open(text, "rt") as source, tempfile.TemporaryDirectory() as place:
        file = Path(place, "paragraphs.txt")
        # About 22 content words stand in a paragraph.
        with file.open("w") as out:
            out.writelines(islice(source, occurrences // 22))
        made = build_index(file, folder, model=model, anew=True)
    print(
        f"built: {made.occurrences:,} occurrences, {made.texts:,} texts, {made.seconds:,.0f} s, "
        f"{made.occurrences / made.seconds:,.0f}/s; {made.bytes / 1e6:,.0f} MB, "
        f"{made.bytes / made.occurrences:.0f} bytes an occurrence, "
        f"peak memory {megabytes('VmHWM'):,.0f} MB"
    )


def measure(folder: Path, queries: int, seed: int, with_recall: bool) -> None:
    begun = time.perf_counter()
    import lancedb  # noqa: F401

    print(f"import lancedb {time.perf_counter() - begun:.2f} s")
    begun = time.perf_counter()
    index = SenseIndex.open(folder)
    print(f"open {time.perf_counter() - begun:.3f} s: {index!r}")
    begun = time.perf_counter()
    index = SenseIndex.open(folder, polyseme.load(backend="numpy"))
    print(f"open, with the model {time.perf_counter() - begun:.3f} s")
    # Occurrences drawn evenly, so that words come as often as they do in text.
    draw = np.random.default_rng(seed)
    rows = index._tables.occurrences.take_offsets(draw.integers(0, len(index), queries).tolist())
    rows = rows.to_arrow()
    asked = index._tables.occurrences_of(rows, np.zeros(len(rows), np.float32))
    positions = [[start for start, _ in split_words(one.text)].index(one.start) for one in asked]
    index.words  # noqa: B018 -- read once
    print(f"words read; memory {megabytes('VmHWM'):,.0f} MB")
    for name in ("search", "synonyms"):
        call = getattr(index, name)
        call(asked[0].text, positions[0])
        times, used = [], time.process_time()
        for one, position in zip(asked, positions, strict=True):
            begun = time.perf_counter()
            call(one.text, position)
            times.append(time.perf_counter() - begun)
        used = (time.process_time() - used) / len(asked)
        print(
            f"{name}: p50 {1e3 * statistics.median(times):.1f} ms, "
            f"p95 {1e3 * sorted(times)[int(0.95 * len(times))]:.1f} ms, "
            f"{len(times) / sum(times):.0f} queries/s; processor time a query {1e3 * used:.1f} ms; "
            f"peak memory {megabytes('VmHWM'):,.0f} MB"
        )
    if with_recall:
        recall(index, asked, positions)


def recall(index: SenseIndex, asked: list, positions: list[int]) -> None:
    """Of the 10 nearest occurrences of other words, and of the 10 nearest words, what is found."""
    tables, alphabet = index._tables, sorted(index.words)
    targets, places, names = [], [], []
    for one, position in zip(asked, positions, strict=True):
        own, vector = index._meant(one.text, position)
        forms = forms_of(own, alphabet)
        targets.append((vector, set(forms)))
        _, rows, cosines = tables.in_groups(vector, tables.meeting.enough, None, forms)
        places.append(set(rows[np.argsort(-cosines)[:K]].tolist()))
        found = tables.occurrences_of(*tables.near(vector, K, None, forms))
        names.append({hit.word.casefold() for hit in found})
    vectors = np.stack([vector for vector, _ in targets])
    best: list[dict[str, tuple[float, int]]] = [{} for _ in targets]
    nearest: list[list[tuple[float, int]]] = [[] for _ in targets]
    for batch in tables.occurrences.search().select(["word", "_rowoffset"]).to_batches():
        ids = batch["_rowoffset"].to_numpy().astype(np.int64)
        cosines = unit(tables.vectors.take(ids).astype(np.float32)) @ vectors.T
        words = batch["word"].to_pylist()
        for i, (_, left_out) in enumerate(targets):
            # More than enough, as a batch is of few words and the word's own are left out.
            for row in np.argsort(-cosines[:, i])[:2000].tolist():
                if words[row] not in left_out:
                    found = (float(cosines[row, i]), int(ids[row]))
                    best[i][words[row]] = max(best[i].get(words[row], (-1.0, 0)), found)
                    nearest[i].append(found)
            nearest[i] = sorted(nearest[i], reverse=True)[:K]
    by_place = [
        len({one[1] for one in of} & hit) / K for of, hit in zip(nearest, places, strict=True)
    ]
    by_name = [
        len(set(sorted(of, key=of.__getitem__)[-K:]) & hit) / K
        for of, hit in zip(best, names, strict=True)
    ]
    print(
        f"recall at {K} against all occurrences: {np.mean(by_place):.3f} of the nearest "
        f"occurrences of other words, {np.mean(by_name):.3f} of the nearest words"
    )


if __name__ == "__main__":
    main()
