"""What an evaluated model must have, and the vectors that the tasks ask it for.

A ``Contextualizer`` of any rung has it, and so does a model of another library in ``peers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from polyseme.embedded import EmbeddedTexts, Span
from polyseme.inputs import Text

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_TEXTS_AT_ONCE = 1024


class Evaluated(Protocol):
    """A model that gives each word of a text its vector there, and each text one.

    ``rung`` says how: static, parameter-free, learned, pretrained, or the library that it is from.
    """

    @property
    def name(self) -> str:
        """As it was asked for."""

    @property
    def rung(self) -> str:
        """What kind it is."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    def contextualize(self, texts: Any, *, progress: bool | None = ...) -> EmbeddedTexts:
        """The words of texts, each a str or a list of words, and their vectors."""

    def encode(self, texts: Any, *, progress: bool | None = ...) -> Floats:
        """(n_texts, dim) float32: a vector for each text."""


def vectors_at(
    model: Evaluated,
    texts: Sequence[Sequence[str]],
    positions: Integers,
    *,
    progress: bool | None = False,
) -> Doubles:
    """(n, dim) float64: of each text, which is a list of words, the vector of one of them.

    Example:
        >>> import polyseme
        >>> texts = [["red", "apple"], ["pie"]]
        >>> vectors_at(polyseme.load(), texts, np.asarray([1, 0])).shape
        (2, 256)
    """
    found = [
        docs.vectors[docs.offsets[:-1] + positions[here]]
        for here, docs in _embedded(model, texts, progress)
    ]
    return np.concatenate(found).astype(np.float64)


def vectors_of_spans(
    model: Evaluated,
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    *,
    progress: bool | None = False,
) -> Doubles:
    """(n, dim) float64: for each span of characters of each text, the mean of the words it touches.

    Words that the model has no piece of are left out; where it knows none, the vector is zero.

    Args:
        model: of any rung.
        texts: any number.
        spans: those of each text, n in all.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Raises:
        ValueError: a span touches no word.

    Example:
        >>> import polyseme
        >>> model = polyseme.load().static()
        >>> found = vectors_of_spans(model, ["a red apple"], [[(2, 5), (0, 11)]])
        >>> found.shape, bool((found[0] == model.contextualize("red")["red"]).all())
        ((2, 256), True)
    """
    found = []
    for here, docs in _embedded(model, texts, progress):
        for i, of_text in enumerate(spans[here]):
            own = slice(int(docs.offsets[i]), int(docs.offsets[i + 1]))
            starts, ends = docs.spans[own].T
            for start, end in of_text:
                touched = (starts < end) & (ends > start)
                if not touched.any():
                    raise ValueError(f"no word in characters {start} to {end} of {docs.texts[i]!r}")
                rows = docs.vectors[own][touched & docs.known[own]]
                found.append(rows.sum(axis=0, dtype=np.float64) / max(len(rows), 1))
    return np.stack(found)


def _embedded(
    model: Evaluated, texts: Sequence[Text], progress: bool | None
) -> Iterator[tuple[slice, EmbeddedTexts]]:
    """A limited number of texts at a time, so that few vectors are held that nobody asked for."""
    from polyseme.progress import progress_bar

    with progress_bar(len(texts), progress) as advance:
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            here = slice(start, min(start + _TEXTS_AT_ONCE, len(texts)))
            docs = model.contextualize(list(texts[here]), progress=False)
            yield here, docs
            advance(here.stop - start)
