"""Files into an index: every occurrence of the words that matter, with text, place and vector.

The input is read as a stream and computed in batches; every so many rows, the texts and the
occurrences are committed, and then the state says so (``state.py``). When all is read, the
occurrences are arranged by word (``arranging.py``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from polyseme import __version__
from polyseme.corpus.engine import load
from polyseme.corpus.identity import identity
from polyseme.corpus.inputs import find, fingerprint
from polyseme.corpus.manifest import claimed
from polyseme.corpus.reading import Reader, Row, batches, check_columns, types_of, usable
from polyseme.files import Source
from polyseme.progress import progress_bar
from polyseme.senses.arranging import arrange
from polyseme.senses.state import State, opened
from polyseme.senses.tables import (
    OWN,
    STORES,
    Store,
    Table,
    connect,
    occurrences_schema,
    require_lancedb,
    stored,
    table_back_at,
    texts_schema,
)
from polyseme.senses.words import is_content
from polyseme.unpacking import is_url

if TYPE_CHECKING:
    import pyarrow

    from polyseme.contextualizer import Contextualizer

Names: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
CONTENT = "content"
_DEFAULTS = {"words": CONTENT, "keep": [], "store": "int8"}


@dataclass(frozen=True)
class IndexSummary:
    """What a call did, and what is there.

    Attributes:
        folder: of the index.
        texts: in the index.
        occurrences: in the index.
        rejects: rows of the files that could not be used.
        bytes: of the index on the disk.
        new_texts: that this call has added.
        new_occurrences: that this call has added.
        seconds: that it took.
    """

    folder: Path
    texts: int
    occurrences: int
    rejects: int
    bytes: int
    new_texts: int
    new_occurrences: int
    seconds: float


def build_index(
    files: Names,
    folder: str | os.PathLike[str],
    *,
    model: Contextualizer | str | os.PathLike[str] | None = None,
    words: Iterable[str] | None = None,
    column: str = "text",
    keep: Sequence[str] | None = None,
    form: str | None = None,
    skip_unknown: bool = False,
    store: Store | None = None,
    shard_rows: int = 10_000,
    on_error: Literal["stop", "skip"] = "stop",
    anew: bool = False,
    progress: bool | None = None,
    note: Callable[[str], None] = lambda message: None,
) -> IndexSummary:
    r"""Index every occurrence of words in files; what is in the index already is left out.

    A call that was cut off, by whatever, goes on with the same call: nothing is lost or doubled. A
    call with other files adds them. What is None is as the index has it.

    Args:
        files: names of files, folders, globs or URLs, or "-", as ``polyseme.corpus.embed_corpus``
            takes them: txt, jsonl, csv, tsv, Parquet and Arrow, packed or not.
        folder: of the index, which is made if need be.
        model: that gives the vectors; the bundled one if None.
        words: the words that are indexed, whatever the case of their letters; if None, all that
            mean something by themselves (``polyseme.senses.words``).
        column: the field that holds the text.
        keep: columns that are carried along, for ``where`` and ``over``.
        form: of all files; if None, each file's suffix says it.
        skip_unknown: leave out files whose suffix says nothing, in place of raising.
        store: numbers of the vectors on disk: "int8" (if None), "float16" or "float32".
        shard_rows: rows that are committed at a time.
        on_error: at a row that can't be used: "stop", or "skip" it.
        anew: remove the index that is there.
        progress: show a bar on stderr; if None, on long work at a terminal.
        note: is told of files that are left out, and the like.

    Raises:
        ImportError: the extra `search` is missing.
        FileNotFoundError: a name means nothing.
        FileExistsError: the folder holds other files.
        BlockingIOError: another process is writing the index.
        WrongLineError: a line is not what it should be; what is committed stays.
        ValueError: options that don't go together or with the index; a file that has changed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from polyseme.senses import build_index
        >>> with tempfile.TemporaryDirectory() as place:
        ...     notes = Path(place, "notes.txt")
        ...     _ = notes.write_text("the bank of the river\nmy bank raised its rates\n")
        ...     made = build_index(notes, Path(place, "index"))
        ...     made.texts, made.occurrences
        (2, 5)
    """
    require_lancedb()
    begun = time.monotonic()
    target = Path(folder)
    if is_url(str(folder)):
        raise ValueError(f"{folder}: an index is written to a folder on this machine")
    asked = _asked(words, keep, store)
    if shard_rows < 1:
        raise ValueError(f"shard_rows is {shard_rows}: it must be at least 1")
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error is {on_error!r}: use 'stop' or 'skip'")
    sources = find(
        files, column=column, form=form, skip_unknown=skip_unknown, outside=target, note=note
    )
    loaded = load(model)
    job = {
        "polyseme": __version__,
        "model": identity(loaded, loaded.place),
        "dim": loaded.dim,
        **asked,
    }
    with claimed(target):
        state = opened(target, job, anew=anew)
        state.job |= {name: value for name, value in _DEFAULTS.items() if state.job[name] is None}
        before = state.texts, state.occurrences
        given = [fingerprint(source) for source in sources]
        left = state.left(given)
        if len(left) < len(given):
            note(f"{len(given) - len(left):,} of {len(given):,} files are in {target} already")
        todo = [sources[i] for i in left]
        if todo or state.begun:
            place = state.place([given[i] for i in left])
            check_columns(todo, state.job["keep"])
            reader = Reader(todo, state.job["keep"], skip=on_error == "skip", place=place)
            writer = _Writer(loaded, state, todo, skip=on_error == "skip")
            _run(writer, reader, [given[i] for i in left], shard_rows, progress)
        arrange(state, progress)
    return IndexSummary(
        folder=target,
        texts=state.texts,
        occurrences=state.occurrences,
        rejects=state.rejects,
        bytes=size_of(target),
        new_texts=state.texts - before[0],
        new_occurrences=state.occurrences - before[1],
        seconds=time.monotonic() - begun,
    )


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _asked(
    words: Iterable[str] | None, keep: Sequence[str] | None, store: str | None
) -> dict[str, Any]:
    if isinstance(words, str) or isinstance(keep, str):
        raise TypeError("words and keep are lists of names: give a list, not one str")
    listed = None if words is None else sorted({word.casefold() for word in words})
    if listed is not None and not listed:
        raise ValueError("words is empty: nothing would be indexed")
    if store not in (None, *STORES):
        raise ValueError(f"store is {store!r}: use one of {', '.join(STORES)}")
    for name in keep or ():
        if name in OWN:
            raise ValueError(
                f"the column {name!r} can't be kept: the index has one of its own by this name"
            )
        if list(keep or ()).count(name) > 1:
            raise ValueError(f"the column {name!r} is to be kept twice")
    return {"words": listed, "keep": None if keep is None else list(keep), "store": store}


def _run(
    writer: _Writer,
    reader: Reader,
    inputs: Sequence[dict[str, Any]],
    shard_rows: int,
    progress: bool | None,
) -> None:
    """Read what is left, and commit it every so many rows."""
    state, rows = writer.state, iter(reader)
    begun, found = time.monotonic(), state.occurrences

    def status() -> str:
        done = writer.occurrences - found
        return f"{done:,} occurrences, {done / max(time.monotonic() - begun, 1e-9):,.0f}/s"

    old, number = list(state.inputs), shard_rows
    with progress_bar(None, progress, status=status) as advance:
        while number == shard_rows:
            number = 0
            for batch in batches(islice(rows, shard_rows)):
                writer.add(batch)
                number += len(batch)
                advance(len(batch))
            place = reader.place
            state.inputs = old + list(inputs[: place.file])
            state.begun = None
            if place.rows:
                told = {"input": inputs[place.file], "rows": place.rows, "digest": place.digest}
                state.begun = told
            state.rows += number
            writer.commit()


class _Writer:
    """Batches of rows into the tables ``texts`` and ``incoming``."""

    def __init__(
        self, model: Contextualizer, state: State, sources: Sequence[Source], *, skip: bool
    ) -> None:
        self.model = model
        self.state = state
        self.occurrences = state.occurrences
        self._sources = sources
        self._skip = skip
        self._database = connect(state.folder)
        self._tables: dict[str, Table | None] = {
            name: table_back_at(self._database, state.folder, name, state.versions.get(name))
            for name in ("texts", "incoming", "occurrences", "groups")
        }
        self._types = self._known_types()
        self._texts, self._rejects = state.texts, state.rejects
        self._waiting: dict[str, list[Any]] = {"texts": [], "incoming": []}
        words = state.job["words"]
        self._wanted = is_content if words == CONTENT else frozenset(words).__contains__

    def add(self, batch: Sequence[Row]) -> None:
        """Compute a batch; it counts when it is committed."""
        keep = self.state.job["keep"]
        if self._types is None:
            self._types = types_of(self._sources, keep, batch)
        good, bad, kept = usable(batch, self._types, keep, skip=self._skip)
        self._rejects += len(bad)
        texts, occurrences = self._of(good, kept)
        self._waiting["texts"].append(texts)
        self._waiting["incoming"].append(occurrences)
        self._texts += texts.num_rows
        self.occurrences += occurrences.num_rows

    def commit(self) -> None:
        """Write what waits, and then the state."""
        import pyarrow as pa

        if self._tables["texts"] is None and not self._waiting["texts"]:
            self.add([])  # no text at all makes an index all the same
        for name, waiting in self._waiting.items():
            if not waiting:
                continue
            rows = pa.concat_tables(waiting)
            table = self._tables[name]
            if table is None:
                table = self._database.create_table(name, schema=rows.schema)
                self._tables[name] = table
            # Several writers would change the rows' order, and a text's row is its id.
            table.add(rows, write_parallelism=1)
            self.state.versions[name] = table.version
            waiting.clear()
        self.state.texts, self.state.occurrences = self._texts, self.occurrences
        self.state.rejects = self._rejects
        self.state.save()

    def _known_types(self) -> list[Any] | None:
        for name in ("incoming", "occurrences"):
            table = self._tables[name]
            if table is not None:
                return [table.schema.field(kept).type for kept in self.state.job["keep"]]
        return None

    def _of(self, rows: Sequence[Row], kept: dict[str, Any]) -> tuple[pyarrow.Table, pyarrow.Table]:
        """The texts that have an occurrence, and the occurrences."""
        import pyarrow as pa

        tokens = self.model.tokenizer([row.text for row in rows if row.text is not None])
        of_texts = np.split(tokens.spans, tokens.word_offsets[1:-1]) if rows else []
        found = [
            [text[start:end].casefold() for start, end in spans.tolist()]
            for text, spans in zip(tokens.texts, of_texts, strict=True)
        ]
        wanted = [np.asarray([self._wanted(word) for word in words], bool) for words in found]
        chosen = [i for i, one in enumerate(wanted) if one.any()]
        docs = self.model.contextualize([rows[i].text for i in chosen], progress=False)
        picked = np.concatenate([np.zeros(0, bool), *(wanted[i] for i in chosen)])
        owners = np.repeat(np.arange(len(chosen)), [int(wanted[i].sum()) for i in chosen])
        spans = docs.spans[picked]
        here = pa.array(np.asarray(chosen, np.int64)[owners])
        texts = {
            "id": pa.array(np.arange(len(chosen)) + self._texts),
            "source": pa.array([rows[i].source for i in chosen], pa.string()),
            "line": pa.array([rows[i].line for i in chosen], pa.int64()),
            "text": pa.array(docs.texts, pa.string()),
        }
        columns = {
            "word": pa.array(
                [w for i in chosen for w, one in zip(found[i], wanted[i], strict=True) if one],
                pa.string(),
            ),
            "text": pa.array(owners + self._texts),
            "start": pa.array(spans[:, 0], pa.int32()),
            "end": pa.array(spans[:, 1], pa.int32()),
            **{name: array.take(here) for name, array in kept.items()},
            "vector": stored(docs.vectors[picked], self.state.job["store"]),
        }
        fields = [pa.field(name, array.type) for name, array in kept.items()]
        schema = occurrences_schema(fields, self.state.job["store"], self.model.dim)
        return (
            pa.Table.from_pydict(texts, schema=texts_schema()),
            pa.Table.from_pydict(columns, schema=schema),
        )
