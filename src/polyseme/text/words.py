"""Words of a text, in any script, by rules of our own; and phrases that stay one unit.

A text goes in, character spans come out: ``text[start:end]`` is the word. The rules follow
Unicode's word boundaries (UAX #29) where those help a reader, and never look past whitespace, so a
text's words are the words of its whitespace chunks, one after the other:

- letters, digits, marks and underscores run together ("naïve", "B2B", "한국어", "ภาษาไทย");
- an apostrophe (' ’ ＇) between two of them stays inside ("don't", "O’Neill"); a hyphen does not
  ("state", "-", "of");
- a separator between two digits stays inside ("3.14", "1,000", "192.168.0.1");
- Han and Hiragana: one word a character; Katakana runs together, apart from other letters;
- every other visible character is a word of its own, but what belongs to it stays with it:
  combining marks, variation selectors, skin tones, keycaps, tags, emoji joined by U+200D, and
  regional indicators in pairs, so an emoji is one word;
- characters that show nothing (zero-width space, byte order mark, soft hyphen, bidi controls,
  control characters) stay inside a word that goes on behind them, and are otherwise in no word;
- whitespace (``str.isspace``) is in no word.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence

# Each character is replaced by the letter of its class; one pattern over those letters finds words.
#   a letter, underscore     0 digit        m mark        k Katakana     h Han or Hiragana
#   r regional indicator     q apostrophe   d separator in numbers       e emoji or other symbol
#   x other visible          j joiner       f invisible   s whitespace
_WORD = re.compile(
    r"[a0m]+(?:[fj]+[a0m]+|[fj]*q[fj]*[a0][a0m]*|(?<=0)d0[a0m]*)*"
    r"|k[km]*(?:[fj]+k[km]*)*"
    r"|hm*"
    r"|rm*(?:rm*)?"
    r"|em*(?:jem*)*"
    r"|[xqd]m*"
)

# First and last code point of the ranges that the general categories alone do not tell.
_RANGES = (
    (0x0600, 0x0605, "x"),  # Arabic number signs: format characters that show
    (0x06DD, 0x06DD, "x"),
    (0x070F, 0x070F, "x"),
    (0x0890, 0x0891, "x"),
    (0x08E2, 0x08E2, "x"),
    (0x200D, 0x200D, "j"),
    (0x2190, 0x21FF, "e"),  # arrows are symbols of mathematics by category, and parts of emoji
    (0x3005, 0x3007, "h"),
    (0x3021, 0x3029, "h"),
    (0x3038, 0x303B, "h"),
    (0x3400, 0x4DBF, "h"),
    (0x4E00, 0x9FFF, "h"),
    (0xF900, 0xFAFF, "h"),
    (0xFF9E, 0xFF9F, "m"),  # voicing of half-width Katakana
    (0x110BD, 0x110BD, "x"),
    (0x110CD, 0x110CD, "x"),
    (0x1F1E6, 0x1F1FF, "r"),
    (0x1F3FB, 0x1F3FF, "m"),  # skin tones
    (0x20000, 0x3FFFF, "h"),
    (0xE0020, 0xE007F, "m"),  # tags, as in the flag of Scotland
)
_FIRSTS = [first for first, _, _ in _RANGES]

# Letters only: the marks and signs in these blocks go by their category.
_KATAKANA = [(0x3031, 0x3035), (0x30A1, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D)]
_KATAKANA += [(0x1AFF0, 0x1B000), (0x1B120, 0x1B122), (0x1B155, 0x1B155), (0x1B164, 0x1B167)]
_HIRAGANA = [(0x3041, 0x309F), (0x1B001, 0x1B11F), (0x1B132, 0x1B132), (0x1B150, 0x1B152)]
_SIGNS = dict.fromkeys("'’＇", "q") | dict.fromkeys(".,٫٬，．", "d")


def _letter(code: int) -> str:
    if any(first <= code <= last for first, last in _KATAKANA):
        return "k"
    return "h" if any(first <= code <= last for first, last in _HIRAGANA) else "a"


def _class(code: int) -> str:
    character = chr(code)
    if character.isspace():
        return "s"
    if character in _SIGNS:
        return _SIGNS[character]
    at = bisect_right(_FIRSTS, code) - 1
    if at >= 0 and code <= _RANGES[at][1]:
        return _RANGES[at][2]
    category = unicodedata.category(character)
    if category[0] == "L":
        return _letter(code)
    if category == "Cn" and 0x1F000 <= code < 0x20000:
        return "e"  # an emoji that is younger than this Python's Unicode
    known = {"Nd": "0", "Nl": "a", "No": "a", "Pc": "a", "So": "e", "Cf": "f", "Cc": "f"}
    return known.get(category, "m" if category[0] == "M" else "x")


class _Classes(dict[int, str]):
    """Class of every code point seen so far, for ``str.translate``."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _class(code)
        return found


_CLASSES = _Classes({code: _class(code) for code in range(128)})


def split_words(text: str) -> list[tuple[int, int]]:
    """Find the words of a text; the rules stand at the top of this module.

    Args:
        text: any string, the empty one and lone surrogates included.

    Returns:
        First and one-past-last code point of each word, in the text's order, without overlap.

    Example:
        >>> text = "O’Neill's state-of-the-art 3.14 👍🏽!"
        >>> [text[start:end] for start, end in split_words(text)]
        ["O’Neill's", 'state', '-', 'of', '-', 'the', '-', 'art', '3.14', '👍🏽', '!']
    """
    return [match.span() for match in _WORD.finditer(text.translate(_CLASSES))]


class Phrases:
    """Phrases to keep as one unit, such as "piece of cake".

    A phrase matches a run of consecutive words, whatever whitespace stands between them, without
    regard to case (``str.casefold``). Of overlapping matches the leftmost wins, then the longest.

    Args:
        phrases: each with at least one word.

    Raises:
        TypeError: if a phrase is not a string, or a single string is given for all.
        ValueError: if a phrase has no word.

    Example:
        >>> phrases = Phrases(["piece of cake", "New York"])
        >>> phrases.find(["A", "Piece", "of", "cake", "in", "new", "york"])
        [(1, 4), (5, 7)]
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        if isinstance(phrases, str):
            raise TypeError(f"phrases: needs a list of strings; write [{phrases!r}]")
        found: dict[str, set[tuple[str, ...]]] = {}
        for number, phrase in enumerate(phrases):
            if not isinstance(phrase, str):
                raise TypeError(f"phrases[{number}]: needs a string, got {phrase!r}")
            words = tuple(phrase[start:end].casefold() for start, end in split_words(phrase))
            if not words:
                raise ValueError(f"phrases[{number}]: {phrase!r} has no word in it")
            found.setdefault(words[0], set()).add(words)
        self._by_first = {
            first: sorted(rest, key=len, reverse=True) for first, rest in found.items()
        }

    def __len__(self) -> int:
        return sum(map(len, self._by_first.values()))

    def find(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """Find the phrases in a text's words.

        Args:
            words: the words of one text, in order.

        Returns:
            First and one-past-last word of each phrase found, in order, without overlap.
        """
        folded = [word.casefold() for word in words]
        matches: list[tuple[int, int]] = []
        free = 0
        for start, word in enumerate(folded):
            if start < free or word not in self._by_first:
                continue
            for phrase in self._by_first[word]:
                if tuple(folded[start : start + len(phrase)]) == phrase:
                    free = start + len(phrase)
                    matches.append((start, free))
                    break
        return matches
