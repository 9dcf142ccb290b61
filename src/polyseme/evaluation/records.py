"""Lines of a task's files, and what stands in them; an error names the file and the line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of a file, after the words that say where it stands.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}, line {number}"
            try:
                yield place, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{place}: not UTF-8 ({error.reason})") from None


def table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Each record of a csv file with a header: where it starts, and the columns asked for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is not there, or a record is malformed.
    """
    text = (line.removeprefix("\ufeff") + "\n" for _, line in lines(path))
    reader = csv.reader(text, strict=True)
    header: list[str] | None = None
    while True:
        start = f"{path}, line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{start}: malformed csv, {error}") from None
        if row is None:
            break
        if header is None:
            header = row
            missing = [name for name in columns if name not in header]
            if missing:
                raise ValueError(
                    f"{start}: no column {missing[0]!r}; there are {', '.join(map(repr, header))}"
                )
        elif len(row) != len(header):
            raise ValueError(f"{start}: {len(row)} fields, where the header has {len(header)}")
        else:
            yield start, [row[header.index(name)] for name in columns]
    if header is None:
        raise ValueError(f"{path}, line 1: an empty file, not even a header")


def integer(given: str, place: str, meaning: str) -> int:
    """The number that a field holds.

    Raises:
        ValueError: it holds none.
    """
    try:
        return int(given)
    except ValueError:
        raise ValueError(f"{place}: {given!r} is no integer, but {meaning} is") from None


def position(given: str, place: str, tokens: list[str]) -> int:
    """The position of a token that a field holds.

    Raises:
        ValueError: it is no integer, or there is no such token.
    """
    found = integer(given, place, "the word's position")
    if not 0 <= found < len(tokens):
        raise ValueError(f"{place}: position {found} of a text of {len(tokens)} tokens")
    return found


def number(given: str, place: str, meaning: str) -> float:
    """The finite number that a field holds.

    Raises:
        ValueError: it holds none.
    """
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{place}: {given!r} is no finite number, but {meaning} is")
    return found
