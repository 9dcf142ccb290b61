"""``polyseme corpus``: folders of text into Parquet data sets of vectors."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyseme.cli.app import Backend, Device, Dtype, Model, app, load_model

if TYPE_CHECKING:
    from polyseme.corpus import RayCluster, Summary
    from polyseme.corpus.manifest import Shard


class By(str, Enum):
    """What a row of the data set is."""

    TEXTS = "texts"
    WORDS = "words"


class Store(str, Enum):
    """Numbers of the vectors."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


class CorpusForm(str, Enum):
    """Formats of files."""

    TXT = "txt"
    WHOLE = "whole"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"


class Engine(str, Enum):
    """Where vectors are computed."""

    LOCAL = "local"
    RAY = "ray"


class OnError(str, Enum):
    """What is done about a line that is not what it should be."""

    STOP = "stop"
    SKIP = "skip"


@app.command(
    epilog="""\b
Examples:
  polyseme corpus notes/ -o vectors
  polyseme corpus "posts/*.jsonl.gz" --column body --keep id,date -o vectors
  polyseme corpus wiki.parquet --by words --words apple,bank -o uses
  polyseme corpus s3://bucket/texts/ -o vectors --dry-run
  polyseme corpus notes/ -o vectors --engine ray --address auto
\b
FILES are files, folders (all files in them, sorted by name), globs, URLs
that fsspec knows, or - for stdin: txt (a line is a text), jsonl, csv, tsv,
Parquet, Arrow and Feather; all but the last three may be packed as .gz,
.bz2, .xz, .zst or .zip.
\b
DIR gets part-00000.parquet, ..., _manifest.json, and with --on-error skip
_rejects.jsonl. The columns are
  texts  row, source, line, text, what is kept, vector
  words  row, source, line, position, start, end, word, what is kept, vector
and with int8 a scale, by which the vector must be multiplied.
\b
If it is cut off, by whatever, the same command goes on: what is finished is
not computed again, and the data set is the same to the byte. It is the same
again with --engine ray, whose workers get rows from this process and give
back whole parts.
\b
Needs the extra corpus, or ray: pip install "polyseme[corpus]\""""
)
def corpus(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILES", show_default=False)],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="For the data set.")
    ],
    by: Annotated[By, typer.Option(help="What a row is.")] = By.TEXTS,
    column: Annotated[
        str, typer.Option(metavar="NAME", help="Of the text, in all but txt.")
    ] = "text",
    keep: Annotated[str, typer.Option(metavar="A,B", help="Columns that are carried along.")] = "",
    form: Annotated[
        CorpusForm | None,
        typer.Option("--format", help="Of all files.  [default: by the suffix; txt for stdin]"),
    ] = None,
    whole_files: Annotated[
        bool, typer.Option("--whole-files", help="A file of text is one text.")
    ] = False,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out files of unknown suffixes.")
    ] = False,
    store: Annotated[Store, typer.Option(help="Numbers of the vectors.")] = Store.FLOAT32,
    words: Annotated[
        str, typer.Option(metavar="A,B", help="By words: only these, in any case.")
    ] = "",
    vocab: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same, a word a line.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the first N numbers of a vector.")
    ] = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Scale each vector to length one.")
    ] = False,
    shard_rows: Annotated[
        int, typer.Option(metavar="N", help="Rows of the input a part.")
    ] = 10_000,
    on_error: Annotated[
        OnError, typer.Option(help="At a bad line: stop, or reject it.")
    ] = OnError.STOP,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew: remove the data set that is in DIR.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try a sample, say what all takes, write nothing.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="Compute in this process, or on a Ray cluster.")
    ] = Engine.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDR",
            help="Of the cluster: host:port, auto, or local.  "
            "[default: RAY_ADDRESS, else one that runs here, else local]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processes.  [default: as many as there is room for]"),
    ] = None,
    cpus_per_worker: Annotated[
        int | None, typer.Option(metavar="N", help="Threads of each.  [default: 1]")
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(metavar="X", help="1, or less to share one.  [default: by --device]"),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="An object a line on stderr, no bar.")
    ] = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Turn files of any size into a Parquet data set of vectors, and lose nothing on the way."""
    from polyseme.corpus import Wanted, embed_corpus, estimate
    from polyseme.files import WrongLineError

    if whole_files and form not in (None, CorpusForm.TXT, CorpusForm.WHOLE):
        raise typer.BadParameter("is for files of text", param_hint="--whole-files")
    wanted = Wanted(by.value, store.value, words_of(words, vocab), dim, normalize or None)
    options: dict[str, Any] = {
        "wanted": wanted,
        "keep": listed(keep),
        "column": column,
        "form": "whole" if whole_files else form and form.value,
        "skip_unknown": skip_unknown,
    }
    cluster, device = _cluster(
        engine is Engine.RAY,
        device,
        backend,
        address=address,
        workers=workers,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
    )
    if cluster and dry_run:
        raise typer.BadParameter(
            "looks at this machine: leave out --engine", param_hint="--dry-run"
        )
    opened = load_model(model, device, dtype, backend)
    if dry_run:
        typer.echo(estimate(files, model=opened, **options))
        return
    try:
        summary = embed_corpus(
            files,
            output,
            model=opened,
            shard_rows=shard_rows,
            on_error=on_error.value,
            anew=force,
            cluster=cluster,
            progress=False if log_json else ctx.obj.progress,
            finished=_log_shard if log_json else lambda shard, seconds: None,
            note=(lambda message: _log("note", message=message)) if log_json else ctx.obj.note,
            **options,
        )
    except KeyboardInterrupt:
        sys.stderr.write(
            f"polyseme: interrupted; finished parts are in {output}, the same command goes on\n"
        )
        raise
    except WrongLineError as error:
        raise ValueError(
            f"{error}; finished parts stay: mend the line and run the same command again, or add "
            "--on-error skip"
        ) from error
    if log_json:
        _log("done", **asdict(summary))
    else:
        _tell(ctx, summary)


def _cluster(
    wanted: bool, device: str, backend: str, **options: Any
) -> tuple[RayCluster | None, str]:
    """Where to compute, if it is on Ray, and on which device to open the model here."""
    from polyseme.corpus import RayCluster

    given = {name: value for name, value in options.items() if value is not None}
    if not wanted:
        for name in given:
            hint = f"--{name.replace('_', '-')}"
            raise typer.BadParameter("is for --engine ray", param_hint=hint)
        return None, device
    if device.startswith("cuda"):
        given.setdefault("gpus_per_worker", 1.0)
    cluster = RayCluster(**given)
    if not cluster.gpus_per_worker:
        return cluster, device
    if backend == "numpy" or device not in ("auto", "cuda"):
        raise typer.BadParameter(
            "needs --device cuda or auto, and no --backend numpy", param_hint="--gpus-per-worker"
        )
    # Workers have the GPUs; this process opens the model and sends it out.
    return cluster, "cpu"


def _tell(ctx: typer.Context, summary: Summary) -> None:
    from polyseme.corpus.estimate import counted, in_bytes, in_time

    if summary.new_shards:
        speed = summary.new_words / summary.seconds
        did = f"{counted(summary.new_shards, 'new part')} in {in_time(summary.seconds)}, "
        did += f"{speed:,.0f} words/s"
    else:
        did = "nothing was left to do"
    ctx.obj.note(
        f"{counted(summary.rows, 'row')}, {counted(summary.vectors, 'vector')} in "
        f"{summary.folder} ({counted(summary.shards, 'part')}, {in_bytes(summary.bytes)}); {did}"
    )
    if summary.rejects:
        rejected = f"{counted(summary.rejects, 'row')} rejected"
        ctx.obj.note(f"{rejected}, with the reasons in {summary.folder}/_rejects.jsonl")


def _log(event: str, **told: Any) -> None:
    sys.stderr.write(json.dumps({"event": event, **told}, default=str) + "\n")
    sys.stderr.flush()


def _log_shard(shard: Shard, seconds: float) -> None:
    _log(
        "shard",
        file=shard.file,
        rows=shard.rows,
        vectors=shard.vectors,
        words=shard.words,
        rejects=shard.rejects,
        bytes=shard.bytes,
        seconds=round(seconds, 3),
        words_per_second=round(shard.words / max(seconds, 1e-9)),
    )


def words_of(words: str, vocab: str | None) -> frozenset[str] | None:
    """The words of --words or of the file of --vocab; None without both."""
    from polyseme.files import source

    if vocab is None:
        return frozenset(listed(words)) if words else None
    if words:
        raise typer.BadParameter("give this or --words", param_hint="--vocab")
    lines = (str(line).strip() for line in source(vocab, "txt", "word").texts())
    return frozenset(line for line in lines if line)


def listed(names: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
