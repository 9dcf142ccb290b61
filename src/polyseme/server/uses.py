"""Routes on an index of word occurrences: /search, /senses and /tag."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from polyseme.server.answers import dumps
from polyseme.server.bodies import Straight, read, takes
from polyseme.server.errors import RequestError
from polyseme.server.schemas import (
    SearchAnswer,
    SearchRequest,
    SensesAnswer,
    SensesRequest,
    TagAnswer,
    TagRequest,
)
from polyseme.server.serving import Index, Serving

Result = TypeVar("Result")


def routes(serving: Serving) -> APIRouter:
    """The routes of one server; without an index they say so."""
    router = APIRouter(tags=["senses"], route_class=Straight)

    @router.post("/search", response_model=SearchAnswer, openapi_extra=takes(SearchRequest))
    async def search(request: Request) -> Response:
        """Find the occurrences in which a word means what it means in a text."""
        body = await read(request, SearchRequest)
        found = await _asked(lambda index: _searched(index, body))
        return Response(dumps({"occurrences": found}), media_type="application/json")

    @router.post("/senses", response_model=SensesAnswer, openapi_extra=takes(SensesRequest))
    async def senses(request: Request) -> Response:
        """Show the senses of a word, as its occurrences fall apart."""
        body = await read(request, SensesRequest)
        found = await _asked(lambda index: index.senses(body.word), slow=True)
        told = [sense.to_dict() for sense in found]
        for sense in told:
            sense["examples"] = [_without_path(example) for example in sense["examples"]]
        answer = {"word": body.word, "senses": told}
        return Response(dumps(answer), media_type="application/json")

    @router.post("/tag", response_model=TagAnswer, openapi_extra=takes(TagRequest))
    async def tag(request: Request) -> Response:
        """Show which of its senses each word has in new texts."""
        body = await read(request, TagRequest)
        found = await _asked(lambda index: index.tag(body.texts, words=body.words), slow=True)
        told = [[tag.to_dict() for tag in tags] for tags in found]
        return Response(dumps({"texts": told}), media_type="application/json")

    async def _asked(ask: Callable[[Index], Result], *, slow: bool = False) -> Result:
        index = serving.index
        if index is None:
            raise RequestError(
                404, "this server has no index: polyseme serve --index INDEX", code="no_index"
            )
        try:
            return await serving.aside(lambda: ask(index), slow=slow)
        except RequestError as error:
            message = error.message.replace(str(index.folder), "the index")
            raise RequestError(error.status, message) from None

    return router


def _searched(index: Index, body: SearchRequest) -> list[dict[str, Any]]:
    if body.find == "synonyms":
        if body.words is not None:
            raise RequestError(422, "synonyms are looked for among all words", param="words")
        found = index.synonyms(body.text, body.word, body.k, where=body.where)
    else:
        found = index.search(
            body.text,
            body.word,
            body.k,
            same=body.find == "same",
            where=body.where,
            words=body.words,
        )
    return [_without_path(occurrence.to_dict()) for occurrence in found]


def _without_path(occurrence: dict[str, Any]) -> dict[str, Any]:
    """An occurrence whose file has its name alone: where it lies is the server's own affair."""
    return occurrence | {"source": PurePath(occurrence["source"]).name}
