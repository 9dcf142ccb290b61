"""Routes on words: /contextualize, /explain and /compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request
from starlette.responses import Response

from polyseme.attention import unit
from polyseme.comparison import compare
from polyseme.contextualizer import Contextualizer
from polyseme.embedded import EmbeddedTexts
from polyseme.pictures.charts import principal_plane
from polyseme.server.answers import ARROW, dumps, wanted_media, words_answer
from polyseme.server.bodies import Straight, read, takes
from polyseme.server.errors import RequestError
from polyseme.server.schemas import (
    MOST_EXPLAINED_WORDS,
    CompareAnswer,
    CompareRequest,
    ContextualizeAnswer,
    ContextualizeRequest,
    ExplainAnswer,
    ExplainRequest,
)
from polyseme.server.serving import Serving, Words, refused

Floats = npt.NDArray[np.float64]


def routes(serving: Serving) -> APIRouter:
    """The routes of one server."""
    router = APIRouter(tags=["words"], route_class=Straight)

    @router.post(
        "/contextualize",
        response_model=ContextualizeAnswer,
        openapi_extra=takes(ContextualizeRequest),
        responses={200: {"content": {ARROW: {}}, "description": "JSON, or Arrow if accepted."}},
    )
    async def contextualize(request: Request) -> Response:
        """Give every word of the texts the vector that it has there."""
        media = wanted_media(request.headers.get("accept"))
        body = await read(request, ContextualizeRequest)
        work = Words(
            None if body.phrases is None else tuple(body.phrases), body.layer, body.normalize
        )
        try:
            docs: EmbeddedTexts = await serving.batches(work, list(body.texts))
        except ValueError as error:
            raise refused(error) from None
        serving.metrics.words.inc(len(docs.vectors))
        return await words_answer(docs, serving.name, media, body.encoding_format)

    @router.post("/explain", response_model=ExplainAnswer, openapi_extra=takes(ExplainRequest))
    async def explain(request: Request) -> Response:
        """Show which words made a word what it is in its text, and by how much."""
        body = await read(request, ExplainRequest)
        found = await serving.aside(lambda: _explained(serving.rungs[body.rung], body))
        return Response(dumps({"model": serving.name} | found), media_type="application/json")

    @router.post("/compare", response_model=CompareAnswer, openapi_extra=takes(CompareRequest))
    async def compare_uses(request: Request) -> Response:
        """Hold a word's uses against each other: static, parameter-free, and by the model."""
        body = await read(request, CompareRequest)
        found = await serving.aside(lambda: _compared(serving, body), slow=body.nearest > 0)
        return Response(dumps(found), media_type="application/json")

    return router


def _explained(model: Contextualizer, body: ExplainRequest) -> dict[str, Any]:
    tokens = model.tokenizer([body.text])
    if len(tokens.spans) > MOST_EXPLAINED_WORDS:
        raise RequestError(
            413,
            f"the text has {len(tokens.spans)} words: explain at most {MOST_EXPLAINED_WORDS}",
            param="text",
            code="too_large",
        )
    explanation = model.explain(body.text, body.word)
    steps = [model.vectors_of(tokens, layer=layer) for layer in range(model.layers + 1)]
    word = unit(np.stack([step[explanation.position] for step in steps]).astype(np.float64))
    return {
        "rung": model.rung,
        **explanation.to_dict(),
        "spans": tokens.spans,
        "weights": explanation.weights,
        "left_out": explanation.left_out,
        "matrix": explanation.matrix,
        "layer_weights": np.ascontiguousarray(explanation.layer_weights),
        "layer_matrices": explanation.layer_matrices if body.matrices else None,
        "moved": ((word - word[0]) ** 2).sum(axis=1) / 2,
    }


def _compared(serving: Serving, body: CompareRequest) -> dict[str, Any]:
    found = compare(
        serving.model,
        body.word,
        body.sentences,
        phrases=body.phrases,
        topn=body.nearest,
        progress=False,
    )
    told = found.to_dict() | {"model": serving.name}
    models = {model.rung: model for model in serving.rungs.values()}
    for rung in told["rungs"]:
        model = models[rung["rung"]]
        before, after = (
            _rows(model, body, [(use.sentence, use.position) for use in found.uses], layer)
            for layer in (0, model.layers)
        )
        plane, rung["shown"] = principal_plane(before, after)
        rung["before"], rung["after"] = np.split(plane, 2)
    return told


def _rows(
    model: Contextualizer, body: CompareRequest, uses: list[tuple[int, int]], layer: int
) -> Floats:
    docs = model.contextualize(body.sentences, phrases=body.phrases, layer=layer, progress=False)
    vectors = [docs[sentence].vectors[position] for sentence, position in uses]
    found: Floats = unit(np.stack(vectors).astype(np.float64))
    return found
