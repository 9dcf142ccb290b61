"""Vectors into files: streams of any length, in bounded memory.

In: batches of words' vectors (``EmbeddedTexts``) or of texts' vectors (``SentenceVectors``). Out:

- jsonl: a line is ``{"text", "words", "spans", "vectors"}`` or ``{"text", "vector"}``, with nine
  digits, from which a float32 comes back to the bit;
- npz, which ``numpy.load`` opens without pickle: ``vectors`` (n, dim) float32; ``texts`` uint8, the
  texts' UTF-8 end to end, with ``texts_offsets`` (n_texts + 1,) int64; and for words ``offsets``
  (n_texts + 1,) int64, ``spans`` (n_words, 2) int64, ``known`` (n_words,) bool, and ``words`` with
  ``words_offsets`` as for texts. ``read_npz`` puts the words' file together again;
- parquet: a row is a text, as ``EmbeddedTexts.to_arrow`` has it, or text and vector.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from polyseme.embedded import EmbeddedTexts
from polyseme.inputs import Text, batches
from polyseme.text import Phrases

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

Floats = npt.NDArray[np.float32]

_CHARACTERS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class SentenceVectors:
    """Texts and one vector for each.

    Attributes:
        texts: (n_texts) the user's strings; words that the user gave are joined by one space.
        vectors: (n_texts, dim) float32.
    """

    texts: list[str]
    vectors: Floats


Batch = EmbeddedTexts | SentenceVectors


def embedded(
    model: Contextualizer,
    texts: Iterable[Text],
    *,
    sentence: bool = False,
    phrases: Iterable[str] | None = None,
    normalize: bool = False,
    count: Callable[[int, int], None] = lambda texts, vectors: None,
) -> Iterator[Batch]:
    """Batches of vectors for a stream of texts; the first is empty, so there always is one.

    Args:
        model: of any rung.
        texts: as many as there are.
        sentence: a vector for each text, not for each word.
        phrases: phrases that are kept as one unit.
        normalize: scale each vector to length one.
        count: is told of texts and vectors once a batch has been taken.
    """
    compiled = Phrases(phrases) if phrases else None

    def of(batch: list[Text]) -> Batch:
        if not sentence:
            return model.contextualize(batch, phrases=compiled, normalize=normalize, progress=False)
        strings = [text if isinstance(text, str) else " ".join(text) for text in batch]
        vectors = model.encode(batch, normalize=normalize or None, progress=False)
        return SentenceVectors(strings, vectors)

    yield of([])
    for batch in batches(texts, _CHARACTERS_AT_ONCE):
        done = of(batch)
        yield done
        count(len(batch), len(done.vectors))


def write_jsonl(stream: Iterable[Batch], file: IO[bytes]) -> None:
    """Write a line for each text.

    Raises:
        ValueError: a number is infinite or none, which JSON cannot say.
    """
    for batch in stream:
        if not np.isfinite(batch.vectors).all():
            raise ValueError("a vector holds NaN or infinity, which JSON cannot say")
        rows = _numbers(batch.vectors)
        if isinstance(batch, SentenceVectors):
            for text, row in zip(batch.texts, rows, strict=True):
                file.write(f'{{"text": {_json(text)}, "vector": {row}}}\n'.encode())
            continue
        for doc in batch:
            own = ", ".join(next(rows) for _ in doc.words)
            spans = [list(span) for span in doc.spans]
            file.write(
                f'{{"text": {_json(doc.text)}, "words": {_json(doc.words)}, '
                f'"spans": {spans}, "vectors": [{own}]}}\n'.encode()
            )
        file.flush()


def write_parquet(stream: Iterable[Batch], file: IO[bytes]) -> None:
    """Write a row for each text; needs at least one batch, which may be empty.

    Raises:
        ImportError: pyarrow is not installed.
    """
    require_pyarrow()
    from pyarrow.parquet import ParquetWriter

    with ExitStack() as stack:
        writer: Any = None
        for batch in stream:
            table = batch.to_arrow() if isinstance(batch, EmbeddedTexts) else _table(batch)
            if writer is None:
                writer = stack.enter_context(ParquetWriter(file, table.schema))
            if table.num_rows:
                writer.write_table(table)


def write_npz(stream: Iterable[Batch], file: IO[bytes]) -> None:
    """Write arrays over all texts; needs at least one batch, which may be empty.

    An array's length stands before its numbers, so each is collected in a temporary file beside the
    one that is written: memory is bounded, and the disk holds the vectors twice for a while.
    """
    folder = Path(file.name).parent if isinstance(getattr(file, "name", None), str) else None
    with ExitStack() as stack:
        collected: dict[str, _Collected] = {}
        for batch in stream:
            for name, array in _arrays(batch).items():
                if name not in collected:
                    spool = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                    collected[name] = _Collected(spool, array[:0])
                collected[name].append(array, running=name.endswith("offsets"))
        with ZipFile(file, "w") as archive:
            for name, whole_array in collected.items():
                # A ZipInfo carries no time, so equal arrays make equal files.
                with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    whole_array.write(member)


def read_npz(path: str | os.PathLike[str]) -> EmbeddedTexts:
    """Open words' vectors that ``write_npz`` wrote.

    Raises:
        ValueError: the file holds something else, such as sentence vectors.
    """
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"vectors", "texts", "texts_offsets", "offsets", "spans", "known"} - set(arrays)
        if missing:
            raise ValueError(f"{path}: no vectors of words, {', '.join(sorted(missing))} missing")
        blob, ends = arrays["texts"].tobytes(), arrays["texts_offsets"].tolist()
        texts = [blob[a:b].decode() for a, b in pairwise(ends)]
        return EmbeddedTexts(
            texts, arrays["offsets"], arrays["spans"], arrays["vectors"], arrays["known"]
        )


Writer = Callable[[Iterable[Batch], IO[bytes]], None]
WRITERS: dict[str, Writer] = {
    ".npz": write_npz,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}


def require_pyarrow() -> None:
    """Raise ImportError, with what to install, where pyarrow is missing."""
    if find_spec("pyarrow") is None:
        raise ImportError('Parquet needs pyarrow: pip install "polyseme[corpus]"')


class _Collected:
    """Rows of one array of a npz file, on disk until their number is known."""

    def __init__(self, spool: IO[bytes], empty: npt.NDArray[Any]) -> None:
        self.spool = spool
        self.dtype = empty.dtype
        self.row = empty.shape[1:]
        self.rows = 0
        self.last = 0

    def append(self, array: npt.NDArray[Any], *, running: bool) -> None:
        if running:
            array = (array if self.rows == 0 else array[1:]) + self.last
            if len(array):
                self.last = int(array[-1])
        self.spool.write(np.ascontiguousarray(array).tobytes())
        self.rows += len(array)

    def write(self, member: IO[bytes]) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.row),
        }
        np.lib.format.write_array_header_1_0(member, header)
        self.spool.seek(0)
        shutil.copyfileobj(self.spool, member, 1 << 20)


def _arrays(batch: Batch) -> dict[str, npt.NDArray[Any]]:
    texts, texts_offsets = _bytes_of(batch.texts)
    arrays: dict[str, npt.NDArray[Any]] = {
        "vectors": batch.vectors,
        "texts": texts,
        "texts_offsets": texts_offsets,
    }
    if isinstance(batch, EmbeddedTexts):
        words, words_offsets = _bytes_of([word for doc in batch for word in doc.words])
        arrays |= {
            "offsets": batch.offsets,
            "spans": batch.spans,
            "known": batch.known,
            "words": words,
            "words_offsets": words_offsets,
        }
    return arrays


def _bytes_of(strings: list[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    encoded = [string.encode() for string in strings]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def _table(batch: SentenceVectors) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(batch.vectors).reshape(-1), pa.float32())
    vectors = pa.FixedSizeListArray.from_arrays(flat, batch.vectors.shape[1])
    return pa.table({"text": pa.array(batch.texts, pa.string()), "vector": vectors})


def _numbers(vectors: Floats) -> Iterator[str]:
    """Each row as a JSON list; nine digits are enough to tell any two float32 apart."""
    template = f"[{', '.join(['%.9g'] * vectors.shape[1])}]"
    return (template % tuple(row.tolist()) for row in vectors)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
