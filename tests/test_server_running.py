"""The server as a process and on sockets: many at a time, too many, too slow, and the end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import polyseme
from polyseme.contextualizer import Contextualizer
from tests.conftest import write_model
from tests.served import METRICS, Slow, ask, await_metric, raw, request, running

pytest.importorskip("fastapi", reason="needs the extra `server`")
pytest.importorskip("uvicorn", reason="needs the extra `server`")
pytest.importorskip("prometheus_client", reason="needs the extra `server`")
pytest.importorskip("orjson", reason="needs the extra `server`")

TEXTS = [
    "An apple a day keeps the doctor away",
    "apple",
    "Apple just launched a new iPhone",
    "a piece of cake " * 20,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("served") / "small")


@pytest.fixture(scope="module")
def model(folder: Path) -> Contextualizer:
    return polyseme.load(folder)


@contextmanager
def process(folder: Path | None, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``polyseme serve`` on a free port, and its URL."""
    command = [sys.executable, "-m", "polyseme", "serve", "--port", "0"]
    command += ["--model", str(folder)] if folder else []
    started = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        assert started.stderr is not None
        line = started.stderr.readline()
        assert " on http://" in line, line + started.stderr.read()
        url = line.split(" on ")[1].strip()
        while True:
            try:
                if ask(url, "/ready")[0] == 200:
                    break
            except ConnectionError:
                time.sleep(0.05)
        yield started, url
    finally:
        started.kill()
        started.wait()


def test_the_same_text_has_the_same_bits_in_any_company(model: Contextualizer) -> None:
    alone = {text: model.contextualize(text).vectors for text in TEXTS}
    with running(model) as url:

        def one(i: int) -> bool:
            texts = [TEXTS[(i + j) % len(TEXTS)] for j in range(1 + i % 3)]
            status, _, answer = ask(url, body={"texts": texts})
            assert status == 200
            return all(
                np.asarray(told["vectors"], np.float32).tobytes() == alone[text].tobytes()
                for told, text in zip(answer["texts"], texts, strict=True)
            )

        with ThreadPoolExecutor(16) as clients:
            assert all(clients.map(one, range(200)))
        metrics = raw(url, METRICS)
    joined = float(metrics.split(b"polyseme_batch_requests_sum ")[1].split()[0])
    batches = float(metrics.split(b"polyseme_batch_requests_count ")[1].split()[0])
    assert joined > batches, "no two requests met in a batch"


def test_past_the_queue_requests_are_refused_and_the_accepted_are_answered(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(model, queue=4) as url:
        Slow(monkeypatch, 0.05)

        def client(_: int) -> Any:
            answer = ask(url, body={"texts": [TEXTS[0]]})
            if answer[0] == 429:
                time.sleep(0.2)
            return answer

        with ThreadPoolExecutor(24) as clients:
            answers = list(clients.map(client, range(120)))
        assert ask(url, "/health")[0] == 200
        assert ask(url, body={"texts": ["apple"]})[0] == 200
    found = Counter(status for status, _, _ in answers)
    assert set(found) == {200, 429}
    assert min(found.values()) > 4
    for status, headers, content in answers:
        if status == 429:
            assert headers["retry-after"] == "1"
            assert content["error"]["code"] == "overloaded"
        else:
            assert content["texts"][0]["words"] == TEXTS[0].split()


def test_the_queue_is_bounded_by_bytes_too(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(model, body_bytes=600, queue_bytes=1000) as url:
        slow = Slow(monkeypatch, 0.5)
        with ThreadPoolExecutor(2) as clients:
            first = clients.submit(ask, url, body={"texts": ["a" * 500]})
            assert slow.at_work.wait(20)
            assert ask(url, body={"texts": ["a" * 500]})[0] == 429
            assert ask(url, body={"texts": ["a" * 50]})[0] == 200
            assert first.result()[0] == 200


def test_who_waits_too_long_is_told_and_not_computed(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(model, timeout=0.4) as url:
        slow = Slow(monkeypatch, 1.0)
        with ThreadPoolExecutor(3) as clients:
            answers = [clients.submit(ask, url, body={"texts": ["apple"]})]
            assert slow.at_work.wait(20)
            answers += [clients.submit(ask, url, body={"texts": ["pie"]}) for _ in range(2)]
            assert [answer.result()[0] for answer in answers] == [504] * 3
        assert answers[0].result()[2]["error"]["type"] == "timeout_error"
        time.sleep(1.5)
        assert slow.computed == 1
        assert ask(url, "/health")[0] == 200


def test_what_nobody_waits_for_any_more_is_not_computed(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "polyseme.server")
    with running(model) as url:
        slow = Slow(monkeypatch, 1.0)
        parts = urlsplit(url)
        with ThreadPoolExecutor(1) as clients:
            first = clients.submit(ask, url, body={"texts": ["apple"]})
            assert slow.at_work.wait(20)
            for _ in range(8):
                with socket.create_connection((parts.hostname, parts.port)) as connection:
                    connection.sendall(request({"texts": ["pie"]}))
            assert first.result()[0] == 200
        assert ask(url, body={"texts": ["apple"]})[0] == 200
        assert slow.computed == 2
        metrics = raw(url, METRICS)
    assert b'polyseme_requests_total{route="/contextualize",status="499"} 8.0' in metrics
    assert b"accepted_requests 0.0" in metrics
    assert caplog.text.count("POST /contextualize 499 in") == 8


def test_requests_that_wait_in_one_connection_go_with_it(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(model) as url:
        slow = Slow(monkeypatch, 0.5)
        parts = urlsplit(url)
        with ThreadPoolExecutor(1) as clients:
            with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
                # One that is answered on the connection before must not be mistaken for the next.
                connection.sendall(request({"texts": ["day"]}))
                assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
                slow.at_work.clear()
                first = clients.submit(ask, url, body={"texts": ["apple"]})
                assert slow.at_work.wait(20)
                connection.sendall(request({"texts": ["pie"]}) * 2)
                await_metric(url, b"accepted_requests 2.0")
            assert first.result()[0] == 200
        assert ask(url, body={"texts": ["apple"]})[0] == 200
        assert slow.computed == 3
        metrics = raw(url, METRICS)
    assert b'polyseme_requests_total{route="/contextualize",status="200"} 3.0' in metrics
    assert b'polyseme_requests_total{route="/contextualize",status="499"} 1.0' in metrics
    assert b"accepted_requests 0.0" in metrics
    assert not [told for told in caplog.records if told.levelno >= logging.WARNING]


def test_what_waits_for_its_turn_alone_is_not_done_for_who_has_left(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained: list[str] = []
    at_work = threading.Event()

    def explain(own: Contextualizer, text: str, word: str) -> Any:
        at_work.set()
        explained.append(text)
        time.sleep(0.5)
        raise ValueError("no")

    monkeypatch.setattr(Contextualizer, "explain", explain)
    with running(model) as url:
        parts = urlsplit(url)
        with ThreadPoolExecutor(1) as clients:
            first = clients.submit(ask, url, "/explain", {"text": "apple", "word": "apple"})
            assert at_work.wait(20)
            with socket.create_connection((parts.hostname, parts.port)) as connection:
                connection.sendall(request({"text": "pie", "word": "pie"}, "/explain"))
                await_metric(url, b"accepted_requests 2.0")
            await_metric(url, b"accepted_requests 1.0")
            assert ask(url, "/explain", {"text": "a day", "word": "day"})[0] == 422
            assert first.result()[0] == 422
    assert explained == ["apple", "a day"]


def test_no_text_is_in_the_log_of_a_process_at_its_most_talkative(folder: Path) -> None:
    secret = "xylophonist"
    with process(folder, "--log-level", "debug") as (server, url):
        for body, status in (
            ({"texts": [secret]}, 200),
            ({"texts": [secret, 3]}, 422),
            ({"texts": [secret], "phrases": [f" {secret}", " "]}, 422),
            ({secret: 1}, 422),
        ):
            assert ask(url, body=body)[0] == status
        for path, word in (("/explain", "word"), ("/compare", "word")):
            assert ask(url, path, {word: secret, "text": "a", "sentences": ["a"]})[0] == 422
        assert ask(url, "/explain", {"text": "a day", "word": secret})[0] == 422
        assert ask(url, "/compare", {"word": secret, "sentences": ["a day"]})[0] == 422
        assert ask(url, "/v1/embeddings", {"input": [secret, ""], "model": secret})[0] == 404
        assert ask(url, f"/{secret}?{secret}={secret}")[0] == 404
        assert ask(url, f"/v1/models/{secret}")[0] == 404
        raw(url, b"POST /contextualize HTTP/1.1\r\nhost: \r\n" + secret.encode() + b"\r\n\r\n")
        server.terminate()
        assert server.stderr is not None
        log = server.stderr.read()
        assert server.wait(20) == 0
    assert "POST /contextualize 200 in" in log
    assert "GET other 404 in" in log
    assert secret not in log


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_answers_what_it_accepted(how: signal.Signals) -> None:
    body = {"text": "apple pie " * 32, "word": 0}  # takes a while
    with process(None) as (server, url):
        with ThreadPoolExecutor(6) as clients:
            answers = [clients.submit(ask, url, "/explain", body) for _ in range(6)]
            while b"accepted_requests 6.0" not in raw(url, METRICS):
                assert not all(answer.done() for answer in answers), "they were too quick"
            server.send_signal(how)
            assert [answer.result()[0] for answer in answers] == [200] * 6
        assert server.wait(20) == 0
        with pytest.raises(ConnectionError):
            ask(url, "/health")


def test_a_port_that_is_taken_is_an_error_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "polyseme", "serve", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"polyseme: error: can't listen on 127.0.0.1, port {port}: ")
    assert ended.stderr.count("\n") == 1


def test_without_a_key_a_process_answers_to_names_of_this_machine_alone(folder: Path) -> None:
    with process(folder, "--allow-host", "words.example") as (_, url):
        assert ask(url, "/info", host="evil.example")[0] == 421
        assert ask(url, "/info", host="words.example:80")[0] == 200
    os.environ["POLYSEME_API_KEY"] = "sesame"
    try:
        with process(folder) as (_, url):
            assert ask(url, "/info", host="evil.example")[0] == 401
            key = "Bearer sesame"
            assert ask(url, "/info", host="words.example", authorization=key)[0] == 200
    finally:
        del os.environ["POLYSEME_API_KEY"]


def test_only_loopback_addresses_are_taken_for_this_machine_alone() -> None:
    from polyseme.server.running import is_loopback

    for host in ("127.0.0.1", "127.1.2.3", "::1"):
        assert is_loopback(Bound(host))  # type: ignore[arg-type]
    for host in ("0.0.0.0", "::", "192.168.1.127", "::ffff:127.0.0.1"):
        assert not is_loopback(Bound(host))  # type: ignore[arg-type]


class Bound:
    """A socket with an address."""

    def __init__(self, host: str) -> None:
        self.host = host

    def getsockname(self) -> tuple[str, int]:
        return self.host, 8000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_stays_bounded_under_twice_the_load_that_can_be_borne(folder: Path) -> None:
    body = {"texts": ["a piece of cake " * 60] * 8}
    with process(folder, "--queue", "8") as (server, url):
        statm = Path(f"/proc/{server.pid}/statm")

        def load(seconds: float) -> tuple[Counter[int], int]:
            end, found, most = time.monotonic() + seconds, Counter[int](), 0
            while time.monotonic() < end:
                found[ask(url, body=body)[0]] += 1
                most = max(most, int(statm.read_text().split()[1]) * 4096)
            return found, most

        def all_at_once(seconds: float) -> tuple[Counter[int], int]:
            with ThreadPoolExecutor(16) as clients:
                parts = list(clients.map(load, [seconds] * 16))
            return sum((found for found, _ in parts), Counter()), max(most for _, most in parts)

        _, before = all_at_once(1.0)
        found, after = all_at_once(3.0)
        assert ask(url, body=body)[0] == 200
    assert set(found) == {200, 429}, found
    assert after < before + (64 << 20)
