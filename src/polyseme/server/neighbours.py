"""The route /neighbours: words of the vocabulary that are near to a word as it is meant."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from polyseme.neighbours import most_similar
from polyseme.server.answers import dumps
from polyseme.server.bodies import Straight, read, takes
from polyseme.server.schemas import NeighboursAnswer, NeighboursRequest
from polyseme.server.serving import Serving


def routes(serving: Serving) -> APIRouter:
    """The routes of one server."""
    router = APIRouter(tags=["words"], route_class=Straight)

    @router.post(
        "/neighbours", response_model=NeighboursAnswer, openapi_extra=takes(NeighboursRequest)
    )
    async def neighbours(request: Request) -> Response:
        """Find the words of the vocabulary that are nearest to a word as it is meant in a text.

        The first time, the model's whole vocabulary is computed, which may take longer than one
        request may: ask again.
        """
        body = await read(request, NeighboursRequest)
        model = serving.rungs[body.rung]
        found = await serving.aside(
            lambda: most_similar(model, body.text, body.word, topn=body.topn, progress=False),
            slow=True,
        )
        nearest = [{"word": near.word, "similarity": near.similarity} for near in found]
        told = {"model": serving.name, "rung": model.rung, "nearest": nearest}
        return Response(dumps(told), media_type="application/json")

    return router
