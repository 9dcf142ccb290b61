"""What a data set would take, from a sample: rows, time, and bytes; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from polyseme.corpus.engine import Names, check_options, load
from polyseme.corpus.inputs import find, rows_of, some_of
from polyseme.corpus.parts import count_words, table_of, write_options
from polyseme.corpus.reading import Reader, Row, check_columns, types_of, usable
from polyseme.corpus.rows import Wanted
from polyseme.embedded_files import require_pyarrow
from polyseme.files import Source

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

_EVERYTHING = Wanted()


@dataclass(frozen=True)
class Estimate:
    """What was found in a sample, and what follows for all.

    Attributes:
        files: of the input.
        rows: of the input, about; exact if the files are few and short.
        vectors: rows of the data set, about.
        seconds: on this machine, about.
        bytes: of the data set, about.
        sampled: rows of the sample.
        rejects: of these, rows that can't be used.
        words_per_second: in the sample.
    """

    files: int
    rows: int
    vectors: int
    seconds: float
    bytes: int
    sampled: int
    rejects: int
    words_per_second: float

    def __str__(self) -> str:
        return (
            f"{counted(self.files, 'file')}, about {counted(self.rows, 'row')}: "
            f"{counted(self.vectors, 'vector')}, {in_bytes(self.bytes)}, "
            f"{in_time(self.seconds)} ({self.words_per_second:,.0f} words/s)\n"
            f"by a sample of {counted(self.sampled, 'row')}, of which {self.rejects:,} can't be "
            "used"
        )


class Trial(NamedTuple):
    """What came of a sample.

    Attributes:
        vectors: that were made.
        words: of the texts.
        bytes: that were written.
        rejects: rows that can't be used.
    """

    vectors: int
    words: int
    bytes: int
    rejects: int


def estimate(
    files: Names,
    *,
    model: Contextualizer | str | None = None,
    wanted: Wanted = _EVERYTHING,
    keep: Sequence[str] = (),
    column: str = "text",
    form: str | None = None,
    skip_unknown: bool = False,
    sample: int = 1000,
) -> Estimate:
    r"""Read and embed the first rows of some of the files, and say what all of them would take.

    Args:
        files: as for ``embed_corpus``; none that can be read only once.
        model: as for ``embed_corpus``.
        wanted: what a row of the data set would be.
        keep: columns that would be carried along.
        column: the text's.
        form: of all files.
        skip_unknown: leave out files whose suffix says nothing.
        sample: rows to embed.

    Raises:
        ValueError: an option is out of range, or stdin is among the files.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as notes:
        ...     _ = notes.write("An apple a day\nApple pie\n")
        ...     notes.flush()
        ...     estimate(notes.name, wanted=Wanted(by="words")).vectors
        6
    """
    require_pyarrow()
    from pyarrow import parquet

    check_options(wanted, keep)
    sources = find(files, column=column, form=form, skip_unknown=skip_unknown)
    check_columns(sources, keep)
    opened = load(model)

    def trial(rows: Sequence[Row]) -> Trial:
        good, bad, kept = usable(rows, types_of(sources, keep, rows), keep, skip=True)
        table = table_of(opened, good, kept, wanted)
        written = BytesIO()
        parquet.write_table(table, written, **write_options(table.schema))
        words = count_words(opened, good)
        return Trial(table.num_rows, words, written.tell(), len(bad))

    return estimate_by(trial, sources, keep=keep, sample=sample)


def estimate_by(
    trial: Callable[[Sequence[Row]], Trial],
    sources: Sequence[Source],
    *,
    keep: Sequence[str] = (),
    sample: int = 1000,
) -> Estimate:
    """Try the first rows of some of the files, and say what all of them would take.

    Args:
        trial: is given these rows, those that can't be used too, and timed.
        sources: files that are there.
        keep: columns that are read beside the text's.
        sample: how many rows.

    Raises:
        ValueError: one of the files can be read only once.
    """
    for given in sources:
        if given.once:
            raise ValueError(f"{given.name} can be read once: a dry run would leave nothing of it")
    chosen = some_of(sources)
    share = -(-sample // len(chosen))
    rows = [row for given in chosen for row in _first(given, keep, share)]
    total = rows_of(sources)
    begun = time.monotonic()
    tried = trial(rows)
    seconds = max(time.monotonic() - begun, 1e-9)
    factor = total / max(1, len(rows))
    return Estimate(
        files=len(sources),
        rows=total,
        vectors=round(tried.vectors * factor),
        seconds=seconds * factor,
        bytes=round(tried.bytes * factor),
        sampled=len(rows),
        rejects=tried.rejects,
        words_per_second=tried.words / seconds,
    )


def _first(given: Source, keep: Sequence[str], rows: int) -> list[Row]:
    return list(islice(Reader([given], keep, skip=True), rows))


def counted(number: int, what: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "row"), counted(1200, "row")
        ('1 row', '1,200 rows')
    """
    return f"{number:,} {what}" + ("s" if number != 1 else "")


def in_bytes(size: float) -> str:
    """A size as people say it."""
    if size < 1000:
        return f"{size:,.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"


def in_time(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:,.1f} hours"
