"""From a text's tokens to the encoder's sequences and back.

A sequence is a window of a text's tokens between the model's special tokens. A text that fits the
model's positions is one sequence; a longer one is read in overlapping windows, and each token's
state comes from the window in which it stands most central. Nothing is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyseme.packed import Offsets, Packed, offsets_of, ragged_ranges
from polyseme.text import TokenizedTexts, windows

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sequences:
    """Sequences of many texts, and where each token's state is found in them.

    Attributes:
        token_ids: ids with special tokens, one packed entry a sequence.
        token_rows: (n_tokens,) row of each of the texts' own tokens among the sequences' states.
        first: (n_texts,) first sequence of each text.
        last: (n_texts,) last sequence of each text.
    """

    token_ids: Packed
    token_rows: Integers
    first: Integers
    last: Integers


def sequences_of(
    tokens: TokenizedTexts,
    *,
    prefix: tuple[int, ...],
    suffix: tuple[int, ...],
    max_tokens: int | None,
) -> Sequences:
    """Frame every text with the special tokens, in windows where it is too long for the model.

    Raises:
        ValueError: the model's positions leave no room for a token.
    """
    lengths = np.diff(tokens.token_offsets)
    n_texts = len(lengths)
    framing = len(prefix) + len(suffix)
    size = int(lengths.max(initial=0)) if max_tokens is None else max_tokens - framing
    if max_tokens is not None and size < 1:
        raise ValueError(f"{max_tokens} positions leave no room beside {framing} special tokens")
    counts = np.ones(n_texts, dtype=np.int64)
    start, stop = np.zeros(n_texts, np.int64), lengths.copy()
    keep_start, keep_stop = start, stop
    long = np.flatnonzero(lengths > size)
    if len(long):
        cut = {int(i): windows(int(lengths[i]), size, size // 4) for i in long}
        rows = [cut.get(i, [(0, int(n), 0, int(n))]) for i, n in enumerate(lengths)]
        counts = np.asarray([len(row) for row in rows])
        start, stop, keep_start, keep_stop = np.asarray(
            [window for row in rows for window in row], dtype=np.int64
        ).T
    text_start = np.repeat(tokens.token_offsets[:-1], counts)
    offsets = offsets_of(stop - start + framing)
    ids = np.empty(int(offsets[-1]), dtype=np.int64)
    body = ragged_ranges(offsets[:-1] + len(prefix), stop - start)
    ids[body] = tokens.token_ids[ragged_ranges(text_start + start, stop - start)]
    for i, special in enumerate(prefix):
        ids[offsets[:-1] + i] = special
    for i, special in enumerate(suffix):
        ids[offsets[1:] - len(suffix) + i] = special
    kept = ragged_ranges(offsets[:-1] + len(prefix) + keep_start - start, keep_stop - keep_start)
    bounds = offsets_of(counts)
    return Sequences(Packed(ids, offsets), kept, bounds[:-1], bounds[1:] - 1)


def sentence_rows(sequences: Sequences, prefix: int, suffix: int, offsets: Offsets) -> Packed:
    """Rows of the states that stand for each text: its tokens and one frame of special tokens."""
    starts = sequences.token_ids.offsets[sequences.first]
    ends = sequences.token_ids.offsets[sequences.last + 1]
    lengths = np.diff(offsets)
    bounds = offsets_of(lengths + prefix + suffix)
    rows = np.empty(int(bounds[-1]), dtype=np.int64)
    for i in range(prefix):
        rows[bounds[:-1] + i] = starts + i
    for i in range(suffix):
        rows[bounds[1:] - suffix + i] = ends - suffix + i
    rows[ragged_ranges(bounds[:-1] + prefix, lengths)] = sequences.token_rows
    return Packed(rows, bounds)


def pooled(states: Floats, offsets: Offsets, pooling: str) -> Floats:
    """One vector a text of its rows; zero where it has none."""
    lengths = np.diff(offsets)
    found = np.zeros((len(lengths), states.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return found
    starts = offsets[:-1][filled]
    if pooling == "cls":
        found[filled] = states[starts]
    elif pooling == "max":
        found[filled] = np.maximum.reduceat(states, starts, axis=0)
    else:
        found[filled] = np.add.reduceat(states, starts, axis=0) / lengths[filled, None]
    return found
