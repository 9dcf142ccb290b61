"""Bodies of requests: JSON that is read and checked in one go, and described all the same.

FastAPI's own way from a body to a model costs as much time as all else that is done for a request
with one sentence; this one goes straight through pydantic, and says so in the OpenAPI description.
Nor do requests to a ``Straight`` route pass the layers of FastAPI and Starlette that look for
parameters and dependencies, of which it has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from polyseme.server import schemas
from polyseme.server.errors import RequestError, from_validation

Body = TypeVar("Body", bound=schemas.Request)

_REFERENCE = "#/components/schemas/{model}"
_BODIES: tuple[type[schemas.Request], ...] = (
    schemas.ContextualizeRequest,
    schemas.ExplainRequest,
    schemas.CompareRequest,
    schemas.NeighboursRequest,
    schemas.SearchRequest,
    schemas.SensesRequest,
    schemas.TagRequest,
    schemas.EmbeddingsRequest,
)


class Straight(APIRoute):
    """A route whose function takes the request and nothing else, and gives the answer itself."""


class Shortcut:
    """ASGI middleware that hands requests to ``Straight`` routes; all others go on.

    What these routes raise is the concern of who stands before this.

    Args:
        app: where others go.
        routes: whose paths have no parameters.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Straight]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route for route in routes for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        response: Response = await route.endpoint(Request(scope, receive))
        await response(scope, receive, send)


async def read(request: Request, model: type[Body], *, malformed: int = 422) -> Body:
    """The body of a request.

    Args:
        request: whose Content-Type must be JSON: a foreign web page can't send that unasked.
        model: what it should be.
        malformed: the status if it is not.

    Raises:
        RequestError: it is not.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(415, "send JSON, with Content-Type: application/json")
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise from_validation(error.errors(include_url=False), status=malformed) from None


def takes(model: type[schemas.Request]) -> dict[str, Any]:
    """What FastAPI is told of a route that reads such a body."""
    content = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def describe(app: FastAPI, *, key: bool) -> dict[str, Any]:
    """Put into the OpenAPI description what FastAPI does not know: the bodies, and the key.

    Args:
        app: with all its routes.
        key: whether requests must show one.

    Returns:
        The description, which is the application's from now on.
    """
    described = app.openapi()
    _, found = models_json_schema(
        [(model, "validation") for model in _BODIES], ref_template=_REFERENCE
    )
    components = described.setdefault("components", {})
    components.setdefault("schemas", {}).update(found["$defs"])
    if key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
        for path in ("/health", "/ready"):
            described["paths"][path]["get"]["security"] = []
    app.openapi = lambda: described  # type: ignore[method-assign]
    return described
