"""A connection whose heads of requests are bounded in size and time.

uvicorn's quick protocol collects a head for as long as it comes, so that one client could fill the
memory, and a thousand silent ones could take all connections. What comes after the head is the
concern of ``guard.py``, which is given the means to cut off a reader who does not read, and is told
when the connection is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MOST_BYTES = 1 << 16
MOST_SECONDS = 10.0


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which waits for a head only so long, and takes only so much of it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first head its time."""
        super().connection_made(transport)
        self._in_head = True
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._lost: set[Callable[[], None]] = set()
        self._unanswered: list[RequestResponseCycle] = []
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Take some bytes; those of a head that does not end in them are counted."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._head_bytes > MOST_BYTES:
            self.send_400_response(f"The head has more than {MOST_BYTES} bytes.")
        if self.cycle is None or self.cycle.response_complete:
            # Not while an answer is awaited, which may take longer than a head.
            self._start_timer()

    def on_headers_complete(self) -> None:
        """Pass the request on.

        ``abort`` in its scope drops the connection with all that is unsent; what is in ``lost``
        there is called when the connection is lost.
        """
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        told: dict[object, object] = {"abort": self.transport.abort, "lost": self._lost}
        self.scope["extensions"] = {"polyseme": told}
        super().on_headers_complete()
        left = [cycle for cycle in self._unanswered if not cycle.response_complete]
        self._unanswered = [*left, self.cycle]

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._in_head = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time, and tell those who work for this connection."""
        self._stop_timer()
        for cycle in self._unanswered:
            # uvicorn says it to the last alone, which may still wait behind the one at work.
            cycle.disconnected = True
        super().connection_lost(exc)
        for tell in tuple(self._lost):
            tell()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(MOST_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
