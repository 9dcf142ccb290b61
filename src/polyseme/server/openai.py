"""Routes of OpenAI's API: /v1/embeddings and /v1/models, for the clients that speak it.

A malformed request is 400 here, as it is there; elsewhere it is 422.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from polyseme.attention import unit
from polyseme.server.answers import base64, dumps
from polyseme.server.bodies import read, takes
from polyseme.server.errors import RequestError
from polyseme.server.schemas import (
    MOST_TEXTS,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    ModelCard,
    ModelList,
)
from polyseme.server.serving import SentenceVectors, Serving


def routes(serving: Serving) -> APIRouter:
    """The routes of one server."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    card = ModelCard(id=serving.name, object="model", created=serving.created, owned_by="polyseme")

    @router.post(
        "/embeddings", response_model=EmbeddingsAnswer, openapi_extra=takes(EmbeddingsRequest)
    )
    async def embeddings(request: Request) -> Response:
        """Give every text one vector, as OpenAI's endpoint of this name does."""
        body = await read(request, EmbeddingsRequest, malformed=400)
        _known(body.model)
        texts = _texts(body.input)
        dimensions = _dimensions(body.dimensions)
        unsupported = serving.model.checkpoint.sentence.unsupported
        if unsupported:
            raise RequestError(
                400, f"this model has no sentence vectors ({unsupported}): use /contextualize"
            )
        vectors, tokens = await serving.batches(SentenceVectors(), list(texts))
        if dimensions < serving.model.dim:
            vectors = unit(vectors[:, :dimensions])
        in_base64 = body.encoding_format == "base64"
        count = int(tokens.sum())
        serving.metrics.tokens.inc(count)
        answer = {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": i,
                    "embedding": base64(vector) if in_base64 else vector,
                }
                for i, vector in enumerate(vectors)
            ],
            "model": serving.name,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
        return Response(dumps(answer), media_type="application/json")

    @router.get("/models")
    async def models() -> ModelList:
        """List the one model that is served."""
        return ModelList(object="list", data=[card])

    @router.get("/models/{model:path}")
    async def one_model(model: str) -> ModelCard:
        """Say that a model is served, or that it is not."""
        _known(model)
        return card

    def _known(model: str) -> None:
        if model != serving.name:
            raise RequestError(
                404,
                f"there is no such model here: this server has {serving.name!r}",
                param="model",
                code="model_not_found",
            )

    def _dimensions(asked: int | None) -> int:
        width = serving.model.dim
        if asked is not None and asked > width:
            raise RequestError(
                400,
                f"dimensions is {asked}: this model's vectors have {width}",
                param="dimensions",
            )
        return asked or width

    return router


def _texts(given: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not listed:
        raise RequestError(400, "input is empty: give at least one text", param="input")
    if len(listed) > MOST_TEXTS:
        raise RequestError(
            413, f"input has {len(listed)} texts: give at most {MOST_TEXTS}", param="input"
        )
    texts = [text for text in listed if isinstance(text, str)]
    if len(texts) < len(listed):
        raise RequestError(
            400,
            "input holds tokens of another tokenizer, which mean nothing to this model: send the "
            "text itself (LangChain: check_embedding_ctx_length=False)",
            param="input",
            code="tokens_not_supported",
        )
    empty = [i for i, text in enumerate(texts) if not text]
    if empty:
        raise RequestError(
            400, f"text {empty[0]} of input is empty: an empty text has no vector", param="input"
        )
    return texts
