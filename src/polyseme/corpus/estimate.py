"""What a data set would take, from a sample: rows, time, and bytes; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from polyseme.arrow_files import TABLES
from polyseme.corpus.engine import Names, check_options, load
from polyseme.corpus.inputs import find, fingerprint
from polyseme.corpus.parts import count_words, table_of, write_options
from polyseme.corpus.reading import Reader, Row, check_columns, types_of, usable
from polyseme.corpus.rows import Wanted
from polyseme.embedded_files import require_pyarrow
from polyseme.files import Source
from polyseme.unpacking import open_packed, unpacked

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

_FILES = 20
_LINES = 20_000
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
        files: as for ``embed_corpus``; stdin can't be looked at twice.
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
    if any(given.place is None for given in sources):
        raise ValueError("stdin can be read once: a dry run would leave nothing of it")
    check_columns(sources, keep)
    chosen = sources[:: -(-len(sources) // _FILES)]
    total = _rows(sources, chosen)
    opened = load(model)
    rows = [row for given in chosen for row in _first(given, keep, -(-sample // len(chosen)))]
    types = types_of(sources, keep, rows)
    begun = time.monotonic()
    good, bad, kept = usable(rows, types, keep, skip=True)
    table = table_of(opened, good, kept, wanted)
    written = BytesIO()
    parquet.write_table(table, written, **write_options(table.schema))
    seconds = max(time.monotonic() - begun, 1e-9)
    factor = total / max(1, len(rows))
    return Estimate(
        files=len(sources),
        rows=total,
        vectors=round(table.num_rows * factor),
        seconds=seconds * factor,
        bytes=round(written.tell() * factor),
        sampled=len(rows),
        rejects=len(bad),
        words_per_second=count_words(opened, good) / seconds,
    )


def _first(given: Source, keep: Sequence[str], rows: int) -> list[Row]:
    return list(islice(Reader([given], keep, skip=True), rows))


def _rows(sources: Sequence[Source], chosen: Sequence[Source]) -> int:
    """The rows of all files, by the rows for a byte of those that were chosen."""
    counted = [_rows_of(given) for given in chosen]
    if len(chosen) == len(sources):
        return round(sum(counted))
    sizes = [sum(fingerprint(given)["bytes"] or 0 for given in some) for some in (chosen, sources)]
    return round(sum(counted) * sizes[1] / max(1, sizes[0]))


def _rows_of(given: Source) -> float:
    """The rows of one file; of a long one, by how far its first lines reach."""
    if given.form == "whole":
        return 1
    if given.form in TABLES:
        return given.count()
    assert given.place is not None
    size = fingerprint(given)["bytes"]
    with open_packed(given.place) as packed, unpacked(packed, given.name) as file:
        lines = sum(1 for _ in islice(file, _LINES))
        reached: Any = packed.tell()
    header = int(given.form in ("csv", "tsv"))
    return max(0.0, lines * max(1.0, (size or 0) / reached if lines == _LINES else 1.0) - header)
