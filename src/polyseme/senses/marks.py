"""The words that mark a sense: they stand near its uses, and not near the uses of the others.

Log-odds ratio with a prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words", equations 16 and
22): how much likelier a word is near one sense than near the rest, over the standard deviation of
this. The prior is what stands near the word in any sense.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from polyseme.senses.words import alike, is_content
from polyseme.text import split_words

_WIDTH = 100
_PRIOR = 100.0
_LEAST = 2


def near_words(text: str, start: int, end: int, width: int = _WIDTH) -> set[str]:
    """Words that mean something within so many characters, without the word itself and its forms.

    Example:
        >>> sorted(near_words("They sat on the bank of the Seine; the banks are low", 16, 20))
        ['low', 'sat', 'seine']
    """
    own = text[start:end].casefold()
    found = set()
    for first, last in split_words(text):
        if last > start - width and first < end + width:
            word = text[first:last].casefold()
            if is_content(word) and not alike(own, word):
                found.add(word)
    return found


def marks_of(near: Sequence[Iterable[set[str]]], background: Mapping[str, int]) -> list[list[str]]:
    """The words that mark each sense, the strongest first.

    Args:
        near: for each sense, what stands near its uses, a set a use.
        background: how often each word occurs at all; what the only sense is compared with.

    Example:
        >>> near = [[{"river", "low"}, {"river"}], [{"money"}, {"money", "low"}]]
        >>> marks_of(near, {})
        [['river'], ['money']]
    """
    counts = [Counter(word for words in of_sense for word in words) for of_sense in near]
    total: Counter[str] = Counter()
    for of_sense in counts:
        total.update(of_sense)
    found: list[list[str]] = []
    for of_sense in counts:
        words = [word for word, number in of_sense.items() if number >= _LEAST]
        if not words:
            found.append([])
            continue
        here = np.asarray([of_sense[word] for word in words], np.float64)
        here_size = of_sense.total()
        if len(near) > 1:
            rest = np.asarray([total[word] for word in words]) - here
            rest_size = total.total() - here_size
        else:
            rest = np.asarray([max(background.get(word, 0) - total[word], 0) for word in words])
            rest_size = sum(background.values())
        prior = _PRIOR * (here + rest) / max(here_size + rest_size, 1)
        odds = np.log((here + prior) / (here_size + _PRIOR - here - prior))
        odds -= np.log((rest + prior) / (rest_size + _PRIOR - rest - prior))
        strength = odds / np.sqrt(1 / (here + prior) + 1 / (rest + prior))
        order = np.lexsort((np.asarray(words), -strength))
        found.append([words[i] for i in order if strength[i] > 0])
    return found
