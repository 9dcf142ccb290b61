"""Routes on the server itself: /health, /ready, /info and /metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from polyseme import __version__
from polyseme.server.errors import RequestError
from polyseme.server.schemas import (
    MOST_EXPLAINED_WORDS,
    MOST_SENTENCES,
    MOST_TEXTS,
    InfoAnswer,
    StateAnswer,
)
from polyseme.server.serving import Serving


def _index_facts(serving: Serving) -> dict[str, Any] | None:
    if serving.index is None:
        return None
    facts = serving.index.info()
    # Where it lies, and its model's name, which may be where that lies.
    return {name: fact for name, fact in facts.items() if name not in ("folder", "model")}


def routes(serving: Serving) -> APIRouter:
    """The routes of one server."""
    router = APIRouter(tags=["server"])

    @router.get("/health")
    async def health() -> StateAnswer:
        """Say that the process lives."""
        return StateAnswer(status="ok")

    @router.get("/ready")
    async def ready() -> StateAnswer:
        """Say whether requests are taken: 503 before the start and after the stop has begun."""
        if not serving.ready:
            raise RequestError(503, "not ready", headers={"retry-after": "1"})
        return StateAnswer(status="ready")

    @router.get("/info")
    async def info() -> InfoAnswer:
        """Say what is served, and the limits on requests."""
        model = serving.model
        limits = asdict(serving.settings)
        return InfoAnswer(
            version=__version__,
            model=serving.name,
            rung=model.rung,
            layers=model.layers,
            heads=model.config.heads if model.config.layers else int(model.layers > 0),
            dim=model.dim,
            index=_index_facts(serving),
            limits={
                "queue": limits["queue"],
                "queue_bytes": limits["queue_bytes"],
                "body_bytes": limits["body_bytes"],
                "timeout": limits["timeout"],
                "texts": MOST_TEXTS,
                "sentences": MOST_SENTENCES,
                "explained_words": MOST_EXPLAINED_WORDS,
            },
        )

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters in Prometheus' text format."""
        return Response(serving.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    return router
