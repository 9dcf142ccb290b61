"""fastText's `.bin` models: the file's layout, and the n-grams that make up unknown words.

The layout is that of fastText's own `Args`, `Dictionary` and `DenseMatrix`, little-endian and
without padding; the n-grams are those of Bojanowski et al. 2017, "Enriching Word Vectors with
Subword Information".
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polyseme.vectors.text_files import Float32, cut_short, decoded_word

FASTTEXT_MAGIC = 793712314


@dataclass(frozen=True)
class NGrams:
    """fastText's character n-grams: which rows of the table a word's pieces have.

    Attributes:
        n_words: rows before the first n-gram's row.
        bucket: number of n-gram rows; n-grams share them by hash.
        shortest: characters of the shortest n-gram, `<` and `>` around the word included.
        longest: characters of the longest; 0 for a model without n-grams.
    """

    n_words: int
    bucket: int
    shortest: int
    longest: int

    def rows(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the n-gram rows of words.

        fastText hashes with FNV-1a, but takes bytes as signed, so those above 127 set the upper
        bits too.

        Returns:
            (n_rows,) row numbers, word after word, and (n_words,) how many each word has.

        Example:
            >>> NGrams(n_words=10, bucket=100, shortest=3, longest=3).rows(["cat", "</s>"])
            (array([57, 41, 16]), array([3, 0]))
        """
        counts = np.zeros(len(words), np.int64)
        if self.longest < 1 or self.bucket < 1:
            return np.empty(0, np.int64), counts
        # fastText gives its end-of-sentence token no n-grams.
        pieces = [
            b"" if w == "</s>" else b"<%b>" % w.encode("utf-8", "surrogatepass") for w in words
        ]
        data = np.frombuffer(b"".join(pieces) + b"\0" * 4, np.uint8)
        signed = data.view(np.int8).astype(np.int32).view(np.uint32)
        starts = np.flatnonzero((data & 0xC0) != 0x80)[:-4]
        ends = np.append(starts[1:], data.size - 4)
        word_ends = np.cumsum([len(piece) for piece in pieces])
        owner = np.searchsorted(word_ends, starts, side="right")
        left = np.searchsorted(starts, word_ends)[owner] - np.arange(starts.size)
        hashes = np.full(starts.size, 2166136261, np.uint32)
        found = np.zeros((starts.size, self.longest), np.uint32)
        kept = np.zeros((starts.size, self.longest), np.bool_)
        for n in range(1, self.longest + 1):
            grams = np.flatnonzero(left >= n)
            added = grams + n - 1
            for byte in range(4):
                place = starts[added] + byte
                inside = place < ends[added]
                at = grams[inside]
                hashes[at] = (hashes[at] ^ signed[place[inside]]) * np.uint32(16777619)
            found[grams, n - 1] = hashes[grams]
            kept[grams, n - 1] = n >= self.shortest
        # A lone '<' or '>' is no n-gram.
        kept[(data[starts] == ord("<")) & (np.append(-1, owner[:-1]) != owner), 0] = False
        kept[left == 1, 0] = False
        np.add.at(counts, owner, kept.sum(axis=1))
        return self.n_words + (found[kept] % np.uint32(self.bucket)).astype(np.int64), counts

    def compose(self, words: Sequence[str], table: Float32) -> Float32:
        """Put words together: the mean of each word's own row and its n-grams' rows.

        Args:
            words: the vocabulary, word i with the own row i.
            table: (n_rows, dim) float32.

        Returns:
            (n_words, dim) float32.
        """
        made = np.empty((len(words), table.shape[1]), np.float32)
        # In blocks, as each word asks for some thirty rows.
        for first in range(0, len(words), 1024):
            some = words[first : first + 1024]
            rows, counts = self.rows(some)
            before = np.cumsum(counts) - counts
            rows = np.insert(rows, before, np.arange(first, first + len(some)))
            sums = np.add.reduceat(table[rows], before + np.arange(len(some)), axis=0)
            made[first : first + len(some)] = sums / (counts[:, None] + 1).astype(np.float32)
        return made


def read_fasttext(path: Path) -> tuple[list[str], Float32, NDArray[np.int64], NGrams]:
    """Read a fastText `.bin` model.

    Returns:
        The words, the memory-mapped input matrix (one row a word, then the n-gram rows), the words'
        counts, and how n-grams find their rows.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            version, _dim, *_, model, bucket, shortest, longest, _rate, _t = struct.unpack_from(
                "<13id", data, 4
            )
            n_entries, n_words, _n_labels, _n_tokens, pruned = struct.unpack_from("<3i2q", data, 64)
            if version not in (11, 12):
                raise ValueError(
                    f"{path}: fastText format version {version}; versions 11 and 12 are read"
                )
            place = 92
            raw_words, counts = [], []
            for _ in range(n_entries):
                end = data.find(b"\0", place)
                if end < 0:
                    raise ValueError(cut_short(path, "dictionary"))
                raw_words.append(data[place:end])
                counts.append(struct.unpack_from("<q", data, end + 1)[0])
                place = end + 10
            place += 8 * max(pruned, 0)
            if data[place] or pruned >= 0:
                raise ValueError(
                    f"{path}: a quantised fastText model (.ftz), which is not supported; load the "
                    ".bin that it was made from, or its .vec"
                )
            n_rows, dim = struct.unpack_from("<2q", data, place + 1)
        except (struct.error, IndexError):
            raise ValueError(cut_short(path, "dictionary")) from None
        place += 17
        if len(data) < place + 4 * n_rows * dim:
            raise ValueError(cut_short(path, f"matrix of {n_rows} x {dim} numbers"))
    if version == 11 and model == 3:
        # Supervised models of that version were trained without n-grams, whatever they say.
        longest = 0
    if n_rows < n_words + (bucket if longest > 0 else 0):
        raise ValueError(
            f"{path}: {n_rows} vectors for {n_words} words and {bucket} n-grams; "
            "the file is damaged"
        )
    words = [
        decoded_word(raw, f"{path}, word {row + 1}") for row, raw in enumerate(raw_words[:n_words])
    ]
    table = np.asarray(np.memmap(path, "<f4", "r", place, (n_rows, dim)))
    ngrams = NGrams(n_words, bucket, shortest, longest)
    return words, table, np.array(counts[:n_words], np.int64), ngrams
