"""Uses of words whose senses are known: from a dictionary, by collocations, or made.

In: a file of jsonl, a use a line: {"text": ..., "start": 0, "end": 5, "word": ..., "sense": ...};
``text[start:end]`` is the word as it stands there, ``word`` says which uses are compared with each
other, ``sense`` which of them mean the same. Out: batches of whole words' uses, and pseudowords
(Gale, Church and Yarowsky 1992, "Work on statistical methods for word sense disambiguation"): some
words written as the first of them, told apart by what stands around them alone. Both are functions
of a seed and the number of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from polyseme.files import Source, WrongLineError
from polyseme.text import Tokenizer

Integers = npt.NDArray[np.int64]

_LARGEST = 16
"""Uses of a word that are compared at once."""

WORDS_OF_A_PSEUDOWORD = 4
"""Words that are written as one."""

_USES_OF_EACH = 10
"""Of the words that are written as one."""

_SENSES = (4, 8)
"""Senses of a word that are told apart at once, and uses of each."""


@dataclass(frozen=True)
class Use:
    """A word in a text.

    Attributes:
        text: the text.
        start: character of the text where the word begins.
        end: character behind it.
        word: uses of one word are compared.
        sense: those of them that mean the same have the same.
    """

    text: str
    start: int
    end: int
    word: str
    sense: str


def read_uses(path: Path, *, least: int = 1) -> list[list[Use]]:
    """Each word's uses, words in the order of their first.

    Args:
        path: the file.
        least: number of words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not what it should be, or there are too few words.
    """
    words: dict[str, list[Use]] = {}
    names = ("text", "start", "end", "word", "sense")
    for number, row in Source(path, "jsonl", "text").rows(names):
        for name, value in zip(names, row, strict=True):
            wanted = int if name in ("start", "end") else str
            if type(value) is not wanted:
                raise WrongLineError(
                    str(path), number, f"{name} is {value!r}: it must be {wanted.__name__}"
                )
        use = Use(*row)
        if not 0 <= use.start < use.end <= len(use.text):
            raise WrongLineError(
                str(path), number, f"{use.start} to {use.end} is no part of its text"
            )
        words.setdefault(use.word, []).append(use)
    if len(words) < least:
        raise ValueError(f"{path} has uses of {len(words)} words: at least {least} are needed")
    return list(words.values())


def batches_of_uses(
    words: Sequence[Sequence[Use]], tokenizer: Tokenizer, *, batch_tokens: int, seed: int = 0
) -> list[list[list[Use]]]:
    """Batches that have each use once: a list of words, each a list of its uses.

    Args:
        words: the uses of each; many are cut into parts.
        tokenizer: counts the tokens.
        batch_tokens: a batch is full when it has as many.
        seed: of the order.
    """
    random = np.random.default_rng(seed)
    parts: list[list[Use]] = []
    for uses in words:
        mixed = [uses[i] for i in random.permutation(len(uses))]
        parts += [mixed[i : i + _LARGEST] for i in range(0, len(mixed), _LARGEST)]
    parts = [parts[i] for i in random.permutation(len(parts))]
    batches: list[list[list[Use]]] = [[]]
    tokens = 0
    for part in parts:
        if tokens >= batch_tokens:
            batches.append([])
            tokens = 0
        batches[-1].append(part)
        tokens += int(tokenizer([use.text for use in part]).token_offsets[-1])
    return batches


def in_turn(number: int, step: int, seed: int) -> int:
    """Which of so many batches a step takes: all of them, in an order of its own each time.

    Example:
        >>> sorted(in_turn(3, step, seed=0) for step in (3, 4, 5))
        [0, 1, 2]
    """
    again, place = divmod(step, number)
    return int(np.random.default_rng((seed, again)).permutation(number)[place])


def pseudowords(
    words: Sequence[Sequence[Use]],
    tokenizer: Tokenizer,
    *,
    batch_tokens: int,
    random: np.random.Generator,
) -> list[list[Use]]:
    """A batch of pseudowords' uses.

    Args:
        words: at least four, each with at least two uses.
        tokenizer: counts the tokens.
        batch_tokens: it is full when it has as many.
        random: draws the words and their uses.

    Example:
        >>> from polyseme import load
        >>> nouns = ("elk", "pea", "tie", "toy")
        >>> uses = [[Use(f"a {w} {n}", 2, 5, w, w) for n in "xy"] for w in nouns]
        >>> random = np.random.default_rng(0)
        >>> made, = pseudowords(uses, load().tokenizer, batch_tokens=1, random=random)
        >>> [(use.text, use.sense) for use in made][1:3]
        [('a toy x', 'toy'), ('a toy x', 'tie')]
    """
    made: list[list[Use]] = []
    tokens = 0
    while tokens < batch_tokens:
        chosen = [words[i] for i in random.choice(len(words), WORDS_OF_A_PSEUDOWORD, replace=False)]
        first = chosen[0][0]
        written = first.text[first.start : first.end]
        uses = [
            _rewritten(own[i], written)
            for own in chosen
            for i in random.choice(len(own), min(_USES_OF_EACH, len(own)), replace=False)
        ]
        made.append(uses)
        tokens += int(tokenizer([use.text for use in uses]).token_offsets[-1])
    return made


def some_senses(
    words: Sequence[Sequence[Use]],
    tokenizer: Tokenizer,
    *,
    batch_tokens: int,
    random: np.random.Generator,
) -> list[list[Use]]:
    """A batch of uses of words, some of each of some senses.

    Args:
        words: uses of each, of several senses.
        tokenizer: counts the tokens.
        batch_tokens: it is full when it has as many.
        random: draws the words, the senses and the uses.
    """
    count, most = _SENSES
    drawn: list[list[Use]] = []
    tokens = 0
    while tokens < batch_tokens:
        senses: dict[str, list[Use]] = {}
        for use in words[int(random.integers(len(words)))]:
            senses.setdefault(use.sense, []).append(use)
        given = list(senses.values())
        uses = [
            given[sense][i]
            for sense in random.choice(len(given), min(count, len(given)), replace=False)
            for i in random.choice(len(given[sense]), min(most, len(given[sense])), replace=False)
        ]
        drawn.append(uses)
        tokens += int(tokenizer([use.text for use in uses]).token_offsets[-1])
    return drawn


def _rewritten(use: Use, written: str) -> Use:
    """A use of another word in the same place, everywhere in the text."""
    own = use.text[use.start : use.end]
    head, tail = (
        part.replace(own, written) for part in (use.text[: use.start], use.text[use.end :])
    )
    return Use(head + written + tail, len(head), len(head) + len(written), use.word, use.sense)


def words_at(
    spans: npt.NDArray[np.int64], offsets: Integers, uses: Sequence[Use]
) -> tuple[Integers, Integers]:
    """The rows of the uses' words, and which uses have one.

    Args:
        spans: (n_words, 2) characters of the texts' words.
        offsets: (n_uses + 1,) where a text's words begin.
        uses: a use of each text.

    Returns:
        For each use whose place a word touches, the row of the first such word; and its number.
    """
    rows, there = [], []
    for i, use in enumerate(uses):
        own = spans[offsets[i] : offsets[i + 1]]
        touched = np.flatnonzero((own[:, 0] < use.end) & (own[:, 1] > use.start))
        if len(touched):
            rows.append(offsets[i] + touched[0])
            there.append(i)
    return np.asarray(rows, np.int64), np.asarray(there, np.int64)
