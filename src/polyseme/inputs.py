"""What users hand over as texts: recognised, checked, and cut into batches.

A str is one text. A list, tuple, NumPy, pandas or Arrow array of str is many; so is a list of lists
of str, where each inner list is a text that the user has already cut into words. A generator or any
other iterator is a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

Text: TypeAlias = "str | Sequence[str]"
Texts: TypeAlias = "Sequence[Text]"

_CHARACTERS_OF_A_SHORT_TEXT = 64


def is_stream(texts: object) -> bool:
    """Whether the texts come one after the other and may never end."""
    return isinstance(texts, Iterator)


def as_list(texts: Any) -> list[Text]:
    """The texts of a collection as a list.

    Raises:
        TypeError: it is no collection of texts, or one of them is not a str or a list of str; the
            message says which.
    """
    if isinstance(texts, (str, bytes, bytearray, dict)) or texts is None:
        raise TypeError(f"texts is of type {type(texts).__name__}: {_WOULD_DO}")
    if hasattr(texts, "to_pylist"):  # Arrow
        items = texts.to_pylist()
    elif hasattr(texts, "tolist"):  # NumPy and pandas
        items = texts.tolist()
    elif isinstance(texts, Iterable):
        items = list(texts)
    else:
        raise TypeError(f"texts is of type {type(texts).__name__}: {_WOULD_DO}")
    if not isinstance(items, list):
        raise TypeError(f"texts is an array without a dimension: {_WOULD_DO}")
    return [checked(item, i) for i, item in enumerate(items)]


def checked(item: Any, position: int) -> Text:
    """The text if it is one.

    Raises:
        TypeError: it is not; the message has the position.
    """
    if type(item) is str:
        return item
    if isinstance(item, str):
        return str(item)
    if isinstance(item, (list, tuple)):
        for j, word in enumerate(item):
            if not isinstance(word, str):
                raise TypeError(
                    f"text {position}, word {j} is {_shown(word)}: a text is a str or a list of str"
                )
        return list(item)
    raise TypeError(f"text {position} is {_shown(item)}: a text is a str or a list of str")


def batches(texts: Iterable[Text], characters: int) -> Iterator[list[Text]]:
    """Cut a stream into lists of about so many characters, by ``size_of``."""
    batch: list[Text] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += size_of(text)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def size_of(text: Text) -> int:
    """Characters of a text; 64 for a short one, which is not computed in less."""
    length = len(text) if isinstance(text, str) else sum(map(len, text))
    return max(length, _CHARACTERS_OF_A_SHORT_TEXT)


_WOULD_DO = "give a str, a list, tuple, NumPy, pandas or Arrow array of str, or a generator of str"


def _shown(item: Any) -> str:
    shown = repr(item)
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'} ({type(item).__name__})"
