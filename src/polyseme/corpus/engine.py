"""Files into a Parquet data set of vectors, by shards that are whole or not there.

The input is cut into shards of a fixed number of rows. Each becomes one part, which is computed in
batches, written under a temporary name, flushed to the disk, renamed, and then listed in the
manifest. A run that was killed goes on behind the last shard that is listed; as each part follows
from its own rows alone, the data set is the same to the byte, and parts may as well be computed on
the machines of a cluster (``on_ray.py``); here they are read, written and listed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

from polyseme import __version__
from polyseme.corpus import on_ray
from polyseme.corpus.identity import identity, metadata
from polyseme.corpus.inputs import find, fingerprint, rows_of
from polyseme.corpus.manifest import Manifest, Shard, claimed, opened
from polyseme.corpus.on_ray import RayCluster, Shards
from polyseme.corpus.parts import PART, Fill, Made, PartMaker, known_types, write_part
from polyseme.corpus.reading import Reader, check_columns
from polyseme.corpus.rows import Wanted
from polyseme.embedded_files import require_pyarrow
from polyseme.progress import progress_bar
from polyseme.unpacking import is_url

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

Names: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
OnError = Literal["stop", "skip"]

_EVERYTHING = Wanted()


@dataclass(frozen=True)
class Summary:
    """What a run did, and what is there.

    Attributes:
        folder: of the data set.
        shards: of the data set.
        rows: of the input that the data set has read, rejected ones too.
        vectors: rows of the data set.
        words: in its texts.
        rejects: rows that were rejected.
        bytes: of its parts.
        new_shards: that this run has made.
        new_words: in their texts.
        seconds: that this run took.
    """

    folder: Path
    shards: int
    rows: int
    vectors: int
    words: int
    rejects: int
    bytes: int
    new_shards: int
    new_words: int
    seconds: float


def embed_corpus(
    files: Names,
    folder: str | os.PathLike[str],
    *,
    model: Contextualizer | str | os.PathLike[str] | None = None,
    wanted: Wanted = _EVERYTHING,
    keep: Sequence[str] = (),
    column: str = "text",
    form: str | None = None,
    skip_unknown: bool = False,
    shard_rows: int = 10_000,
    on_error: OnError = "stop",
    anew: bool = False,
    cluster: RayCluster | None = None,
    progress: bool | None = None,
    finished: Callable[[Shard, float], None] = lambda shard, seconds: None,
    note: Callable[[str], None] = lambda message: None,
) -> Summary:
    r"""Turn files of texts into a folder of Parquet files with their vectors.

    The same call goes on where an earlier one was cut off, by whatever; the data set is then the
    same, to the byte, as that of a run that was never cut off (on one machine's CPU).

    Args:
        files: paths, folders, globs, URLs that fsspec knows, "-" for stdin.
        folder: on this machine; made if it is not there.
        model: one, or what ``polyseme.load`` takes.
        wanted: what a row of the data set is.
        keep: columns of the input that are carried along.
        column: the text's, in all but plain text.
        form: of all files, "txt", "whole", "jsonl", "csv", "tsv", "parquet" or "arrow"; if None,
            each file's suffix says it.
        skip_unknown: leave out files whose suffix says nothing.
        shard_rows: rows of the input that become one part.
        on_error: "stop" at a line that is not what it should be; "skip" writes it into
            _rejects.jsonl.
        anew: remove what is there of an earlier data set.
        cluster: compute there; files are read and written by this process all the same. The data
            set, and how it goes on, are those of one machine.
        progress: show a bar on stderr; if None, on long work at a terminal.
        finished: is told of each shard, and the seconds that its computation took.
        note: is told what else a user should know.

    Returns:
        A summary.

    Raises:
        WrongLineError: a line is not what it should be, with its file and number; it is a
            ValueError. Finished shards stay.
        ValueError: an option is out of range; or the folder holds a data set of another model,
            other options or other input.
        FileExistsError: the folder holds other files.
        OSError: a file can't be read or written; the message has its name.
        ImportError: a library is not installed; the message says what to install.
        RuntimeError: workers of the cluster were lost again and again, or differ in versions.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from polyseme.corpus import Wanted, embed_corpus
        >>> with tempfile.TemporaryDirectory() as place:
        ...     notes = Path(place, "notes.txt")
        ...     _ = notes.write_text("An apple a day\nApple pie\n")
        ...     made = embed_corpus(notes, Path(place, "made"), wanted=Wanted(by="words"))
        ...     sorted(file.name for file in made.folder.iterdir()), made.rows, made.vectors
        (['_manifest.json', 'part-00000.parquet'], 2, 6)
    """
    require_pyarrow()
    if cluster is not None:
        on_ray.require_ray()
    begun = time.monotonic()
    keep = tuple(keep)
    check_options(wanted, keep, shard_rows, on_error)
    target = Path(folder)
    if is_url(str(folder)):
        raise ValueError(f"{folder}: a data set is written to a folder on this machine")
    sources = find(
        files, column=column, form=form, skip_unknown=skip_unknown, outside=target, note=note
    )
    check_columns(sources, keep)
    loaded = load(model)
    where = loaded.place if cluster is None else cluster.place_of(loaded)
    job = {
        "polyseme": __version__,
        "model": identity(loaded, where),
        **wanted.told(),
        "dim": wanted.width(loaded),
        "column": column,
        "format": form,
        "keep": list(keep),
        # on_error is no part of it: a finished shard has met no bad line, or rejected it.
        "shard_rows": shard_rows,
    }
    with claimed(target):
        manifest = opened(target, job, [fingerprint(given) for given in sources], anew=anew)
        before = len(manifest.shards)
        if before:
            note(f"{before:,} shards with {manifest.next_row:,} rows are finished already")
        maker = PartMaker(
            loaded,
            wanted,
            keep,
            sources,
            metadata(job["model"], job["dim"]),
            skip=on_error == "skip",
            types=known_types(target, keep),
        )
        if not manifest.complete:
            _run(
                maker,
                manifest,
                cluster=cluster,
                progress=progress,
                finished=finished,
                note=note,
            )
    shards = manifest.shards
    return Summary(
        folder=target,
        shards=len(shards),
        rows=manifest.next_row,
        vectors=sum(shard.vectors for shard in shards),
        words=sum(shard.words for shard in shards),
        rejects=sum(shard.rejects for shard in shards),
        bytes=sum(shard.bytes for shard in shards),
        new_shards=len(shards) - before,
        new_words=sum(shard.words for shard in shards[before:]),
        seconds=time.monotonic() - begun,
    )


def load(model: Contextualizer | str | os.PathLike[str] | None) -> Contextualizer:
    """The model, opened if it is not yet."""
    if model is None or isinstance(model, (str, os.PathLike)):
        from polyseme.loading import load as open_model

        return open_model(model)
    return model


def check_options(
    wanted: Wanted, keep: Sequence[str], shard_rows: int = 1, on_error: str = "stop"
) -> None:
    """See that options go together, before any work is done.

    Raises:
        ValueError: they don't.
    """
    if shard_rows < 1:
        raise ValueError(f"shard_rows is {shard_rows}: it must be at least 1")
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error is {on_error!r}: use 'stop' or 'skip'")
    for name in keep:
        if name in wanted.taken:
            raise ValueError(
                f"the column {name!r} can't be kept: the data set has one of its own by this name"
            )
        if keep.count(name) > 1:
            raise ValueError(f"the column {name!r} is to be kept twice")


def _run(
    maker: PartMaker,
    manifest: Manifest,
    *,
    cluster: RayCluster | None,
    progress: bool | None,
    finished: Callable[[Shard, float], None],
    note: Callable[[str], None],
) -> None:
    """Make the shards that are not there yet."""
    shard_rows = manifest.job["shard_rows"]
    reader = Reader(
        maker.sources, maker.keep, skip=maker.skip, place=manifest.place, first=manifest.next_row
    )
    begun = time.monotonic()
    words, rejects = 0, sum(shard.rejects for shard in manifest.shards)

    def status() -> str:
        rate = words / max(time.monotonic() - begun, 1e-9)
        return f"{words:,} words, {rate:,.0f} words/s, {rejects:,} rejected"

    def left() -> int | None:
        if any(given.once for given in maker.sources):
            return None
        return max(0, rows_of(maker.sources) - manifest.next_row)

    with ExitStack() as stack:
        advance = stack.enter_context(progress_bar(left, progress, status=status))

        def count(n_rows: int, n_words: int, n_rejects: int) -> None:
            nonlocal words, rejects
            words, rejects = words + n_words, rejects + n_rejects
            advance(n_rows)

        fills: Iterator[Fill]
        if cluster is None:
            fills = _fills(maker, reader, shard_rows, count)
        else:
            shards = _shards(reader, shard_rows)
            fills = stack.enter_context(on_ray.fills_of(cluster, maker, shards, count, note))
        while not manifest.complete:
            number = len(manifest.shards)
            path = manifest.folder / PART.format(number)
            made, seconds = write_part(
                path,
                next(fills),
                first_row=manifest.next_row,
                rejects_bytes=manifest.rejects_bytes,
            )
            manifest.complete = made.rows < shard_rows
            # A data set of no rows has a part nevertheless, so that it can be opened.
            if made.rows or not number:
                manifest.shards.append(made)
                manifest.save()
                finished(made, seconds)
            else:
                path.unlink()
                manifest.save()


def _fills(
    maker: PartMaker, reader: Reader, shard_rows: int, count: Callable[[int, int, int], None]
) -> Iterator[Fill]:
    """What each part holds, computed here while it is written."""
    rows = iter(reader)

    def fill(file: IO[bytes]) -> Made:
        made = maker.make(islice(rows, shard_rows), file, count)
        return replace(made, place=reader.place)

    return repeat(fill)


def _shards(reader: Reader, shard_rows: int) -> Shards:
    """The rows of each shard, and the place behind them; the last is short, and may be empty."""
    rows = iter(reader)
    full = True
    while full:
        shard = list(islice(rows, shard_rows))
        full = len(shard) == shard_rows
        yield shard, reader.place
