"""A student before its first step: a small encoder that has something of its teacher already.

The table is the teacher's, projected to the student's width by principal components. The layers are
random, or inherit how the teacher's layers attend: their queries, keys and values as functions of
the student's narrower states, by least squares. What is made of the values stays to be learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from polyseme.attention import linear
from polyseme.checkpoints import OWN_TYPE, Checkpoint, Sentence
from polyseme.contextualizer import Contextualizer
from polyseme.encoder import EncoderConfig, parameter_shapes
from polyseme.execution import Place, on_host
from polyseme.operations import layer_norm
from polyseme.packed import mean_of_ranges
from polyseme.text import Tokenizer

Floats = npt.NDArray[np.float32]


def initial_parameters(
    config: EncoderConfig, table: Floats, random: np.random.Generator
) -> dict[str, Floats]:
    """Parameters before the first step.

    Args:
        config: of the student.
        table: (vocabulary_size, teacher's width) static vectors.
        random: of the layers.
    """
    parameters: dict[str, Floats] = {}
    for name, shape in parameter_shapes(config, {}).items():
        if name == "embeddings.tokens":
            parameters[name] = projected(table, config.hidden_size)
        elif name.endswith("norm.weight"):
            parameters[name] = np.ones(shape, np.float32)
        elif name.endswith(".bias") or name == "attention.relative":
            parameters[name] = np.zeros(shape, np.float32)
        else:
            parameters[name] = random.normal(0, 0.02, shape).astype(np.float32)
            if name.endswith(".weight"):
                # Variance 1 / width keeps the size of the states in a narrow encoder.
                parameters[name] *= np.float32(1 / (0.02 * shape[1] ** 0.5))
                if name.endswith(("output.weight", "down.weight")):
                    parameters[name] *= np.float32(0.5)
    return parameters


def reshaped(
    config: EncoderConfig,
    parameters: Mapping[str, Floats],
    *,
    layers: Sequence[int] | None = None,
    heads: int | None = None,
) -> tuple[EncoderConfig, dict[str, Floats]]:
    """A smaller student out of one that has learned: some of its layers, neighbouring heads joined.

    What is left has to learn again how to do without the rest, but keeps its table and what its
    layers look for (as DistilBERT began with every other layer of BERT: Sanh et al. 2019,
    https://arxiv.org/abs/1910.01108).

    Args:
        config: of the student.
        parameters: of the student.
        layers: those to keep, counted from 1, in rising order; all if None.
        heads: of each layer; as many as before if None.

    Raises:
        ValueError: there are no such layers, or so many heads don't divide the width.
    """
    there = range(1, config.layers + 1)
    kept = list(there if layers is None else layers)
    if not kept or kept != sorted(set(kept) & set(there)):
        raise ValueError(
            f"keep_layers is {kept}: give some of the layers 1 to {config.layers} in their order"
        )
    heads = config.heads if heads is None else heads
    if heads < 1 or config.hidden_size % heads:
        raise ValueError(
            f"heads is {heads}: the student's width, {config.hidden_size}, must be a multiple"
        )
    found = {name: array for name, array in parameters.items() if not name.startswith("layers.")}
    for place, layer in enumerate(kept):
        own = f"layers.{layer - 1}."
        for name, array in parameters.items():
            if name.startswith(own):
                found[f"layers.{place}.{name.removeprefix(own)}"] = array
    return replace(config, layers=len(kept), heads=heads), found


def inherit(
    parameters: dict[str, Floats],
    config: EncoderConfig,
    teacher: Contextualizer,
    texts: Sequence[str],
    depth: int,
) -> None:
    """Give a student its teacher's table, positions, queries, keys and values, as far as they fit.

    Student layer i takes after the teacher's layer i * depth / layers, and of its heads after those
    that say the most.

    Args:
        parameters: of the student; changed in place.
        config: of the student.
        teacher: with the same tokenizer and heads as wide.
        texts: whose states the maps are fitted on.
        depth: how far up the teacher the student is to come.

    Raises:
        ValueError: teacher and student are too unlike; the message says in what.
    """
    _check_alike(config, teacher)
    own, width = teacher.checkpoint.parameters, config.hidden_size
    sequences = teacher.sequences(teacher.tokenizer(texts))
    ids, offsets = sequences.token_ids.values, sequences.token_ids.offsets
    embedded = own["embeddings.tokens"]
    given = embedded[ids]
    positions: Floats | None = None
    if config.positions == "learned":
        first = teacher.config.position_offset
        positions = own["embeddings.positions"][
            first : first + parameters["embeddings.positions"].shape[0]
        ]
        place = np.arange(len(ids)) - np.repeat(offsets[:-1], np.diff(offsets))
        given = given + positions[place]
    center = given.mean(axis=0)
    components = principal_components(given - center, width)
    components /= np.sqrt(np.mean(((given - center) @ components) ** 2))
    center_of_tokens = embedded[ids].mean(axis=0)
    parameters["embeddings.tokens"] = (embedded - center_of_tokens) @ components
    states = parameters["embeddings.tokens"][ids]
    if positions is not None:
        parameters["embeddings.positions"] = (positions - (center - center_of_tokens)) @ components
        states = states + parameters["embeddings.positions"][place]
    taken = [
        min(round(i * depth / config.layers), teacher.config.layers - 1)
        for i in range(config.layers)
    ]
    for i, theirs in enumerate(map(on_host, teacher.states(sequences, taken))):
        if i:
            states = (theirs - theirs.mean(axis=0)) @ components
        mapped = {
            name: linear(
                theirs,
                own[f"layers.{taken[i]}.attention.{name}.weight"],
                own.get(f"layers.{taken[i]}.attention.{name}.bias"),
            )
            for name in ("query", "key", "value")
        }
        output = own[f"layers.{taken[i]}.attention.output.weight"]
        heads = loudest(mapped["value"], output, teacher.config.heads, config.heads)
        for name, wanted in mapped.items():
            weight, bias = least_squares(_normed(states), wanted[:, heads])
            parameters[f"layers.{i}.attention.{name}.weight"] = weight
            parameters[f"layers.{i}.attention.{name}.bias"] = bias


def loudest(values: Floats, output: Floats, heads: int, number: int) -> npt.NDArray[np.int64]:
    """Columns of the heads whose values, mapped to the output, vary most; in their order.

    Args:
        values: (n, heads * head_dim).
        output: (d, heads * head_dim) the map that joins the heads.
        heads: how many there are.
        number: how many are taken.
    """
    columns = np.arange(values.shape[1]).reshape(heads, -1)
    varied = values - values.mean(axis=0)
    sizes = [np.linalg.norm(varied[:, own] @ output[:, own].T) for own in columns]
    return columns[np.sort(np.argsort(sizes)[::-1][:number])].reshape(-1)


def _check_alike(config: EncoderConfig, teacher: Contextualizer) -> None:
    theirs = teacher.config
    head_dim = theirs.hidden_size // theirs.heads
    why = ""
    if config.hidden_size // config.heads != head_dim:
        why = f"its heads are {head_dim} wide, the student's {config.hidden_size // config.heads}"
    elif config.heads > theirs.heads:
        why = f"it has {theirs.heads} heads, the student {config.heads}"
    elif theirs.norm != "post" or theirs.embedding_size not in (None, theirs.hidden_size):
        why = "its layers are built otherwise"
    elif config.positions == "learned" and (
        theirs.positions != "learned" or (theirs.max_tokens or 0) < (config.max_tokens or 0)
    ):
        why = f"it has not as many positions as the student, {config.max_tokens}"
    if why:
        raise ValueError(
            f"the student can't inherit from {teacher.name}: {why}; start from random layers"
        )


def least_squares(given: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """The linear map (d_out, d_in) and bias (d_out,) from rows (n, d_in) to (n, d_out).

    Held back a little (ridge), so that directions in which the rows hardly vary stay small.

    Example:
        >>> given = np.asarray([[0.0], [1.0], [2.0]], np.float32)
        >>> weight, bias = least_squares(given, 3 * given + 1)
        >>> weight.round(1).tolist(), bias.round(1).tolist()
        ([[3.0]], [1.0])
    """
    rows, targets = given.astype(np.float64), wanted.astype(np.float64)
    center, level = rows.mean(axis=0), targets.mean(axis=0)
    rows, targets = rows - center, targets - level
    held = 1e-3 * len(rows) * np.eye(rows.shape[1])
    weight = np.linalg.solve(rows.T @ rows + held, rows.T @ targets).T
    bias = (level - weight @ center).astype(np.float32)
    return np.ascontiguousarray(weight, dtype=np.float32), bias


def _normed(states: Floats) -> Floats:
    """Layer norm without parameters."""
    width = states.shape[1]
    found: Floats = layer_norm(states, np.ones(width, np.float32), None, 1e-6)
    return found


def projected(table: Floats, width: int) -> Floats:
    """Centred rows on their first principal components, of mean square one.

    Rows that are too narrow are filled up with zeros.
    """
    centered = table - table.mean(axis=0)
    if width < table.shape[1]:
        centered = centered @ principal_components(centered, width)
    else:
        centered = np.pad(centered, ((0, 0), (0, width - table.shape[1])))
    return np.asarray(centered / np.sqrt(np.mean(centered**2)), dtype=np.float32)


def principal_components(centered: Floats, number: int) -> Floats:
    """(d, number): the directions in which rows (n, d) vary most.

    Example:
        >>> rows = np.asarray([[3.0, 0.0], [-3.0, 0.1]], np.float32)
        >>> abs(principal_components(rows, 1)).round(1).tolist()
        [[1.0], [0.0]]
    """
    rows = centered.astype(np.float64)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    largest = vectors[:, ::-1][:, :number]
    # An eigenvector's sign is arbitrary: fixed here, so that every LAPACK gives the same.
    peaks = np.abs(largest).argmax(axis=0)
    signs = np.sign(largest[peaks, np.arange(number)])
    return np.ascontiguousarray(largest * signs, dtype=np.float32)


def between(
    learned: Mapping[str, Floats], start: Mapping[str, Floats], share: float
) -> dict[str, Floats]:
    """Parameters on the line between those before and after learning.

    What is learned late is mostly kept, and less of what was known before is lost (Wortsman et al.
    2022, https://arxiv.org/abs/2109.01903).

    Args:
        learned: after.
        start: before.
        share: of those before.

    Example:
        >>> after, before = {"w": np.asarray([4.0])}, {"w": np.asarray([0.0])}
        >>> between(after, before, 0.25)["w"].tolist()
        [3.0]
    """
    return {
        name: ((1 - share) * array + share * start[name]).astype(array.dtype)
        for name, array in learned.items()
    }


def static_rows(teacher: Contextualizer, tokenizer: Tokenizer, tokens: list[str]) -> Floats:
    """A teacher's static vector of what each token of another vocabulary spells."""
    spelled = [token.removeprefix("##").replace("Ġ", " ").replace("▁", " ") for token in tokens]
    read = teacher.tokenizer([text.strip() or token for text, token in zip(spelled, tokens)])  # noqa: B905
    return np.asarray(
        mean_of_ranges(
            teacher.table_rows(read.token_ids), read.token_offsets[:-1], read.token_offsets[1:]
        )
    )


def contextualizer(
    name: str,
    parameters: Mapping[str, Floats],
    config: EncoderConfig,
    tokenizer: Tokenizer,
    *,
    card: str = "",
) -> Contextualizer:
    """The student as a model that can be used and saved."""
    sentence = Sentence(pooling="cls" if tokenizer.prefix else "mean", normalize=True)
    checkpoint = Checkpoint(name, OWN_TYPE, config, dict(parameters), None, sentence, card)
    return Contextualizer(checkpoint, tokenizer, Place("numpy", "cpu", "float32"))
