"""The senses of a word: found among its occurrences, described, labelled, and used to tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polyseme.attention import unit
from polyseme.embedded import EmbeddedText
from polyseme.senses.clustering import Integers, centroids_of, nearest_to
from polyseme.senses.marks import marks_of, near_words
from polyseme.senses.results import Sense, Tag
from polyseme.senses.searching import Tables
from polyseme.senses.tables import Floats, among, connect, directions, fixed

if TYPE_CHECKING:
    import pyarrow

EXAMPLES = 5
MARKS = 10
_READ_FOR_MARKS = 400
_TABLE = "senses"


@dataclass(frozen=True, eq=False)
class Kept:
    """What an index keeps of the senses that a user has labelled.

    Attributes:
        centroids: (k, dim) float32 of length one.
        names: (k) made of their marks.
        labels: (k) "" for a sense without.
    """

    centroids: Floats
    names: Sequence[str]
    labels: Sequence[str]


def senses_of(
    tables: Tables, word: str, kept: Kept | None, background: Mapping[str, int]
) -> list[Sense]:
    """The senses of a word, as they were kept, or as they are found."""
    rows = tables.of_words([word])
    vectors = directions(rows["vector"])
    centroids = centroids_of(vectors) if kept is None else kept.centroids
    nearest = nearest_to(centroids, vectors)
    cosines = np.einsum("nd,nd->n", vectors, centroids[nearest])
    members = [np.flatnonzero(nearest == i) for i in range(len(centroids))]
    marks = marks_of([_near(tables, rows, own) for own in members], background)
    found = []
    for i, own in enumerate(members):
        name = ", ".join(marks[i][:2]) or f"sense {i + 1}"
        best = _without_doubles(rows, own[np.argsort(-cosines[own], kind="stable")])[:EXAMPLES]
        found.append(
            Sense(
                word,
                i + 1,
                name if kept is None else kept.names[i],
                "" if kept is None else kept.labels[i],
                len(own),
                len(own) / len(rows),
                tuple(marks[i][:MARKS]),
                tuple(tables.occurrences_of(rows.take(best), cosines[best])),
                centroids[i],
            )
        )
    return found


def keep(tables: Tables, senses: Sequence[Sense]) -> None:
    """Write the senses of one word into the index, in place of those that are there."""
    import pyarrow as pa

    rows = pa.table(
        {
            "word": pa.array([sense.word for sense in senses], pa.string()),
            "number": pa.array([sense.number for sense in senses], pa.int32()),
            "name": pa.array([sense.name for sense in senses], pa.string()),
            "label": pa.array([sense.label for sense in senses], pa.string()),
            "vector": fixed(np.stack([sense.centroid for sense in senses])),
        }
    )
    folder = tables.state.folder
    database = connect(folder)
    if not (folder / f"{_TABLE}.lance").exists():
        database.create_table(_TABLE, rows)
        return
    merge = database.open_table(_TABLE).merge_insert(["word", "number"])
    merge = merge.when_matched_update_all().when_not_matched_insert_all()
    own = among("word", [senses[0].word])
    merge.when_not_matched_by_source_delete(own).execute(rows)


def forget(tables: Tables, word: str) -> None:
    """Take the senses of a word out of the index."""
    folder = tables.state.folder
    if (folder / f"{_TABLE}.lance").exists():
        connect(folder).open_table(_TABLE).delete(among("word", [word]))


def kept_senses(tables: Tables, words: Sequence[str] | None = None) -> dict[str, Kept]:
    """The senses that an index keeps, of some words or of all that have any."""
    folder = tables.state.folder
    if not (folder / f"{_TABLE}.lance").exists():
        return {}
    query = connect(folder).open_table(_TABLE).search()
    rows = (query if words is None else query.where(among("word", words))).to_arrow()
    if not len(rows):
        return {}
    rows = rows.sort_by([("word", "ascending"), ("number", "ascending")])
    vectors = directions(rows["vector"])
    owners = np.asarray(rows["word"].to_pylist(), dtype=object)
    names, labels = rows["name"].to_pylist(), rows["label"].to_pylist()
    found = {}
    for word in dict.fromkeys(owners.tolist()):
        own = np.flatnonzero(owners == word)
        found[word] = Kept(vectors[own], [names[i] for i in own], [labels[i] for i in own])
    return found


def _near(tables: Tables, rows: pyarrow.Table, own: Integers) -> list[set[str]]:
    """What stands near some of a sense's occurrences, evenly taken."""
    picked = own[:: max(1, -(-len(own) // _READ_FOR_MARKS))]
    occurrences = tables.occurrences_of(rows.take(picked), np.zeros(len(picked), np.float32))
    return [near_words(one.text, one.start, one.end) for one in occurrences]


def _without_doubles(rows: Any, order: Integers) -> Integers:
    """The rows of an order, the first of each text."""
    texts = rows["text"].to_numpy()[order]
    _, first = np.unique(texts, return_index=True)
    return order[np.sort(first)]


def tags_of(doc: EmbeddedText, senses: Mapping[str, Kept]) -> list[Tag]:
    """The senses of those words of a text that have any."""
    found = []
    for word, (start, end), vector in zip(doc.words, doc.spans, doc.vectors, strict=True):
        own = senses.get(word.casefold())
        if own is None:
            continue
        cosines = own.centroids @ unit(vector)
        order = np.argsort(-cosines, kind="stable")
        best = int(order[0])
        score = float(cosines[best])
        margin = score - float(cosines[order[1]]) if len(order) > 1 else score
        title = own.labels[best] or own.names[best]
        found.append(Tag(word, start, end, best + 1, title, score, margin))
    return found
