"""``polyseme train``: queries, keys and values from texts."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from polyseme.cli.app import app, load_model
from polyseme.training.settings import Recipe, Shape, Steps

trainings = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    trainings,
    name="train",
    help="Train a model.",
    epilog="""\b
Example:
  polyseme train distil texts.txt.xz --teacher MODEL -o small""",
)


class Activation(str, Enum):
    """Of the feed-forward networks."""

    RELU = "relu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    SILU = "silu"


class Positions(str, Enum):
    """How a student knows where a word stands."""

    RELATIVE = "relative"
    LEARNED = "learned"


class Start(str, Enum):
    """A student's first layers."""

    INHERITED = "inherited"
    RANDOM = "random"


class Precision(str, Enum):
    """Of the products in training."""

    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class Stored(str, Enum):
    """Of the saved weights."""

    FLOAT32 = "float32"
    INT8 = "int8"


def _given(ctx: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _layers(given: str) -> list[int]:
    try:
        return [int(number) for number in given.split(",")]
    except ValueError:
        raise ValueError(f"--keep-layers is {given!r}: give numbers, such as 1,3") from None


@trainings.command(
    epilog="""\b
Examples:
  polyseme train distil wiki.txt.xz --teacher MODEL -o small
  polyseme train distil posts.jsonl --column body --teacher MODEL -o small
  polyseme train distil wiki.txt.xz --teacher MODEL -o small --resume
  torchrun --nproc-per-node 2 -m polyseme train distil wiki.txt.xz \\
      --teacher MODEL -o small
\b
Files in, may be packed as .gz, .bz2, .xz or .zip, and larger than memory:
  txt        a line is a text
  jsonl      a line is an object; its text is a string, or a list of words
  csv, tsv   the first line is the header
  parquet    the text is a column
\b
DIR holds config.json, model.safetensors and tokenizer.json, which
polyseme.load opens; recipe.json, what it was trained with; metrics.jsonl;
and state.safetensors, from which --resume goes on.
\b
Needs the extra train: pip install "polyseme[train]\""""
)
def distil(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", show_default=False)],
    *,
    teacher: Annotated[
        str, typer.Option("--teacher", metavar="MODEL", help="Folder or hub id; has layers.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the model goes.")
    ],
    column: Annotated[
        str, typer.Option("--column", metavar="NAME", help="Of the text, in all but txt.")
    ] = "text",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that DIR holds.")
    ] = False,
    save_as: Annotated[
        Stored, typer.Option("--save-as", help="int8: a quarter of the size.")
    ] = Stored.FLOAT32,
    layers: Annotated[int, typer.Option(help="Self-attention layers.")] = Shape.layers,
    dim: Annotated[int, typer.Option(help="Width of the vectors.")] = Shape.dim,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = Shape.heads,
    inner: Annotated[
        int | None,
        typer.Option(help="Width inside the feed-forward networks.  [default: 2 x dim]"),
    ] = None,
    activation: Annotated[
        Activation, typer.Option(help="Of the feed-forward networks.")
    ] = Activation.RELU,
    positions: Annotated[
        Positions, typer.Option(help="How it knows where a word stands.")
    ] = Positions.LEARNED,
    max_tokens: Annotated[int, typer.Option(help="Longest sequence.")] = Shape.max_tokens,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A tokenizer.json for the student.  [default: the teacher's]"
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="One that has learned already, to go on with; brings its shape."
        ),
    ] = None,
    keep_layers: Annotated[
        str | None,
        typer.Option(metavar="N,N", help="Of --student: only these layers, counted from 1, go on."),
    ] = None,
    middle_layer: Annotated[
        int | None,
        typer.Option(help="Layer of the teacher that a word's own part is from.  [default: half]"),
    ] = None,
    middle_share: Annotated[
        float, typer.Option(help="Its share in a word's target.")
    ] = Recipe.middle_share,
    last_share: Annotated[
        float, typer.Option(help="The last layer's share in a word's target.")
    ] = Recipe.last_share,
    mean_share: Annotated[
        float, typer.Option(help="The text's share in a word's target.")
    ] = Recipe.mean_share,
    within_weight: Annotated[
        float, typer.Option(help="Of the loss of what a word is beyond its static vector.")
    ] = Recipe.within_weight,
    sentence_weight: Annotated[
        float, typer.Option(help="Of the loss of the text's vector.")
    ] = Recipe.sentence_weight,
    senses: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Uses of words, and which of them mean the same."),
    ] = None,
    sense_weight: Annotated[
        float, typer.Option(help="Of the loss of whether two uses mean the same.")
    ] = Recipe.sense_weight,
    nouns: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Uses of words, to be written as one and told apart."),
    ] = None,
    pseudoword_weight: Annotated[
        float, typer.Option(help="Of the loss of telling them apart.")
    ] = Recipe.pseudoword_weight,
    collocations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Uses of words, senses told apart by centroids."),
    ] = None,
    collocation_weight: Annotated[
        float, typer.Option(help="Of the loss of telling these apart.")
    ] = Recipe.collocation_weight,
    sense_tokens: Annotated[
        int, typer.Option(help="Tokens of a step from --senses.")
    ] = Recipe.sense_tokens,
    centroid_tokens: Annotated[
        int, typer.Option(help="Tokens of a step from --nouns; from --collocations.")
    ] = Recipe.centroid_tokens,
    masked: Annotated[float, typer.Option(help="Share of the tokens masked.")] = Recipe.masked,
    masked_word_weight: Annotated[
        float, typer.Option(help="Of the loss of guessing masked tokens.")
    ] = Recipe.masked_word_weight,
    sentences: Annotated[
        float, typer.Option(help="Share of the texts cut into sentences.")
    ] = Recipe.sentences,
    skip: Annotated[
        int, typer.Option(help="Texts at the head of every file to leave out at first.")
    ] = Recipe.skip,
    start_share: Annotated[
        float, typer.Option(help="Of --student's parameters in those that are saved.")
    ] = Recipe.start_share,
    start: Annotated[
        Start, typer.Option(help="Layers that attend as the teacher's, or random ones.")
    ] = Start.INHERITED,
    steps: Annotated[int, typer.Option(help="How many.")] = Steps.steps,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of a step.")] = Recipe.batch_tokens,
    passes: Annotated[
        int, typer.Option(help="How often a batch is taken; its targets are kept in DIR.")
    ] = Recipe.passes,
    learning_rate: Annotated[float, typer.Option(help="Its peak.")] = Steps.learning_rate,
    warmup: Annotated[
        float, typer.Option(help="Share of the steps in which it rises.")
    ] = Steps.warmup,
    weight_decay: Annotated[float, typer.Option(help="Of matrices.")] = Steps.weight_decay,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = Steps.clip,
    dtype: Annotated[Precision, typer.Option(help="Of the products.")] = Precision.BFLOAT16,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = Recipe.seed,
    checkpoint_minutes: Annotated[
        float, typer.Option(help="Between two states.")
    ] = Steps.checkpoint_minutes,
    log_every: Annotated[int, typer.Option(help="Steps to a line of metrics.")] = Steps.log_every,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a small encoder on what a large one says of every word of the texts.

    A word's target is the sum of the teacher's states of it and of the mean of its text, each of
    length one, times their shares; the texts are all that is needed. A run that was interrupted
    goes on with --resume, to the same result.
    """
    shape: Shape | None = Shape(
        layers, dim, heads, inner, activation.value, max_tokens, positions.value
    )
    recipe = Recipe(
        middle_layer,
        middle_share,
        last_share,
        mean_share,
        within_weight,
        sentence_weight,
        sense_weight,
        pseudoword_weight,
        collocation_weight,
        sense_tokens,
        centroid_tokens,
        masked,
        masked_word_weight,
        sentences,
        batch_tokens,
        passes,
        start.value,
        seed,
        skip,
        start_share,
    )
    settings = Steps(
        steps,
        learning_rate,
        warmup,
        weight_decay,
        clip,
        dtype.value,
        checkpoint_minutes,
        log_every,
    )
    from polyseme.files import source

    sources = [source(name, None, column) for name in files]
    for file in sources:
        file.check()
    try:
        from polyseme.training.distil import distil as trained
    except ImportError:
        raise ImportError('training needs torch: pip install "polyseme[train]"') from None
    from polyseme.text import Tokenizer

    learned = None
    if student is not None:
        own = [name for name in (*vars(Shape()), "tokenizer", "start") if name != "heads"]
        given = [name for name in own if _given(ctx, name)]
        if given:
            raise ValueError(f"--{given[0].replace('_', '-')} is that of --student: leave it out")
        shape, learned = None, load_model(student, "cpu", "float32", "numpy")
    opened = load_model(teacher, device, dtype.value, "torch")
    model = trained(
        opened,
        sources,
        output,
        shape=shape,
        recipe=recipe,
        steps=settings,
        tokenizer=None if tokenizer is None else Tokenizer.from_file(tokenizer),
        student=learned,
        keep_layers=None if keep_layers is None else _layers(keep_layers),
        heads=heads if student is not None and _given(ctx, "heads") else None,
        senses=senses,
        nouns=nouns,
        collocations=collocations,
        device=opened.place.device,
        save_as=save_as.value,
        resume=resume,
        progress=ctx.obj.progress,
    )
    if model is not None:
        ctx.obj.note(f"the model is in {output}: polyseme.load({str(output)!r})")
