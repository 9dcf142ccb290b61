"""Vectors in Spark: a function for ``DataFrame.mapInArrow``, and the schema of what it returns.

The model is opened by the driver, goes out to the executors with the function (Spark broadcasts
it), and is opened once in each of their Python workers. Nothing but ``polyseme[corpus]`` must be
installed there. Arrow's fixed-size lists are Spark's arrays.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from polyseme.corpus.engine import load
from polyseme.corpus.reading import Row, batches
from polyseme.corpus.rows import Wanted, embed_rows, schema_of
from polyseme.embedded_files import require_pyarrow

if TYPE_CHECKING:
    import pyarrow
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from polyseme.contextualizer import Contextualizer

OfBatches: TypeAlias = "Callable[[Iterator[pyarrow.RecordBatch]], Iterator[pyarrow.RecordBatch]]"

_EVERYTHING = Wanted()
_opened: dict[str, Contextualizer] = {}


def map_in_arrow(
    frame: DataFrame,
    *,
    model: Contextualizer | str | os.PathLike[str] | None = None,
    wanted: Wanted = _EVERYTHING,
    column: str = "text",
    keep: Sequence[str] = (),
) -> tuple[OfBatches, StructType]:
    """What ``frame.mapInArrow`` takes, to turn a column of texts into their vectors.

    Args:
        frame: its rows have a text, or an array of the user's own words, and never null.
        model: one, or what ``polyseme.load`` takes; opened here, not on the executors.
        wanted: what a row of the result is; Spark has no float16.
        column: the text's.
        keep: columns that are carried along, of any type.

    Returns:
        The function, and the schema of its rows: ``text``, or ``position``, ``start``, ``end`` and
        ``word``; the kept columns; ``vector``, an array of float or byte; with int8 ``scale``.

    Raises:
        ValueError: a column is not there, is of a type that can't be used, or would be there twice;
            or ``wanted`` is float16.
        ImportError: a library is not installed; the message says what to install.

    Example:
        >>> from polyseme.corpus import Wanted
        >>> from polyseme.corpus.spark import map_in_arrow
        >>> def words_of(posts):  # a DataFrame with the columns id and body
        ...     wanted = Wanted(by="words", words=frozenset(["apple"]), store="int8")
        ...     return posts.mapInArrow(
        ...         *map_in_arrow(posts, column="body", keep=["id"], wanted=wanted)
        ...     )
    """
    require_pyarrow()
    import pyarrow as pa
    from pyspark.sql import types

    if wanted.store == "float16":
        raise ValueError("store is 'float16', which Spark does not have: use 'float32' or 'int8'")
    for name in (column, *keep):
        if name not in frame.columns:
            raise ValueError(f"no column {name!r}; there are {', '.join(frame.columns)}")
    kind = frame.schema[column].dataType
    words = isinstance(kind, types.ArrayType) and isinstance(kind.elementType, types.StringType)
    if not words and not isinstance(kind, types.StringType):
        raise ValueError(
            f"the column {column!r} is of type {kind.simpleString()}: it must be a string, or an "
            "array of strings"
        )
    opened = load(model)
    kept = pa.schema([(name, pa.null()) for name in keep])
    names = schema_of(kept, wanted, wanted.width(opened)).names
    for name in keep:
        if names.count(name) > 1:
            raise ValueError(f"the column {name!r} can't be kept: it would be there twice")
    number = types.ByteType() if wanted.store == "int8" else types.FloatType()
    own = {
        "text": types.StringType(),
        "word": types.StringType(),
        "vector": types.ArrayType(number, containsNull=False),
        "scale": types.FloatType(),
    }
    schema = types.StructType(
        [
            frame.schema[name]
            if name in keep
            else types.StructField(name, own.get(name, types.IntegerType()), nullable=False)
            for name in names
        ]
    )
    pickled = pickle.dumps(opened)
    key = hashlib.sha256(pickled).hexdigest()
    keep = tuple(keep)

    def vectors(given: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        for batch in given:
            yield from _embedded(_model(key, pickled), batch, wanted, column, keep)

    return vectors, schema


def _model(key: str, pickled: bytes) -> Contextualizer:
    """The model, opened if this process has not met it; another one is let go."""
    if key not in _opened:
        _opened.clear()
        _opened[key] = pickle.loads(pickled)
    return _opened[key]


def _embedded(
    model: Contextualizer,
    batch: pyarrow.RecordBatch,
    wanted: Wanted,
    column: str,
    keep: Sequence[str],
) -> Iterator[pyarrow.RecordBatch]:
    """The vectors of a batch, in batches that fit into memory."""
    import pyarrow as pa

    texts = batch.column(column).to_pylist()
    if None in texts:
        raise ValueError(f"the column {column!r} is null in a row: leave such rows out")
    table = pa.table([batch.column(name) for name in keep], names=list(keep))
    for rows in batches(Row("", 0, text, number=i) for i, text in enumerate(texts)):
        first, last = rows[0].number, rows[-1].number + 1
        made = embed_rows(model, texts[first:last], table.slice(first, len(rows)), wanted)
        i = made.column_names.index("vector")
        # Spark's reader of Arrow knows no lists of fixed size.
        lists = made.column(i).cast(pa.list_(made.schema.field(i).type.value_type))
        yield from made.set_column(i, "vector", lists).to_batches()
