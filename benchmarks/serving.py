"""The server on the loopback: latency, throughput with 64 clients, and twice the load it can bear.

    pip install -c constraints.txt ".[bench,server]"
    python benchmarks/serving.py

The server is a process of its own, and so is what it is held against, ``contextualize`` on the same
texts. The clients are sockets of this process, which reads answers and does not look into them: it
needs a part of the same processors all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

from sentences import sentences

FORMS = {
    "JSON": ({}, "application/json"),
    "JSON, base64": ({"encoding_format": "base64"}, "application/json"),
    "Arrow": ({}, "application/vnd.apache.arrow.stream"),
}


@contextmanager
def served(options: list[str]) -> Iterator[tuple[int, int]]:
    """The port and the process id of a server."""
    command = [sys.executable, "-m", "polyseme", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        if " on http://" not in line:
            raise SystemExit(line + process.stderr.read())
        port = int(line.rsplit(":", 1)[1])
        ready = Load(port, process.pid, [b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n"])
        while not ready.closed(1, 0.1).statuses[200]:
            pass
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def requests(texts: list[str], size: int, form: str) -> list[bytes]:
    """Requests to /contextualize with so many texts each."""
    more, accept = FORMS[form]
    made = []
    for start in range(0, len(texts) - size + 1, size):
        body = json.dumps({"texts": texts[start : start + size]} | more).encode()
        head = (
            "POST /contextualize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            f"accept: {accept}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


@dataclass
class Found:
    """What became of the requests."""

    seconds: float = 0.0
    work: float = 0.0  # processor seconds of the server
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unsent: int = 0

    def rate(self) -> float:
        """Requests answered with 200 a second."""
        return self.statuses[200] / self.seconds

    def ms(self, percent: float) -> float:
        """A percentile of the time that answers with 200 took."""
        if not self.latencies:
            raise SystemExit(f"no request was answered: {dict(self.statuses)}")
        ordered = sorted(self.latencies)
        return 1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Connection:
    """A connection that stays open, and where its answer stands."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = b""
        self.left = -1
        self.sent = 0.0

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self.head, self.left, self.sent = b"", -1, time.perf_counter()
        self.socket.sendall(request)

    def read(self, into: memoryview) -> bool:
        """Take what has come; whether the answer is complete."""
        size = self.socket.recv_into(into)
        if not size:
            raise ConnectionError("the server closed a connection")
        if self.left < 0:
            self.head += bytes(into[:size])
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = self.head.lower().partition(b"content-length: ")[2]
            self.left = int(length.partition(b"\r")[0])
            size = len(self.head) - end - 4
        self.left -= size
        return self.left <= 0

    def status(self) -> int:
        """Of the answer."""
        return int(self.head[9:12])


class Load:
    """Requests to one server, in turn."""

    def __init__(self, port: int, pid: int, made: list[bytes]) -> None:
        self._port = port
        self._pid = pid
        self._requests = cycle(made)
        self._buffer = memoryview(bytearray(1 << 20))

    def closed(self, clients: int, seconds: float) -> Found:
        """Clients that each ask, wait for the answer, and ask again.

        They are counted after a fifth of the time and an answer for each of them, and stay the
        same: the server would be busy with what others had asked and left.
        """
        before, found = Found(), Found()
        with selectors.DefaultSelector() as selector:
            for _ in range(clients):
                self._connected(selector).ask(next(self._requests))
            least = time.perf_counter() + seconds / 5
            while time.perf_counter() < least or before.statuses.total() < clients:
                self._again(selector, before)
            begun, worked = time.perf_counter(), worked_by(self._pid)
            while time.perf_counter() < begun + seconds:
                self._again(selector, found)
            found.work = worked_by(self._pid) - worked
            return self._ended(selector, found, begun)

    def open(self, rate: float, seconds: float, clients: int) -> Found:
        """Requests at a rate, whether the server keeps up or not."""
        found, free, sent = Found(), deque[Connection](), 0
        with selectors.DefaultSelector() as selector:
            begun = time.perf_counter()
            while (now := time.perf_counter()) < begun + seconds:
                while sent < (now - begun) * rate:
                    sent += 1
                    if not free and len(selector.get_map()) == clients:
                        found.unsent += 1
                        continue
                    connection = free.pop() if free else self._connected(selector)
                    connection.ask(next(self._requests))
                free.extend(self._answered(selector, found))
                # The server closes those that have nothing to say, as this would one day.
                while free and time.perf_counter() - free[0].sent > 2:
                    old = free.popleft()
                    selector.unregister(old.socket)
                    old.socket.close()
            return self._ended(selector, found, begun)

    def _again(self, selector: selectors.BaseSelector, found: Found) -> None:
        for connection in self._answered(selector, found):
            connection.ask(next(self._requests))

    def _connected(self, selector: selectors.BaseSelector) -> Connection:
        connection = Connection(self._port)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _answered(self, selector: selectors.BaseSelector, found: Found) -> list[Connection]:
        """Connections whose answers are complete by now."""
        complete = []
        for key, _ in selector.select(0.001):
            connection: Connection = key.data
            if connection.read(self._buffer):
                found.statuses[connection.status()] += 1
                if connection.status() == 200:
                    found.latencies.append(time.perf_counter() - connection.sent)
                complete.append(connection)
        return complete

    @staticmethod
    def _ended(selector: selectors.BaseSelector, found: Found, begun: float) -> Found:
        found.seconds = time.perf_counter() - begun
        for key in list(selector.get_map().values()):
            key.data.socket.close()
        return found


def in_process(texts: list[str], seconds: float) -> tuple[float, float]:
    """Texts a second of ``contextualize`` with all of them, and processor seconds a text."""
    import polyseme

    model = polyseme.load()
    model.contextualize(texts, progress=False)
    begun, worked, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        model.contextualize(texts, progress=False)
        count += len(texts)
    return count / (time.perf_counter() - begun), (time.process_time() - worked) / count


def worked_by(pid: int) -> float:
    """Processor seconds of a process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    """Memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def latency(port: int, pid: int, texts: list[str], given: argparse.Namespace) -> None:
    """One client that asks for one sentence at a time."""
    print("one client, one sentence    p50 ms  p99 ms")
    for form in FORMS:
        found = Load(port, pid, requests(texts, 1, form)).closed(1, given.seconds)
        print(f"{form:26}{found.ms(50):8.2f}{found.ms(99):8.2f}", flush=True)


def throughput(port: int, pid: int, texts: list[str], given: argparse.Namespace) -> None:
    """64 clients against ``contextualize``, in turn; the row of the median ratio."""
    columns = f"{'texts/s':>9}{'in-process':>12}{'ratio':>7}{'p50 ms':>9}{'p99 ms':>9}"
    work = f"{'processor ms a text: server':>29}{'in-process':>12}"
    print(f"\n{'64 clients':26}{columns}{work}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        for form, size in (("JSON", 1), ("Arrow", 1), ("JSON", 8), ("Arrow", 8), ("Arrow", 32)):
            rounds = []
            for _ in range(given.rounds):
                alone, own = other.submit(in_process, texts, given.seconds / 2).result()
                found = Load(port, pid, requests(texts, size, form)).closed(64, given.seconds)
                served_work = found.work / max(1, found.statuses[200] * size)
                rate = found.rate() * size
                rounds.append((rate / alone, rate, alone, found, served_work, own))
            ordered = sorted(rounds, key=lambda row: row[0])
            ratio, rate, alone, found, served_work, own = ordered[len(rounds) // 2]
            name = f"{form}, {size} sentence{'s' if size > 1 else ''} each"
            print(
                f"{name:26}{rate:9,.0f}{alone:12,.0f}{ratio:7.2f}{found.ms(50):9.1f}"
                f"{found.ms(99):9.1f}{1e3 * served_work:29.2f}{1e3 * own:12.2f}",
                flush=True,
            )


def overload(port: int, pid: int, texts: list[str], given: argparse.Namespace) -> None:
    """Requests that come twice as fast as they can be answered."""
    print("\ntwice the load that it can bear, 8 sentences each, Arrow")
    load = Load(port, pid, requests(texts, 8, "Arrow"))
    can = load.closed(64, given.seconds).rate()
    before = megabytes(pid)
    found = load.open(2 * can, 2 * given.seconds, 900)
    others = sum(found.statuses.values()) - found.statuses[200] - found.statuses[429]
    print(
        f"can {can:.0f} requests/s; asked {2 * can:.0f}/s: {found.rate():.0f}/s answered, "
        f"{found.statuses[429] / found.seconds:.0f}/s refused, others {others}, "
        f"{found.unsent} not sent for want of a connection\n"
        f"accepted: p50 {found.ms(50):.0f} ms, p99 {found.ms(99):.0f} ms; "
        f"memory {before:.0f} MB before, {megabytes(pid):.0f} MB after\n"
        f"afterwards {load.closed(64, given.seconds).rate():.0f} requests/s"
    )


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("latency", "throughput", "overload"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median is printed")
    parser.add_argument("--threads", type=int, help="that either side computes with")
    parser.add_argument("options", nargs="*", help="for polyseme serve, after --")
    given = parser.parse_args()
    texts = sentences(1024)
    if given.threads:
        # Of the processes that are started from here: the server, and the other side.
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with served(given.options) as (port, pid):
        if given.only in (None, "latency"):
            latency(port, pid, texts, given)
        if given.only in (None, "throughput"):
            throughput(port, pid, texts, given)
        if given.only in (None, "overload"):
            overload(port, pid, texts, given)


if __name__ == "__main__":
    main()
