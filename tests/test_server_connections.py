"""What a connection may do: heads, bodies, readers, and in which order answers leave."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import suppress
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

import polyseme
from polyseme.contextualizer import Contextualizer
from tests.conftest import write_model
from tests.served import METRICS, Slow, ask, await_metric, raw, request, running

pytest.importorskip("fastapi", reason="needs the extra `server`")
pytest.importorskip("uvicorn", reason="needs the extra `server`")
pytest.importorskip("prometheus_client", reason="needs the extra `server`")
pytest.importorskip("orjson", reason="needs the extra `server`")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Contextualizer:
    return polyseme.load(write_model(tmp_path_factory.mktemp("served") / "small"))


def test_a_large_body_that_comes_at_once_is_no_head(model: Contextualizer) -> None:
    whole = request({"texts": ["a" * 100_000], "encoding_format": "base64"})
    with running(model) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            for _ in range(3):
                connection.sendall(whole)
                with HTTPResponse(connection) as answer:
                    answer.begin()
                    assert answer.status == 200
                    assert len(json.loads(answer.read())["texts"]) == 1


def test_an_answer_may_take_longer_than_a_head(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyseme.server.connection.MOST_SECONDS", 0.3)
    with running(model) as url:
        Slow(monkeypatch, 1.0)
        assert ask(url, body={"texts": ["apple"]})[0] == 200


def test_a_body_that_does_not_come_is_given_up(model: Contextualizer) -> None:
    head = b"POST /contextualize HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    head += b"content-type: application/json\r\ncontent-length: 50\r\n\r\n"
    with running(model, timeout=0.3) as url:
        assert raw(url, head + b'{"texts"').startswith(b"HTTP/1.1 408 ")


def test_a_head_without_end_is_given_up(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyseme.server.connection.MOST_SECONDS", 0.3)
    with running(model) as url:
        for head in (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, b"GET /" + b"a" * 200_000):
            with suppress(ConnectionError):
                assert raw(url, head, then=b"a", after=0.1)[:13] in (b"", b"HTTP/1.1 400 ")
        for part in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r\nGET"):
            began = time.monotonic()
            with suppress(ConnectionError):
                assert raw(url, part).count(b"HTTP/1.1 ") == part.count(b"\r\n\r\n")
            assert time.monotonic() - began < 20
        assert ask(url, "/health")[0] == 200


def test_a_reader_who_does_not_read_is_cut_off(model: Contextualizer) -> None:
    with running(model, timeout=3.0) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(request({"texts": ["a " * 50_000]}))
            await_metric(url, b"accepted_requests 1.0")
            await_metric(url, b"accepted_requests 0.0")
            found = b""
            with suppress(ConnectionError):
                while part := connection.recv(1 << 20):
                    found += part
    assert found.startswith(b"HTTP/1.1 200 ")
    assert len(found) < 50_000 * 16 * 8, "the whole answer was kept for it"


def test_nonsense_on_the_wire_does_no_harm(model: Contextualizer) -> None:
    with running(model) as url:
        for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9\r\n\r\n", b"A" * 100_000):
            assert b" 500 " not in raw(url, nonsense + b"\r\n\r\n")
        assert ask(url, "/health")[0] == 200


def test_an_answer_does_not_wait_until_its_beginning_is_acknowledged() -> None:
    from polyseme.server.running import listen

    with listen("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname()):
        connection, _ = bound.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_head_of_an_answer_leaves_with_its_body_and_never_stays_behind() -> None:
    from polyseme.server.connection import _WholeAnswer

    sent: list[bytes] = []
    below = SimpleNamespace(
        write=sent.append,
        writelines=lambda parts: sent.append(b"".join(parts)),
        close=lambda: sent.append(b"end"),
    )

    def answer(*, begun: bool) -> Any:
        sent.clear()
        return _WholeAnswer(SimpleNamespace(transport=below, response_started=begun))  # type: ignore[arg-type]

    whole = answer(begun=False)
    whole.write(b"continue,")
    assert sent == [b"continue,"]
    whole.cycle.response_started = True
    for part in (b"head,", b"body,", b"more"):
        whole.write(part)
    assert sent == [b"continue,", b"head,body,", b"more"]
    alone = answer(begun=True)
    alone.write(b"head")
    assert sent == []
    alone.flush()
    alone.flush()
    assert sent == [b"head"]
    cut = answer(begun=True)
    cut.write(b"head")
    cut.close()
    assert sent == [b"head", b"end"]


def test_answers_with_and_without_a_body_come_in_the_order_of_their_requests(
    model: Contextualizer,
) -> None:
    closing = METRICS.replace(b"/metrics", b"/health")
    head = b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n"
    waits = request({"texts": ["An apple a day"]})
    waits = waits.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n", 1)
    with running(model) as url:
        found = raw(url, head + head + waits + head + closing)
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", found)
    assert statuses == [b"200", b"200", b"100", b"200", b"200", b"200"]
    assert found.index(b"100 Continue") < found.index(b'"words":["An","apple","a","day"]')
    assert found.endswith(b"}") and b"connection: close" in found
