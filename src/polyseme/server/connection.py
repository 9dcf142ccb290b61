"""A connection whose heads of requests are bounded in size and time.

uvicorn's quick protocol collects a head for as long as it comes, so that one client could fill the
memory, and a thousand silent ones could take all connections. What comes after the head is the
concern of ``guard.py``, which is given the means to cut off a reader who does not read, and is told
when the connection is lost. The head of an answer leaves together with its body: two pieces are
twice the work for the server, and for its client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MOST_BYTES = 1 << 16
MOST_SECONDS = 10.0

_Bytes = bytes | bytearray | memoryview


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which waits for a head only so long, and takes only so much of it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first head its time."""
        super().connection_made(transport)
        self._in_head = True
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._lost: set[Callable[[], None]] = set()
        self._unanswered: list[_WholeAnswer] = []
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
        left = [answer for answer in self._unanswered if not answer.cycle.response_complete]
        self._unanswered = [*left, _WholeAnswer(self.cycle)]

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._in_head = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time, and tell those who work for this connection."""
        self._stop_timer()
        for answer in self._unanswered:
            # uvicorn says it to the last alone, which may still wait behind the one at work.
            answer.cycle.disconnected = True
        super().connection_lost(exc)
        for tell in tuple(self._lost):
            tell()

    def on_response_complete(self) -> None:
        """Go on with the next request; an answer without a body has been sent by then."""
        for answer in self._unanswered:
            if answer.cycle.response_complete:
                answer.flush()
        super().on_response_complete()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(MOST_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _WholeAnswer(asyncio.Transport):
    """A connection's transport for one answer, whose head waits for the body.

    Args:
        cycle: of the request; it writes here from now on.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self.cycle = cycle
        self._transport = cycle.transport
        self._head: _Bytes | None = None
        cycle.transport = self

    def write(self, data: _Bytes) -> None:
        """Keep what comes first of the answer, and send it with what comes second."""
        if self._head is None and self.cycle.response_started:
            self._head = data
        elif self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head that nothing follows."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """End the connection once everything is sent."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is at its end."""
        return self._transport.is_closing()
