"""polyseme: every word of a text gets the vector that it means here.

Names are imported when they are first used, so ``import polyseme`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyseme.attention import attend, multi_head_attention, self_attend
    from polyseme.contextualizer import Contextualizer
    from polyseme.embedded import EmbeddedText, EmbeddedTexts
    from polyseme.explain import Explanation
    from polyseme.loading import load
    from polyseme.parameter_free import ParameterFree
    from polyseme.text import Phrases
    from polyseme.vectors import WordVectors

__version__ = "0.1.0"

__all__ = [
    "Contextualizer",
    "EmbeddedText",
    "EmbeddedTexts",
    "Explanation",
    "ParameterFree",
    "Phrases",
    "WordVectors",
    "attend",
    "load",
    "multi_head_attention",
    "self_attend",
]

_HOMES = {
    "Contextualizer": "contextualizer",
    "EmbeddedText": "embedded",
    "EmbeddedTexts": "embedded",
    "Explanation": "explain",
    "ParameterFree": "parameter_free",
    "Phrases": "text",
    "WordVectors": "vectors",
    "attend": "attention",
    "load": "loading",
    "multi_head_attention": "attention",
    "self_attend": "attention",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'polyseme' has no attribute {name!r}")
    value = getattr(import_module(f"polyseme.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
