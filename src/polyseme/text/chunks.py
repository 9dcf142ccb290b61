"""Texts cut at whitespace into chunks, whose tokens and words are read once and remembered.

All chunks' tokens and words lie end to end in a few arrays with offsets (ragged rows), so that a
list of chunk numbers becomes a text by gathers alone. What a chunk's tokens are is not known here.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_LONGEST = 64  # characters of the longest chunk worth keeping: longer ones seldom come back


def starts(counts: npt.ArrayLike) -> Integers:
    """Offsets (n + 1,) of n ragged rows from their counts (n,)."""
    counts = np.asarray(counts)
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _ragged(offsets: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """Where the items of some ragged rows stand, end to end, and the offsets of the rows there."""
    first = offsets.take(rows)
    counts = offsets.take(rows + 1) - first
    there = starts(counts)
    index = np.repeat(first - there[:-1], counts)
    index += np.arange(len(index))
    return index, there


def _put(array: npt.NDArray[Any], at: int, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    end = at + len(rows)
    if end > len(array):
        longer = np.empty((max(end, 2 * len(array)), *array.shape[1:]), array.dtype)
        longer[:at] = array[:at]
        array = longer
    array[at:end] = rows
    return array


@dataclass(frozen=True, eq=False)
class Chunks:
    """Chunks of text, read: positions count from the chunk's start, tokens from its first one."""

    lengths: npt.NDArray[np.int32]  # (n_chunks,) characters
    token_offsets: Integers  # (n_chunks + 1,)
    word_offsets: Integers  # (n_chunks + 1,)
    token_ids: npt.NDArray[np.int32]  # (n_tokens,)
    token_spans: npt.NDArray[np.int32]  # (n_tokens, 2)
    spans: npt.NDArray[np.int32]  # (n_words, 2)
    word_tokens: npt.NDArray[np.int32]  # (n_words, 2)

    def take(self, numbers: Integers) -> Chunks:
        """The chunks of these numbers (n,), in their order."""
        tokens, token_offsets = _ragged(self.token_offsets, numbers)
        words, word_offsets = _ragged(self.word_offsets, numbers)
        return Chunks(
            lengths=self.lengths.take(numbers),
            token_offsets=token_offsets,
            word_offsets=word_offsets,
            token_ids=self.token_ids.take(tokens),
            token_spans=self.token_spans.take(tokens, axis=0),
            spans=self.spans.take(words, axis=0),
            word_tokens=self.word_tokens.take(words, axis=0),
        )

    def append(self, more: Chunks, n_chunks: int) -> Chunks:
        """Put more behind the first n_chunks, in place where there is room left.

        Rows of the first n_chunks never change, so whoever still holds the old arrays reads on.
        """
        n_tokens, n_words = int(self.token_offsets[n_chunks]), int(self.word_offsets[n_chunks])
        return Chunks(
            lengths=_put(self.lengths, n_chunks, more.lengths),
            token_offsets=_put(self.token_offsets, n_chunks, more.token_offsets + n_tokens),
            word_offsets=_put(self.word_offsets, n_chunks, more.word_offsets + n_words),
            token_ids=_put(self.token_ids, n_tokens, more.token_ids),
            token_spans=_put(self.token_spans, n_tokens, more.token_spans),
            spans=_put(self.spans, n_words, more.spans),
            word_tokens=_put(self.word_tokens, n_words, more.word_tokens),
        )


class Memo:
    """Chunks read so far, up to a number of bytes; safe under threads.

    A reader asks the dictionary first and takes the arrays after that; a writer fills the arrays
    before it names them in the dictionary. So no reader meets a number whose row is not there.
    """

    def __init__(self, read: Callable[[list[str]], Chunks], room: int) -> None:
        self._read = read
        self._room = room
        self._used = 0
        self._numbers: dict[str, int] = {}
        self._chunks = read([])
        self._lock = threading.Lock()

    def find(self, strings: list[str]) -> tuple[Memo, Chunks]:
        """Read chunks, in order, from memory where they were met before.

        Returns:
            The memo to go on with (a fresh one where this one is full), and the chunks.
        """
        count = len(strings)
        numbers = np.fromiter(map(self._numbers.get, strings, repeat(-1)), np.int64, count)
        missing = np.flatnonzero(numbers < 0)
        if not missing.size:
            return self, self._chunks.take(numbers)
        place: dict[str, int] = {}
        rows = [place.setdefault(strings[at], len(place)) for at in missing.tolist()]
        new = self._read(list(place))
        known = np.flatnonzero(numbers >= 0)
        used, where = np.unique(numbers[known], return_inverse=True)
        numbers[known] = where
        numbers[missing] = np.array(rows) + len(used)
        both = self._chunks.take(used).append(new, len(used))
        all_kept = self._keep(list(place), new)
        return self if all_kept else Memo(self._read, self._room), both.take(numbers)

    def _keep(self, strings: list[str], chunks: Chunks) -> bool:
        """Remember chunks that were just read, as far as there is room; False if there is none."""
        # What one remembered chunk takes in memory: its string and its place in the dictionary,
        # then its rows, twice, as the arrays grow by doubling.
        tokens, words = np.diff(chunks.token_offsets), np.diff(chunks.word_offsets)
        cost = 256 + 4 * chunks.lengths.astype(np.int64) + 24 * tokens + 32 * words
        with self._lock:
            fresh = [
                at
                for at, string in enumerate(strings)
                if len(string) <= _LONGEST and string not in self._numbers
            ]
            total = self._used + np.cumsum(cost[fresh])
            fits = int(np.searchsorted(total, self._room, side="right"))
            if fits:
                first = len(self._numbers)
                kept = fresh[:fits]
                self._chunks = self._chunks.append(chunks.take(np.array(kept)), first)
                self._used = int(total[fits - 1])
                self._numbers.update({strings[at]: first + n for n, at in enumerate(kept)})
            return fits == len(fresh)


def packed(
    chunks: list[str],
    words: list[list[tuple[int, int]]],
    ids: list[list[int]],
    token_spans: list[list[tuple[int, int]]],
) -> Chunks:
    """Put chunks read one by one end to end; words and token_spans: spans in their chunk."""
    lengths = np.array([len(chunk) for chunk in chunks], np.int32)
    token_offsets = starts([len(row) for row in ids])
    word_offsets = starts([len(row) for row in words])
    per_token, per_word = np.diff(token_offsets), np.diff(word_offsets)
    tokens = np.array(list(chain.from_iterable(token_spans)), np.int32).reshape(-1, 2)
    spans = np.array(list(chain.from_iterable(words)), np.int32).reshape(-1, 2)
    at = starts(lengths)[:-1]
    word_tokens = overlaps(
        tokens + np.repeat(at, per_token)[:, None], spans + np.repeat(at, per_word)[:, None]
    )
    word_tokens -= np.repeat(token_offsets[:-1], per_word)[:, None]
    return Chunks(
        lengths=lengths,
        token_offsets=token_offsets,
        word_offsets=word_offsets,
        token_ids=np.array(list(chain.from_iterable(ids)), np.int32),
        token_spans=tokens,
        spans=spans,
        word_tokens=word_tokens.astype(np.int32),
    )


def overlaps(tokens: Integers, words: Integers) -> Integers:
    """Range of the tokens (n, 2) that share a character with each word (m, 2).

    Tokens need not be in order to the letter, as normalizers reorder marks: the range goes from the
    first that ends behind the word's start to the last that starts before its end. A token without
    a character (trimmed to nothing by a byte-level post-processor) may stand anywhere.
    """
    real = tokens[:, 1] > tokens[:, 0]
    ends = np.maximum.accumulate(np.where(real, tokens[:, 1], 0))
    begins = np.where(real, tokens[:, 0], np.iinfo(np.int64).max)
    begins = np.minimum.accumulate(begins[::-1])[::-1]
    first = np.searchsorted(ends, words[:, 0], side="right")
    end = np.searchsorted(begins, words[:, 1], side="left")
    return np.stack([first, np.maximum(first, end)], axis=1)


def at_spaces(texts: list[str]) -> list[str]:
    """Cut texts at every space, tab and line end."""
    joined = " ".join(texts)
    return joined.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ")


def _whole(texts: list[str]) -> list[str]:
    return texts


# A byte-level tokenizer reads whitespace together with what follows it: a chunk ends where such a
# whitespace follows on a character that is no whitespace, by anybody's definition of the word.
_BEFORE_WHITESPACE = re.compile(r"\s*\S+(?:[^\S \t\n\r]\s*\S*)*|\s+")
_BEFORE_SPACE = re.compile(r"\s*\S+(?:[^\S ]\s*\S*)*|\s+")


def _before_whitespace(texts: list[str]) -> list[str]:
    return list(chain.from_iterable(map(_BEFORE_WHITESPACE.findall, texts)))


def _before_space(texts: list[str]) -> list[str]:
    return list(chain.from_iterable(map(_BEFORE_SPACE.findall, texts)))


_CHARACTERWISE = {"Lowercase", "NFC", "NFD", "NFKC", "NFKD"}
_DELETING = {"BertNormalizer", "StripAccents"}
_AT_WHITESPACE = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}


def _steps(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    if step["type"] != "Sequence":
        return [step]
    return [deep for part in step[inner] for deep in _steps(part, inner)]


def cutter(spec: dict[str, Any]) -> tuple[Callable[[list[str]], list[str]], int, bool]:
    """How to cut texts for a tokenizer.json, so that the chunks' tokens are the texts'.

    Returns:
        The function that cuts texts, one after the other; how many characters are lost between two
        chunks and between two texts; and whether chunks are worth remembering. Only structures
        that are known to be exact are cut; spaces, tabs and line ends alone cut, as what else is
        whitespace differs from part to part (BERT's normalizer deletes some of it, and so joins
        the neighbours).
    """
    whole = (_whole, 1, False)
    normalizers = {step["type"] for step in _steps(spec["normalizer"], "normalizers")}
    readers = _steps(spec["pre_tokenizer"], "pretokenizers")
    kinds = {step["type"] for step in readers}
    added = [
        (token, unicodedata.normalize("NFKC", token["content"])) for token in spec["added_tokens"]
    ]
    model = spec["model"]
    if model["type"] not in ("BPE", "WordLevel", "WordPiece") or model.get("dropout"):
        return whole
    if any(token["rstrip"] for token, _ in added):
        return whole
    if (
        kinds & _AT_WHITESPACE
        and kinds <= _AT_WHITESPACE | {"Digits", "Punctuation"}
        and normalizers <= _CHARACTERWISE | _DELETING
        and not any(re.search(r"\s", content) for _, content in added)
    ):
        return at_spaces, 1, True
    if (
        kinds == {"ByteLevel"}
        and len(readers) == 1
        and readers[0].get("use_regex", True)
        and normalizers <= _CHARACTERWISE
        and not any(re.search(r"\S\s", content) for _, content in added)
        and not any(token["single_word"] and content[:1].isspace() for token, content in added)
    ):
        # A space is put before a text, and behind an added token, unless one stands there: so the
        # other chunks must all start with a space.
        return (_before_space if readers[0]["add_prefix_space"] else _before_whitespace), 0, True
    return whole
