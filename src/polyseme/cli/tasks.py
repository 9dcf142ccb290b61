"""``polyseme train task`` and ``polyseme predict``: the user's own labels."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyseme.cli.app import AsJson, Backend, Device, Dtype, Force, Model, app, print_json
from polyseme.cli.evaluate import Learns
from polyseme.cli.train import trainings

if TYPE_CHECKING:
    from polyseme.tasks import Report, Task
    from polyseme.tasks.records import Columns, Kind, Record

_AT_ONCE = 1024

TextColumn = Annotated[
    str, typer.Option("--text", metavar="NAME", help="Column of the text, or of a pair's first.")
]
SecondColumn = Annotated[
    str, typer.Option("--second", metavar="NAME", help="Column of a pair's second text.")
]
SpanColumn = Annotated[
    str | None, typer.Option("--span", metavar="NAME", help="Column of the words in question.")
]
StartColumn = Annotated[
    str | None, typer.Option("--start", metavar="NAME", help="Or of their first character, from 0,")
]
EndColumn = Annotated[
    str | None, typer.Option("--end", metavar="NAME", help="and of one past their last.")
]
SecondSpan = Annotated[
    str | None, typer.Option("--second-span", metavar="NAME", help="The same in the second text.")
]
SecondStart = Annotated[str | None, typer.Option("--second-start", metavar="NAME", help="So too.")]
SecondEnd = Annotated[str | None, typer.Option("--second-end", metavar="NAME", help="So too.")]


class TaskKind(str, Enum):
    """What has a label."""

    SPANS = "spans"
    TEXTS = "texts"
    WORDS = "words"
    PAIRS = "pairs"


class Unusable(str, Enum):
    """What is done about rows that can't be used."""

    STOP = "stop"
    SKIP = "skip"


class Weights(str, Enum):
    """Of the labels."""

    BALANCED = "balanced"


OnError = Annotated[
    Unusable, typer.Option("--on-error", help="Of rows that can't be used: stop, or skip them.")
]


@trainings.command(
    epilog="""\b
Examples:
  polyseme train task senses.csv --kind spans --span word --label sense -o DIR
  polyseme train task reviews.jsonl --kind texts --label stars -o DIR
  polyseme train task names.jsonl --kind words --label tags -o DIR
  polyseme train task wic.csv --kind pairs --text first --span word \\
      --second-span word --label same -o DIR
\b
Files in are jsonl, csv, tsv or Parquet, and may be packed. Of a text with
several labels, the label is a list; of words, text and labels are lists, or
strings that are cut at white space. DIR holds the model, which polyseme.load
opens, and its head, which polyseme predict and polyseme.tasks.open_task open.
\b
Needs the extra train: pip install "polyseme[train]\""""
)
def task(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", show_default=False)],
    *,
    kind: Annotated[TaskKind, typer.Option(help="What has a label.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="For the model.")],
    model: Model = None,
    text: TextColumn = "text",
    second: SecondColumn = "second",
    span: SpanColumn = None,
    start: StartColumn = None,
    end: EndColumn = None,
    second_span: SecondSpan = None,
    second_start: SecondStart = None,
    second_end: SecondEnd = None,
    label: Annotated[str, typer.Option(metavar="NAME", help="Column of the label.")] = "label",
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column; the held-out part has groups of its own."),
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Labels of pairs are numbers to be met.")
    ] = False,
    dev: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="More examples, to measure on in the end."),
    ] = None,
    train: Annotated[
        Learns, typer.Option(help="A head alone; queries, keys and values too; or everything.")
    ] = Learns.ATTENTION,
    epochs: Annotated[int, typer.Option(help="Passes over the examples, at most.")] = 10,
    patience: Annotated[
        int, typer.Option(help="Epochs that may bring nothing on the held-out part.")
    ] = 3,
    learning_rate: Annotated[float, typer.Option(help="Its peak.")] = 5e-4,
    held_out: Annotated[float, typer.Option(help="Share that nothing is learned from.")] = 0.1,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of a step.")] = 2048,
    class_weight: Annotated[
        Weights | None, typer.Option(help="balanced: labels weigh the same.")
    ] = None,
    on_error: OnError = Unusable.STOP,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interruption.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the task in DIR.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the confusion matrix: .svg, .png or .pdf."),
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Learn a label from examples: of spans, of texts, of each word, or of pairs.

    A head is fitted on the model's vectors; then, unless only a head is asked for, the queries,
    keys and values of its layers learn the task with it, until a held-out part gains no more. What
    can't be used is listed by line before anything is learned.
    """
    from polyseme.files import check_target, source
    from polyseme.tasks.records import KINDS, Columns

    names = (text, second, span, start, end, second_span, second_start, second_end, label, group)
    columns = Columns(*names)
    chosen: Kind = kind.value
    if scores and kind is not TaskKind.PAIRS:
        raise ValueError("--scores is for pairs")
    if plot is not None:
        check_target(plot, (".svg", ".png", ".pdf"), force=force)
    _check_folder(output, resume=resume, force=force)
    read = [source(name, None, text) for name in files]
    examples = _read(read, chosen, columns, scores=scores)
    estimator = KINDS[chosen](
        model,
        train=train.value,
        epochs=epochs,
        patience=patience,
        learning_rate=learning_rate,
        held_out=held_out,
        batch_tokens=batch_tokens,
        class_weight=None if class_weight is None else class_weight.value,
        device=device,
        seed=seed,
        progress=ctx.obj.progress,
    )
    examples = _usable(ctx, estimator, examples, on_error)
    more: list[Record] = []
    if dev:
        found = _read([source(name, None, text) for name in dev], chosen, columns, scores=scores)
        more = _usable(ctx, estimator, found, on_error)
        if not scores:
            _check_labels(examples, more)
    estimator.fit(
        [row.example for row in examples],
        [row.label for row in examples],
        groups=None if group is None else [row.group for row in examples],
        folder=output,
    )
    estimator.save_pretrained(output)
    for name in ("state.safetensors", "best.safetensors"):
        (output / name).unlink(missing_ok=True)
    reports = {"held out": estimator.report_}
    if more:
        reports["dev"] = estimator.evaluate(
            [row.example for row in more], [row.label for row in more]
        )
    if plot is not None:
        reports["dev" if more else "held out"].plot().savefig(plot)
        ctx.obj.note(f"the confusion matrix is in {plot}")
    ctx.obj.note(f"the model is in {output}: polyseme predict FILE --task {output}")
    if as_json:
        told = {name.replace(" ", "_"): report.to_dict() for name, report in reports.items()}
        return print_json({"labels": {str(k): n for k, n in estimator.counts_.items()}, **told})
    return _show(estimator, reports)


@app.command(
    epilog="""\b
Examples:
  polyseme predict new.csv --task DIR --span word -o said.jsonl
  cat reviews.jsonl | polyseme predict - --task DIR --format jsonl | head
\b
A line of jsonl for each row: file and line as "place", "label" (of words, a
list; of pairs with scores, "score"), and "probabilities" by label. Rows that
can't be used stop the work, with file and line; with --on-error skip they get
an "error" in place of a label."""
)
def predict(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", show_default=False)],
    *,
    folder: Annotated[Path, typer.Option("--task", metavar="DIR", help="What was trained.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT", help=".jsonl, or -.")] = (
        "-"
    ),
    form: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="txt, jsonl, csv, tsv, parquet.")
    ] = None,
    text: TextColumn = "text",
    second: SecondColumn = "second",
    span: SpanColumn = None,
    start: StartColumn = None,
    end: EndColumn = None,
    second_span: SecondSpan = None,
    second_start: SecondStart = None,
    second_end: SecondEnd = None,
    on_error: OnError = Unusable.STOP,
    force: Force = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Give every row of files the label that a trained task finds most probable.

    Files are read as a stream, and may be larger than memory.
    """
    from polyseme.files import check_target, source, whole
    from polyseme.progress import progress_bar
    from polyseme.tasks import open_task
    from polyseme.tasks.records import KINDS, Columns, records

    if form == "txt" and files != ["-"]:
        raise typer.BadParameter("is for stdin", param_hint="--format txt")
    columns = Columns(text, second, span, start, end, second_span, second_start, second_end)
    sources = [source(name, form, text) for name in files]
    target = Path(output)
    if output != "-":
        check_target(target, (".jsonl",), force=force)
    opened = open_task(folder, device=device, dtype=dtype, backend=backend)
    kind = next(name for name, known in KINDS.items() if type(opened) is known)
    opened.progress = False
    if on_error is Unusable.STOP:
        # Found now, not after hours; stdin can be read only once.
        again = [given for given in sources if given.path is not None and given.path.is_file()]
        known = records(again, kind, columns)
        while batch := list(islice(known, _AT_ONCE)):
            _checked(opened, batch)
    rows = records(sources, kind, columns)
    with (
        whole(target) if output != "-" else nullcontext(sys.stdout.buffer) as file,
        progress_bar(None, ctx.obj.progress, unit="rows") as advance,
    ):
        while batch := list(islice(rows, _AT_ONCE)):
            for line in _lines(opened, batch, on_error):
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            advance(len(batch))


def _read(sources: list[Any], kind: Kind, columns: Columns, *, scores: bool) -> list[Record]:
    from polyseme.tasks.records import records

    for source in sources:
        if source.form == "txt":
            raise ValueError(f"{source.name}: a txt file has no labels: use jsonl, csv or Parquet")
    return list(records(sources, kind, columns, scores=scores))


def _usable(
    ctx: typer.Context, estimator: Task, rows: list[Record], on_error: Unusable
) -> list[Record]:
    """The rows that can be used; the others stop the command, or are said and left out."""
    from polyseme.tasks import UnusableError
    from polyseme.tasks.records import placed

    try:
        estimator.check([row.example for row in rows], [row.label for row in rows])
    except UnusableError as error:
        if on_error is Unusable.STOP:
            raise placed(error, rows, " (--on-error skip leaves them out)") from None
        ctx.obj.note(str(placed(error, rows, ", left out")))
        return [row for i, row in enumerate(rows) if i not in error.reasons]
    return rows


def _check_labels(rows: list[Record], more: list[Record]) -> None:
    """See that what is measured on has no labels that can't be learned."""
    from polyseme.tasks import UnusableError
    from polyseme.tasks.labels import labels_of

    known = {label for row in rows for label in labels_of(row.label)}
    reasons = {
        row.place: f"no example to learn from has the label {label!r}"
        for row in more
        for label in labels_of(row.label)
        if label not in known
    }
    if reasons:
        raise UnusableError(reasons, len(more))


def _check_folder(folder: Path, *, resume: bool, force: bool) -> None:
    if (folder / "task.json").exists() and not force:
        raise FileExistsError(f"{folder} holds a trained task: name another folder, or use --force")
    if (folder / "state.safetensors").exists() and not resume:
        if not force:
            raise FileExistsError(
                f"{folder} holds a training that was interrupted: go on with --resume, or start "
                "again with --force"
            )
        for name in ("state.safetensors", "best.safetensors"):
            (folder / name).unlink(missing_ok=True)


def _checked(opened: Task, rows: list[Record]) -> None:
    """See that rows can be used.

    Raises:
        UnusableError: some can't; it names files and lines.
    """
    from polyseme.tasks import UnusableError
    from polyseme.tasks.records import placed

    try:
        opened.check([row.example for row in rows])
    except UnusableError as error:
        raise placed(error, rows, " (--on-error skip goes on)") from None


def _lines(opened: Task, rows: list[Record], on_error: Unusable) -> Iterator[dict[str, Any]]:
    """What is said of rows, in their order."""
    from polyseme.tasks import UnusableError

    wrong: dict[Any, str] = {}
    if on_error is Unusable.STOP:
        _checked(opened, rows)
    else:
        try:
            opened.check([row.example for row in rows])
        except UnusableError as error:
            wrong = error.reasons
    said = iter(opened.judged([row.example for i, row in enumerate(rows) if i not in wrong]))
    for i, row in enumerate(rows):
        yield {"place": row.place, **({"error": wrong[i]} if i in wrong else next(said))}


def _show(estimator: Task, reports: dict[str, Report]) -> None:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from polyseme.cli.tables import plain_table, show

    parts: list[RenderableType] = []
    for name, report in reports.items():
        if report.spearman is not None:
            parts.append(Text(f"{name}: Spearman {report.spearman:.3f}"))
            continue
        if report.accuracy is None:
            parts.append(Text(f"{name}: nothing was held out"))
            continue
        parts.append(
            Text(
                f"{name}: accuracy {report.accuracy:.3f}, macro F1 {report.macro_f1:.3f}",
                style="bold",
            )
        )
        table = plain_table()
        table.add_column("label")
        for heading in ("all", "examples", "precision", "recall", "F1"):
            table.add_column(heading, justify="right")
        for i, label in enumerate(report.labels):
            table.add_row(
                Text(str(label)),
                f"{estimator.counts_[label]:,}",
                f"{report.examples[i]:,}",
                *(f"{part[i]:.3f}" for part in (report.precision, report.recall, report.f1)),
            )
        parts.append(table)
    if estimator.report_.loss:
        shown = ", ".join(f"{value:.3f}" for value in estimator.report_.loss)
        parts.append(Text(f"held-out loss before training and after each epoch: {shown}"))
    show(Group(*parts))
