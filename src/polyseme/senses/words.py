"""Which words an index holds if nobody says: those that mean something by themselves.

A word goes in if it has a letter, no digit, two letters or more (or is one character of a script
that writes whole words with one), and is none of the English words that only tie others together.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LISTED = """
a about above across after again against all almost along already also although always am among
an and another any anybody anyone anything are aren't around as at away be became because become
been before behind being below beneath beside besides between beyond both but by can can't cannot
could couldn't despite did didn't do does doesn't doing don't done down during each either else
enough etc even ever every everybody everyone everything except few for from further had hadn't
has hasn't have haven't having he he's her here hers herself him himself his how however i i'd
i'll i'm i've if in indeed inside instead into is isn't it it's its itself just least less let
like many may maybe me might mine more moreover most much must my myself near neither never
nevertheless no nobody none nor not nothing now of off often on once one only onto or other
others otherwise ought our ours ourselves out outside over own per perhaps quite rather really
same several shall she she's should shouldn't since so some somebody someone something sometimes
somewhat somewhere soon still such than that that's the their theirs them themselves then there
there's therefore these they they're this those though through throughout thus till to together
too toward towards under underneath unless until up upon us usually very via was wasn't we we're
were weren't what whatever when whenever where whereas wherever whether which whichever while who
whoever whole whom whose why will with within without won't would wouldn't yet you you're your
yours yourself yourselves
"""
FUNCTION_WORDS = frozenset(_LISTED.split())
"""English words without a meaning of their own, in small letters."""

_ENDINGS = ("'s", "’s", "ings", "ing", "iest", "ies", "ied", "ers", "er", "ed", "es", "s", "y", "e")
_NEAR = 3
_FREQUENT = 20_000


def is_content(word: str) -> bool:
    """Whether a word, its letters' case folded, means something by itself.

    Example:
        >>> list(filter(is_content, ["the", "bank", "3rd", "x", "水", "don't", "o'neill"]))
        ['bank', '水', "o'neill"]
    """
    if word in FUNCTION_WORDS or word.replace("’", "'") in FUNCTION_WORDS:
        return False
    if len(word) == 1:
        return word.isalpha() and ord(word) >= 0x2E80
    return any(map(str.isalpha, word)) and not any(map(str.isdigit, word))


def alike(word: str, other: str) -> bool:
    """Whether two words look like forms of one: the same but for a common English ending.

    Example:
        >>> [other for other in ["banks", "banking", "band", "bunk"] if alike("bank", other)]
        ['banks', 'banking']
        >>> alike("city", "cities"), alike("run", "running"), alike("city", "citizen")
        (True, True, False)
    """
    return stem(word) == stem(other)


def stem(word: str) -> str:
    """What is left of a word, its beginning, without a common English ending.

    Example:
        >>> stem("cities"), stem("running"), stem("the")
        ('cit', 'run', 'the')
    """
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word[-2:-1] == word[-1:] and len(word) > 3 else word


def nearest_spelling(word: str, known: Iterable[str]) -> list[str]:
    """Words that are spelled much like one, the most alike first.

    Args:
        word: that is not known.
        known: the words to choose among, the most frequent first.
    """
    lengths = range(len(word) - 2, len(word) + 3)
    near = [other for other in known if len(other) in lengths]
    same = [other for other in near if other[:1] == word[:1]]
    return get_close_matches(word, same, _NEAR) or get_close_matches(word, near[:_FREQUENT], _NEAR)
