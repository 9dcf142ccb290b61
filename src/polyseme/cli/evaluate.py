"""``polyseme eval TASK``: a model on public tasks."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from polyseme.cli.app import AsJson, Backend, Device, Dtype, Model, app, load_model, print_json

tasks = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    tasks,
    name="eval",
    help="Measure a model on public tasks.",
    epilog="""\b
Example:
  polyseme eval wsd --data CoarseWSD-20""",
)


class Rung(str, Enum):
    """The rungs that every model has below itself."""

    STATIC = "static"
    PARAMETER_FREE = "parameter-free"


@tasks.command(
    epilog="""\b
Examples:
  polyseme eval wsd --data CoarseWSD-20
  polyseme eval wsd --data CoarseWSD-20 --rung static --json

The data: https://github.com/danlou/bert-disambiguation"""
)
def wsd(
    ctx: typer.Context,
    *,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Holds a folder for each word.")
    ],
    model: Model = None,
    rung: Annotated[
        Rung | None, typer.Option(help="A lower rung of the model.  [default: the model itself]")
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Word senses: the nearest sense centroid on CoarseWSD-20.

    A sense is the mean of its training occurrences' vectors, and an occurrence gets the nearest.
    Beside it stands the accuracy of always saying the most frequent sense.
    """
    from polyseme.evaluation.wsd import evaluate, read_folder
    from polyseme.progress import progress_bar

    words = read_folder(data)
    opened = load_model(model, device, dtype, backend)
    if rung is Rung.STATIC:
        opened = opened.static()
    elif rung is Rung.PARAMETER_FREE:
        opened = opened.parameter_free()
    with progress_bar(len(words), ctx.obj.progress, unit="words") as advance:
        result = evaluate(opened, words, advance=advance)
    if as_json:
        return print_json(result.to_dict())
    from polyseme.cli.tables import show, wsd_view

    return show(wsd_view(result))
