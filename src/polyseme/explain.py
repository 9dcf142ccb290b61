"""Explanations: who moved this word, and by how much.

With parameter-free attention a word's vector *is* the weighted sum of its text's static vectors, so
its weights are the whole truth. With learned layers the states that are summed hold context
already, and a feed-forward network follows each sum; then the weights, multiplied up the layers
(attention rollout, Abnar and Zuidema 2020, https://aclanthology.org/2020.acl-main.385), are an
approximation, and are said to be one. What holds for any model stands beside them: how far the
vector turns when another word is left out of the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.attention import unit
from polyseme.embedded import EmbeddedText
from polyseme.inputs import Text, as_list
from polyseme.packed import offsets_of, ragged_ranges
from polyseme.text import TokenizedTexts

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer
    from polyseme.pictures import Picture

Floats = npt.NDArray[np.float32]

_EXACT = "Exact: the vector is this weighted sum of the words' static vectors."
_STATIC = "Exact: a static vector is the word's own, whatever its text."
_ROLLOUT = (
    "An approximation (attention rollout over {layers} layers; {special:.0%} of it went to special "
    "tokens and is left out). What leaving a word out changes is measured, not approximated."
)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a word's vector in its text comes from.

    Attributes:
        text: the text.
        words: (n_words) its words.
        position: which of them is explained.
        weights: (n_words,) float32, sum to one: the share of each word in this word's vector.
        matrix: (n_words, n_words) float32: the same for every word, a row each.
        layer_matrices: (layers, heads, n_words, n_words) float32: every word's attention in each
            head, a row each. What a head gives to special tokens is missing from its sum.
        left_out: (n_words,) float32: 1 - cosine between the word's vectors with and without each
            other word; 0 for the word itself.
        exact: whether ``weights`` is the whole truth.
        note: what the weights are, in a sentence.

    Example:
        >>> import polyseme
        >>> model = polyseme.load()
        >>> explanation = model.explain("We sat on the bank of the river", "bank")
        >>> explanation.exact, explanation.words[int(explanation.left_out.argmax())]
        (False, 'river')
    """

    text: str
    words: list[str]
    position: int
    weights: Floats
    matrix: Floats = field(repr=False)
    layer_matrices: Floats = field(repr=False)
    left_out: Floats
    exact: bool
    note: str

    @property
    def word(self) -> str:
        """The word that is explained."""
        return self.words[self.position]

    @property
    def layer_weights(self) -> Floats:
        """(layers, heads, n_words) float32: this word's attention in each head."""
        return self.layer_matrices[:, :, self.position]

    def formula(self, top: int = 4) -> str:
        """The weighted sum as a person writes it, largest share first.

        Example:
            >>> import polyseme
            >>> explanation = polyseme.load().static().explain("big apple", "apple")
            >>> explanation.formula()
            'apple = 1.00 apple'
        """
        order = np.argsort(-self.weights, kind="stable")
        named = [i for i in order[:top] if self.weights[i] > 0]
        terms = [f"{self.weights[i]:.2f} {self.words[i]}" for i in named]
        others = len(self.words) - len(named)
        rest = 1 - float(self.weights[named].sum())
        if others and rest >= 0.005:
            terms.append(f"{rest:.2f} from {others} other word{'s' if others > 1 else ''}")
        sign = "=" if self.exact else "\u2248"
        return f"{self.word} {sign} {' + '.join(terms) or '0'}"

    def plot(self, kind: Literal["arcs", "heatmap"] = "arcs") -> Picture:
        """A picture that shows itself in a notebook, and saves itself as .svg, .html or .png.

        Args:
            kind: "arcs" from this word to the others, or "heatmap" of all words' weights.

        Raises:
            ValueError: an unknown kind.
        """
        from polyseme import pictures

        if kind == "arcs":
            title = f"What {self.word!r} is made of{'' if self.exact else ', roughly'}"
            return pictures.arcs(self.matrix, self.words, focus=self.position, title=title)
        if kind == "heatmap":
            title = f"What each word takes from the others{'' if self.exact else ', roughly'}"
            return pictures.heat_map(self.matrix, self.words, self.words, title=title)
        raise ValueError(f"kind is {kind!r}: use 'arcs' or 'heatmap'")

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as JSON takes it."""
        return {
            "text": self.text,
            "word": self.word,
            "position": self.position,
            "words": self.words,
            "formula": self.formula(),
            "weights": self.weights.tolist(),
            "left_out": self.left_out.tolist(),
            "layer_weights": self.layer_weights.tolist(),
            "exact": self.exact,
            "note": self.note,
        }

    def __str__(self) -> str:
        return f"{self.formula()}\n{self.note}"

    def _repr_html_(self) -> str:
        return f"{self.plot()._repr_html_()}<p>{escape(self.note)}</p>"


def explain(model: Contextualizer, text: Text, word: str | int) -> Explanation:
    """Which words of a text made a word's vector what it is there.

    Args:
        model: of any rung.
        text: a str, or the user's own words.
        word: the word, or its position where it occurs more than once.

    Returns:
        Weights over all words, by layer and head and in sum, and the effect of leaving words out.

    Raises:
        KeyError: the word does not stand in the text.
        IndexError: there is no such position.
        ValueError: the word occurs more than once, or the text is longer than the model's
            positions.
    """
    tokens = model.tokenizer([text])
    words = tokens.words(0)
    position = _position(tokens, word)
    if not model.layers:
        matrix = np.eye(len(words), dtype=np.float32)
        layers, exact, note = np.zeros((0, 1, *matrix.shape), np.float32), True, _STATIC
    else:
        recorded, sequences = model.weights(tokens)
        if sequences is None:
            matrix, exact, note = recorded[0][0], True, _EXACT
            layers = matrix[None, None]
        else:
            rows = sequences.token_rows
            layers = np.stack(
                [_between_words(weights, rows, tokens.word_tokens) for weights in recorded]
            )
            rolled = _between_words(_rollout(recorded)[None], rows, tokens.word_tokens)[0]
            sums = rolled.sum(axis=-1, keepdims=True)
            matrix = rolled / np.where(sums > 0, sums, 1)
            special = 1 - float(sums[position, 0])
            exact, note = False, _ROLLOUT.format(layers=model.layers, special=special)
    return Explanation(
        tokens.texts[0],
        words,
        position,
        matrix[position],
        matrix,
        layers,
        _left_out(model, tokens, position),
        exact,
        note,
    )


def sense_map(
    model: Contextualizer, word: str, texts: Any, *, groups: Iterable[str] | None = None
) -> Picture:
    """A map of a word's vectors in many texts, before and after context.

    Args:
        model: of any rung.
        word: a word that stands in every text; each of its occurrences is a point.
        texts: the texts.
        groups: (n_texts) a label for each text, shown as colours.

    Returns:
        A picture, by the first two principal components.

    Raises:
        ValueError: the word is missing from a text; the message names it.
    """
    from polyseme import pictures

    listed = as_list(texts)
    labels = list(groups) if groups is not None else None
    if labels is not None and len(labels) != len(listed):
        raise ValueError(f"groups has {len(labels)} labels for {len(listed)} texts")
    before, after, sentences, colours = [], [], [], []
    static = model.static_vectors(listed)
    for i, (plain, doc) in enumerate(zip(static, model.contextualize(listed), strict=True)):
        found = doc.find(word)
        if not found:
            raise ValueError(f"{word!r} does not stand in text {i}: {doc.text!r}")
        for at in found:
            before.append(plain.vectors[at])
            after.append(doc.vectors[at])
            sentences.append(doc.text)
            colours.append(labels[i] if labels else "")
    return pictures.sense_map(
        np.stack(before),
        np.stack(after),
        sentences,
        word=word,
        groups=colours if labels else None,
        title=f"{word!r} before and after context",
    )


def _position(tokens: TokenizedTexts, word: str | int) -> int:
    if isinstance(word, str):
        spans = [(start, end) for start, end in tokens.spans.tolist()]
        empty = np.zeros((len(spans), 0), np.float32)
        doc = EmbeddedText(tokens.texts[0], tokens.words(0), spans, empty, tokens.known)
        return doc.position(word)
    count = len(tokens.spans)
    if not -count <= word < count:
        raise IndexError(f"word {word} of a text of {count} words")
    return word % count


def _between_words(
    weights: Floats, token_rows: npt.NDArray[np.int64], word_tokens: npt.NDArray[np.int64]
) -> Floats:
    """Weights (heads, n, n) between tokens as (heads, n_words, n_words) between words.

    A word asks with the mean of its tokens and is attended to by the sum of its tokens.
    """
    own = weights[:, token_rows][:, :, token_rows]
    member = np.zeros((len(word_tokens), len(token_rows)), dtype=own.dtype)
    lengths = word_tokens[:, 1] - word_tokens[:, 0]
    member[
        np.repeat(np.arange(len(lengths)), lengths), ragged_ranges(word_tokens[:, 0], lengths)
    ] = 1
    mean = member / np.maximum(lengths, 1)[:, None].astype(own.dtype)
    between: Floats = mean @ own @ member.T
    return between


def _rollout(recorded: list[Floats]) -> Floats:
    """Attention rollout: heads averaged, the residual as half of each layer, layers multiplied."""
    rolled = np.eye(recorded[0].shape[-1], dtype=np.float32)
    for weights in recorded:
        rolled = (weights.mean(axis=0) @ rolled + rolled) / 2
    return rolled


def _left_out(model: Contextualizer, tokens: TokenizedTexts, position: int) -> Floats:
    """1 - cosine between the word's vector in the text and in the text without each other word."""
    vectors = unit(model.vectors_of(_without_each(tokens)).astype(np.float64))
    count = len(tokens.spans)
    whole = vectors[position]
    changes = np.zeros(count, dtype=np.float32)
    for j in range(count):
        if j != position:
            row = count + j * (count - 1) + position - (j < position)
            # 1 - cosine of unit vectors, in a form that is 0 for equal ones.
            changes[j] = ((whole - vectors[row]) ** 2).sum() / 2
    return changes


def _without_each(tokens: TokenizedTexts) -> TokenizedTexts:
    """The text, and then the text without each of its words in turn."""
    count, n_tokens = len(tokens.spans), len(tokens.token_ids)
    ids, ranges, spans, known = (
        [tokens.token_ids],
        [tokens.word_tokens],
        [tokens.spans],
        [tokens.known],
    )
    start = n_tokens
    for j in range(count):
        kept = np.ones(n_tokens, dtype=bool)
        kept[slice(*tokens.word_tokens[j])] = False
        place = offsets_of(kept.astype(np.int64))
        ids.append(tokens.token_ids[kept])
        others = np.arange(count) != j
        ranges.append(start + place[tokens.word_tokens[others]])
        spans.append(tokens.spans[others])
        known.append(tokens.known[others])
        start += int(kept.sum())
    return replace(
        tokens,
        texts=tokens.texts * (count + 1),
        spans=np.concatenate(spans),
        word_offsets=offsets_of([len(part) for part in spans]),
        token_ids=np.concatenate(ids),
        token_offsets=offsets_of([len(part) for part in ids]),
        word_tokens=np.concatenate(ranges),
        known=np.concatenate(known),
    )
