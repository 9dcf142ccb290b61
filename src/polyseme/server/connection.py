"""A connection whose heads of requests are bounded in size and time.

uvicorn's quick protocol collects a head for as long as it comes, so that one client could fill the
memory, and a thousand silent ones could take all connections. What comes after the head is the
concern of ``guard.py``, which is given the means to cut off a reader who does not read.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Take some bytes; those of a head are counted."""
        began_in_head = self._in_head
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if began_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_BYTES:
                self.send_400_response(f"The head has more than {MOST_BYTES} bytes.")
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Pass the request on; ``abort`` in its scope drops the connection with all unsent."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        self.scope["extensions"] = {"polyseme": {"abort": self.transport.abort}}
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._in_head = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(MOST_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
