"""What stands before every route: key, size, admission, time, and what is written down of it.

A request that can't be served is refused before its body is read. What is accepted is counted until
its answer is sent, so that bodies, waiting texts and unsent vectors are bounded together. The log
has a request's method, route, status and time: never its path, query or body, nor what an exception
says, as that may quote a text.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
import traceback
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polyseme.server.errors import RequestError, overloaded, too_slow
from polyseme.server.metrics import Metrics
from polyseme.server.settings import Settings

OPEN = frozenset({"/health", "/ready"})

_log = logging.getLogger("polyseme.server")

_DIGITS = 18

# The status of a request whose client left before the answer, in metrics and log, as nginx has it.
_GONE = 499

# What a connection holds of an answer without waiting for its reader.
_SMALL = 1 << 16


class Guard:
    """ASGI middleware around all routes.

    Args:
        app: what is guarded.
        settings: the key and the limits.
        metrics: is told of every request.
        open_paths: that need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        metrics: Metrics,
        open_paths: frozenset[str] = OPEN,
    ) -> None:
        self._app = app
        self._open = open_paths
        self._settings = settings
        self._metrics = metrics
        self._key = settings.api_key.strip().encode() if settings.api_key else None
        self._requests = 0
        self._bytes = 0
        metrics.waiting.set_function(lambda: self._requests)
        metrics.waiting_bytes.set_function(lambda: self._bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = _Answer(send)
        connection = scope.get("extensions", {}).get("polyseme", {})
        lost: set[Callable[[], None]] = connection.get("lost", set())
        limit = anyio.CancelScope(deadline=anyio.current_time() + self._settings.timeout)

        def gone() -> None:
            answer.status = answer.status or _GONE
            limit.cancel()

        lost.add(gone)
        try:
            with limit:
                await self._admitted(scope, receive, answer)
            if limit.cancelled_caught and answer.status:
                # Its reader is too slow, or gone; what is unsent would lie in memory for as long.
                connection.get("abort", lambda: None)()
            elif limit.cancelled_caught:
                error = too_slow(self._settings.timeout, computing=answer.has_body)
                await error.response()(scope, receive, answer)
        except RequestError as error:
            if not answer.status:
                await error.response()(scope, receive, answer)
        except Exception as error:
            _log.error("%s %s failed: %s", scope["method"], _route(scope), place_of(error))
            # An answer that had begun is cut off, which its reader can tell by its length.
            if not answer.status:
                failure = RequestError(500, "the server failed on this request", code="failed")
                await failure.response()(scope, receive, answer)
        finally:
            lost.discard(gone)
            seconds = time.perf_counter() - began
            route = _route(scope)
            self._metrics.observe_request(route, answer.status, seconds)
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug(
                    "%s %s %d in %.1f ms", scope["method"], route, answer.status, seconds * 1e3
                )

    async def _admitted(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        headers = dict(scope["headers"])
        if self._settings.hosts is not None:
            check_host(headers.get(b"host", b""), self._settings.hosts)
        if self._key is not None and scope["path"] not in self._open:
            check_key(headers.get(b"authorization", b""), self._key)
        if scope["method"] != "POST":
            answer.has_body = True
            await self._app(scope, receive, answer)
            return
        size = self._size(headers.get(b"content-length"))
        if self._requests >= self._settings.queue or (
            self._bytes + size > self._settings.queue_bytes
        ):
            raise overloaded(
                f"{self._requests} requests are waiting, as many as this server takes: try again"
            )
        self._requests += 1
        self._bytes += size
        try:
            body = await self._body(receive)
            answer.has_body = True
            await self._app(scope, _Replayed(body, receive), answer)
        finally:
            self._requests -= 1
            self._bytes -= size

    def _size(self, content_length: bytes | None) -> int:
        """Bytes of the body, or the most that it may have if it does not say."""
        limit = self._settings.body_bytes
        if content_length is None:
            return limit
        if not content_length.isdigit():
            raise RequestError(400, "Content-Length is no number")
        if len(content_length) > _DIGITS or int(content_length) > limit:
            raise _too_large(limit)
        return int(content_length)

    async def _body(self, receive: Receive) -> bytes:
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError(400, "the body was cut off")
            part = message.get("body", b"")
            size += len(part)
            if size > self._settings.body_bytes:
                raise _too_large(self._settings.body_bytes)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


def check_key(authorization: bytes, key: bytes) -> None:
    """Raise RequestError unless the header shows the key, as Bearer or as Basic password.

    Basic is for browsers, which ask for it by themselves and show it in all that a page does.
    """
    scheme, _, shown = authorization.partition(b" ")
    if scheme.lower() == b"basic":
        with suppress(NotBase64, ValueError):
            shown = b64decode(shown, validate=True).partition(b":")[2]
    elif scheme.lower() != b"bearer":
        shown = b""
    if not hmac.compare_digest(shown.strip(), key):
        raise RequestError(
            401,
            "no valid API key: send it as Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"www-authenticate": 'Basic realm="polyseme", charset="UTF-8"'},
        )


def check_host(host: bytes, names: frozenset[str]) -> None:
    """Raise RequestError if a server is called by a name that it does not answer to.

    A foreign web page can point a name of its own at 127.0.0.1 and read what is served there
    (DNS rebinding); what it can't do is call the server localhost.
    """
    called = re.sub(r":\d*$", "", host.decode("latin-1")).lower()
    if called not in names:
        raise RequestError(
            421,
            "this server does not answer to the name in Host; start it with --allow-host NAME, or "
            "with an API key",
            code="unknown_host",
        )


def place_of(error: BaseException) -> str:
    """An exception's type and where it was raised, without what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} in {' > '.join(places[-8:])}"


class _Answer:
    """The way out, which remembers the status, and whether the body had come in by then."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.has_body = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = self.status or message["status"]
        elif len(message.get("body", b"")) > _SMALL and not message.get("more_body", False):
            # The end is sent by itself, once the rest has left this process: until then the request
            # counts as unanswered.
            await self._send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)


class _Replayed:
    """A body that has been read, and then what the connection says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        message = {"type": "http.request", "body": self._body, "more_body": False}
        self._body = None
        return message


def _too_large(limit: int) -> RequestError:
    return RequestError(
        413, f"the body is larger than {limit} bytes: send fewer texts at a time", code="too_large"
    )


def _route(scope: Scope) -> str:
    """The route as it is declared; what was asked for may hold anything."""
    return getattr(scope.get("route"), "path", "") or "other"
