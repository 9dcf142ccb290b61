"""Vectors on the wire: JSON with every digit that a float32 needs, base64, or an Arrow stream."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response, StreamingResponse

from polyseme.embedded import EmbeddedText, EmbeddedTexts
from polyseme.server.errors import RequestError

Floats = npt.NDArray[np.float32]

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"

# Numbers that are written at once: enough for a page of text, so that most answers are one piece.
_AT_ONCE = 1 << 18


def dumps(value: Any) -> bytes:
    """JSON of plain values and NumPy arrays, floats with the digits that tell them apart."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def base64(vectors: Floats) -> str:
    """Little-endian float32, row after row."""
    return b64encode(np.ascontiguousarray(vectors, "<f4").tobytes()).decode()


def wanted_media(accept: str | None) -> str:
    """JSON or Arrow, by the request's Accept header.

    Raises:
        RequestError: it asks for neither.
    """
    kinds = [kind.partition(";")[0].strip().lower() for kind in (accept or "*/*").split(",")]
    if ARROW in kinds:
        return ARROW
    if not {JSON, "application/*", "*/*"} & set(kinds):
        raise RequestError(406, f"this answer comes as {JSON} or {ARROW}")
    return JSON


async def words_answer(docs: EmbeddedTexts, model: str, media: str, encoding: str) -> Response:
    """The answer of /contextualize; a large one is made piece by piece, as it is read."""
    if media == ARROW:
        if docs.vectors.size <= _AT_ONCE:
            return Response(arrow_stream(docs), media_type=ARROW)
        return Response(await anyio.to_thread.run_sync(arrow_stream, docs), media_type=ARROW)
    if docs.vectors.size <= _AT_ONCE:
        whole = _head(docs, model) | {"texts": [_whole_text(doc, encoding) for doc in docs]}
        return Response(dumps(whole), media_type=JSON)
    return StreamingResponse(_words_json(docs, model, encoding), media_type=JSON)


def arrow_stream(docs: EmbeddedTexts) -> memoryview:
    """``EmbeddedTexts.to_arrow`` as a stream of Arrow's IPC format.

    Raises:
        RequestError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise RequestError(406, "this server has no pyarrow: ask for JSON") from None
    table = docs.to_arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue()).cast("B")


def _words_json(docs: EmbeddedTexts, model: str, encoding: str) -> Iterator[bytes]:
    head = dumps(_head(docs, model) | {"texts": []})
    yield head[:-2]
    for i, doc in enumerate(docs):
        if i:
            yield b","
        yield from _text_json(doc, encoding)
    yield head[-2:]


def _head(docs: EmbeddedTexts, model: str) -> dict[str, Any]:
    return {"model": model, "dim": docs.vectors.shape[1]}


def _text_json(doc: EmbeddedText, encoding: str) -> Iterator[bytes]:
    if encoding == "base64":
        yield dumps(_whole_text(doc, encoding))
        return
    yield dumps(_text(doc))[:-1] + b',"vectors":['
    rows = max(1, _AT_ONCE // max(1, doc.vectors.shape[1]))
    for start in range(0, len(doc), rows):
        block = dumps(doc.vectors[start : start + rows])[1:-1]
        yield b"," + block if start else block
    yield b"]}"


def _whole_text(doc: EmbeddedText, encoding: str) -> dict[str, Any]:
    vectors = base64(doc.vectors) if encoding == "base64" else doc.vectors
    return _text(doc) | {"vectors": vectors}


def _text(doc: EmbeddedText) -> dict[str, Any]:
    return {"text": doc.text, "words": doc.words, "spans": doc.spans, "known": doc.known}
