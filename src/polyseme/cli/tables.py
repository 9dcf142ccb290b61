"""What the commands print at a terminal: results as rich text, 80 columns or more wide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from polyseme.comparison import Comparison, View
    from polyseme.explain import Explanation

_BAR = 24


def show(content: RenderableType) -> None:
    """Print to stdout; characters that its encoding lacks are escaped."""
    console = Console(highlight=False)
    if hasattr(console.file, "reconfigure"):
        console.file.reconfigure(errors="backslashreplace")
    console.print(content)


def plain_table() -> Table:
    """A table without lines."""
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)


def comparison_view(comparison: Comparison) -> Group:
    """The uses, then a table of each rung's similarities and nearest words."""
    uses = plain_table()
    uses.add_column("use", justify="right")
    uses.add_column("sentence", overflow="fold")
    for i, use in enumerate(comparison.uses, 1):
        sentence = comparison.sentences[use.sentence]
        start, end = use.span
        uses.add_row(str(i), Text.assemble(*_marked(sentence, start, end)))
    parts: list[RenderableType] = [uses]
    if not all(use.known for use in comparison.uses):
        parts.append(Text(f"The model has no piece of {comparison.word!r}.", style="yellow"))
    return Group(*parts, *(_rung(view) for view in comparison.views))


def explanation_view(explanation: Explanation, top: int) -> Group:
    """The formula, a table of the words by weight, and what the weights are."""
    weights, left_out = explanation.weights, explanation.left_out
    order = np.argsort(-weights, kind="stable")[:top].tolist()
    table = plain_table()
    table.add_column("at", justify="right")
    table.add_column("word", overflow="fold")
    table.add_column("weight", justify="right")
    table.add_column("")
    table.add_column("left out", justify="right")
    longest = max(float(weights.max()), 1e-9)
    for i in order:
        own = i == explanation.position
        table.add_row(
            str(i),
            Text(explanation.words[i]),
            f"{weights[i]:.3f}",
            _Bar(float(weights[i]) / longest),
            "" if own else f"{left_out[i]:.3f}",
            style="bold" if own else None,
        )
    lines: list[RenderableType] = [Text(explanation.formula(), style="bold"), Text(), table]
    hidden = len(weights) - len(order)
    if hidden:
        shown = (
            f"{hidden} more word{'s' if hidden > 1 else ''} of smaller weight (--top shows more)"
        )
        lines.append(Text(f"  {shown}", style="dim"))
    note = "Left out: how far the vector turns without the word, as 1 - cosine."
    return Group(*lines, Text(), Text(explanation.note), Text(note))


def facts_view(facts: dict[str, Any]) -> Table:
    """What is known of a model, a line each."""
    table = Table.grid(padding=(0, 3))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(_fact(value)))
    return table


class _Bar:
    """A bar that is made of what the terminal can show."""

    def __init__(self, share: float) -> None:
        self.cells = round(_BAR * share)

    def __rich_console__(self, console: Console, options: Any) -> Any:
        yield Text(("#" if options.ascii_only else "\u2588") * self.cells, style="cyan")

    def __rich_measure__(self, console: Console, options: Any) -> Any:
        from rich.measure import Measurement

        return Measurement(self.cells, self.cells)


def _rung(view: View) -> RenderableType:
    table = plain_table()
    table.add_column("use", justify="right")
    for i in range(len(view.similarity)):
        table.add_column(f"~ {i + 1}", justify="right", no_wrap=True)
    listed = any(view.nearest)
    if listed:
        table.add_column("nearest words", overflow="fold")
    for i, (row, nearest) in enumerate(zip(view.similarity.tolist(), view.nearest, strict=True)):
        cells = ["" if i == j else _cosine(cosine) for j, cosine in enumerate(row)]
        words = Text(", ").join(
            Text.assemble(near.word, " ", (f"{near.similarity:.2f}", "dim")) for near in nearest
        )
        table.add_row(str(i + 1), *cells, *([words] if listed else []))
    return Group(Text(), Text(view.rung, style="bold"), table)


def _fact(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cosine(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _marked(sentence: str, start: int, end: int) -> tuple[Any, ...]:
    return sentence[:start], (f"[{sentence[start:end]}]", "bold cyan"), sentence[end:]
