"""An index of word occurrences: find a word's uses by what it means there, and its senses."""

from polyseme.senses.building import IndexSummary, build_index
from polyseme.senses.change import Change
from polyseme.senses.index import SenseIndex
from polyseme.senses.results import Occurrence, Sense, Tag

__all__ = [
    "Change",
    "IndexSummary",
    "Occurrence",
    "Sense",
    "SenseIndex",
    "Tag",
    "build_index",
]
