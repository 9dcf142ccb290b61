"""What whoever starts the server decides; nothing of it can be changed by a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits and the key.

    Attributes:
        api_key: what a request must show, but for /health and /ready; None lets everyone in.
        name: the model's name in answers; None for the model's own.
        hosts: names that requests may call the server by, in small letters; None for any.
        queue: requests with texts that are accepted and not yet answered.
        queue_bytes: bytes of all their bodies.
        body_bytes: bytes of one body.
        batch_characters: characters of waiting texts that are computed together.
        timeout: seconds from a request's first byte to its answer's last.

    Raises:
        ValueError: a limit that lets nothing through, or an empty key.
    """

    api_key: str | None = None
    name: str | None = None
    hosts: frozenset[str] | None = None
    queue: int = 256
    queue_bytes: int = 1 << 20
    body_bytes: int = 1 << 18
    batch_characters: int = 1 << 15
    timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("queue", "queue_bytes", "body_bytes", "batch_characters", "timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")
        if self.body_bytes > self.queue_bytes:
            raise ValueError(
                f"body_bytes is {self.body_bytes}, above queue_bytes ({self.queue_bytes}): such a "
                "request could never be accepted"
            )
        if self.api_key is not None and not self.api_key.strip():
            raise ValueError("api_key is empty: give a key, or none at all")
