"""What is learned below the head: queries, keys and values for the user's own task.

A model, units with targets, and a head that was fitted on the model's frozen vectors go in; the
same model with other queries, keys and values (or with all of its parameters changed) comes out,
and its head. Where a model has no layers, it gets one of attention, which begins much as
parameter-free attention. After each pass over the examples the loss on a held-out part is measured,
and the best state kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 -- the name that everyone knows it by
from safetensors import safe_open
from safetensors.numpy import save

from polyseme.calibration import calibrated
from polyseme.checkpoints import OWN_TYPE, Checkpoint, write_whole
from polyseme.contextualizer import Contextualizer
from polyseme.encoder import EncoderConfig, encode, parameter_shapes
from polyseme.execution import Place, on_host, torch_eager
from polyseme.execution.threads import products_in_one_thread
from polyseme.packed import Packed, mean_of_ranges
from polyseme.tasks.examples import Integers, Labelled, Units
from polyseme.tasks.features import Beside, compared
from polyseme.tasks.heads import Head
from polyseme.tasks.saving import Learns
from polyseme.training.loop import Loss, train
from polyseme.training.settings import Steps

Tensor = Any
Floats = npt.NDArray[np.float32]
Arrays = dict[str, Floats]

BEST = "best.safetensors"

_ATTENTION = re.compile(r"\.attention\.(query|key|value)\.")
_HEADS = (8, 6, 5, 4, 3, 2, 1)


class Learner:
    """A model and a head in training.

    Args:
        model: with layers.
        head: to start from.
        what: "attention" for the queries, keys and values of all layers, or "all".
        beside: the numbers beside the vectors; no gradient goes through them.
        pairs: whether two places make a row.
        device: where it is trained.
    """

    def __init__(
        self,
        model: Contextualizer,
        head: Head,
        what: Learns,
        beside: Beside,
        *,
        pairs: bool,
        device: str,
    ) -> None:
        self.model, self.head, self.beside, self.pairs = model, head, beside, pairs
        given = model.checkpoint.parameters
        self.tensors = {
            name: torch.tensor(np.asarray(given[name], np.float32), device=device)
            for name in parameter_shapes(model.config, given)
        }
        self.parameters = {
            name: tensor.requires_grad_()
            for name, tensor in self.tensors.items()
            if what == "all" or _ATTENTION.search(name)
        }
        for name in ("weight", "bias"):
            array = torch.tensor(getattr(head, name), dtype=torch.float32, device=device)
            self.parameters[f"head.{name}"] = array.requires_grad_()
        self.mean, self.scale = (
            torch.tensor(array, dtype=torch.float32, device=device)
            for array in (head.mean, head.scale)
        )
        self.operations = torch_eager.operations(self.tensors, model.config)

    def logits(self, units: Units) -> Tensor:
        """(n_rows, k)."""
        tokens = self.model.tokenizer(units.distinct()[0])
        sequences = self.model.sequences(tokens)
        states = encode(
            self.tensors,
            self.model.config,
            Packed(sequences.token_ids.values, sequences.token_ids.offsets),
            operations=self.operations,
            batch_tokens=max(1, len(sequences.token_ids.values)),
        ).values
        first, last = tokens.word_tokens.T
        words = mean_of_ranges(states, first, last, sequences.token_rows)
        table = self.tensors["embeddings.tokens"].detach()
        static = on_host(mean_of_ranges(table, first, last, tokens.token_ids))
        starts, stops, _ = units.words(tokens)
        vectors = mean_of_ranges(words, starts, stops).float()
        if self.pairs:
            vectors = compared(vectors)
        numbers = torch.from_numpy(self.beside(static, tokens, units)).to(vectors.device)
        features = (torch.cat([vectors, numbers], dim=1) - self.mean) / self.scale
        return features @ self.parameters["head.weight"].T + self.parameters["head.bias"]

    def loss(self, units: Units, targets: Tensor, weights: Tensor) -> Tensor:
        """Sum over rows of the weighted loss; ``tasks.heads.loss`` says which."""
        logits = self.logits(units)
        if self.head.kind == "one":
            each = -(F.log_softmax(logits, dim=1) * targets).sum(dim=1)
        elif self.head.kind == "several":
            each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
        else:
            each = ((logits - targets) ** 2).sum(dim=1)
        return (each * weights).sum()

    def penalty(self) -> Tensor:
        """The head is held back as it was when it was fitted."""
        return self.head.penalty * (self.parameters["head.weight"] ** 2).sum()

    def state(self) -> Arrays:
        """The trained parameters as they are now."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self.parameters.items()}

    def finished(self, state: Arrays) -> tuple[Contextualizer, Head]:
        """The model and the head of a state."""
        model = self.model
        changed = {name: array for name, array in state.items() if name in self.tensors}
        checkpoint = replace(
            model.checkpoint, parameters={**model.checkpoint.parameters, **changed}
        )
        if model.place.dtype == "int8":
            checkpoint = calibrated(checkpoint, model.tokenizer)
        learned = Contextualizer(
            checkpoint, model.tokenizer, model.place, word_vectors=model.word_vectors
        )
        weight, bias = (state[f"head.{name}"].astype(np.float64) for name in ("weight", "bias"))
        return learned, replace(self.head, weight=weight, bias=bias)


def learn(
    learner: Learner,
    labelled: Labelled,
    *,
    folder: Path,
    epochs: int,
    patience: int,
    settings: Steps,
    batch_tokens: int,
    seed: int,
    resume: bool = False,
    progress: bool | None = None,
) -> tuple[Contextualizer, Head, list[float]]:
    """Train until the loss on the held-out examples has not fallen for ``patience`` epochs.

    Args:
        learner: is trained in place.
        labelled: the examples; if none is held out, the last state counts.
        folder: for the state, the best state, and the metrics.
        epochs: passes over the examples, at most.
        patience: see above.
        settings: how steps are taken; how many follows from the epochs.
        batch_tokens: of a step.
        seed: of the order of the examples.
        resume: go on from the state in the folder, if there is one.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The model, the head, and the loss on the held-out examples before the first epoch and after
        each.

    Raises:
        FloatingPointError: a loss is not finite.
        ValueError: the state in the folder belongs to another run.
    """
    units, held_out, own = labelled.units, labelled.held_out, labelled.learned_from
    device = learner.mean.device
    wanted = torch.tensor(labelled.targets, dtype=torch.float32, device=device)
    weighed = torch.tensor(labelled.weights, dtype=torch.float32, device=device)
    lengths = _lengths(learner.model, units)

    def epoch(number: int) -> list[list[int]]:
        return list(
            epoch_batches(own, lengths, batch_tokens, np.random.default_rng((seed, number)))
        )

    def loss_of(batch: list[int], *, weighted: bool) -> tuple[Tensor, int]:
        index = labelled.rows_of(np.asarray(batch))
        each = weighed[index] if weighted else torch.ones_like(weighed[index])
        return learner.loss(units.of(np.asarray(batch)), wanted[index], each), len(index)

    def losses(batch: list[int], step: int) -> dict[str, Loss]:
        total, number = loss_of(batch, weighted=True)
        return {"task": Loss(total, number), "penalty": Loss(learner.penalty() * number, number)}

    def measured() -> float:
        if not len(held_out):
            return math.nan
        random = np.random.default_rng(0)
        with torch.no_grad():
            parts = [
                loss_of(batch, weighted=False)
                for batch in epoch_batches(held_out, lengths, batch_tokens, random)
            ]
        return sum(float(total) for total, _ in parts) / sum(number for _, number in parts)

    ends = np.cumsum([len(epoch(number)) for number in range(epochs)]).tolist()
    settings = replace(settings, steps=int(ends[-1]))
    best = Best(folder / BEST, resume=resume and (folder / BEST).exists())

    def enough(step: int) -> bool:
        done = ends.index(step) + 1
        if len(best.history) == done:
            best.add(measured(), learner.state())
        return best.since() >= patience

    with products_in_one_thread():
        if not best.history:
            best.add(measured(), learner.state())
        train(
            learner.parameters,
            losses,
            chain.from_iterable(map(epoch, range(epochs))),
            folder,
            settings,
            identity={"task": learner.head.kind, "examples": _digest(labelled)},
            resume=resume,
            count_tokens=lambda batch: int(lengths[np.asarray(batch)].sum()),
            progress=progress,
            milestones=ends,
            enough=enough,
        )
    return (*learner.finished(best.state), best.history)


class Best:
    """The best state so far, and the losses that say so; kept in a file.

    Args:
        path: the file.
        resume: read what it holds.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.history: list[float] = []
        self.state: Arrays = {}
        if resume:
            with safe_open(str(path), "np") as file:
                self.history = json.loads(file.metadata()["history"])
                self.state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def add(self, loss: float, state: Arrays) -> None:
        """Take a state if its loss is the lowest; without a loss (NaN), the last one."""
        if not self.history or math.isnan(loss) or loss < min(self.history):
            self.state = state
        self.history.append(loss)
        write_whole(self.path, save(self.state, {"history": json.dumps(self.history)}))

    def since(self) -> int:
        """How many losses came after the lowest."""
        if math.isnan(self.history[-1]):
            return 0
        return len(self.history) - 1 - int(np.argmin(self.history))


def epoch_batches(
    examples: Integers, lengths: Integers, batch_tokens: int, random: np.random.Generator
) -> Iterator[list[int]]:
    """One pass over examples, in random batches of about ``batch_tokens`` and of like lengths."""
    order = random.permutation(examples)
    usual = max(1, int(lengths[examples].mean())) if len(examples) else 1
    window = max(1, 16 * batch_tokens // usual)
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        batch: list[int] = []
        size = 0
        for example in part[np.argsort(lengths[part], kind="stable")].tolist():
            if batch and size + lengths[example] > batch_tokens:
                batches.append(batch)
                batch, size = [], 0
            batch.append(example)
            size += int(lengths[example])
        batches.append(batch)
    for i in random.permutation(len(batches)):
        yield batches[i]


def with_attention(model: Contextualizer) -> Contextualizer:
    """The model itself, or, without layers, one that begins much as parameter-free attention.

    Each head begins with the cosines of its share of the normed vectors' dimensions, over the
    temperature of parameter-free attention, as scores; values and output are the vectors
    themselves. The word itself is added, as in every layer; the feed-forward network gives nothing
    yet.
    """
    if model.config.layers:
        return model
    width = model.dim
    heads = next(number for number in _HEADS if width % number == 0)
    config = EncoderConfig(
        vocabulary_size=model.config.vocabulary_size,
        hidden_size=width,
        layers=1,
        heads=heads,
        intermediate_size=width,
        activation="relu",
        embedding_norm=True,
        norm_epsilon=1e-6,
    )
    temperature = model.settings.temperature if model.settings else 0.4
    given = model.checkpoint.parameters
    random = np.random.default_rng(0)
    identity = np.eye(width, dtype=np.float32)
    parameters: dict[str, Any] = {}
    for name, shape in parameter_shapes(config, {}).items():
        if name == "embeddings.tokens":
            center = given.get("embeddings.center")
            parameters[name] = given[name] if center is None else given[name] - center
        elif name.endswith("norm.weight"):
            parameters[name] = np.ones(shape, np.float32)
        elif name.endswith("query.weight"):
            parameters[name] = identity / np.float32(temperature * math.sqrt(width / heads))
        elif re.search(r"\.(key|value|output)\.weight$", name):
            parameters[name] = identity.copy()
        elif name.endswith("up.weight"):
            parameters[name] = random.normal(0, width**-0.5, shape).astype(np.float32)
        else:
            parameters[name] = np.zeros(shape, np.float32)
    checkpoint = Checkpoint(
        model.name, OWN_TYPE, config, parameters, None, model.checkpoint.sentence
    )
    place = Place("numpy", "cpu", "float32")
    return Contextualizer(checkpoint, model.tokenizer, place, word_vectors=model.word_vectors)


def _lengths(model: Contextualizer, units: Units) -> Integers:
    """(n_examples,) tokens of each example's texts."""
    texts, owners = units.distinct()
    sizes = np.diff(model.tokenizer(texts).token_offsets)
    found = [
        int(sizes[np.unique(owners[start:stop])].sum())
        for start, stop in zip(units.offsets[:-1], units.offsets[1:], strict=True)
    ]
    return np.asarray(found, np.int64)


def _digest(labelled: Labelled) -> str:
    """What tells the examples of one run from those of another."""
    units = labelled.units
    found = hashlib.sha256(json.dumps(units.texts).encode())
    for array in (units.spans, units.offsets, labelled.targets, labelled.held_out):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
