"""What ``polyseme eval`` prints at a terminal: a heading with the model, and a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from polyseme.cli.tables import plain_table

if TYPE_CHECKING:
    from polyseme.evaluation.idioms import IdiomsResult
    from polyseme.evaluation.order import OrderResult
    from polyseme.evaluation.spread import SpreadResult
    from polyseme.evaluation.sts import StsResult
    from polyseme.evaluation.trained import TrainedResult
    from polyseme.evaluation.wic import WicResult
    from polyseme.evaluation.wsd import WsdResult


def view(task: str, result: Any) -> Group:
    """The result of a task."""
    heading = Text(f"{result.model} ({result.rung})", style="bold")
    return Group(heading, (_trained if hasattr(result, "trained") else _VIEWS[task])(result))


def _wsd(result: WsdResult) -> RenderableType:
    from polyseme.evaluation.wsd import FEW

    table = plain_table()
    table.add_column("word")
    few = [str(number) for number in FEW]
    for heading in ("senses", "train", "test", *few, "accuracy", "most frequent"):
        table.add_column(heading, justify="right")
    for score in result.words:
        table.add_row(
            Text(score.word),
            *(f"{count:,}" for count in (score.senses, score.train, score.test)),
            *(f"{share:.3f}" for share in (*score.few, score.accuracy, score.most_frequent)),
        )
    table.add_section()
    means = (*result.few, result.accuracy, result.most_frequent)
    table.add_row("mean", "", "", "", *(f"{share:.3f}" for share in means), style="bold")
    note = f"{', '.join(few[:-1])} and {few[-1]}: accuracy from so many examples of each sense."
    return Group(table, Text(), Text(note))


def _wic(result: WicResult) -> Table:
    return _rows(
        ("accuracy", f"{result.accuracy:.3f}", f"on {result.dev:,} pairs of dev"),
        ("on train", f"{result.train_accuracy:.3f}", f"on {result.train:,} pairs"),
        ("threshold", f"{result.threshold:.3f}", "cosine, chosen on train"),
        ("majority", f"{result.majority:.3f}", "always what is more frequent in train"),
    )


def _idioms(result: IdiomsResult) -> Table:
    return _rows(
        ("macro F1", f"{result.macro_f1:.3f}", f"on {result.dev:,} uses of new expressions"),
        ("accuracy", f"{result.accuracy:.3f}", ""),
        ("majority", f"{result.majority_f1:.3f}", "macro F1 of what is more frequent in train"),
        ("strength", f"{result.strength:g}", f"C of the probe, fitted on {result.train:,} uses"),
        (
            "not found",
            f"{result.not_found:,}",
            "uses of the expression; the mean of the sentence stands in",
        ),
    )


def _trained(result: TrainedResult) -> Table:
    losses = " ".join(f"{loss:.3f}" for loss in result.loss)
    return _rows(
        ("macro F1", f"{result.macro_f1:.3f}", f"on {result.dev:,} examples of dev"),
        ("accuracy", f"{result.accuracy:.3f}", ""),
        ("trained", result.trained, f"on {result.train:,} examples, a part of them held out"),
        *([("loss", "", f"on the held-out part, by epoch: {losses}")] if losses else []),
    )


def _sts(result: StsResult) -> Table:
    table = plain_table()
    table.add_column("split")
    table.add_column("pairs", justify="right")
    table.add_column("Spearman", justify="right")
    for split in result.splits:
        table.add_row(split.split, f"{split.pairs:,}", f"{split.spearman:.3f}")
    return table


def _order(result: OrderResult) -> Table:
    from polyseme.evaluation.order import LEAST_ACCURACY, LEAST_CHANGED

    pairs = result.train + result.test
    voices = [
        (f"  {voice}", f"{share:.3f}", f"{voice} voice")
        for voice, share in (("active", result.active), ("passive", result.passive))
        if share is not None
    ]
    return _rows(
        ("passes", "yes" if result.passes else "no", ""),
        (
            "changed",
            f"{result.changed:.3f}",
            f"of {pairs:,} pairs; {LEAST_CHANGED:.2f} is needed",
        ),
        (
            "accuracy",
            f"{result.accuracy:.3f}",
            f"who does it, in {result.test:,} pairs; {LEAST_ACCURACY:.2f} is needed",
        ),
        *voices,
        ("strength", f"{result.strength:g}", f"C of the probe, fitted on {result.train:,} pairs"),
    )


def _spread(result: SpreadResult) -> Table:
    return _rows(
        (
            "cosine",
            f"{result.cosine:.3f}",
            f"between different words of one text, over {result.texts:,} texts",
        ),
        (
            "same word",
            f"{result.same_word:.3f}",
            f"of {result.repeated:,} words have another use of the word as their nearest",
        ),
        ("own text", f"{result.own_text:.3f}", "have a different word of their own text"),
    )


def _rows(*rows: tuple[str, str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", style="bold", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


_VIEWS: dict[str, Callable[[Any], RenderableType]] = {
    "wsd": _wsd,
    "wic": _wic,
    "idioms": _idioms,
    "sts": _sts,
    "order": _order,
    "spread": _spread,
}
