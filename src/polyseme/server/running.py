"""From a model to a server that listens, and to its end."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from polyseme.server.app import create_app
from polyseme.server.connection import Connection
from polyseme.server.serving import Index
from polyseme.server.settings import Settings

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer

_log = logging.getLogger("polyseme.server")

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

# Seconds. The thread that computes asks for the interpreter's lock after each of its operations,
# and would wait for it up to Python's 5 ms while answers are written.
_SWITCH = 1e-4

# A process may usually open 1,024 files; uvicorn answers connections beyond this with 503.
_MOST_CONNECTIONS = 1000


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 is any free one.

    Raises:
        OSError: the address is not this machine's, or taken.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise OSError(f"can't listen on {host}, port {port}: {error.strerror or error}") from error
    # Connections inherit it. Without it the second half of an answer waits for the client to
    # acknowledge the first, which takes 40 ms; asyncio sets it only on sockets that it made itself.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Whether only programs on this machine can reach a socket."""
    host = str(bound.getsockname()[0])
    return host == "::1" or host.startswith("127.")


def server(model: Contextualizer, settings: Settings, index: Index | None = None) -> uvicorn.Server:
    """The server of uvicorn around the application; ``run(sockets=[...])`` serves."""
    config = uvicorn.Config(
        create_app(model, settings, index),
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
        lifespan="on",
    )
    return uvicorn.Server(config)


def serve(
    model: Contextualizer, bound: socket.socket, settings: Settings, index: Index | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; what is accepted by then is answered before it returns."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again once it is done, for who was there before it.
        signal.signal(number, lambda number, frame: None)
    at_work = server(model, settings, index)
    # What is there by now stays. Looking through it for garbage, again and again, would cost a
    # small request a sixth of the time that it takes beside its vectors.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH)
    at_work.run(sockets=[bound])


def log_to_stderr(level: str) -> None:
    """Write the server's log, and what uvicorn says of connections, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, least in (("polyseme.server", level), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(least.upper())
        logger.propagate = False
