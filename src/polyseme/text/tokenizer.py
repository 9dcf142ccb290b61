"""Text to words, and words to token ids, in the user's own string.

Texts go in (or lists of the user's own words); out come, end to end and without padding, every
word's character span, every text's token ids, and which tokens make up which word. Words are found
by ``words.py``; ids are those of a `tokenizers` tokenizer.json, or the rows a lookup gives a word.

For many tokenizers (``chunks.cutter`` says which) a text's token sequence is the concatenation of
its whitespace chunks' sequences. Each chunk is then read once and remembered, and a batch costs one
dictionary look-up a chunk and a few gathers over ragged arrays. Any other tokenizer reads every
text whole. Both ways give the ids that the tokenizer itself gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polyseme.text.chunks import Chunks, Integers, Memo, at_spaces, cutter, overlaps, packed, starts
from polyseme.text.words import Phrases, split_words

if TYPE_CHECKING:
    import tokenizers


_BLOCK = 1 << 15  # characters read in one go: few enough that their arrays stay in the caches
_ENCODE = 1 << 10  # texts handed to the tokenizer at a time: its answers are large objects
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class TokenizedTexts:
    """Many texts, their words and their tokens, end to end.

    Attributes:
        texts: the user's own strings; words given by the user, joined by one space.
        spans: (n_words, 2) int64, code points; ``text[start:end]`` is the word.
        word_offsets: (n_texts + 1,) int64; text i has the words word_offsets[i]:word_offsets[i+1].
        token_ids: (n_tokens,) int64, without the special tokens around a text.
        token_offsets: (n_texts + 1,) int64, as word_offsets.
        word_tokens: (n_words, 2) int64, first and one-past-last row of each word in token_ids;
            equal where the word has no token. Neighbours may share a token.
        known: (n_words,) bool, False where a word has no token but unknown ones.
    """

    texts: list[str]
    spans: Integers
    word_offsets: Integers
    token_ids: Integers
    token_offsets: Integers
    word_tokens: Integers
    known: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.texts)

    def words(self, i: int) -> list[str]:
        """The words of text i (from 0; negative counts from the end), cut from the text."""
        text = self.texts[i]
        at = range(len(self.texts))[i]
        own = self.spans[self.word_offsets[at] : self.word_offsets[at + 1]]
        return [text[start:end] for start, end in own.tolist()]


class Tokenizer:
    """Reads texts: words with their spans, and the token ids of a tokenizer.json.

    A tokenizer is safe to use from several threads, and can be pickled and deep-copied. Truncation
    and padding that the tokenizer.json asks for are left out: a text is never cut in silence. Lone
    surrogates, which no tokenizer accepts, are read as U+FFFD; the user's text stays as it is.

    Args:
        tokenizer: is copied, not changed.
        memo_bytes: about how much memory the chunks read so far may take; 0 keeps none. When it
            is used up, remembering starts anew.

    Attributes:
        prefix, suffix: ids of the special tokens around one text, such as ([CLS],) and ([SEP],).
        unknown_id: id of the unknown token, None if the tokenizer has none.

    Raises:
        TypeError: if tokenizer is not a `tokenizers.Tokenizer`.
        ValueError: if memo_bytes is negative.

    Example:
        >>> rows = {"piece": [3], "cake": [0, 1]}
        >>> tokenizer = Tokenizer.from_lookup(lambda word: rows.get(word.lower(), []))
        >>> read = tokenizer(["Piece of cake!", ["my", "own cake"]], phrases=Phrases(["of cake"]))
        >>> [read.words(i) for i in range(len(read))]
        [['Piece', 'of cake', '!'], ['my', 'own cake']]
        >>> read.token_ids.tolist(), read.word_tokens.tolist()
        ([3, 0, 1, 0, 1], [[0, 1], [1, 3], [3, 3], [3, 3], [3, 5]])
        >>> read.known.tolist()
        [True, True, False, False, True]
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, memo_bytes: int = 64 << 20) -> None:
        import tokenizers

        if not isinstance(tokenizer, tokenizers.Tokenizer):
            raise TypeError(
                f"tokenizer: needs a tokenizers.Tokenizer, got {type(tokenizer).__name__}; "
                "a fast tokenizer of transformers has one as its backend_tokenizer"
            )
        source = tokenizer.to_str()
        own = tokenizers.Tokenizer.from_str(source)
        own.no_truncation()
        own.no_padding()
        own.encode_special_tokens = tokenizer.encode_special_tokens
        self._encode_special = own.encode_special_tokens
        spec = json.loads(source)
        self._tokenizer: tokenizers.Tokenizer | None = own
        self._lookup: Callable[[str], Sequence[int]] | None = None
        self._cut, self._gap, remember = cutter(spec)
        self.prefix, self.suffix = _frame(own)
        self.unknown_id = _unknown_id(spec["model"], own)
        self._start(memo_bytes, remember=remember)

    def _start(self, memo_bytes: int, *, remember: bool = True) -> None:
        if memo_bytes < 0:
            raise ValueError(f"memo_bytes: needs 0 or more, got {memo_bytes}")
        self._room = memo_bytes if remember else 0
        self._memo = Memo(self._read, self._room)
        self._given_memo = Memo(self._read_given, self._room)

    @classmethod
    def from_file(cls, path: str | Path, *, memo_bytes: int = 64 << 20) -> Tokenizer:
        """Load a tokenizer.json.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is no tokenizer.json.
        """
        import tokenizers

        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file; a tokenizer.json is needed")
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise ValueError(f"{path}: no tokenizer.json that can be read: {error}") from error
        return cls(tokenizer, memo_bytes=memo_bytes)

    @classmethod
    def from_lookup(
        cls, lookup: Callable[[str], Sequence[int]], *, memo_bytes: int = 64 << 20
    ) -> Tokenizer:
        """Make a tokenizer from word vectors: a word's tokens are the rows that make it up.

        Args:
            lookup: gives a word's rows, nothing if the word is unknown. It minds upper and lower
                case itself, always gives a word the same rows, and is called from any thread. A
                user's own word that it does not know is read by the words in it.
            memo_bytes: as for the class.
        """
        own = cls.__new__(cls)
        own._tokenizer = None
        own._lookup = lookup
        own._cut, own._gap = at_spaces, 1
        own.prefix, own.suffix, own.unknown_id = (), (), None
        own._start(memo_bytes)
        return own

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_memo", "_given_memo")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._tokenizer is not None:
            # The library forgets this one setting when it pickles.
            self._tokenizer.encode_special_tokens = self._encode_special
        self._start(self._room)

    def to_json(self) -> str:
        """The tokenizer.json, without truncation and padding.

        Raises:
            ValueError: if the tokenizer was made from a lookup.
        """
        if self._tokenizer is None:
            raise ValueError("a tokenizer made from a lookup has no tokenizer.json")
        return self._tokenizer.to_str()

    def save(self, path: str | Path) -> None:
        """Write the tokenizer.json, as ``to_json`` gives it."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    def __call__(
        self, texts: Sequence[str | Sequence[str]], *, phrases: Phrases | None = None
    ) -> TokenizedTexts:
        """Read texts.

        Args:
            texts: each a string, whose words are found by ``split_words``, or a list of words,
                each of which is one unit, inner spaces included.
            phrases: to keep as one unit, from their first word's start to their last word's end.

        Raises:
            TypeError: if texts is one string, or an item or a word is something else; the message
                says which.
            ValueError: if one of the user's own words is empty or nothing but whitespace.
        """
        items = _checked(texts)
        read = _join([self._block(block) for block in _blocks(items)] or [self._block([])])
        return read if phrases is None else self._with_phrases(read, phrases)

    def _block(self, items: list[str] | list[list[str]]) -> TokenizedTexts:
        """Read texts that are all strings, or all lists of words."""
        given = [item for item in items if not isinstance(item, str)]
        texts = [item if isinstance(item, str) else " ".join(item) for item in items]
        words = list(chain.from_iterable(given))
        word_offsets = starts([len(item) for item in given])
        if given and self._lookup is not None:
            self._given_memo, chunks = self._given_memo.find(words)
            return self._placed(texts, chunks, word_offsets)
        self._memo, chunks = self._memo.find(self._cut(texts))
        # A text's first chunk starts where the text does, when both are laid end to end.
        chunk_offsets = np.searchsorted(
            starts(chunks.lengths + self._gap), starts([len(text) + self._gap for text in texts])
        )
        if not given:
            return self._placed(texts, chunks, chunk_offsets)
        begins = starts([len(word) + 1 for word in words])
        spans = np.stack([begins[:-1], begins[1:] - 1], axis=1)
        spans -= np.repeat(begins[word_offsets[:-1]], np.diff(word_offsets))[:, None]
        return self._placed(texts, chunks, chunk_offsets, (spans, word_offsets))

    def _placed(
        self,
        texts: list[str],
        chunks: Chunks,
        chunk_offsets: Integers,
        given: tuple[Integers, Integers] | None = None,
    ) -> TokenizedTexts:
        """Count from each text's start what counts from each chunk's; given: own words' spans."""
        at = starts(chunks.lengths + self._gap)
        base = at[chunk_offsets[:-1]]
        if given is None:
            per_chunk = np.diff(chunks.word_offsets)
            word_offsets = chunks.word_offsets[chunk_offsets]
            shift = at[:-1] - np.repeat(base, np.diff(chunk_offsets))
            spans = chunks.spans + np.repeat(shift, per_chunk)[:, None]
            word_tokens = (
                chunks.word_tokens + np.repeat(chunks.token_offsets[:-1], per_chunk)[:, None]
            )
        else:
            spans, word_offsets = given
            tokens = chunks.token_spans + np.repeat(at[:-1], np.diff(chunks.token_offsets))[:, None]
            word_tokens = overlaps(tokens, spans + np.repeat(base, np.diff(word_offsets))[:, None])
        token_ids = chunks.token_ids.astype(np.int64)
        return TokenizedTexts(
            texts=texts,
            spans=spans,
            word_offsets=word_offsets,
            token_ids=token_ids,
            token_offsets=chunks.token_offsets[chunk_offsets],
            word_tokens=word_tokens,
            known=self._known(token_ids, word_tokens),
        )

    def _known(self, token_ids: Integers, word_tokens: Integers) -> npt.NDArray[np.bool_]:
        good = starts(token_ids != (-1 if self.unknown_id is None else self.unknown_id))
        known: npt.NDArray[np.bool_] = good[word_tokens[:, 1]] > good[word_tokens[:, 0]]
        return known

    def _with_phrases(self, read: TokenizedTexts, phrases: Phrases) -> TokenizedTexts:
        found: list[tuple[int, int]] = []
        for i, offset in enumerate(read.word_offsets[:-1].tolist()):
            found += [(first + offset, end + offset) for first, end in phrases.find(read.words(i))]
        if not found:
            return read
        last = np.arange(len(read.spans))
        keep = np.ones(len(read.spans), np.bool_)
        for first, end in found:
            last[first] = end - 1
            keep[first + 1 : end] = False
        last = last[keep]
        spans = np.stack([read.spans[keep, 0], read.spans[last, 1]], axis=1)
        word_tokens = np.stack([read.word_tokens[keep, 0], read.word_tokens[last, 1]], axis=1)
        return replace(
            read,
            spans=spans,
            word_tokens=word_tokens,
            word_offsets=starts(keep)[read.word_offsets],
            known=self._known(read.token_ids, word_tokens),
        )

    def _read(self, chunks: list[str]) -> Chunks:
        """Read chunks anew."""
        words = [split_words(chunk) for chunk in chunks]
        ids: list[list[int]] = []
        token_spans: list[list[tuple[int, int]]] = []
        if self._tokenizer is None:
            for chunk, spans in zip(chunks, words, strict=True):
                rows, owners = self._rows(chunk, spans)
                ids.append(rows)
                token_spans.append(owners)
        else:
            clean = [_SURROGATE.sub("\ufffd", chunk) for chunk in chunks]
            for at in range(0, len(clean), _ENCODE):
                batch = clean[at : at + _ENCODE]
                for encoding in self._tokenizer.encode_batch(batch, add_special_tokens=False):
                    ids.append(encoding.ids)
                    token_spans.append(encoding.offsets)
        return packed(chunks, words, ids, token_spans)

    def _read_given(self, words: list[str]) -> Chunks:
        """Read the user's own words by the lookup; one it does not know, by the words in it."""
        ids: list[list[int]] = []
        token_spans: list[list[tuple[int, int]]] = []
        for word in words:
            rows, owners = self._rows(word, [(0, len(word))])
            if not rows:
                rows, owners = self._rows(word, split_words(word))
            ids.append(rows)
            token_spans.append(owners)
        return packed(words, [[(0, len(word))] for word in words], ids, token_spans)

    def _rows(
        self, chunk: str, spans: list[tuple[int, int]]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        assert self._lookup is not None
        rows: list[int] = []
        owners: list[tuple[int, int]] = []
        for start, end in spans:
            found = self._lookup(chunk[start:end])
            rows += found
            owners += [(start, end)] * len(found)
        return rows, owners


def windows(n_tokens: int, size: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Cover a long text with overlapping windows, each token kept from exactly one of them.

    Args:
        n_tokens: of the text.
        size: tokens of a window; a shorter text gets one window of its own length.
        overlap: tokens that neighbouring windows share at least; less than size.

    Returns:
        (start, end, keep_start, keep_end) of each window, none for a text without tokens. The kept
        ranges follow on each other from 0 to n_tokens; a token is kept from the window whose
        middle is nearest, the earlier one of two.

    Raises:
        ValueError: if n_tokens or overlap is negative, or size is not above overlap.

    Example:
        >>> windows(10, size=6, overlap=3)
        [(0, 6, 0, 5), (3, 9, 5, 7), (4, 10, 7, 10)]
    """
    if n_tokens < 0:
        raise ValueError(f"n_tokens: needs 0 or more, got {n_tokens}")
    if not 0 <= overlap < size:
        raise ValueError(f"overlap: needs 0 or more and less than size={size}, got {overlap}")
    if n_tokens <= size:
        return [(0, n_tokens, 0, n_tokens)] if n_tokens else []
    begins = [*range(0, n_tokens - size, size - overlap), n_tokens - size]
    # The middle between the middles of two windows of one size is that of what they share.
    borders = [(left + size + right + 1) // 2 for left, right in pairwise(begins)]
    keeps = pairwise([0, *borders, n_tokens])
    return [(start, start + size, *keep) for start, keep in zip(begins, keeps, strict=True)]


def _checked(texts: Iterable[str | Sequence[str]]) -> list[str | list[str]]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(f"texts: needs a list of texts, got one {type(texts).__name__}")
    items: list[Any] = list(texts)
    if set(map(type, items)) == {str}:
        return items
    for i, item in enumerate(items):
        if isinstance(item, str):
            continue
        if isinstance(item, (bytes, bytearray)) or not isinstance(item, (Sequence, np.ndarray)):
            raise TypeError(f"texts[{i}]: needs a string or a list of words, got {item!r:.80}")
        items[i] = words = list(item)
        for j, word in enumerate(words):
            if not isinstance(word, str):
                raise TypeError(f"texts[{i}][{j}]: needs a word as a string, got {word!r:.80}")
            if not word or word.isspace():
                raise ValueError(f"texts[{i}][{j}]: needs a word, got {word!r}; leave it out")
    return items


def _blocks(items: list[str | list[str]]) -> Iterator[list[Any]]:
    """Cut a batch into runs of either strings or lists of words, of about _BLOCK characters."""
    for _, group in groupby(items, key=lambda item: isinstance(item, str)):
        block: list[Any] = []
        size = 0
        for item in group:
            block.append(item)
            size += len(item) if isinstance(item, str) else sum(map(len, item)) + len(item)
            if size > _BLOCK:
                yield block
                block, size = [], 0
        if block:
            yield block


def _join(parts: list[TokenizedTexts]) -> TokenizedTexts:
    if len(parts) == 1:
        return parts[0]
    tokens = starts([len(part.token_ids) for part in parts])
    words = starts([len(part.spans) for part in parts])

    def offsets(rows: Iterable[Integers], base: Integers) -> Integers:
        shifted = [row[1:] + first for row, first in zip(rows, base[:-1].tolist(), strict=True)]
        return np.concatenate([np.zeros(1, np.int64), *shifted])

    return TokenizedTexts(
        texts=[text for part in parts for text in part.texts],
        spans=np.concatenate([part.spans for part in parts]),
        word_offsets=offsets((part.word_offsets for part in parts), words),
        token_ids=np.concatenate([part.token_ids for part in parts]),
        token_offsets=offsets((part.token_offsets for part in parts), tokens),
        word_tokens=np.concatenate(
            [
                part.word_tokens + first
                for part, first in zip(parts, tokens[:-1].tolist(), strict=True)
            ]
        ),
        known=np.concatenate([part.known for part in parts]),
    )


def _frame(tokenizer: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens that are put before and behind one text."""
    for text in chain(("a", "1", "."), tokenizer.get_vocab()):
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        if plain:
            framed = tokenizer.encode(text)
            first = framed.special_tokens_mask.index(0)
            return tuple(framed.ids[:first]), tuple(framed.ids[first + len(plain) :])
    return (), ()


def _unknown_id(model: dict[str, Any], tokenizer: tokenizers.Tokenizer) -> int | None:
    if model["type"] == "Unigram":
        unknown: int | None = model["unk_id"]
        return unknown
    token = model.get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)
