"""Distillation: a small encoder learns, word by word, what a large one says of a text.

The teacher (any checkpoint that ``polyseme.load`` reads) gives each word its target and each text
its own (``targets.py``); the student's vector of a word is to point where the word's target points,
and its first special token, the vector of the text, where the text's does.

Words of the input may be masked; their targets stay those of the whole text (data2vec, Baevski et
al. 2022, https://arxiv.org/abs/2202.03555).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from polyseme.checkpoints import Stored, write_whole
from polyseme.contextualizer import Contextualizer
from polyseme.encoder import EncoderConfig, encode, parameter_shapes
from polyseme.execution import torch_eager
from polyseme.execution.threads import products_in_one_thread
from polyseme.files import Source
from polyseme.packed import Packed, mean_of_ranges
from polyseme.sequences import Sequences, sequences_of
from polyseme.text import Tokenizer
from polyseme.training.batches import batches
from polyseme.training.kept import keeping
from polyseme.training.loop import STATE, Loss, Processes, train
from polyseme.training.losses import cosine_distance, masked_word, within_word
from polyseme.training.settings import Recipe, Shape, Steps
from polyseme.training.student import (
    contextualizer,
    inherit,
    initial_parameters,
    reshaped,
    static_rows,
)
from polyseme.training.targets import Targets, Teacher

Tensor = Any
Floats = npt.NDArray[np.float32]

_CALIBRATION_BATCHES = 16


class Student:
    """A small encoder in training.

    Args:
        config: its shape.
        parameters: NumPy arrays that it starts from.
        tokenizer: its own.
        recipe: masks and weights.
        device: where it is trained.
    """

    def __init__(
        self,
        config: EncoderConfig,
        parameters: Mapping[str, Floats],
        tokenizer: Tokenizer,
        recipe: Recipe,
        device: str,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.parameters = {
            name: torch.tensor(array, device=device, requires_grad=True)
            for name, array in parameters.items()
        }
        self.operations = torch_eager.operations(self.parameters, config)
        self.mask_id = mask_id(tokenizer) if recipe.masked else -1

    def losses(self, texts: list[str], targets: Targets, step: int) -> dict[str, Loss]:
        """The losses of texts."""
        tokens = self.tokenizer(texts)
        sequences = sequences_of(
            tokens,
            prefix=self.tokenizer.prefix,
            suffix=self.tokenizer.suffix,
            max_tokens=self.config.max_tokens,
        )
        ids, masked = self._masked(sequences, texts, step)
        states = encode(
            self.parameters,
            self.config,
            Packed(ids, sequences.token_ids.offsets),
            operations=self.operations,
            batch_tokens=max(1, len(ids)),
        ).values
        first, last = tokens.word_tokens.T
        there = np.flatnonzero(last > first)
        words = mean_of_ranges(states, first[there], last[there], sequences.token_rows)
        told = torch.from_numpy(targets.words[there]).to(words.device)
        found = {"words": Loss(cosine_distance(words, told), len(there))}
        if targets.static is not None:
            static = torch.from_numpy(targets.static[there]).to(words.device)
            found["within words"] = Loss(
                within_word(words, told, static), len(there), self.recipe.within_weight
            )
        if self.recipe.sentence_weight and self.tokenizer.prefix:
            filled = np.flatnonzero(np.diff(tokens.token_offsets))
            rows = sequences.token_ids.offsets[sequences.first[filled]]
            wanted = torch.from_numpy(targets.sentences[filled]).to(states.device)
            found["sentences"] = Loss(
                cosine_distance(states[torch.from_numpy(rows).to(states.device)], wanted),
                len(filled),
                self.recipe.sentence_weight,
            )
        if self.recipe.masked_word_weight:
            rows = torch.from_numpy(masked).to(states.device)
            hidden = torch.from_numpy(sequences.token_ids.values[masked]).to(states.device)
            found["masked words"] = Loss(
                masked_word(states[rows], self.parameters["embeddings.tokens"], hidden),
                len(masked),
                self.recipe.masked_word_weight,
            )
        return found

    def _masked(
        self, sequences: Sequences, texts: list[str], step: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Ids with some of them masked, and where; the same for a text in whatever process."""
        ids = sequences.token_ids.values
        if not self.recipe.masked:
            return ids, np.zeros(0, np.int64)
        drawn = np.ones(len(ids))
        starts = sequences.token_ids.offsets
        for i, text in enumerate(texts):
            seed = (self.recipe.seed, step, len(text), *text[:16].encode())
            here = slice(starts[sequences.first[i]], starts[sequences.last[i] + 1])
            drawn[here] = np.random.default_rng(seed).random(here.stop - here.start)
        own = np.zeros(len(ids), dtype=bool)
        own[sequences.token_rows] = True
        masked = np.flatnonzero((drawn < self.recipe.masked) & own)
        ids = ids.copy()
        ids[masked] = self.mask_id
        return ids, masked

    def arrays(self) -> dict[str, Floats]:
        """The parameters as they are now."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self.parameters.items()}


def distil(
    teacher: Contextualizer,
    sources: Sequence[Source],
    folder: Path,
    *,
    shape: Shape | None = None,
    recipe: Recipe | None = None,
    steps: Steps | None = None,
    tokenizer: Tokenizer | None = None,
    student: Contextualizer | None = None,
    keep_layers: Sequence[int] | None = None,
    heads: int | None = None,
    device: str = "cpu",
    save_as: Stored = "float32",
    resume: bool = False,
    progress: bool | None = None,
) -> Contextualizer | None:
    """Train a student and save it in ``folder``, where ``polyseme.load`` opens it.

    Args:
        teacher: any model with layers.
        sources: files of texts.
        folder: for the model, the state and the metrics; made if it is not there.
        shape: size of the student; ``Shape()`` if None.
        recipe: what it is taught.
        steps: how long and how.
        tokenizer: the student's; the teacher's if None.
        student: a small encoder that has learned already and is to go on; it brings its shape,
            its tokenizer and its parameters.
        keep_layers: the student goes on with these of its layers only, counted from 1.
        heads: the student goes on with so many heads a layer.
        device: where the student is trained.
        save_as: "float32", or "int8" for a quarter of the size.
        resume: go on from the state in the folder, if there is one.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The student; None in all processes but the first.

    Raises:
        FileExistsError: the folder holds a run, and ``resume`` is not given.
        FloatingPointError: a loss is not finite; the last good state is in the folder.
        ValueError: the teacher or the student has no layers, an option is out of range or does not
            go with another, or the state in the folder belongs to another run.
    """
    for what, model in (("teacher", teacher), ("student", student)):
        if model is not None and not model.config.layers:
            raise ValueError(f"{model.name} has no layers: a {what} needs some")
    if student is not None and (shape or tokenizer):
        raise ValueError(f"shape and tokenizer are those of {student.name}: leave them out")
    if student is None and (keep_layers is not None or heads is not None):
        raise ValueError("keep_layers and heads change a student: give one, or a shape")
    shape, recipe, steps = shape or Shape(), recipe or Recipe(), steps or Steps()
    processes = Processes.joined()
    if (folder / "state.safetensors").exists() and not resume:
        raise FileExistsError(f"{folder} holds a run already: resume it, or name another folder")
    own = student.tokenizer if student else tokenizer or teacher.tokenizer
    if tokenizer is not None and recipe.start == "inherited":
        raise ValueError(
            "start is 'inherited', which needs the teacher's tokenizer: start from 'random' layers"
        )
    for source in sources:
        source.check()
    if student:
        config, start = reshaped(
            student.config, own_parameters(student), layers=keep_layers, heads=heads
        )
    if processes.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)

    def texts() -> Iterator[list[str]]:
        return batches(
            sources,
            own,
            batch_tokens=recipe.batch_tokens,
            sentences=recipe.sentences,
            seed=recipe.seed,
            skip=recipe.skip,
        )

    stream = texts()
    calibration = [text for _ in range(_CALIBRATION_BATCHES) for text in next(stream)]
    dim = student.dim if student else shape.dim
    taught = Teacher(teacher, recipe, dim, calibration, student)
    if not student:
        config, start = first_parameters(taught, shape, recipe, tokenizer, calibration)
    learner = Student(config, start, own, recipe, device)
    described = {
        "teacher": teacher.name,
        "files": [source.name for source in sources],
        **({"student": student.name} if student else {"shape": asdict(shape)}),
        **({} if keep_layers is None else {"keep_layers": list(keep_layers)}),
        **({} if heads is None else {"heads": heads}),
        "recipe": asdict(recipe),
    }

    stream, folder_of_targets, kept = texts(), folder / "targets", None
    if recipe.passes > 1:
        distinct = -(-steps.steps // recipe.passes)
        part = f"{processes.rank}-of-{processes.count}"
        afresh = not (folder / STATE).exists()
        kept = keeping(taught, folder_of_targets, distinct, part=part, afresh=afresh)
        stream = chain.from_iterable(islice(texts(), distinct) for _ in count())

    def losses(batch: list[str], step: int) -> dict[str, Loss]:
        return learner.losses(batch, kept(batch, step) if kept else taught(batch), step)

    # Threads of NumPy's BLAS wait for work by spinning, and torch needs the processors.
    with products_in_one_thread():
        train(
            learner.parameters,
            losses,
            stream,
            folder,
            steps,
            identity=described,
            processes=processes,
            resume=resume,
            count_tokens=lambda batch: int(own(batch).token_offsets[-1]),
            progress=progress,
        )
    if processes.rank:
        return None
    shutil.rmtree(folder_of_targets, ignore_errors=True)
    model = contextualizer(folder.name, learner.arrays(), config, own)
    model.save_pretrained(folder, dtype=save_as)
    write_whole(
        folder / "recipe.json",
        (json.dumps({**described, "steps": asdict(steps)}, indent=2) + "\n").encode(),
    )
    return model


def first_parameters(
    taught: Teacher,
    shape: Shape,
    recipe: Recipe,
    tokenizer: Tokenizer | None,
    texts: Sequence[str],
) -> tuple[EncoderConfig, dict[str, Floats]]:
    """A new student's configuration and parameters."""
    teacher = taught.model
    own = tokenizer or teacher.tokenizer
    names = tokens_of(own)
    config = shape.config(len(names))
    table = (
        teacher.table_rows(range(teacher.config.vocabulary_size))[: len(names)]
        if tokenizer is None
        else static_rows(teacher, own, names)
    )
    start = initial_parameters(config, table, np.random.default_rng(recipe.seed))
    if recipe.start == "inherited":
        inherit(start, config, teacher, texts, taught.layers[0])
    return config, start


def own_parameters(student: Contextualizer) -> dict[str, Floats]:
    """The parameters of a student's layers and table, without what other rungs keep beside them."""
    given = student.checkpoint.parameters
    return {name: given[name] for name in parameter_shapes(student.config, given)}


def tokens_of(tokenizer: Tokenizer) -> list[str]:
    """The vocabulary in the order of its ids; "" where an id has no token."""
    vocabulary: dict[str, int] = json.loads(tokenizer.to_json())["model"].get("vocab", {})
    added = json.loads(tokenizer.to_json()).get("added_tokens", [])
    pairs = {**vocabulary, **{token["content"]: token["id"] for token in added}}
    tokens = [""] * (max(pairs.values()) + 1)
    for token, i in pairs.items():
        tokens[i] = token
    return tokens


def mask_id(tokenizer: Tokenizer) -> int:
    """The id of the mask.

    Raises:
        ValueError: the tokenizer has none.
    """
    tokens = tokens_of(tokenizer)
    for name in ("[MASK]", "<mask>"):
        if name in tokens:
            return tokens.index(name)
    raise ValueError("the tokenizer has no [MASK] or <mask>: train without masked tokens")
