"""Opening and saving models: from whatever the user names to a Contextualizer, and back.

Besides checkpoints (``checkpoints.py``) there are word vectors in files of their own formats, and
folders in which a model over word vectors without a tokenizer.json was saved: config.json beside
vectors.safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from polyseme.calibration import calibrated, is_calibrated
from polyseme.checkpoints import (
    OWN_TYPE,
    Checkpoint,
    Sentence,
    Stored,
    Tensors,
    dequantized,
    own_config,
    read_checkpoint,
    read_json,
    read_tensors,
    resolve,
    write_checkpoint,
)
from polyseme.contextualizer import Contextualizer
from polyseme.encoder import EncoderConfig
from polyseme.execution import place
from polyseme.hub import FOLDER
from polyseme.inputs import Text, as_list
from polyseme.parameter_free import ParameterFree
from polyseme.text import Tokenizer
from polyseme.vectors import WordVectors

BUNDLED = Path(__file__).parent / "data" / "default"
BUNDLED_NAME = "polyseme-small"

_VECTORS = "vectors.safetensors"
_HEAD = """---
library_name: polyseme
pipeline_tag: feature-extraction
tags:
- polyseme
- word-vectors
- self-attention
---

"""
_DEFAULT_SETTINGS = ParameterFree()


def load(
    source: str | os.PathLike[str] | WordVectors | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    backend: str = "auto",
    calibration: Sequence[Text] | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Contextualizer:
    """Open a model of any rung.

    Args:
        source: None or "polyseme-small" for the bundled default; a folder or hub id of a polyseme
            model, of a BERT, RoBERTa, DistilBERT, MPNet, ELECTRA or ModernBERT checkpoint, or of
            Model2Vec vectors; a file of word vectors in any format that ``WordVectors.load`` reads;
            or WordVectors.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto": a GPU for models with layers if torch
            sees one, else the CPU.
        dtype: of the computation: "float32" ("auto"), "float64", and with torch "bfloat16" and
            "float16", or on a CPU, for models with layers, "int8": products of 8-bit numbers, whose
            vectors have a mean cosine of about 0.995 to those of "float32". Results are float32 in
            any case.
        backend: "numpy", "torch", or "auto": torch for models with layers where it is installed.
        calibration: with "int8", texts like those that will be read, a few thousand tokens, by
            which states are rounded; if None, by what the model was saved with, or some sentences
            that come with polyseme.
        revision: branch, tag or commit of a hub id.
        token: for private models on the hub; HF_TOKEN is honoured.

    Returns:
        A model. Word vectors get parameter-free attention; ``.static()`` takes it away.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the files are damaged or of an unknown kind, or an option is unknown.
        ImportError: an option needs torch and it is not installed.

    Example:
        >>> import polyseme
        >>> model = polyseme.load()
        >>> model.contextualize("Apple just launched a new iPhone.").words
        ['Apple', 'just', 'launched', 'a', 'new', 'iPhone', '.']
    """
    if calibration is not None:
        if dtype != "int8":
            raise ValueError(f"calibration is for dtype 'int8', not for {dtype!r}")
        calibration = as_list(calibration)
    name = BUNDLED_NAME
    if isinstance(source, WordVectors):
        return _over_vectors(source, "word vectors", device, dtype, backend)
    if source is None or isinstance(source, (str, os.PathLike)):
        path = place_of(source, revision=revision, token=token)
        if source is not None and path != BUNDLED:
            name = os.fspath(source)
    else:
        raise TypeError(
            f"source is of type {type(source).__name__}: give a folder, a file of word vectors, a "
            "hub id, WordVectors, or None for the bundled default"
        )
    if path.is_file():
        return _over_vectors(WordVectors.load(path), name, device, dtype, backend)
    raw = read_json(path / "config.json")
    if raw.get("model_type") == "model2vec":
        return _over_vectors(WordVectors.load(path), name, device, dtype, backend)
    if (path / _VECTORS).exists():
        config, settings, _ = own_config(raw, path / "config.json")
        vectors = WordVectors.load(path / _VECTORS)
        more = dequantized(read_tensors(path)) if (path / "model.safetensors").exists() else {}
        return _over_vectors(
            vectors, name, device, dtype, backend, settings=settings, more=more, config=config
        )
    checkpoint = read_checkpoint(path, name=name)
    where = place(device=device, dtype=dtype, backend=backend, layers=checkpoint.config.layers)
    tokenizer = Tokenizer.from_file(path / "tokenizer.json")
    if where.dtype == "int8" and (calibration is not None or not is_calibrated(checkpoint)):
        checkpoint = calibrated(checkpoint, tokenizer, calibration)
    model = Contextualizer(checkpoint, tokenizer, where)
    weights = path / "model.safetensors"
    model.origin = weights if weights.exists() and calibration is None else None
    return model


def save(
    model: Contextualizer, folder: str | os.PathLike[str], *, dtype: Stored = "float32"
) -> None:
    """Write a model as a folder that ``load`` opens; see ``Contextualizer.save_pretrained``."""
    if dtype not in ("float32", "int8"):
        raise ValueError(f"dtype is {dtype!r}: use 'float32' or 'int8'")
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file: give a folder")
    vectors = model.word_vectors
    if vectors is None:
        tokenizer = model.tokenizer.to_json()
        write_checkpoint(path, model.checkpoint, _card(model), tokenizer, dtype=dtype)
        return
    if dtype != "float32":
        raise ValueError(f"dtype is {dtype!r}: word vectors are stored as they are, in 'float32'")
    path.mkdir(parents=True, exist_ok=True)
    temporary = path / f"new-{os.getpid()}-{_VECTORS}"
    vectors.save(temporary)
    temporary.replace(path / _VECTORS)
    more = {
        name: array
        for name, array in model.checkpoint.parameters.items()
        if name != "embeddings.tokens" or array is not vectors.table
    }
    write_checkpoint(path, replace(model.checkpoint, parameters=more), _card(model), None)


def _over_vectors(
    vectors: WordVectors,
    name: str,
    device: str,
    dtype: str,
    backend: str,
    *,
    settings: ParameterFree | None = _DEFAULT_SETTINGS,
    more: Tensors | None = None,
    config: EncoderConfig | None = None,
) -> Contextualizer:
    rows, dim = vectors.table.shape
    config = config or EncoderConfig(vocabulary_size=rows, hidden_size=dim)
    checkpoint = Checkpoint(
        name=name,
        model_type=OWN_TYPE,
        config=config,
        parameters={"embeddings.tokens": vectors.table, **(more or {})},
        parameter_free=settings,
        sentence=Sentence(),
    )
    where = place(device=device, dtype=dtype, backend=backend, layers=config.layers)
    tokenizer = Tokenizer.from_lookup(vectors.rows)
    return Contextualizer(checkpoint, tokenizer, where, word_vectors=vectors)


def place_of(
    source: str | os.PathLike[str] | None, *, revision: str | None = None, token: str | None = None
) -> Path:
    """Where a model is that ``load`` takes by such a name; what is here comes before the bundled.

    Raises:
        FileNotFoundError: nothing is there.
    """
    if source is None or (source == BUNDLED_NAME and not Path(source).exists()):
        return BUNDLED
    return resolve(source, revision=revision, token=token)


def made_from(model: Contextualizer) -> str:
    """The model's name for others: a hub id, or the last part of a path on this machine."""
    path = Path(model.name)
    return path.name if path.is_absolute() or path.exists() else model.name


def _card(model: Contextualizer) -> str:
    """A model card with the head that the hub reads; a card that it came with is kept."""
    kept = model.checkpoint.card
    if kept.startswith("---"):
        return kept
    return _HEAD + (
        kept
        or f"""# A polyseme model

Rung: {model.rung}. Vectors: {model.dim} wide. Steps of context: {model.layers}.

Made from {made_from(model)!r}; its licence holds for these weights too.

```python
import polyseme

model = polyseme.load("{FOLDER}")
model.contextualize("Apple just launched a new iPhone.")["Apple"]
```
"""
    )
