"""A progress bar on long work at a terminal, and nowhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE = 1.0


@contextmanager
def progress_bar(
    total: int | Callable[[], int | None] | None,
    show: bool | None,
    *,
    unit: str = "texts",
    status: Callable[[], str] = lambda: "",
) -> Iterator[Callable[[int], None]]:
    """A function that is told of every few texts done, and shows them.

    Args:
        total: how many there are, None if nobody knows; or a function that says so, which is
            called if the bar may be shown.
        show: True or False; None shows it on work of more than a second, if stderr is a terminal.
        unit: what is counted.
        status: what else there is to say at the moment.
    """
    if show is None and not sys.stderr.isatty():
        show = False
    if show is False:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=Console(stderr=True),
        transient=show is None,
    )
    task = bar.add_task("", total=total() if callable(total) else total, status="")
    begun = time.monotonic()
    started = False

    def advance(done: int) -> None:
        nonlocal started
        if not started and (show or time.monotonic() - begun > _PATIENCE):
            bar.start()
            started = True
        bar.update(task, advance=done, status=status())

    try:
        yield advance
    finally:
        if started:
            bar.stop()
