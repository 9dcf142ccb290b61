"""A server on a real socket, for tests whose clients are not this process's."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from polyseme.contextualizer import Contextualizer

METRICS = b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n"


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


def ask(
    url: str, path: str = "/contextualize", body: Any = None, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one request on a connection of its own."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        sent = None if body is None else json.dumps(body)
        given = {"content-type": "application/json"} | headers
        connection.request("GET" if body is None else "POST", path, sent, given)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(content)
    finally:
        connection.close()


def raw(url: str, sent: bytes, *, then: bytes = b"", after: float = 0.0) -> bytes:
    """All that comes back for some bytes, and some more after a while."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(sent)
        if then:
            time.sleep(after)
            connection.sendall(then)
        found = b""
        while part := connection.recv(1 << 16):
            found += part
        return found


def request(body: Any, path: str = "/contextualize") -> bytes:
    """A request as it is sent, whole."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + content


def await_metric(url: str, line: bytes) -> None:
    """Ask until the metrics say it."""
    deadline = time.monotonic() + 30
    while line not in raw(url, METRICS):
        assert time.monotonic() < deadline


class Slow:
    """Makes a model take its time, and counts the texts that it computes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.computed = 0
        self.at_work = threading.Event()
        original = Contextualizer.contextualize

        def contextualize(own: Contextualizer, texts: Any, **options: Any) -> Any:
            self.at_work.set()
            time.sleep(seconds)
            self.computed += len(texts)
            return original(own, texts, **options)

        monkeypatch.setattr(Contextualizer, "contextualize", contextualize)
