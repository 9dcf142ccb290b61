"""The tables of an index, in LanceDB: what stands in them, and how they are opened and asked.

    texts        id, source, line, text                                    in the input's order
    incoming     word, text, start, end, what is kept, vector              in the input's order
    occurrences  word, text, start, end, what is kept                      by word, then by group
    groups       word, first, size, vector, reach                          in the same order
    axes         vector                                                    the first comes first
    senses       word, number, name, label, vector                         what users labelled

A word has its letters' case folded; a text is named by its id, which is its row. The vectors of
``occurrences`` are in a file, row by row (``vectors.py``). A group is one or two dozen similar
occurrences of one word, ``size`` rows of ``occurrences`` from row ``first`` on; its vector is their
mean direction along the axes, and ``reach`` what the nearest of them may have beyond it. Vectors
are directions: int8 ones have no scale, as a cosine needs none.
LanceDB (https://lancedb.github.io/lancedb/) writes versions: a table is opened at the one that
``index.json`` names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt
from array_api_compat import numpy as xp

from polyseme.attention import unit

if TYPE_CHECKING:
    import pyarrow

    from polyseme.senses.vectors import Vectors

Floats = npt.NDArray[np.float32]
Table = Any
Store = Literal["int8", "float16", "float32"]
STORES = ("int8", "float16", "float32")
OWN = ("word", "text", "start", "end", "vector", "group", "source", "line", "id")
"""Names that kept columns can't have."""

_BLOCK = 1 << 10
_INDEX_CACHE = 1 << 26
_METADATA_CACHE = 1 << 25
_INNER = re.compile(r"^Invalid (user )?input, |^lance error: |, /[^ ]*\.rs:\d+:\d+.*$", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`")


def require_lancedb() -> None:
    """Raise ImportError, with what to install, where LanceDB or scikit-learn is missing."""
    for name in ("lancedb", "sklearn"):
        if find_spec(name) is None:
            raise ImportError(
                f'an index of senses needs {name}, which is missing: pip install "polyseme[search]"'
            )


def connect(folder: Path) -> Any:
    """The database in a folder."""
    require_lancedb()
    import lancedb

    # What LanceDB would keep in memory by itself is sized for servers: 7 GB.
    return lancedb.connect(str(folder), session=lancedb.Session(_INDEX_CACHE, _METADATA_CACHE))


def table_at(database: Any, name: str, version: int | None) -> Table | None:
    """A table as it was at a version, for reading; None without a version."""
    if version is None:
        return None
    table = database.open_table(name)
    if table.version != version:
        table.checkout(version)
    return table


def table_back_at(database: Any, folder: Path, name: str, version: int | None) -> Table | None:
    """A table for writing, without what was written after a version; without one, it is removed."""
    if not (folder / f"{name}.lance").exists():
        return None
    if version is None:
        database.drop_table(name)
        return None
    table = database.open_table(name)
    if table.version != version:
        table.checkout(version)
        table.restore()
    return table


def cleaned(table: Table) -> None:
    """Remove the files that only older versions need."""
    with catch_warnings():
        simplefilter("ignore")  # of readers: these open the table anew when the state has changed
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


def texts_schema() -> pyarrow.Schema:
    """Columns of ``texts``."""
    import pyarrow as pa

    columns = {"id": pa.int64(), "source": pa.string(), "line": pa.int64(), "text": pa.string()}
    return pa.schema(list(columns.items()))


def occurrences_schema(keep: Sequence[pyarrow.Field], store: str, dim: int) -> pyarrow.Schema:
    """Columns of ``incoming``; ``occurrences`` has all but the vector."""
    import pyarrow as pa

    number = {"int8": pa.int8(), "float16": pa.float16(), "float32": pa.float32()}[store]
    columns = [pa.field("word", pa.string()), pa.field("text", pa.int64())]
    columns += [pa.field("start", pa.int32()), pa.field("end", pa.int32()), *keep]
    return pa.schema([*columns, pa.field("vector", pa.list_(number, dim))])


def stored(vectors: Floats, store: str) -> Any:
    """Vectors (n, dim) as an Arrow array of their directions."""
    if not np.isfinite(vectors).all():
        raise ValueError("the model gave a vector that holds NaN or infinity")
    if store == "int8":
        largest = np.abs(vectors).max(axis=1, initial=0, keepdims=True)
        numbers = np.rint(vectors / np.maximum(largest, 1e-30) * 127).astype(np.int8)
    else:
        numbers = unit(vectors).astype(store)
    return fixed(numbers)


def fixed(numbers: npt.NDArray[Any]) -> Any:
    """An Arrow array of rows of numbers."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(numbers).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1])


def directions(column: Any) -> Floats:
    """(n, dim) float32 of length one, of a column of vectors."""
    found: Floats = unit(numbers_of(column).astype(np.float32))
    return found


def numbers_of(column: Any) -> npt.NDArray[Any]:
    """(n, dim) a column of vectors as it is."""
    chunk = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    numbers = chunk.flatten().to_numpy(zero_copy_only=False)
    return cast("npt.NDArray[Any]", numbers.reshape(len(chunk), chunk.type.list_size))


def cosines(vectors: npt.NDArray[Any], vector: Floats) -> Floats:
    """(n,) cosines of vectors (n, dim), of any length, to a vector (dim,) of length one.

    In blocks that stay in the processor's cache.
    """
    found = np.empty(len(vectors), np.float32)
    block = np.empty((min(_BLOCK, len(vectors)), len(vector)), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        given = vectors[start : start + _BLOCK]
        rows = block[: len(given)]
        rows[...] = given
        lengths = np.sqrt(xp.vecdot(rows, rows))
        found[start : start + _BLOCK] = (rows @ vector) / np.maximum(lengths, 1e-30)
    return found


def with_vectors(rows: pyarrow.Table, vectors: Vectors) -> pyarrow.Table:
    """Rows of ``occurrences`` with their vectors, in place of their numbers ``_rowoffset``."""
    at = rows["_rowoffset"].to_numpy().astype(np.int64)
    return rows.drop_columns(["_rowoffset"]).append_column("vector", fixed(vectors.take(at)))


def literal(value: str) -> str:
    """A string as SQL has it.

    Example:
        >>> literal("o'neill")
        "'o''neill'"
    """
    return "'" + value.replace("'", "''") + "'"


def among(column: str, values: Sequence[str] | Sequence[int]) -> str:
    """An SQL condition: a column has one of some values."""
    listed = [literal(value) if isinstance(value, str) else str(value) for value in values]
    return f"{column} = {listed[0]}" if len(listed) == 1 else f"{column} IN ({', '.join(listed)})"


def both(*conditions: str | None) -> str:
    """All of some SQL conditions."""
    return " AND ".join(f"({condition})" for condition in conditions if condition)


def checked_where(where: str | None) -> str | None:
    """A user's SQL condition, if it is one condition and nothing else.

    Raises:
        ValueError: it is empty, or has a bracket, quote or comment that reaches beyond it.
    """
    if where is None:
        return None
    bare = _QUOTED.sub("", where)
    depth = 0
    for sign in bare:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            break
    wrong = [sign for sign in (";", "--", "/*", "'", '"', "`") if sign in bare]
    if not bare.strip() or depth or wrong:
        said = f"it has {wrong[0]!r} on its own" if wrong else "its brackets don't match"
        said = said if where.strip() else "it is empty"
        raise ValueError(
            f'where is {where!r}: {said}; a condition of SQL will do, such as "year > 1990 AND '
            "author = 'Ann'\""
        )
    return where


def asked(query: Any, where: str | None, columns: Sequence[str]) -> pyarrow.Table:
    """The rows that a query finds.

    Args:
        query: of LanceDB.
        where: the user's condition that is part of it.
        columns: that it may name.

    Raises:
        ValueError: it is no condition on these columns.
    """
    try:
        return query.to_arrow()
    except (ValueError, RuntimeError, OSError) as error:
        if where is None:
            raise
        reason = _INNER.sub("", " ".join(str(error).split()))
        if "No such file" in reason or "Not found" in reason:
            raise
        raise ValueError(
            f"where is {where!r}: {reason}; the columns of this index are {', '.join(columns)}"
        ) from None
