"""Taking steps: AdamW with warm-up and cosine, in one process or several, resumable.

In: named parameters, a function from a batch of texts to losses, endless batches. Out: trained
parameters, a line of metrics.jsonl every few steps, and a state in ``state.safetensors`` that is
replaced as a whole every few minutes; a resumed run takes the very steps of an unbroken one.

Several processes (started by torchrun) each hold all the parameters and take every w-th text of a
batch; gradients are summed over them, so that the losses are those of one process.
"""

from __future__ import annotations

import atexit
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from polyseme.checkpoints import write_whole
from polyseme.progress import progress_bar
from polyseme.training.settings import Steps

Tensor = Any
Parameters = Mapping[str, Tensor]

STATE = "state.safetensors"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Loss:
    """One of a batch's losses.

    Attributes:
        total: sum over rows, a tensor with a gradient.
        rows: how many.
        weight: of its mean among the losses.
    """

    total: Tensor
    rows: int
    weight: float = 1.0


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    count: int = 1

    @classmethod
    def joined(cls) -> Processes:
        """Join the processes that torchrun started; alone without it."""
        if not dist.is_available() or not dist.is_torchelastic_launched():
            return cls()
        if not dist.is_initialized():
            # Its functions' defaults are the group that there is when it is first imported, as
            # an optimiser does; a group held by them is not freed when it is destroyed.
            import torch.distributed.nn

            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
            # Left to the interpreter's end, its threads may outlive what they use, and abort.
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), dist.get_world_size())

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor


@dataclass
class Metrics:
    """What one stretch of steps was like; written as a line of JSON."""

    step: int
    tokens: int
    loss: float
    losses: dict[str, float]
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds: float = field(default=0.0)


def train(
    parameters: Parameters,
    losses: Callable[[list[Any], int], dict[str, Loss]],
    texts: Iterator[list[Any]],
    folder: Path,
    settings: Steps,
    *,
    identity: Mapping[str, Any],
    processes: Processes | None = None,
    resume: bool = False,
    count_tokens: Callable[[list[Any]], int] = len,
    progress: bool | None = None,
    milestones: Collection[int] = (),
    enough: Callable[[int], bool] = lambda step: False,
) -> None:
    """Train parameters in place.

    Args:
        parameters: name -> float32 tensor that requires a gradient.
        losses: (this process's texts of a batch, number of the step) -> losses by name.
        texts: batches of all processes' texts, or of whatever else ``losses`` takes.
        folder: for the state and the metrics; is there.
        settings: how steps are taken.
        identity: what a run to be resumed must agree on; kept in the state.
        processes: those that train together; alone if None.
        resume: go on from the state in the folder, if there is one.
        count_tokens: of texts, for the metrics.
        progress: show a bar on stderr; if None, on long work at a terminal.
        milestones: steps after which the state is written.
        enough: is asked after each milestone, and when a run goes on from one, whether to stop.

    Raises:
        FloatingPointError: a loss or a gradient is not finite; the folder has the last good state.
        ValueError: the state to be resumed belongs to another run.
    """
    processes = processes or Processes()
    optimizer = _optimizer(parameters, settings)
    state, log = folder / STATE, folder / METRICS
    told = {**identity, "settings": asdict(settings)}
    step, tokens = 0, 0
    if resume and state.exists():
        step, tokens = _read_state(state, parameters, optimizer, told)
    texts = islice(texts, step, None)
    if processes.rank == 0:
        _keep_lines(log, step)
    saved = begun = logged = time.monotonic()
    since: list[dict[str, float]] = []
    since_tokens = 0
    note = ""
    with ExitStack() as stack:
        interrupted = stack.enter_context(_interruptions())
        advance = stack.enter_context(
            progress_bar(
                settings.steps,
                progress if processes.rank == 0 else False,
                unit="steps",
                status=lambda: note,
            )
        )
        advance(step)
        while not (step in milestones and enough(step)) and step < settings.steps:
            batch = next(texts)
            values, norm = _gradients(
                parameters, losses, batch, step=step, settings=settings, processes=processes
            )
            if not math.isfinite(values["loss"] + norm):
                if processes.rank == 0:
                    _write_state(
                        state, parameters, optimizer, step=step, tokens=tokens, identity=told
                    )
                wrong = "the gradient" if math.isfinite(values["loss"]) else "the loss"
                raise FloatingPointError(
                    f"step {step}: {wrong} is not finite ({values}); {state} holds the last good "
                    f"parameters: resume with another learning rate than {settings.learning_rate} "
                    "or without bfloat16 in a new folder"
                )
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, now, here = step + 1, time.monotonic(), count_tokens(batch)
            tokens, since_tokens = tokens + here, since_tokens + here
            since.append(values)
            if step % settings.log_every == 0 or step == settings.steps:
                means = {k: sum(v[k] for v in since) / len(since) for k in since[0]}
                speed = since_tokens / (now - logged)
                line = Metrics(
                    step,
                    tokens,
                    means.pop("loss"),
                    means,
                    settings.rate(step - 1),
                    norm,
                    speed,
                    now - begun,
                )
                note = f"loss {line.loss:.4f}, {speed:,.0f} tokens/s"
                if processes.rank == 0:
                    with log.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(line)) + "\n")
                since, since_tokens, logged = [], 0, now
            due = now - saved > 60 * settings.checkpoint_minutes or step in milestones
            due = due or step == settings.steps
            if processes.rank == 0 and (due or interrupted()):
                _write_state(state, parameters, optimizer, step=step, tokens=tokens, identity=told)
                saved = now
            advance(1)
            if interrupted():
                raise KeyboardInterrupt(f"stopped after step {step}; {state} holds it")


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: asked between steps, so that no step is cut in two."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _gradients(
    parameters: Parameters,
    losses: Callable[[list[Any], int], dict[str, Loss]],
    batch: list[Any],
    *,
    step: int,
    settings: Steps,
    processes: Processes,
) -> tuple[dict[str, float], float]:
    """Compute the gradient of the batch's mean losses; their values, and its clipped norm."""
    device = next(iter(parameters.values())).device
    own = batch[processes.rank :: processes.count]
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.dtype == "bfloat16"):
        found = losses(own, step)
    rows = processes.sum(torch.tensor([float(loss.rows) for loss in found.values()]).to(device))
    means = [loss.total / rows[i].clamp(min=1) for i, loss in enumerate(found.values())]
    total = sum(loss.weight * mean for loss, mean in zip(found.values(), means, strict=True))
    total.backward()
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters.values()]
    if processes.count > 1:
        flat = processes.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        for parameter, part in zip(parameters.values(), parts, strict=True):
            parameter.grad = part.view_as(parameter)
    norm = torch.nn.utils.clip_grad_norm_(list(parameters.values()), settings.clip)
    summed = processes.sum(torch.stack([mean.detach().float() for mean in means])).tolist()
    values = dict(zip(found, summed, strict=True))
    values["loss"] = sum(loss.weight * values[name] for name, loss in found.items())
    return values, float(norm)


def _optimizer(parameters: Parameters, settings: Steps) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101)."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in parameters.items():
        decays = name.endswith(".weight") and parameter.ndim == 2
        (matrices if decays else others).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def _write_state(
    path: Path,
    parameters: Parameters,
    optimizer: torch.optim.AdamW,
    *,
    step: int,
    tokens: int,
    identity: Mapping[str, Any],
) -> None:
    from safetensors.torch import save

    tensors = {name: parameter.detach().cpu() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        for moment in _MOMENTS:
            if moment in optimizer.state[parameter]:
                tensors[f"{moment}:{name}"] = optimizer.state[parameter][moment].cpu()
    about = {"step": step, "tokens": tokens, "identity": identity}
    write_whole(path, save(tensors, {"polyseme": json.dumps(about)}))


def _read_state(
    path: Path, parameters: Parameters, optimizer: torch.optim.AdamW, identity: Mapping[str, Any]
) -> tuple[int, int]:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        about = json.loads((file.metadata() or {}).get("polyseme", "{}"))
        kept, asked = about.get("identity"), json.loads(json.dumps(identity))
        if kept != asked:
            raise ValueError(f"{path} belongs to another run: {_difference(kept or {}, asked)}")
        names = set(file.keys())
        for name, parameter in parameters.items():
            device = parameter.device
            with torch.no_grad():
                parameter.copy_(file.get_tensor(name))
            for moment in _MOMENTS:
                if f"{moment}:{name}" in names:
                    tensor = file.get_tensor(f"{moment}:{name}")
                    optimizer.state[parameter][moment] = (
                        tensor if moment == "step" and device.type == "cpu" else tensor.to(device)
                    )
    return int(about["step"]), int(about["tokens"])


def _difference(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Where two runs' descriptions differ, by the first field."""
    for name in [*asked, *kept]:
        old, new = kept.get(name), asked.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            return _difference(old, new)
        if old != new:
            return f"its {name} is {old!r}, not {new!r}"
    return "it says nothing about itself"


def _keep_lines(log: Path, step: int) -> None:
    """Drop the metrics of steps that will be taken again."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() and step else []
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    write_whole(log, "".join(f"{line}\n" for line in kept).encode())
