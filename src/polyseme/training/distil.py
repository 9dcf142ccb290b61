"""Distillation: a small encoder learns, word by word, what a large one says of a text.

The teacher (any checkpoint that ``polyseme.load`` reads) gives each word of a text its vector h
after a middle layer and u after the last one, and the text the mean m of the u of its words. The
student's vector of the word is to point where

    middle_share * h + last_share * u + mean_share * m

points: what the word means here, and what the text is about. All three are of length one, and
centred; the sum is projected on as many principal components as the student is wide. The student's
first special token is to point where m points: it is the vector of the text.

Words of the input may be masked; their targets stay those of the whole text (data2vec, Baevski et
al. 2022, https://arxiv.org/abs/2202.03555).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from polyseme.attention import unit
from polyseme.checkpoints import Stored, write_whole
from polyseme.contextualizer import Contextualizer
from polyseme.encoder import EncoderConfig, encode
from polyseme.execution import torch_eager
from polyseme.execution.threads import products_in_one_thread
from polyseme.files import Source
from polyseme.packed import Packed, mean_of_ranges
from polyseme.sequences import Sequences, sequences_of
from polyseme.text import Tokenizer
from polyseme.training.batches import batches
from polyseme.training.loop import Loss, Processes, train
from polyseme.training.losses import cosine_distance, masked_word
from polyseme.training.settings import Recipe, Shape, Steps
from polyseme.training.student import (
    contextualizer,
    inherit,
    initial_parameters,
    principal_components,
    static_rows,
)

Tensor = Any
Floats = npt.NDArray[np.float32]

_CALIBRATION_BATCHES = 16


@dataclass(frozen=True, eq=False)
class Targets:
    """What a batch's vectors are to be.

    Attributes:
        words: (n_words, dim) float32.
        sentences: (n_texts, dim) float32.
    """

    words: Floats
    sentences: Floats


class Teacher:
    """A model and how its vectors become targets.

    Args:
        model: any with layers.
        recipe: the shares.
        dim: width of the targets.
        texts: from which means and principal components are taken.

    Raises:
        ValueError: the model does not have the middle layer.
    """

    def __init__(
        self, model: Contextualizer, recipe: Recipe, dim: int, texts: Sequence[str]
    ) -> None:
        last = model.config.layers
        middle = max(1, last // 2) if recipe.middle_layer is None else recipe.middle_layer
        if not 0 <= middle <= last:
            raise ValueError(f"middle_layer is {middle}: {model.name} has layers 0 to {last}")
        self.model = model
        self.layers = (middle, last)
        self.shares = (recipe.middle_share, recipe.last_share, recipe.mean_share)
        parts, _ = self._parts(texts)
        self.centers = [part.mean(axis=0) for part in parts]
        self.projection = np.eye(model.dim, dim, dtype=np.float32)
        if dim < model.dim:
            self.projection = principal_components(self._sums(texts)[0], dim)

    def __call__(self, texts: Sequence[str]) -> Targets:
        """The targets of texts."""
        words, sentences = self._sums(texts)
        return Targets(words @ self.projection, sentences @ self.projection)

    def _sums(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        parts, owner = self._parts(texts)
        middle, last, mean = (
            part - center for part, center in zip(parts, self.centers, strict=True)
        )
        middle_share, last_share, mean_share = map(np.float32, self.shares)
        return middle_share * middle + last_share * last + mean_share * mean[owner], mean

    def _parts(self, texts: Sequence[str]) -> tuple[list[Floats], npt.NDArray[np.int64]]:
        """Unit vectors of words after both layers and of texts; and which text a word is from."""
        tokens = self.model.tokenizer(texts)
        middle, last = self.model.vectors_of_layers(tokens, self.layers)
        means = mean_of_ranges(last, tokens.word_offsets[:-1], tokens.word_offsets[1:])
        owner = np.repeat(np.arange(len(texts)), np.diff(tokens.word_offsets))
        return [unit(middle), unit(last), unit(means)], owner


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
        shape: size of the student.
        recipe: what it is taught.
        steps: how long and how.
        tokenizer: the student's; the teacher's if None.
        device: where the student is trained.
        save_as: "float32", or "int8" for a quarter of the size.
        resume: go on from the state in the folder, if there is one.
        progress: show a bar on stderr; if None, on long work at a terminal.

    Returns:
        The student; None in all processes but the first.

    Raises:
        FileExistsError: the folder holds a run, and ``resume`` is not given.
        FloatingPointError: a loss is not finite; the last good state is in the folder.
        ValueError: the teacher has no layers, an option is out of range, or the state in the
            folder belongs to another run.
    """
    shape, recipe, steps = shape or Shape(), recipe or Recipe(), steps or Steps()
    if not teacher.config.layers:
        raise ValueError(f"{teacher.name} has no layers: a teacher needs some")
    processes = Processes.joined()
    if (folder / "state.safetensors").exists() and not resume:
        raise FileExistsError(f"{folder} holds a run already: resume it, or name another folder")
    if processes.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
    own = tokenizer or teacher.tokenizer
    if tokenizer is not None and recipe.start == "inherited":
        raise ValueError(
            "start is 'inherited', which needs the teacher's tokenizer: start from 'random' layers"
        )
    for source in sources:
        source.check()

    def texts() -> Iterator[list[str]]:
        return batches(
            sources,
            own,
            batch_tokens=recipe.batch_tokens,
            sentences=recipe.sentences,
            seed=recipe.seed,
        )

    stream = texts()
    calibration = [text for _ in range(_CALIBRATION_BATCHES) for text in next(stream)]
    taught = Teacher(teacher, recipe, shape.dim, calibration)
    names = tokens_of(own)
    config = shape.config(len(names))
    table = (
        teacher.table_rows(range(teacher.config.vocabulary_size))[: len(names)]
        if tokenizer is None
        else static_rows(teacher, own, names)
    )
    start = initial_parameters(config, table, np.random.default_rng(recipe.seed))
    if recipe.start == "inherited":
        inherit(start, config, teacher, calibration, taught.layers[0])
    student = Student(config, start, own, recipe, device)
    described = {
        "teacher": teacher.name,
        "files": [source.name for source in sources],
        "shape": asdict(shape),
        "recipe": asdict(recipe),
    }
    # Threads of NumPy's BLAS wait for work by spinning, and torch needs the processors.
    with products_in_one_thread():
        train(
            student.parameters,
            lambda batch, step: student.losses(batch, taught(batch), step),
            texts(),
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
    model = contextualizer(folder.name, student.arrays(), config, own)
    model.save_pretrained(folder, dtype=save_as)
    write_whole(
        folder / "recipe.json",
        (json.dumps({**described, "steps": asdict(steps)}, indent=2) + "\n").encode(),
    )
    return model


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
