from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training is for torch")

from polyseme.training.loop import Loss, train  # noqa: E402
from polyseme.training.settings import Steps  # noqa: E402

SETTINGS = Steps(steps=12, learning_rate=0.1, log_every=3, dtype="float32")


def parameters() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "map.weight": torch.randn(3, 2, requires_grad=True),
        "map.bias": torch.zeros(3, requires_grad=True),
    }


def texts() -> Iterator[list[str]]:
    return ([f"{i}", f"{i % 5}"] for i in count())


class Squares:
    """Draws the map towards the numbers that the texts spell."""

    def __init__(self, given: dict[str, Any], *, wrong_at: int = -1, stop_at: int = -1) -> None:
        self.given, self.wrong_at, self.stop_at = given, wrong_at, stop_at

    def __call__(self, batch: list[str], step: int) -> dict[str, Loss]:
        if step == self.stop_at:
            signal.raise_signal(signal.SIGINT)
        numbers = torch.tensor([[float(text), 1.0] for text in batch])
        states = numbers @ self.given["map.weight"].T + self.given["map.bias"]
        scale = float("nan") if step == self.wrong_at else 1.0
        return {"squares": Loss((states**2).sum() * scale, len(batch))}


def run(folder: Path, *, resume: bool = False, settings: Steps = SETTINGS, **options: int) -> Any:
    folder.mkdir(exist_ok=True)
    given = parameters()
    losses = Squares(given, **options)
    train(given, losses, texts(), folder, settings, identity={"of": "a test"}, resume=resume)
    return given


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_loss_falls_and_is_written_every_few_steps(tmp_path: Path) -> None:
    run(tmp_path / "run")
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    assert lines[-1]["losses"]["squares"] == lines[-1]["loss"]
    assert lines[-1]["tokens"] == 24
    assert all(line["gradient_norm"] > 0 and line["tokens_per_second"] > 0 for line in lines)


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_an_interrupted_run_goes_on_to_the_very_same_result(tmp_path: Path, stop: int) -> None:
    unbroken = run(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt, match=f"after step {stop + 1}"):
        run(tmp_path / "broken", stop_at=stop)
    resumed = run(tmp_path / "broken", resume=True)
    for name, parameter in unbroken.items():
        assert torch.equal(parameter, resumed[name])
    timing = {"tokens_per_second", "seconds"}
    told = [
        [{k: v for k, v in line.items() if k not in timing} for line in metrics(tmp_path / name)]
        for name in ("unbroken", "broken")
    ]
    # A line is the mean since the line before, or since the run went on.
    assert told[0][-1]["step"] == told[1][-1]["step"] == 12
    assert told[0][-1]["tokens"] == told[1][-1]["tokens"]


def test_ctrl_c_works_as_before_once_training_is_over(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


def test_nan_stops_at_its_step_and_the_last_good_state_is_kept(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"step 7: the loss is not finite") as caught:
        run(tmp_path / "run", wrong_at=7)
    assert "state.safetensors" in str(caught.value)
    resumed = run(tmp_path / "run", resume=True)
    unbroken = run(tmp_path / "unbroken")
    for name, parameter in unbroken.items():
        assert torch.equal(parameter, resumed[name])


def test_another_run_s_state_is_refused_with_what_differs(tmp_path: Path) -> None:
    run(tmp_path / "run")
    other = Steps(steps=12, learning_rate=0.2, log_every=3, dtype="float32")
    with pytest.raises(ValueError, match=r"another run: its learning_rate is 0\.1, not 0\.2"):
        run(tmp_path / "run", resume=True, settings=other)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    settings = Steps(steps=1, learning_rate=0.1, clip=1e-3, dtype="float32", log_every=1)
    given = parameters()
    seen = []

    def losses(batch: list[str], step: int) -> dict[str, Loss]:
        return Squares(given)(["100"], step)

    class Spy(torch.optim.AdamW):
        def step(self, *arguments: Any, **options: Any) -> Any:
            seen.append(
                torch.cat([p.grad.flatten() for g in self.param_groups for p in g["params"]])
            )
            return super().step(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Spy)
        train(given, losses, islice(texts(), 1), tmp_path, settings, identity={})
    assert seen[0].norm().item() == pytest.approx(1e-3, rel=1e-4)
    assert metrics(tmp_path)[0]["gradient_norm"] > 1


PROCESS = """
import atexit
import weakref
import torch
import torch.distributed as dist
from polyseme.training.loop import Processes

Processes.joined()
optimizer = torch.optim.AdamW([torch.ones(3, requires_grad=True)])
group = weakref.ref(dist.group.WORLD)
assert group() is not None
atexit.unregister(dist.destroy_process_group)
dist.destroy_process_group()
assert group() is None, "its threads are still there"
"""


def test_the_threads_of_processes_end_before_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "process.py").write_text(PROCESS)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    launched = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": f"{port}",
    }
    environment = {**os.environ, **launched, "TORCHELASTIC_RUN_ID": "a test"}
    subprocess.run([sys.executable, tmp_path / "process.py"], check=True, env=environment)
