"""SenseIndex, what users hold: search it, find senses in it, tag new texts with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from polyseme.attention import unit
from polyseme.corpus.identity import identity
from polyseme.corpus.manifest import claimed
from polyseme.inputs import Text
from polyseme.senses.change import Change, change_of
from polyseme.senses.clustering import nearest_to
from polyseme.senses.induction import Kept, forget, keep, kept_senses, senses_of, tags_of
from polyseme.senses.results import Occurrence, Sense, Tag
from polyseme.senses.searching import Tables, across, forms_of
from polyseme.senses.state import NAME, check_model
from polyseme.senses.tables import Floats, checked_where, directions
from polyseme.senses.words import nearest_spelling

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer


class SenseIndex:
    r"""An index of word occurrences, open for reading; ``SenseIndex.open`` makes one.

    It may be used by several threads at a time, not across a fork. When the folder gets more files
    meanwhile, it sees them from the next call on.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from polyseme.senses import SenseIndex, build_index
        >>> place = tempfile.TemporaryDirectory()
        >>> notes = Path(place.name, "notes.txt")
        >>> _ = notes.write_text("We sat on the bank of the river.\nMy bank raised its rates.\n")
        >>> _ = build_index(notes, Path(place.name, "index"))
        >>> index = SenseIndex.open(Path(place.name, "index"))
        >>> [found.text for found in index.search("The bank lends money", "bank", k=1)]
        ['My bank raised its rates.']
        >>> [found.text for found in index.search("The bank lends money", "bank", k=1, same=False)]
        ['We sat on the bank of the river.']
        >>> place.cleanup()
    """

    def __init__(self, tables: Tables, model: Contextualizer | None) -> None:
        self._tables = tables
        self._model = model
        self._lock = Lock()
        self._seen = _changed(tables.state.folder)
        self._senses: dict[str, list[Sense]] = {}

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        model: Contextualizer | str | os.PathLike[str] | None = None,
    ) -> SenseIndex:
        """Open an index.

        Args:
            folder: that ``build_index`` has made.
            model: that the index was made with: a Contextualizer, or what ``polyseme.load`` takes.
                If None, the bundled one, opened when it is needed.

        Raises:
            ImportError: the extra `search` is missing.
            FileNotFoundError: the folder holds no index.
            ValueError: it was never finished, or was made with another model.
        """
        tables = Tables.current(Path(folder))
        if isinstance(model, (str, os.PathLike)):
            from polyseme.loading import load

            model = load(model)
        if model is not None:
            check_model(tables.state, identity(model, model.place))
        return cls(tables, model)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._tables.state.folder

    @property
    def model(self) -> Contextualizer:
        """That gives the vectors of what is searched for.

        Raises:
            ValueError: none was given, and the bundled one is not that of the index.
        """
        with self._lock:
            if self._model is None:
                from polyseme.loading import load

                loaded = load()
                check_model(self._tables.state, identity(loaded, loaded.place))
                self._model = loaded
            return self._model

    @property
    def columns(self) -> list[str]:
        """The metadata that each occurrence has."""
        return self._fresh().keep

    @property
    def words(self) -> Mapping[str, int]:
        """Each word, its letters' case folded, and how often it occurs; the most frequent first."""
        return self._fresh().counts

    def __len__(self) -> int:
        return len(self._fresh().occurrences)

    def __repr__(self) -> str:
        state = self._tables.state
        return (
            f"SenseIndex({str(state.folder)!r}, {state.occurrences:,} occurrences in "
            f"{state.texts:,} texts, by {state.job['model']['name']})"
        )

    def info(self) -> dict[str, Any]:
        """What is known of the index, as JSON takes it."""
        state = self._fresh().state
        words = state.job["words"]
        return {
            "folder": str(state.folder),
            "occurrences": state.occurrences,
            "texts": state.texts,
            "files": len(state.inputs),
            "words": words if isinstance(words, str) else len(words),
            "columns": state.job["keep"],
            "store": state.job["store"],
            "dim": state.job["dim"],
            "model": state.job["model"]["name"],
        }

    def search(
        self,
        text: Text,
        word: str | int,
        k: int = 10,
        *,
        same: bool = True,
        where: str | None = None,
        words: Iterable[str] | None = None,
    ) -> list[Occurrence]:
        """The occurrences in which a word means what it means in a text.

        All occurrences of the word are compared, so none that is nearer is missed.

        Args:
            text: in which the word has the meaning that is looked for.
            word: the word, or its position in the text if it occurs more than once.
            k: how many, at most.
            same: False for the occurrences that mean something else: those that lie most opposite
                to that meaning, as seen from the mean of the word's occurrences, come first.
            where: a condition of SQL on the metadata, such as "year > 1990".
            words: whose occurrences are searched, such as ["bank", "banks"]; if None, the word's.

        Returns:
            The occurrences, best first; fewer than k where there are no more.

        Raises:
            KeyError: the word is not in the text, or one of ``words`` not in the index.
            IndexError: the text has no such position.
            ValueError: the word occurs more than once in the text, ``where`` is no condition on
                this index's columns, or the model is another one.
        """
        _positive("k", k)
        where = checked_where(where)
        own, vector = self._meant(text, word)
        tables = self._fresh()
        searched = self._known([own] if words is None else words)
        at = tables.rows_of(searched, where)
        if same:
            cosines = tables.cosines(at, vector)
            ranked = -cosines
        else:
            vectors = unit(tables.vectors.take(at).astype(np.float32))
            cosines, ranked = vectors @ vector, across(vectors, vector)
        best = np.argsort(ranked, kind="stable")[:k]
        return tables.occurrences_of(tables.taken(at[best]), cosines[best])

    def synonyms(
        self, text: Text, word: str | int, k: int = 10, *, where: str | None = None
    ) -> list[Occurrence]:
        """The occurrences of other words that mean what a word means in a text.

        One occurrence of each word, the nearest; forms of the word itself are left out.

        Args:
            text: in which the word has the meaning that is looked for.
            word: the word, or its position in the text if it occurs more than once.
            k: how many words.
            where: a condition of SQL on the metadata.

        Returns:
            The occurrences, best first.

        Raises:
            KeyError: the word is not in the text.
            ValueError: as ``search``.
        """
        _positive("k", k)
        where = checked_where(where)
        own, vector = self._meant(text, word)
        tables = self._fresh()
        rows, cosines = tables.near(vector, k, where, forms_of(own, tables.meeting.words))
        return tables.occurrences_of(rows, cosines)

    def senses(self, word: str) -> list[Sense]:
        """The senses of a word: those that are labelled, or else as its occurrences fall apart.

        Args:
            word: whatever the case of its letters.

        Returns:
            At least one, the most frequent first; the same at every call.

        Raises:
            KeyError: it is not in the index; the message has words that are spelled like it.
        """
        (own,) = self._known([word])
        tables = self._fresh()
        kept = kept_senses(tables, [own]).get(own)
        if kept is not None:
            return senses_of(tables, own, kept, self.words)
        if own not in self._senses:
            self._senses[own] = senses_of(tables, own, None, self.words)
        return list(self._senses[own])

    def label(self, word: str, labels: Mapping[int, str]) -> list[Sense]:
        """Call senses of a word by names of one's own, and keep the senses in the index.

        From then on they stay as they are, whatever is added to the index.

        Args:
            word: whatever the case of its letters.
            labels: of senses by their numbers; those of the others stay. "" takes a label away; if
                no label is left, the index forgets the word's senses.

        Returns:
            The senses, with their labels.

        Raises:
            KeyError: the word is not in the index, or has no sense of such a number.
            BlockingIOError: another process is writing the index.
            PermissionError: the folder can't be written.
        """
        senses = self.senses(word)
        for number in labels:
            if not 1 <= number <= len(senses):
                raise KeyError(
                    f"{word!r} has no sense {number}: it has {len(senses)}, numbered from 1"
                )
        named = [
            replace(sense, label=labels.get(sense.number, sense.label).strip()) for sense in senses
        ]
        with claimed(self.folder):
            if any(sense.label for sense in named):
                keep(self._fresh(), named)
            else:
                forget(self._fresh(), named[0].word)
        return named

    def labelled(self) -> dict[str, list[str]]:
        """The words whose senses are labelled, and the senses' labels; "" for those without."""
        return {word: list(kept.labels) for word, kept in kept_senses(self._fresh()).items()}

    def tag(self, texts: Sequence[Text], *, words: Iterable[str] | None = None) -> list[list[Tag]]:
        """The senses of words in new texts.

        Args:
            texts: any number, each a str or a list of words.
            words: that are tagged, in any form of case; if None, those with labelled senses.

        Returns:
            For each text, the tags of its words in their order.

        Raises:
            KeyError: one of ``words`` is not in the index.
            ValueError: ``words`` is None and no senses are labelled.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts is a list of texts: write [{texts!r}]")
        tables = self._fresh()
        if words is None:
            senses = kept_senses(tables)
            if not senses:
                raise ValueError(
                    f"no senses are labelled in {self.folder} yet: name the words that are to be "
                    'tagged, or label senses: `polyseme senses INDEX bank --label "1=river"`'
                )
        else:
            senses = {word: self._kept(word) for word in self._known(words)}
        docs = self.model.contextualize(list(texts), progress=False)
        return [tags_of(doc, senses) for doc in docs]

    def over(self, word: str, column: str) -> Change:
        """How often a word has each of its senses, by a column of metadata, such as the year.

        Args:
            word: whatever the case of its letters.
            column: one of ``columns``; numbers of many values are taken in steps.

        Raises:
            KeyError: the word is not in the index, or the index has no such column.
            ValueError: the column has too many values to tell them apart.
        """
        tables = self._fresh()
        if column not in tables.keep:
            known = ", ".join(map(repr, tables.keep)) or "none: --keep carries columns along"
            raise KeyError(f"{self.folder} has no column {column!r}; its columns are {known}")
        senses = self.senses(word)
        rows = tables.of_words([senses[0].word])
        centroids = np.stack([sense.centroid for sense in senses])
        nearest = nearest_to(centroids, directions(rows["vector"]))
        titles = [sense.title for sense in senses]
        return change_of(senses[0].word, column, rows[column].to_pylist(), titles, nearest)

    def _kept(self, word: str) -> Kept:
        senses = self.senses(word)
        return Kept(
            np.stack([sense.centroid for sense in senses]),
            [sense.name for sense in senses],
            [sense.label for sense in senses],
        )

    def _fresh(self) -> Tables:
        """The tables; opened anew if the index has changed on the disk."""
        with self._lock:
            seen = _changed(self._tables.state.folder)
            if seen != self._seen:
                self._tables = Tables.current(self._tables.state.folder)
                if self._model is not None:
                    check_model(self._tables.state, identity(self._model, self._model.place))
                self._seen = seen
                self._senses.clear()
            return self._tables

    def _meant(self, text: Text, word: str | int) -> tuple[str, Floats]:
        """The word, its letters' case folded, and its direction in a text."""
        doc = self.model.contextualize([text], progress=False)[0]
        position = doc.position(word) if isinstance(word, str) else word
        vector = doc[position]
        return doc.words[position].casefold(), unit(vector)

    def _known(self, words: Iterable[str]) -> list[str]:
        if isinstance(words, str):
            raise TypeError(f"words is a list of words: write [{words!r}]")
        listed = list(dict.fromkeys(word.casefold() for word in words))
        if not listed:
            raise ValueError("words is empty: name the words that are to be searched")
        known = self.words
        for word in listed:
            if word not in known:
                near = nearest_spelling(word, known)
                said = f"; it has {', '.join(map(repr, near))}" if near else ""
                raise KeyError(f"{word!r} does not occur in {self.folder}{said}")
        return listed


def _changed(folder: Path) -> int:
    return (folder / NAME).stat().st_mtime_ns


def _positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: give an integer")
    if value < 1:
        raise ValueError(f"{name} is {value}: it must be at least 1")
