"""A server on a real socket, for tests whose clients are not this process's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polyseme.contextualizer import Contextualizer


@contextmanager
def running(model: Contextualizer, *, index: Any = None, **settings: Any) -> Iterator[str]:
    """Serve a model from a thread, on the loopback; the URL."""
    from polyseme.server import Settings
    from polyseme.server.running import listen, server

    with listen("127.0.0.1", 0) as bound:
        at_work = server(model, Settings(**settings), index)
        thread = threading.Thread(target=at_work.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not at_work.started:
                assert thread.is_alive() and time.monotonic() < deadline, "it did not start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            at_work.should_exit = True
            thread.join()
