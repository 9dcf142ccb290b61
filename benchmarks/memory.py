"""Memory of a process, for the benchmarks."""

from __future__ import annotations

from pathlib import Path


def megabytes(name: str, process: int | str = "self") -> float:
    """VmRSS (resident) or VmHWM (its peak) of a process, in units of 2**20 bytes.

    Not by getrusage, whose peak of a child is that of its parent when it was started.
    """
    with Path(f"/proc/{process}/status").open(encoding="utf-8") as lines:
        found = next(line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1]) / 1024
