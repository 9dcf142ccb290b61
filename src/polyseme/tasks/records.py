"""Examples from files: jsonl, csv, tsv and Parquet, by the names of their columns.

In: sources and the columns' names. Out: rows with an example as the estimators take it, its label,
its group, and the place that an error names. Words to be tagged are a list, or a string that is cut
at white space, as their labels are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polyseme.files import Source
from polyseme.tasks.estimators import PairScorer, SpanClassifier, TextClassifier, WordTagger
from polyseme.tasks.examples import UnusableError
from polyseme.tasks.task import Task

Kind = Literal["spans", "texts", "words", "pairs"]

KINDS: dict[Kind, type[Task]] = {
    "spans": SpanClassifier,
    "texts": TextClassifier,
    "words": WordTagger,
    "pairs": PairScorer,
}


@dataclass(frozen=True)
class Columns:
    """The names of columns; None where there is none.

    Attributes:
        text: the text, or the first of a pair.
        second: the second text of a pair.
        span: the words in question, as they stand in the text.
        start: their first character, counted from 0.
        end: one past their last character.
        second_span: as ``span``, in the second text.
        second_start: as ``start``.
        second_end: as ``end``.
        label: what is to be learned.
        group: what an example belongs to.
    """

    text: str = "text"
    second: str = "second"
    span: str | None = None
    start: str | None = None
    end: str | None = None
    second_span: str | None = None
    second_start: str | None = None
    second_end: str | None = None
    label: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        for prefix in ("", "second_"):
            span, start, end = (getattr(self, prefix + name) for name in ("span", "start", "end"))
            if (start is None) != (end is None) or (span is not None and start is not None):
                raise ValueError(
                    f"a span is a column of words, or two of characters: {prefix}span is {span!r}, "
                    f"{prefix}start {start!r}, {prefix}end {end!r}"
                )


@dataclass(frozen=True)
class Record:
    """A row of a file.

    Attributes:
        place: file and line.
        example: as the estimators take it.
        label: None if it has none.
        group: None if it has none.
    """

    place: str
    example: Any
    label: Any
    group: Any


def records(
    sources: Sequence[Source], kind: Kind, columns: Columns, *, scores: bool = False
) -> Iterator[Record]:
    """The rows of files, one after the other.

    Args:
        sources: files of any form but txt with a label.
        kind: of the task.
        columns: their names.
        scores: labels are numbers.

    Raises:
        ValueError: a column is missing, a score is no number, or a line is not what it should be;
            the message has the file and the line.
    """
    sides = _sides(kind, columns)
    names = [name for side in sides for name in side]
    more = [name for name in (columns.label, columns.group) if name is not None]
    for source in sources:
        if source.form == "txt" and len(names) + len(more) > 1:
            raise ValueError(
                f"{source.name}: a txt file has no columns, and {', '.join(names + more)} are "
                "needed: use jsonl, csv or Parquet"
            )
        for number, values in source.rows([*names, *more]):
            place = f"{source.name}, line {number}"
            given = iter(values)
            parts = [tuple(next(given) for _ in side) for side in sides]
            label = next(given) if columns.label is not None else None
            group = next(given) if columns.group is not None else None
            if scores and label is not None:
                label = _number(label, place)
            if kind == "words":
                parts = [(_words(parts[0][0]),)]
                label = _words(label)
            examples = [part if len(part) > 1 else part[0] for part in parts]
            yield Record(place, examples[0] if kind != "pairs" else tuple(examples), label, group)


def placed(error: UnusableError, rows: Sequence[Record], hint: str = "") -> UnusableError:
    """The same error with files and lines in place of numbers of rows."""
    reasons = {rows[row].place: why for row, why in error.reasons.items()}
    return UnusableError(reasons, len(rows), hint)


def _sides(kind: Kind, columns: Columns) -> list[list[str]]:
    """The columns of an example's sides: two of a pair, else one."""

    def side(text: str, *places: str | None) -> list[str]:
        return [text, *(name for name in places if name is not None)]

    first = side(columns.text, columns.span, columns.start, columns.end)
    if kind in ("texts", "words"):
        if len(first) > 1:
            raise ValueError(f"a task of {kind} has no spans: leave out {', '.join(first[1:])}")
        return [first]
    if kind == "spans":
        return [first if len(first) > 1 else [columns.text, "span"]]
    second = side(columns.second, columns.second_span, columns.second_start, columns.second_end)
    if (len(first) > 1) != (len(second) > 1):
        raise ValueError("a pair has a span in both texts or in none")
    return [first, second]


def _words(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


def _number(value: Any, place: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{place}: the score {value!r} is no number") from None
