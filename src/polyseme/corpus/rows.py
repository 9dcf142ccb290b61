"""One batch of texts into one Arrow table of vectors: no files, no state, no order.

In: texts, and an Arrow table of whatever else is known of them. Out: a table with a row for each
text, or for each of their words. This is all that a cluster has to call; the local engine calls it
too. As a text's vectors do not depend on the batch, neither does a row of the table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.embedded_files import require_pyarrow
from polyseme.inputs import Text

if TYPE_CHECKING:
    import pyarrow

    from polyseme.contextualizer import Contextualizer

By = Literal["texts", "words"]
Store = Literal["float32", "float16", "int8"]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

LEAD = ("row", "source", "line")
"""Columns that stand before all others."""

_OWN = {"texts": ("text",), "words": ("position", "start", "end", "word")}


@dataclass(frozen=True)
class Wanted:
    """What a table holds.

    Attributes:
        by: "texts": a row is a text; "words": a row is a word of a text.
        store: the vectors' numbers: "float32", "float16", or "int8", each vector with a float32 in
            the column scale by which it must be multiplied.
        words: only these words have rows, whatever the case of their letters; None for all.
        dim: keep the first so many numbers of a vector; None for all.
        normalize: scale the vectors to length one, after they were cut to ``dim``; if None, texts'
            vectors as the model is set, and words' vectors not.
    """

    by: By = "texts"
    store: Store = "float32"
    words: frozenset[str] | None = None
    dim: int | None = None
    normalize: bool | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("by", self.by, ("texts", "words")),
            ("store", self.store, ("float32", "float16", "int8")),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}: use one of {', '.join(known)}")
        if self.words is not None:
            if self.by == "texts":
                raise ValueError("a list of words is for rows by words: --by words (by='words')")
            if not self.words:
                raise ValueError("the list of words is empty: no row would be left")
            object.__setattr__(self, "words", frozenset(word.casefold() for word in self.words))
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"dim is {self.dim}: it must be at least 1")

    def width(self, model: Contextualizer) -> int:
        """Numbers of a vector.

        Raises:
            ValueError: the model has fewer than ``dim``.
        """
        if self.dim is not None and self.dim > model.dim:
            raise ValueError(f"dim is {self.dim}, but {model.name}'s vectors have {model.dim}")
        return self.dim or model.dim

    @property
    def taken(self) -> tuple[str, ...]:
        """Names that other columns can't have."""
        return (*LEAD, *_OWN[self.by], "vector", "scale")

    def told(self) -> dict[str, Any]:
        """As JSON can hold it, but for dim; the words as their number and digest."""
        words = None
        if self.words is not None:
            digest = hashlib.sha256("\n".join(sorted(self.words)).encode()).hexdigest()
            words = f"{len(self.words)} with the digest {digest[:16]}"
        return {
            "by": self.by,
            "store": self.store,
            "words": words,
            "normalize": self.normalize,
        }


def schema_of(
    columns: pyarrow.Schema, wanted: Wanted, dim: int, metadata: Mapping[str, str] | None = None
) -> pyarrow.Schema:
    """The schema of ``embed_rows``.

    Args:
        columns: of what is known of the texts.
        wanted: what the table holds.
        dim: numbers of a vector.
        metadata: kept with the schema.
    """
    require_pyarrow()
    import pyarrow as pa

    types = {"text": pa.string(), "word": pa.string()}
    number = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}[wanted.store]
    fields = [columns.field(name) for name in LEAD if name in columns.names]
    fields += [pa.field(name, types.get(name, pa.int32())) for name in _OWN[wanted.by]]
    fields += [field for field in columns if field.name not in LEAD]
    fields.append(pa.field("vector", pa.list_(number, dim)))
    if wanted.store == "int8":
        fields.append(pa.field("scale", pa.float32()))
    return pa.schema(fields, dict(metadata) if metadata else None)


def embed_rows(
    model: Contextualizer, texts: Sequence[Text], columns: pyarrow.Table, wanted: Wanted
) -> pyarrow.Table:
    """A table with the vector of each text, or of each word.

    Args:
        model: of any rung.
        texts: (n) strings, or lists of the user's own words.
        columns: n rows of whatever else is known of the texts; each is repeated for each word.
        wanted: what the table holds.

    Returns:
        A table of ``schema_of(columns.schema, wanted, dim)``.

    Raises:
        ValueError: a vector holds a number that is infinite or none, or is so in float16.

    Example:
        >>> import pyarrow, polyseme
        >>> columns = pyarrow.table({"line": [1, 2]})
        >>> texts = ["An apple a day", "Apple pie"]
        >>> wanted = Wanted(by="words", words=frozenset(["apple"]))
        >>> table = embed_rows(polyseme.load(), texts, columns, wanted)
        >>> table["line"].to_pylist(), table["word"].to_pylist(), table["start"].to_pylist()
        ([1, 2], ['apple', 'Apple'], [3, 0])
    """
    require_pyarrow()
    import pyarrow as pa

    width = wanted.width(model)
    own: dict[str, Any]
    if wanted.by == "texts":
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        own = {"text": joined}
        vectors = model.encode(list(texts), normalize=False, progress=False)
        normalize = wanted.normalize
        to_unit = model.checkpoint.sentence.normalize if normalize is None else normalize
    else:
        owners, own, vectors = _of_words(model, texts, wanted.words)
        columns = columns.take(pa.array(owners, pa.int64()))
        to_unit = bool(wanted.normalize)
    vectors = vectors[:, :width]
    stored = _stored(unit(vectors) if to_unit else vectors, wanted.store)
    schema = schema_of(columns.schema, wanted, width)
    arrays = []
    for field in schema:
        if field.name == "vector":
            flat = pa.array(np.ascontiguousarray(stored[0]).reshape(-1), field.type.value_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        elif field.name == "scale" and len(stored) > 1:
            arrays.append(pa.array(stored[1], field.type))
        elif field.name in own:
            arrays.append(pa.array(own[field.name], field.type))
        else:
            arrays.append(columns[field.name])
    return pa.Table.from_arrays(arrays, schema=schema)


def _of_words(
    model: Contextualizer, texts: Sequence[Text], only: frozenset[str] | None
) -> tuple[Integers, dict[str, Any], Floats]:
    """The text of each word, what is known of the word, and its vector."""
    chosen = np.arange(len(texts))
    if only is not None:
        # A text without any of the words need not go through the model.
        tokens = model.tokenizer(list(texts))
        found = [
            any(tokens.texts[i][start:end].casefold() in only for start, end in spans.tolist())
            for i, spans in enumerate(np.split(tokens.spans, tokens.word_offsets[1:-1]))
        ]
        chosen = np.flatnonzero(found)
    docs = model.contextualize([texts[i] for i in chosen.tolist()], progress=False)
    sizes = np.diff(docs.offsets)
    starts, ends = docs.spans.T
    within = np.repeat(np.arange(len(docs)), sizes)
    words = [
        docs.texts[i][start:end]
        for i, start, end in zip(within.tolist(), starts.tolist(), ends.tolist(), strict=True)
    ]
    own = {
        "position": np.arange(len(starts)) - np.repeat(docs.offsets[:-1], sizes),
        "start": starts,
        "end": ends,
        "word": np.asarray(words, dtype=object),
    }
    owners = chosen[within]
    if only is None:
        return owners, own, docs.vectors
    kept = np.asarray([word.casefold() in only for word in own["word"]], bool)
    return owners[kept], {name: array[kept] for name, array in own.items()}, docs.vectors[kept]


def _stored(vectors: Floats, store: Store) -> tuple[npt.NDArray[Any], ...]:
    """The numbers as they are kept; for int8 and each vector's scale."""
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds NaN or infinity")
    if store == "int8":
        largest = np.abs(vectors).max(axis=1, initial=0)
        scale = (np.maximum(largest, 1e-30) / np.float32(127)).astype(np.float32)
        return np.rint(vectors / scale[:, None]).astype(np.int8), scale
    if store == "float16":
        if vectors.size and np.abs(vectors).max() > np.finfo(np.float16).max:
            raise ValueError("a number is too large for float16: use float32 or int8")
        return (vectors.astype(np.float16),)
    return (vectors,)
