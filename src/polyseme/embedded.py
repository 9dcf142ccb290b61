"""What users get: texts with the vectors of their words.

``EmbeddedText`` is one text: its words, their spans in the user's string, and a vector for each.
``EmbeddedTexts`` is many of them over one packed array, made into single ones only when asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from polyseme.packed import Offsets, offsets_of

if TYPE_CHECKING:
    import pyarrow

Floats = npt.NDArray[np.float32]
Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class EmbeddedText:
    """One text and the vectors of its words.

    Attributes:
        text: the user's string; words that the user gave are joined by one space.
        words: (n_words) as they stand in the text.
        spans: (n_words) start and end in code points: ``text[start:end] == word``.
        vectors: (n_words, dim) float32.
        known: (n_words,) bool; False where the model has no piece of the word.

    Example:
        >>> import polyseme
        >>> doc = polyseme.load().contextualize("An apple a day")
        >>> doc.words, doc.spans[1], doc["apple"].shape
        (['An', 'apple', 'a', 'day'], (3, 8), (256,))
    """

    text: str
    words: list[str]
    spans: list[Span]
    vectors: Floats
    known: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, key: str | int | slice | Span) -> Floats:
        """Vectors by word, position, slice of positions, or character span.

        Args:
            key: a word that occurs once; a position; a slice; or ``(start, end)`` in characters,
                which gives the mean over the words that it touches.

        Returns:
            (dim,), or (k, dim) for a slice.

        Raises:
            KeyError: the word does not occur, or the span touches no word.
            IndexError: there is no such position.
            ValueError: the word occurs more than once.
        """
        rows: Any = key
        if isinstance(key, tuple):
            rows = self.touched(*key)
        elif isinstance(key, str):
            rows = self.position(key)
        elif not isinstance(key, slice) and not -len(self) <= key < len(self):
            raise IndexError(f"word {key} of a text of {len(self)} words")
        found: Floats = self.vectors[rows]
        return found.mean(axis=0) if isinstance(key, tuple) else found

    def find(self, word: str) -> list[int]:
        """Positions at which a word stands; by its letters' case if it occurs so, else by any."""
        exact = [i for i, own in enumerate(self.words) if own == word]
        folded = word.casefold()
        return exact or [i for i, own in enumerate(self.words) if own.casefold() == folded]

    def position(self, word: str) -> int:
        """The one position of a word.

        Raises:
            KeyError: it does not occur.
            ValueError: it occurs more than once.
        """
        found = self.find(word)
        if not found:
            raise KeyError(f"{word!r} is no word of this text; its words are {_listed(self.words)}")
        if len(found) > 1:
            raise ValueError(
                f"{word!r} occurs {len(found)} times, at {found}: use one of these positions"
            )
        return found[0]

    def touched(self, start: int, end: int) -> list[int]:
        """Positions of the words that share a character with text[start:end].

        Raises:
            KeyError: there is none.
        """
        found = [i for i, (a, b) in enumerate(self.spans) if a < end and start < b]
        if not found:
            raise KeyError(f"no word stands in characters {start} to {end}")
        return found

    def to_numpy(self) -> Floats:
        """(n_words, dim) float32."""
        return self.vectors

    def to_arrow(self) -> pyarrow.Table:
        """A table with one row a word: word, start, end, vector (fixed-size list of float32)."""
        pa = _pyarrow()
        starts, ends = np.asarray(self.spans, dtype=np.int64).reshape(-1, 2).T
        return pa.table(
            {
                "word": pa.array(self.words, pa.string()),
                "start": pa.array(starts, pa.int64()),
                "end": pa.array(ends, pa.int64()),
                "vector": _vector_array(pa, self.vectors),
            }
        )

    def __repr__(self) -> str:
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return f"EmbeddedText({shown!r}, {len(self)} words x {self.vectors.shape[1]})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{i}</td><td>{escape(word)}</td><td>{start}&ndash;{end}</td>"
            f"<td>{escape(_head(vector))}</td></tr>"
            for i, (word, (start, end), vector) in enumerate(
                zip(self.words, self.spans, self.vectors, strict=True)
            )
        )
        return (
            f"<table><caption>{escape(repr(self))}</caption>"
            f"<tr><th></th><th>word</th><th>characters</th><th>vector</th></tr>{rows}</table>"
        )


@dataclass(frozen=True, eq=False)
class EmbeddedTexts(Sequence[EmbeddedText]):
    """Many texts over one packed array.

    Attributes:
        texts: (n_texts) the users' strings.
        offsets: (n_texts + 1,) int64: text i has the words offsets[i] to offsets[i + 1].
        spans: (n_words, 2) int64, start and end of each word in its text.
        vectors: (n_words, dim) float32.
        known: (n_words,) bool.

    Example:
        >>> import polyseme
        >>> docs = polyseme.load().contextualize(["An apple a day", "Apple pie"])
        >>> len(docs), docs.offsets.tolist(), docs[1].words
        (2, [0, 4, 6], ['Apple', 'pie'])
    """

    texts: list[str]
    offsets: Offsets
    spans: npt.NDArray[np.int64]
    vectors: Floats = field(repr=False)
    known: npt.NDArray[np.bool_] = field(repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, i: int) -> EmbeddedText: ...
    @overload
    def __getitem__(self, i: slice) -> list[EmbeddedText]: ...
    def __getitem__(self, i: int | slice) -> EmbeddedText | list[EmbeddedText]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"text {i} of {len(self)}")
        i %= len(self)
        rows = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        text = self.texts[i]
        spans = [(start, end) for start, end in self.spans[rows].tolist()]
        words = [text[start:end] for start, end in spans]
        return EmbeddedText(text, words, spans, self.vectors[rows], self.known[rows])

    def __iter__(self) -> Iterator[EmbeddedText]:
        return (self[i] for i in range(len(self)))

    def part(self, start: int, stop: int) -> EmbeddedTexts:
        """The texts start..stop alone, over arrays of their own."""
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        return EmbeddedTexts(
            self.texts[start:stop],
            self.offsets[start : stop + 1] - first,
            self.spans[first:last].copy(),
            self.vectors[first:last].copy(),
            self.known[first:last].copy(),
        )

    def to_numpy(self) -> tuple[Floats, Offsets]:
        """(n_words, dim) float32 vectors of all texts end to end, and (n_texts + 1,) offsets."""
        return self.vectors, self.offsets

    def to_arrow(self) -> pyarrow.Table:
        """A table with one row a text: text, and lists of its words, starts, ends and vectors.

        The vectors are not copied.
        """
        pa = _pyarrow()
        offsets = pa.array(self.offsets, pa.int64())
        words = [
            text[start:end]
            for i, text in enumerate(self.texts)
            for start, end in self.spans[self.offsets[i] : self.offsets[i + 1]].tolist()
        ]
        columns = {
            "words": pa.array(words, pa.string()),
            "starts": pa.array(np.ascontiguousarray(self.spans[:, 0]), pa.int64()),
            "ends": pa.array(np.ascontiguousarray(self.spans[:, 1]), pa.int64()),
            "vectors": _vector_array(pa, self.vectors),
        }
        lists = {
            name: pa.LargeListArray.from_arrays(offsets, values) for name, values in columns.items()
        }
        return pa.table({"text": pa.array(self.texts, pa.string()), **lists})

    def __repr__(self) -> str:
        words, dim = self.vectors.shape
        return f"EmbeddedTexts({len(self)} texts, {words} words x {dim})"


def joined(parts: Sequence[EmbeddedTexts]) -> EmbeddedTexts:
    """The texts of several as one."""
    if len(parts) == 1:
        return parts[0]
    return EmbeddedTexts(
        [text for part in parts for text in part.texts],
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.spans for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.known for part in parts]),
    )


def _vector_array(pa: Any, vectors: Floats) -> Any:
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ImportError('Arrow output needs pyarrow: pip install "polyseme[corpus]"') from None
    return pyarrow


def _head(vector: Floats) -> str:
    return ", ".join(f"{value:.3f}" for value in vector[:4]) + (", ..." if len(vector) > 4 else "")


def _listed(words: list[str]) -> str:
    shown = ", ".join(repr(word) for word in words[:20])
    return shown + (f" and {len(words) - 20} more" if len(words) > 20 else "")
