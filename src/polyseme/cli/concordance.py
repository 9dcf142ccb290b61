"""What the commands about senses print: concordances, senses, changes and tags as rich text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.text import Text

from polyseme.cli.tables import plain_table

if TYPE_CHECKING:
    from polyseme.senses import Change, Occurrence, Sense, Tag

_HUES = ("cyan", "magenta", "green", "yellow", "blue", "red")
_GAPS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_COLUMN = 12
_LEAST = 12


class Concordance:
    """Occurrences below each other, the words in one column, with what stands around them."""

    def __init__(
        self,
        found: Sequence[Occurrence],
        columns: Sequence[str] = (),
        *,
        hue: str = "cyan",
        indent: int = 0,
    ) -> None:
        self.found = found
        self.columns = columns
        self.hue = hue
        self.indent = indent

    def __rich_console__(self, console: Console, options: Any) -> Any:
        lead = [self._lead(one) for one in self.found]
        before = max((cell_len(part) for part in lead), default=0)
        longest = max((cell_len(one_line(one.word)) for one in self.found), default=0)
        room = max(options.max_width - before - 3 - longest, 2 * _LEAST)
        left = room // 2
        for one, part in zip(self.found, lead, strict=True):
            word = one_line(one.word)
            near = kept_end(one_line(one.text[: one.start]).lstrip(), left)
            after = one_line(one.text[one.end :]).rstrip()
            yield Text.assemble(
                (set_cell_size(part, before), "dim"),
                " ",
                " " * (left - cell_len(near)) + near,
                (word, f"bold {self.hue}"),
                kept_start(after, room - left + longest - cell_len(word)),
                no_wrap=True,
                overflow="crop",
            )

    def _lead(self, one: Occurrence) -> str:
        kept = "".join(
            " " + set_cell_size(one_line(_shown(one.metadata.get(name))), _COLUMN)
            for name in self.columns
        )
        return " " * self.indent + f"{one.score:5.2f}{kept}"


def concordance_view(found: Sequence[Occurrence], columns: Sequence[str]) -> RenderableType:
    """Occurrences, or that there are none."""
    if not found:
        return Text("No occurrence is left.", style="yellow")
    if not columns:
        return Concordance(found)
    heads = "".join(" " + set_cell_size(name, _COLUMN) for name in columns)
    return Group(Text("score" + heads, style="dim"), Concordance(found, columns))


def senses_view(senses: Sequence[Sense], examples: int) -> Group:
    """Each sense: what it is called, how frequent it is, what marks it, how it is used."""
    parts: list[RenderableType] = []
    for sense in senses:
        hue = _HUES[(sense.number - 1) % len(_HUES)]
        uses = f"{sense.size:,} use{'s' if sense.size != 1 else ''}, {sense.share:.0%}"
        called = [(f"{sense.number}  {sense.title}", f"bold {hue}")]
        if sense.label:
            called.append((f"  ({sense.name})", "dim"))
        parts += [Text()] if parts else []
        parts.append(Text.assemble(*called, f"  {uses}"))
        if sense.marks:
            parts.append(Text("   marked by " + ", ".join(sense.marks), style="dim"))
        parts.append(Concordance(sense.examples[:examples], hue=hue, indent=2))
    return Group(*parts)


def change_view(change: Change) -> RenderableType:
    """A row for each value: occurrences, and each sense's number and share."""
    table = plain_table()
    table.add_column(change.column)
    table.add_column("uses", justify="right")
    for i, title in enumerate(change.senses):
        table.add_column(Text(title, style=_HUES[i % len(_HUES)]), justify="right")
    rows = zip(change.values, change.counts.tolist(), change.shares.tolist(), strict=True)
    for value, counts, shares in rows:
        cells = [f"{number:,} {share:4.0%}" for number, share in zip(counts, shares, strict=True)]
        table.add_row(Text(value), f"{sum(counts):,}", *cells)
    if not change.missing:
        return table
    note = f"{change.missing:,} occurrences have no {change.column}."
    return Group(table, Text(note, style="dim"))


def tagged_view(text: str, tags: Sequence[Tag]) -> Text:
    """A text with the sense of each tagged word behind it."""
    parts: list[Any] = []
    at = 0
    for tag in tags:
        parts.append(one_line(text[at : tag.start]))
        parts.append((tag.word, f"bold {_HUES[(tag.number - 1) % len(_HUES)]}"))
        parts.append((f"[{tag.sense} {tag.score:.2f}]", "dim"))
        at = tag.end
    return Text.assemble(*parts, one_line(text[at:]))


def one_line(text: str) -> str:
    r"""A text on one line, without what a terminal would obey.

    Example:
        >>> one_line(" a\n\x1b[31mb ")
        ' a [31mb '
    """
    return _GAPS.sub(" ", text)


def kept_end(text: str, cells: int) -> str:
    """The end of a text that fits into so many cells of a terminal.

    Example:
        >>> kept_end("on the bank of", 8), kept_end("水が好き", 5)
        ('…bank of', '…好き')
    """
    if cell_len(text) <= cells:
        return text
    kept, used = [], 1
    for character in reversed(text):
        used += cell_len(character)
        if used > cells:
            break
        kept.append(character)
    return "…" + "".join(reversed(kept))


def kept_start(text: str, cells: int) -> str:
    """The start of a text that fits into so many cells of a terminal.

    Example:
        >>> kept_start("of the river", 7), kept_start("水が好き", 6)
        ('of the…', '水が…')
    """
    if cell_len(text) <= cells:
        return text
    kept, used = [], 1
    for character in text:
        used += cell_len(character)
        if used > cells:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
