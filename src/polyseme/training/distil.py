"""Distillation: a small encoder learns, word by word, what a large one says of a text.

The teacher (any checkpoint that ``polyseme.load`` reads) gives each word its target and each text
its own (``targets.py``); the student's vector of a word is to point where the word's target points,
and its first special token, the vector of the text, where the text's does.

Beside that it may be taught senses that are known (``uses.py``): of a dictionary's examples, and of
words that are written as one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from polyseme.checkpoints import Stored, write_whole
from polyseme.contextualizer import Contextualizer
from polyseme.encoder import EncoderConfig, parameter_shapes
from polyseme.execution.threads import products_in_one_thread
from polyseme.files import Source
from polyseme.text import Tokenizer
from polyseme.training.batches import batches
from polyseme.training.kept import keeping
from polyseme.training.learner import Student, tokens_of
from polyseme.training.loop import STATE, Loss, Processes, train
from polyseme.training.settings import Recipe, Shape, Steps
from polyseme.training.student import (
    between,
    contextualizer,
    inherit,
    initial_parameters,
    reshaped,
    static_rows,
)
from polyseme.training.targets import Teacher
from polyseme.training.uses import (
    WORDS_OF_A_PSEUDOWORD,
    Use,
    batches_of_uses,
    in_turn,
    pseudowords,
    read_uses,
    some_senses,
)

Floats = npt.NDArray[np.float32]

_CALIBRATION_BATCHES = 16


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
    senses: Path | None = None,
    nouns: Path | None = None,
    collocations: Path | None = None,
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
        senses: a file of words' uses whose senses are known (``uses.py``), which are taught too.
        nouns: a file of uses of words with one sense, of which pseudowords are made.
        collocations: a file of words' uses whose senses are told apart by centroids.
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
    shape, recipe, steps = shape or Shape(), recipe or Recipe(), steps or Steps()
    if student is None and (keep_layers is not None or heads is not None or recipe.start_share):
        raise ValueError(
            "keep_layers, heads and start_share change a student: give one, or a shape"
        )
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
    files = {"senses": senses, "nouns": nouns, "collocations": collocations}
    given = {name: path for name, path in files.items() if path is not None}
    known = {
        name: read_uses(path, least=WORDS_OF_A_PSEUDOWORD if name == "nouns" else 1)
        for name, path in given.items()
    }
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
        **{name: str(path) for name, path in given.items()},
        "recipe": asdict(recipe),
    }

    stream, folder_of_targets, kept = texts(), folder / "targets", None
    part = f"{processes.rank}-of-{processes.count}"
    afresh = not (folder / STATE).exists()
    if recipe.passes > 1:
        distinct = -(-steps.steps // recipe.passes)
        kept = keeping(taught, folder_of_targets, distinct, part=part, afresh=afresh)
        stream = chain.from_iterable(islice(texts(), distinct) for _ in count())
    taught_beside = [
        senses_beside(learner, taught, words, folder_of_targets / "uses", processes, afresh=afresh)
        if name == "senses"
        else centroids_beside(learner, name, words, processes)
        for name, words in known.items()
    ]

    def losses(batch: list[str], step: int) -> dict[str, Loss]:
        found = learner.losses(batch, kept(batch, step) if kept else taught(batch), step)
        for beside in taught_beside:
            found |= beside(step)
        return found

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
    learned = between(learner.arrays(), start, recipe.start_share)
    model = contextualizer(folder.name, learned, config, own)
    model.save_pretrained(folder, dtype=save_as)
    write_whole(
        folder / "recipe.json",
        (json.dumps({**described, "steps": asdict(steps)}, indent=2) + "\n").encode(),
    )
    return model


def senses_beside(
    learner: Student,
    taught: Teacher,
    words: list[list[Use]],
    folder: Path,
    processes: Processes,
    *,
    afresh: bool,
) -> Callable[[int], dict[str, Loss]]:
    """A step's losses on this process's share of words whose senses are known."""
    recipe, tokenizer = learner.recipe, learner.tokenizer
    given = batches_of_uses(words, tokenizer, batch_tokens=recipe.sense_tokens, seed=recipe.seed)
    part = f"{processes.rank}-of-{processes.count}"
    kept = keeping(taught, folder, len(given), part=part, afresh=afresh)

    def losses(step: int) -> dict[str, Loss]:
        number = in_turn(len(given), step, recipe.seed)
        own = given[number][processes.rank :: processes.count]
        texts = [use.text for use in chain.from_iterable(own)]
        return learner.losses_of_senses(own, kept(texts, number))

    return losses


def centroids_beside(
    learner: Student, name: str, words: list[list[Use]], processes: Processes
) -> Callable[[int], dict[str, Loss]]:
    """A step's loss on this process's share of pseudowords, if of "nouns", or of "collocations"."""
    recipe = learner.recipe
    named, draw, weight = {
        "nouns": ("pseudowords", pseudowords, recipe.pseudoword_weight),
        "collocations": ("collocations", some_senses, recipe.collocation_weight),
    }[name]

    def losses(step: int) -> dict[str, Loss]:
        random = np.random.default_rng((recipe.seed, step))
        tokens = recipe.centroid_tokens
        given = draw(words, learner.tokenizer, batch_tokens=tokens, random=random)
        return {named: learner.loss_of_centroids(given[processes.rank :: processes.count], weight)}

    return losses


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
