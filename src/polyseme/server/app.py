"""The application: all routes around one model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from polyseme import __version__
from polyseme.server import neighbours, openai, state, uses, words
from polyseme.server.bodies import Shortcut, Straight, describe
from polyseme.server.errors import RequestError
from polyseme.server.guard import OPEN, Guard
from polyseme.server.reference import reference
from polyseme.server.schemas import ErrorAnswer
from polyseme.server.serving import Index, Serving
from polyseme.server.settings import Settings

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

PAGE = Path(__file__).parent / "page"

_DESCRIPTION = "Every word of a text with the vector that it has there, and why."
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer, "description": description}
    for code, description in {
        400: "Something is empty, or not what OpenAI's API takes.",
        401: "No valid API key.",
        404: "There is no such thing.",
        406: "The answer does not come in the form that Accept asks for.",
        408: "The body did not come in time.",
        413: "Too large: too many bytes, texts or words.",
        415: "The body is not JSON.",
        421: "The server does not answer to this Host.",
        422: "Malformed, or not possible with this model.",
        429: "Too many requests are waiting; Retry-After says how long to wait.",
        504: "Not done in time.",
    }.items()
}
# What the page may do: nothing that is not this server's own.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "cache-control": "no-cache",  # else a browser may mix files of two versions
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def create_app(
    model: Contextualizer, settings: Settings | None = None, index: Index | None = None
) -> FastAPI:
    """An ASGI application that serves a model.

    Args:
        model: of any rung.
        settings: the key and the limits; the defaults if None.
        index: a ``polyseme.senses.SenseIndex`` made with this model, for /search and /senses.

    Example:
        >>> import polyseme
        >>> app = create_app(polyseme.load(), Settings(timeout=10))
        >>> app.title
        'polyseme'
    """
    serving = Serving(model, settings or Settings(), index)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await serving.warm_up()
        serving.ready = True
        yield
        serving.ready = False
        serving.close()

    app = FastAPI(
        title="polyseme",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=_ERRORS,
    )
    app.state.serving = serving
    routers = [module.routes(serving) for module in (words, neighbours, uses, openai, state)]
    for router in routers:
        app.include_router(router)
    described = describe(app, key=serving.settings.api_key is not None)
    files = list(_page_files())
    app.router.routes.extend([*files, _docs(reference(described))])
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(HTTPException, _http_error)
    straight = [
        route for router in routers for route in router.routes if isinstance(route, Straight)
    ]
    app.add_middleware(Shortcut, routes=straight)
    app.add_middleware(
        Guard,
        settings=serving.settings,
        metrics=serving.metrics,
        # The page asks for the key itself, which it needs for all that it shows.
        open_paths=OPEN.union(route.path for route in files),
    )
    return app


def _docs(docs: str) -> Route:
    async def shown(request: Request) -> Response:
        return HTMLResponse(docs, headers=_PAGE_HEADERS)

    return Route("/docs", shown)


def _page_files() -> Iterator[Route]:
    """A route for each file of the page that is there now: no path can lead elsewhere."""
    for file in sorted(path for path in PAGE.rglob("*") if path.is_file()):

        async def sent(request: Request, file: Path = file) -> Response:
            return FileResponse(file, headers=_PAGE_HEADERS)

        path = file.relative_to(PAGE).as_posix()
        yield Route("/" if path == "index.html" else f"/{path}", sent)


async def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return RequestError(error.status_code, error.detail, headers=error.headers).response()
