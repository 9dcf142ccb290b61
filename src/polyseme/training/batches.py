"""Texts from files of any length to batches of about equal work, in an order that a seed fixes.

Files are read side by side, from a random one at each text, so that none of them comes all at the
end; a window of texts is held in memory, sorted by length and cut, and its batches are shuffled.
The texts of a batch are of like length, which is what makes packed attention quick. When the files
end they start again. The same files, seed and sizes give the same batches in every run, so a run
is resumed by counting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np

from polyseme.files import Source
from polyseme.inputs import Text
from polyseme.text import Tokenizer

_READ = 1024
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(A-Z0-9])")


def batches(
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    *,
    batch_tokens: int,
    sentences: float = 0.0,
    seed: int = 0,
    skip: int = 0,
    window: int = 256,
) -> Iterator[list[str]]:
    """Endless batches of texts.

    Args:
        sources: files of texts; empty texts are left out.
        tokenizer: counts the tokens.
        batch_tokens: a batch is full when the next text would make it longer than this.
        sentences: share of the texts that are cut into their sentences.
        seed: of the order, and of which texts are cut.
        skip: texts at the head of every file that are left out, the first time that it is read.
        window: batches that are held in memory and shuffled; the more, the more alike are the
            lengths of a batch.

    Raises:
        ValueError: the files hold no text at all, or a line of one is not what it should be.
    """
    random = np.random.default_rng(seed)
    stream = _endless(sources, random, skip)
    while True:
        held: list[tuple[int, str]] = []
        tokens = 0
        while tokens < window * batch_tokens:
            texts = [part for _ in range(_READ) for part in _parts(next(stream), sentences, random)]
            lengths = np.diff(tokenizer(texts).token_offsets).tolist()
            held += zip(lengths, texts, strict=True)
            tokens += sum(lengths)
        held.sort(key=lambda item: item[0])
        cut = list(_cut(held, batch_tokens))
        for i in random.permutation(len(cut)):
            yield cut[i]


def split_sentences(text: str) -> list[str]:
    """A text's sentences, by a simple rule: a full stop, a space, a capital or a digit.

    Example:
        >>> split_sentences("It rained. We stayed at home!")
        ['It rained.', 'We stayed at home!']
    """
    return _SENTENCE_END.split(text)


def _parts(text: str, sentences: float, random: np.random.Generator) -> list[str]:
    if sentences and random.random() < sentences:
        return split_sentences(text)
    return [text]


def _cut(held: list[tuple[int, str]], batch_tokens: int) -> Iterator[list[str]]:
    batch: list[str] = []
    tokens = 0
    for length, text in held:
        if batch and tokens + length > batch_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += length
    if batch:
        yield batch


def _endless(sources: Sequence[Source], random: np.random.Generator, skip: int) -> Iterator[str]:
    for number in count():
        empty = True
        first = 0 if number else skip
        files = [islice(source.texts(), first, None) for source in sources]
        for text in _side_by_side(files, random):
            joined = text if isinstance(text, str) else " ".join(text)
            if joined.strip():
                empty = False
                yield joined
        if empty and (number or not skip):
            names = ", ".join(source.name for source in sources) or "no file"
            raise ValueError(f"{names}: there is no text to train on")


def _side_by_side(files: Sequence[Iterator[Text]], random: np.random.Generator) -> Iterator[Text]:
    files = list(files)
    while files:
        i = int(random.integers(len(files)))
        try:
            yield next(files[i])
        except StopIteration:
            del files[i]
