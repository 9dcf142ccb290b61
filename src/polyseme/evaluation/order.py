"""Word order: do the vectors say who did what to whom?

From real sentences, by rule: where a name, a verb that takes an object, and a name follow each
other ("Frazier defeated Ali in 1971.", "Ali was defeated by Frazier in 1971."), the names change
places. Both sentences have the same words, and differ in nothing but who does it to whom. "The
general" and "the king" around the verb change places likewise. Two measures:

- changed: the share of pairs of sentences in which both moved words (of a name of several words,
  the last) have another vector in the other order. What attends without positions has none;
- accuracy: that of a linear probe (``probe.py``) which is given one moved word's vector and says
  whether the word does it or has it done to it. It is fitted on some verbs and measured on others,
  and no two names are together in both parts. Each pair of sentences asks for each of its words
  twice, with opposite answers, so a model that is blind to order gets exactly 0.5.

A model passes if at least 99 % of the pairs are changed and the probe is right at least 75 % of the
time: half way from a coin to certainty. Most sentences are in the active voice, where who stands
first does it, so a model can pass that knows no more than who stands first. The accuracies of the
two voices, which stand beside it, tell: such a model is right about one and wrong about the other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from polyseme.embedded import Span
from polyseme.evaluation.models import Doubles, Evaluated, Integers, vectors_of_spans
from polyseme.evaluation.probe import fit, require_sklearn

LEAST_CHANGED, LEAST_ACCURACY = 0.99, 0.75

# Relative to the longer of two vectors: what sums in another order make of equal ones is less.
_TOLERANCE = 1e-4
_PAIRS_OF_A_VERB = 60
_LONGEST = 40


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


TRAINING_VERBS = _words(
    "admired appointed asked attacked beat blamed bought captured challenged conquered controlled "
    "criticized defeated destroyed divorced encouraged endorsed fought helped hired hit influenced "
    "inspired invited kidnapped married murdered nominated occupied opposed overthrew persuaded "
    "praised raided recruited replaced represented rescued ruled saved stabbed succeeded "
    "surrounded taught threatened trained visited warned"
)
TESTED_VERBS = _words(
    "accused acquired arrested assassinated betrayed bombed chased deposed employed executed "
    "followed hated imprisoned invaded joined killed loved poisoned shot sued supported told"
)

_NO_NAMES = _words(
    "A After All An And Another As At Because Before Both But By During Each Everyone Few For From "
    "He Her His I If In It Its Many Most My No Nobody None On One Others Our Several She Since So "
    "Some Someone That The Their Then There These They This Those Three Two We What When Where "
    "Which While Who With You Your"
)
_OPENING = (
    r"(?:^[\"'“]?|[,;:] |\b(?:after|although|as|because|before|but|how|if|once|since|that|until|"
    r"when|where|while|After|Although|As|Because|Before|If|Once|Since|Until|When|While) )"
)
_CLOSING = (
    r"(?=[.,;]|$| (?:after|again|against|and|as|at|because|before|but|during|for|from|if|in|later|"
    r"on|since|through|to|twice|under|until|when|while|with)\b)"
)
_VERBS = "|".join(sorted(TRAINING_VERBS | TESTED_VERBS))
_QUICK = re.compile(rf" (?:{_VERBS}) ")
_BETWEEN = rf" (?P<was>was |were )?(?P<verb>{_VERBS}) (?P<by>by )?"
_PART = r"[A-ZÀ-ÖØ-Þ][^\W\d_]+"
_NAME = rf"{_PART}(?: {_PART}){{0,2}}"
_NAMES = re.compile(rf"{_OPENING}(?P<first>{_NAME}){_BETWEEN}(?P<second>{_NAME}){_CLOSING}")
_NOUNS = re.compile(
    rf"{_OPENING}[Tt]he (?P<first>[a-z]+){_BETWEEN}the (?P<second>[a-z]+){_CLOSING}"
)
_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z0-9])")


@dataclass(frozen=True)
class Swap:
    """A sentence in two orders.

    Attributes:
        verb: what is done.
        passive: whether it is said the other way round ("was defeated by").
        texts: the sentence as it stands, and with the two names in each other's place.
        doers: characters of the word that does it, in each.
        done_to: characters of the word that it is done to, in each.
    """

    verb: str
    passive: bool
    texts: tuple[str, str]
    doers: tuple[Span, Span]
    done_to: tuple[Span, Span]

    @property
    def names(self) -> tuple[str, str]:
        """The two moved words, in alphabetical order."""
        (start, end), (other_start, other_end) = self.doers[0], self.done_to[0]
        text = self.texts[0]
        first, second = sorted([text[start:end], text[other_start:other_end]])
        return first, second


@dataclass(frozen=True)
class OrderResult:
    """The result.

    Attributes:
        model: its name.
        rung: its rung.
        train: pairs of sentences that the probe is fitted on.
        test: pairs of sentences that it is measured on.
        changed: share of all pairs in which both moved words have another vector.
        accuracy: share of the moved words of the tested pairs that the probe is right about.
        active: the same, of pairs in the active voice alone.
        passive: of those in the passive voice; None if there are none.
        strength: the probe's C.
    """

    model: str
    rung: str
    train: int
    test: int
    changed: float
    accuracy: float
    active: float | None
    passive: float | None
    strength: float

    @property
    def passes(self) -> bool:
        """Whether the model knows order: see this module's docstring."""
        return self.changed >= LEAST_CHANGED and self.accuracy >= LEAST_ACCURACY

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"task": "order", **vars(self), "passes": self.passes}


def find_swaps(passages: Iterable[str]) -> list[Swap]:
    """Find sentences whose names can change places.

    Args:
        passages: any number, which is not held.

    Returns:
        At most 60 of each verb and voice, no two with the same words and verb, in the order of the
        passages.
    """
    found: list[Swap] = []
    counts: Counter[tuple[str, bool]] = Counter()
    seen = set()
    for passage in passages:
        sentences = _SENTENCE.split(passage) if _QUICK.search(passage) else []
        for swap in filter(None, map(swap_of, sentences)):
            kind, words = (swap.verb, swap.passive), (swap.verb, swap.names)
            if words not in seen and counts[kind] < _PAIRS_OF_A_VERB:
                counts[kind] += 1
                seen.add(words)
                found.append(swap)
    return found


def swap_of(sentence: str) -> Swap | None:
    """The sentence in its two orders; None if no names in it can change places.

    Example:
        >>> swap = swap_of("In 1971, Frazier defeated Muhammad Ali in New York.")
        >>> swap.texts[1], swap.names
        ('In 1971, Muhammad Ali defeated Frazier in New York.', ('Ali', 'Frazier'))
    """
    if len(sentence.split()) > _LONGEST:
        return None
    for match in chain(_NAMES.finditer(sentence), _NOUNS.finditer(sentence)):
        first, second = match["first"].split(), match["second"].split()
        in_one_voice = bool(match["was"]) == bool(match["by"])
        apart = {*map(str.casefold, first)}.isdisjoint(map(str.casefold, second))
        if in_one_voice and apart and _NO_NAMES.isdisjoint(first + second):
            return _swapped(sentence, match)
    return None


def evaluate(
    model: Evaluated, swaps: Sequence[Swap], *, progress: bool | None = False
) -> OrderResult:
    """Measure whether a model's vectors know the order of words.

    Args:
        model: of any rung.
        swaps: as ``find_swaps`` gives them.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The same numbers at every run.

    Raises:
        ImportError: scikit-learn is missing.
        ValueError: too few swaps; the message says of what.
    """
    require_sklearn()
    train, test = split(swaps)
    seen, seen_changed = _roles(model, train, progress)
    new, new_changed = _roles(model, test, progress)
    labels = np.tile([1, 0, 1, 0], len(train))
    verbs = np.repeat([swap.verb for swap in train], 4)
    probe = fit(seen.reshape(len(labels), -1), labels, verbs)
    right = probe.predict(new.reshape(4 * len(test), -1)).reshape(-1, 4) == [1, 0, 1, 0]
    passive = np.asarray([swap.passive for swap in test])
    return OrderResult(
        model.name,
        model.rung,
        len(train),
        len(test),
        float(np.concatenate([seen_changed, new_changed]).mean()),
        float(right.mean()),
        float(right[~passive].mean()) if not passive.all() else None,
        float(right[passive].mean()) if passive.any() else None,
        probe.strength,
    )


def split(swaps: Sequence[Swap]) -> tuple[list[Swap], list[Swap]]:
    """Those that the probe is fitted on, and those that it is measured on.

    Raises:
        ValueError: one of them has too few to say anything.
    """
    test = [swap for swap in swaps if swap.verb in TESTED_VERBS]
    together = {swap.names for swap in test}
    train = [swap for swap in swaps if swap.verb in TRAINING_VERBS and swap.names not in together]
    if not test or len({swap.verb for swap in train}) < 2:
        fitted, measured = (", ".join(sorted(verbs)) for verbs in (TRAINING_VERBS, TESTED_VERBS))
        raise ValueError(
            f"{len(swaps)} sentences whose names can change places, {len(train)} to fit the probe "
            f"on and {len(test)} to measure it on: give more text, with two or more of these verbs "
            f"to fit it on ({fitted}), and one or more of these to measure it on ({measured})"
        )
    return train, test


def _roles(
    model: Evaluated, swaps: Sequence[Swap], progress: bool | None
) -> tuple[Doubles, Integers]:
    """(n, 4, dim) doer and done-to in both orders, and (n,) whether both changed.

    A vector that is the same but for rounding is made the very same, so that it gets the same
    answer.
    """
    texts = [text for swap in swaps for text in swap.texts]
    spans = [both for swap in swaps for both in zip(swap.doers, swap.done_to, strict=True)]
    vectors = vectors_of_spans(model, texts, spans, progress=progress)
    vectors = vectors.reshape(len(swaps), 4, -1)
    changed = []
    # The word that does it in one order has it done to it in the other.
    for one, other in ((0, 3), (1, 2)):
        lengths = np.linalg.norm(vectors[:, (one, other)], axis=2).max(axis=1)
        moved = np.linalg.norm(vectors[:, one] - vectors[:, other], axis=1)
        different = moved > _TOLERANCE * lengths
        vectors[~different, other] = vectors[~different, one]
        changed.append(different)
    return vectors, changed[0] & changed[1]


def _swapped(sentence: str, match: re.Match[str]) -> Swap:
    (a, b), (c, d) = match.span("first"), match.span("second")
    swapped = sentence[:a] + sentence[c:d] + sentence[b:c] + sentence[a:b] + sentence[d:]
    before = _last_word(sentence, a, b), _last_word(swapped, a, a + d - c)
    after = _last_word(sentence, c, d), _last_word(swapped, d - (b - a), d)
    passive = bool(match["by"])
    doers, done_to = (after, before) if passive else (before, after)
    return Swap(match["verb"], passive, (sentence, swapped), doers, done_to)


def _last_word(text: str, start: int, end: int) -> Span:
    return max(start, text.rfind(" ", start, end) + 1), end
