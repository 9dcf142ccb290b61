"""What a head is given of an example: its vectors in context, and what stands beside them.

A place has the mean of its words' vectors. Two places that are compared have how their vectors, of
length one, differ, what they share, what they are together, and their cosine:

    |a - b|, a * b, a + b, a . b

Some of what tells one use from another is in no sum over a vector's dimensions, or in no vector of
an uncased model at all; so beside the vectors stand a few plain numbers. Of spans: how well the
static vectors of its words fit those of the words around it (an idiom's words are strangers in
their text; Katz and Giesbrecht 2006, https://aclanthology.org/W06-1203), and how it is written. Of
words to be tagged: how they are written. Of pairs: cosines of static vectors, how well each word
finds its like on the other side (as BERTScore does, Zhang et al. 2020,
https://arxiv.org/abs/1904.09675), and lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace

from polyseme.attention import unit
from polyseme.contextualizer import Contextualizer
from polyseme.packed import mean_of_ranges
from polyseme.progress import progress_bar
from polyseme.tasks.examples import Units
from polyseme.text import TokenizedTexts

Array = Any
Floats = npt.NDArray[np.float32]
Beside = Callable[[Floats, TokenizedTexts, Units], Floats]
"""Static vectors (n_words, d), their texts, and places -> (n_rows, e) numbers."""

_AT_ONCE = 1024
_BEST = 3
_QUOTES = frozenset("\"'“”‘’«»„‟‹›")


def compared(vectors: Array) -> Array:
    """(n, 3 d + 1) of 2 n vectors, first and second of a pair in turn.

    Example:
        >>> compared(np.asarray([[3.0, 4.0], [1.0, 0.0]])).round(2).tolist()
        [[0.4, 0.8, 0.6, 0.0, 1.6, 0.8, 0.6]]
    """
    xp = array_namespace(vectors)
    directions = unit(vectors)
    first, second = directions[0::2], directions[1::2]
    shared = first * second
    cosine = xp.sum(shared, axis=-1)[:, None]
    return xp.concat([xp.abs(first - second), shared, first + second, cosine], axis=-1)


def width_of_vectors(dim: int, *, pairs: bool) -> int:
    """How many of the features are dimensions of vectors; the others are plain numbers."""
    return 3 * dim if pairs else dim


def nothing(static: Floats, tokens: TokenizedTexts, units: Units) -> Floats:
    """Nothing beside the vectors."""
    return np.zeros((len(units.spans), 0), np.float32)


def writing(static: Floats, tokens: TokenizedTexts, units: Units) -> Floats:
    """(n, 6) how places are written.

    The shares of their words that begin with a capital, are all capitals, hold a digit; whether all
    begin with a capital; whether a quotation mark stands before or behind; whether they begin the
    text.
    """
    first, last, owners = units.words(tokens)
    starts = tokens.word_offsets[owners]
    words = [tokens.words(i) for i in range(len(tokens))]
    places = zip((first - starts).tolist(), (last - starts).tolist(), owners.tolist(), strict=True)
    found = [_written(words[owner], a, b) for a, b, owner in places]
    return np.asarray(found, np.float32).reshape(-1, 6)


def _written(text: list[str], start: int, stop: int) -> tuple[float, ...]:
    own, beside = text[start:stop], [*text[max(start - 1, 0) : start], *text[stop : stop + 1]]
    capitals = sum(word[:1].isupper() for word in own)
    return (
        capitals / len(own),
        sum(len(word) > 1 and word.isupper() for word in own) / len(own),
        sum(any(map(str.isdigit, word)) for word in own) / len(own),
        capitals == len(own),
        any(word in _QUOTES for word in beside),
        start == 0,
    )


def fitting(static: Floats, tokens: TokenizedTexts, units: Units) -> Floats:
    """(n, 5) cosines of the static vectors of a place's words with those of the words around it.

    The mean of all; the largest; the mean of each own word's largest; the mean of the words
    around that fit best; and the cosine of its own first and last word.
    """
    directions = unit(static)
    found = np.zeros((len(units.spans), 5), np.float32)
    first, last, owners = units.words(tokens)
    starts, stops = tokens.word_offsets[owners], tokens.word_offsets[owners + 1]
    for i, (a, b, start, stop) in enumerate(zip(first, last, starts, stops, strict=True)):
        own = directions[a:b]
        around = np.concatenate([directions[start:a], directions[b:stop]])
        found[i, 4] = own[0] @ own[-1]
        if len(around):
            cosines = own @ around.T
            best = np.sort(cosines.max(axis=0))[-_BEST:]
            found[i, :4] = cosines.mean(), cosines.max(), cosines.max(axis=1).mean(), best.mean()
    return found


def of_spans(static: Floats, tokens: TokenizedTexts, units: Units) -> Floats:
    """(n, 11) ``fitting`` and ``writing``."""
    return np.hstack([fitting(static, tokens, units), writing(static, tokens, units)])


def of_pairs(static: Floats, tokens: TokenizedTexts, units: Units) -> Floats:
    """(n, 10) what pairs of places have beside their vectors; the same in either order.

    Cosines of static vectors: of the places, of what is around them, and of each with what is
    around the other; four of ``_matched``; whether they are spelled alike; the logarithms of the
    shorter and the longer text's number of words.
    """
    # In float64, lest which of the two stands first be seen in the last bits of a product.
    directions = unit(static.astype(np.float64))
    first, last, owners = units.words(tokens)
    starts, stops = tokens.word_offsets[owners], tokens.word_offsets[owners + 1]
    sums = np.concatenate([np.zeros((1, static.shape[1])), directions.cumsum(0, dtype=np.float64)])
    own = sums[last] - sums[first]
    around = unit(sums[stops] - sums[starts] - own)
    own = unit(own)
    a, b = slice(0, None, 2), slice(1, None, 2)
    lengths = np.log1p(stops - starts)
    spelled = [
        " ".join(tokens.words(int(owner))[f - s : t - s]).casefold()
        for f, t, s, owner in zip(first, last, starts, owners, strict=True)
    ]
    beside = [_around(directions, *place) for place in zip(first, last, starts, stops, strict=True)]
    matched = [_matched(*pair) for pair in zip(own[a], own[b], beside[a], beside[b], strict=True)]
    columns = [
        (own[a] * own[b]).sum(axis=1),
        (around[a] * around[b]).sum(axis=1),
        (own[a] * around[b]).sum(axis=1) + (own[b] * around[a]).sum(axis=1),
        *np.asarray(matched).reshape(-1, 4).T,
        np.asarray([x == y for x, y in zip(spelled[a], spelled[b], strict=True)], np.float64),
        np.minimum(lengths[a], lengths[b]),
        np.maximum(lengths[a], lengths[b]),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _around(directions: Floats, first: int, last: int, start: int, stop: int) -> Floats:
    """The words around a place; of a whole text, its own."""
    around = np.concatenate([directions[start:first], directions[last:stop]])
    return around if len(around) else directions[first:last]


def _matched(
    own: Floats, other: Floats, around: Floats, around_other: Floats
) -> tuple[float, float, float, float]:
    """How well the words around one place find their like around the other.

    The mean over words of the largest cosine, both ways; the largest of all; the mean of the best
    words, both ways; and the largest of one place with the words around the other.
    """
    cosines = around @ around_other.T
    best = [np.sort(cosines.max(axis=axis)) for axis in (0, 1)]
    return (
        sum(float(each.mean()) for each in best),
        float(cosines.max()),
        sum(float(each[-_BEST:].mean()) for each in best),
        max(float((around_other @ own).max()), float((around @ other).max())),
    )


def features_of(
    model: Contextualizer,
    units: Units,
    beside: Beside,
    *,
    pairs: bool,
    progress: bool | None = False,
) -> Floats:
    """(n_rows, d or 3 d + 1, and more) float32: what the head is given of examples."""
    found = []
    with progress_bar(len(units), progress, unit="examples") as advance:
        for start in range(0, len(units), _AT_ONCE):
            here = np.arange(start, min(start + _AT_ONCE, len(units)))
            part = units.of(here)
            tokens = model.tokenizer(part.distinct()[0])
            static, words = model.static_vectors_of(tokens), model.vectors_of(tokens)
            first, last, _ = part.words(tokens)
            vectors = mean_of_ranges(words, first, last)
            if pairs:
                vectors = compared(vectors)
            found.append(np.hstack([vectors, beside(static, tokens, part)]))
            advance(len(here))
    return np.concatenate(found)
