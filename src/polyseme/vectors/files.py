"""Files of word vectors: which format one is in, and what it holds.

`read` looks at a file's first bytes (never at its name alone) and hands back a `VectorFile`.
Nothing here unpickles: a pickle can run code, so gensim's own `.model` and `.kv` files are refused
with advice. Matrices are memory-mapped where a file holds one in a piece (safetensors, fastText
`.bin`) and read otherwise.
"""

from __future__ import annotations

import itertools
import json
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from polyseme.unpacking import is_packed, open_unpacked
from polyseme.vectors.fasttext import FASTTEXT_MAGIC, NGrams, read_fasttext
from polyseme.vectors.text_files import (
    HEADER,
    Float32,
    check_count,
    cut_short,
    decoded_word,
    drop_repeated,
    layout,
    read_text,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HEAD = 1 << 18
SAFETENSORS_FORMAT = "polyseme-word-vectors"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_DTYPES = {
    "F32": "<f4",
    "F16": "<f2",
    "F64": "<f8",
    "I8": "i1",
    "U8": "u1",
    "I32": "<i4",
    "I64": "<i8",
}


@dataclass(frozen=True)
class VectorFile:
    """What a file of word vectors holds.

    Attributes:
        words: the vocabulary.
        table: (n_rows, dim) float32, row i for word i, then n-gram rows if there are `ngrams`.
        counts: (n_words,) int64 how often each word stood in the training text, if the format says
            so.
        ngrams: how unknown words are put together (fastText).
        tokenizer: how words are cut into rows (Model2Vec).
        from_text: whether numbers had to be parsed, which is worth a cache.
    """

    words: list[str]
    table: Float32
    counts: NDArray[np.int64] | None = None
    ngrams: NGrams | None = None
    tokenizer: Tokenizer | None = None
    from_text: bool = False


def read(path: Path) -> VectorFile:
    """Read word vectors from a file or a Model2Vec folder, whatever its format.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the format is unknown or unsupported, or the content damaged; the message has
            the place.
    """
    if path.is_dir():
        return read_model2vec(path)
    with open_unpacked(path) as stream:
        head = stream.read(HEAD)
    if not head:
        raise ValueError(f"{path}: the file is empty")
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        raise ValueError(
            f"{path}: a Python pickle, which can run code and is never opened here; from "
            "gensim, write the vectors with save_word2vec_format and load that"
        )
    header = HEADER.match(head)
    packed = is_packed(path)
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 30:
        return read_safetensors(_unpacked(path, packed, "safetensors"))
    if len(head) >= 8 and struct.unpack("<i", head[:4])[0] == FASTTEXT_MAGIC:
        return VectorFile(*read_fasttext(_unpacked(path, packed, "fastText .bin")))
    if header and _is_binary(head[header.end() :], int(header[2])):
        return read_word2vec_binary(path, int(header[1]), int(header[2]), header.end())
    size = path.stat().st_size * (4 if packed else 1)
    with open_unpacked(path) as stream:
        words, vectors = read_text(stream, head, path, size)
    return VectorFile(words, vectors, from_text=True)


def _unpacked(path: Path, packed: bool, form: str) -> Path:
    if packed:
        raise ValueError(f"{path}: holds {form}, which is read in place; unpack the file first")
    return path


def _is_binary(rest: bytes, dim: int) -> bool:
    """Tell word2vec's binary form from its text form by what follows the header that they share."""
    if not _CONTROL.search(rest):
        return False
    try:
        return layout(rest[: rest.find(b"\n") + 1], Path())[0] < dim
    except ValueError:
        return True


def read_word2vec_binary(path: Path, count: int, dim: int, start: int) -> VectorFile:
    """Read word2vec's binary form: a header, then each word, a space, `dim` little-endian float32.

    The original tool writes a line feed after each vector and gensim none; both are read.
    """
    with path.open("rb") as file:
        if is_packed(path):
            with open_unpacked(path) as stream:
                data: bytes | mmap.mmap = stream.read()
        else:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size, width, place = len(data), 4 * dim, start
        if width > size:
            raise ValueError(
                f"{path}: {size} bytes can't hold vectors of {dim} numbers; cut short?"
            )
        # A header that lies must not make us ask for more memory than the file can fill.
        vectors = np.empty((min(count, size // width) + 1, dim), np.float32)
        raw_words: list[bytes] = []
        while True:
            while data[place : place + 1] == b"\n":
                place += 1
            if place >= size:
                break
            space = data.find(b" ", place)
            if space < 0 or space + 1 + width > size:
                raise ValueError(
                    f"{path}: cut short within word {len(raw_words) + 1} of {count} "
                    f"(byte {place}); fetch it again"
                )
            if len(raw_words) == len(vectors):
                vectors.resize((len(vectors) * 3 // 2 + 1, dim), refcheck=False)
            vectors[len(raw_words)] = np.frombuffer(data, "<f4", dim, space + 1)
            raw_words.append(data[place:space])
            place = space + 1 + width
    vectors.resize((len(raw_words), dim), refcheck=False)
    if not raw_words:
        raise ValueError(f"{path}: holds no word vectors")
    words = [decoded_word(raw, f"{path}, word {row + 1}") for row, raw in enumerate(raw_words)]
    check_count(len(words), count, str(path))
    return VectorFile(*drop_repeated(words, vectors, path, lambda row: f"word {row + 1}"))


def open_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Memory-map the tensors of a safetensors file; also its metadata.

    Raises:
        ValueError: the file is damaged or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if length < size else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise ValueError(cut_short(path, "safetensors header"))
    metadata = header.pop("__metadata__", {})
    tensors: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        if 8 + length + last > size:
            raise ValueError(cut_short(path, f"tensor {name!r}"))
        if entry["dtype"] in _DTYPES:
            dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            if last - first != dtype.itemsize * int(np.prod(shape)):
                raise ValueError(
                    f"{path}: tensor {name!r} has {last - first} bytes for the shape {shape}"
                )
            empty = last == first  # An empty range can't be mapped.
            tensors[name] = (
                np.empty(shape, dtype)
                if empty
                else np.asarray(np.memmap(path, dtype, "r", 8 + length + first, shape))
            )
    return tensors, metadata


def _named(tensors: dict[str, NDArray[Any]]) -> str:
    return ", ".join(map(repr, tensors)) or "nothing"


def read_safetensors(path: Path) -> VectorFile:
    """Read what `save_safetensors` writes."""
    tensors, metadata = open_tensors(path)
    if not {"vectors", "words", "word_offsets"} <= tensors.keys():
        raise ValueError(
            f"{path}: a safetensors file without a vocabulary (it holds {_named(tensors)}); load "
            "the whole folder if it is a Model2Vec model, or give the words: WordVectors(words, "
            "vectors)"
        )
    if metadata.get("version", "1") != "1":
        raise ValueError(
            f"{path}: version {metadata['version']} of {SAFETENSORS_FORMAT}; version 1 is read"
        )
    raw, offsets = tensors["words"].tobytes(), tensors["word_offsets"].tolist()
    words = [
        decoded_word(raw[a:b], f"{path}, word {i + 1}")
        for i, (a, b) in enumerate(itertools.pairwise(offsets))
    ]
    ngrams = NGrams(**json.loads(metadata["ngrams"])) if "ngrams" in metadata else None
    tokenizer = _tokenizer(metadata["tokenizer"]) if "tokenizer" in metadata else None
    table = tensors["vectors"].astype(np.float32, copy=False)
    return VectorFile(words, table, tensors.get("counts"), ngrams, tokenizer)


def save_safetensors(content: VectorFile, path: Path) -> None:
    """Write word vectors with their vocabulary into one safetensors file."""
    from safetensors.numpy import save_file

    raw = [word.encode() for word in content.words]
    tensors: dict[str, NDArray[Any]] = {
        "vectors": np.ascontiguousarray(content.table, "<f4"),
        "words": np.frombuffer(b"".join(raw), np.uint8),
        "word_offsets": np.cumsum([0, *map(len, raw)], dtype=np.int64),
    }
    if content.counts is not None:
        tensors["counts"] = content.counts
    metadata = {"format": SAFETENSORS_FORMAT, "version": "1"}
    if content.ngrams is not None:
        metadata["ngrams"] = json.dumps(vars(content.ngrams))
    if content.tokenizer is not None:
        metadata["tokenizer"] = content.tokenizer.to_str()
    temporary = path.with_name(path.name + ".part")
    try:
        save_file(tensors, temporary, metadata)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _tokenizer(source: str) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(source)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_model2vec(folder: Path) -> VectorFile:
    """Read a folder that Model2Vec or sentence-transformers' StaticEmbedding wrote.

    A token's vector is its embedding times its weight, as Model2Vec composes it; its vocabulary
    may share embeddings through `mapping`.
    """
    for place in (folder, folder / "0_StaticEmbedding"):
        if (place / "model.safetensors").is_file() and (place / "tokenizer.json").is_file():
            break
    else:
        raise ValueError(
            f"{folder}: not a Model2Vec folder, which has model.safetensors and tokenizer.json"
        )
    tensors, _ = open_tensors(place / "model.safetensors")
    embeddings = tensors.get("embeddings", tensors.get("embedding.weight"))
    if embeddings is None or embeddings.ndim != 2:
        raise ValueError(
            f"{place / 'model.safetensors'}: no matrix 'embeddings', but {_named(tensors)}"
        )
    table = embeddings.astype(np.float32, copy=False)
    if "mapping" in tensors:
        table = table[tensors["mapping"]]
    if "weights" in tensors:
        table = table * tensors["weights"].astype(np.float32)[:, None]
    tokenizer = _tokenizer((place / "tokenizer.json").read_text("utf-8"))
    words = sorted((i, word) for word, i in tokenizer.get_vocab().items())
    if [i for i, _ in words] != list(range(len(table))):
        raise ValueError(f"{place}: {len(table)} vectors for {len(words)} tokens in tokenizer.json")
    return VectorFile([word for _, word in words], table, tokenizer=tokenizer)
