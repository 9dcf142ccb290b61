"""What /metrics shows: Prometheus' counters of one server, none of which holds a text."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "polyseme_requests",
            "Requests answered.",
            ["route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "polyseme_request_seconds",
            "From a request's head to its answer's last byte.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "polyseme_accepted_requests",
            "Requests with texts, accepted and not yet answered.",
            registry=self.registry,
        )
        self.waiting_bytes = Gauge(
            "polyseme_accepted_bytes", "Bytes of their bodies.", registry=self.registry
        )
        self.batch_requests = Histogram(
            "polyseme_batch_requests",
            "Requests computed together.",
            buckets=_COUNTS,
            registry=self.registry,
        )
        self.batch_texts = Histogram(
            "polyseme_batch_texts",
            "Texts computed together.",
            buckets=_COUNTS,
            registry=self.registry,
        )
        self.words = Counter(
            "polyseme_words", "Words given a vector by /contextualize.", registry=self.registry
        )
        self.tokens = Counter(
            "polyseme_tokens", "Tokens read by /v1/embeddings.", registry=self.registry
        )
        self._of_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        found = self._of_route.get((route, status))
        if found is None:
            found = (self.requests.labels(route, str(status)), self.seconds.labels(route))
            self._of_route[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def observe_batch(self, requests: int, texts: int) -> None:
        """Count a batch."""
        self.batch_requests.observe(requests)
        self.batch_texts.observe(texts)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
