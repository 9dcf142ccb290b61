"""``polyseme eval TASK``: a model on public tasks.

Each task is a function of its own options, which reads its data and gives what measures a model;
``_task`` makes a command of it, with the options that all tasks share. It reads their annotations,
so these are no strings in this module.
"""

import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyseme.cli.app import AsJson, Backend, Device, Dtype, Model, app, load_model, print_json

if TYPE_CHECKING:
    from polyseme.evaluation.models import Evaluated

Measure = Callable[["Evaluated", "bool | None"], Any]
"""Takes a model and whether to show progress, gives a task's result."""

Folder = Annotated[
    Path, typer.Option("--data", metavar="DIR", help="Folder of the data, see below.")
]
TextFile = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="PATH",
        help="A .txt of one passage a line (may be packed: .xz, .gz), or a folder with "
        "text/simplewiki.txt.xz in it.",
    ),
]

_WIKIPEDIA = """The published numbers are measured on Simple English Wikipedia,
a paragraph a line, from https://dumps.wikimedia.org/simplewiki"""

tasks = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(
    tasks,
    name="eval",
    help="Measure a model on public tasks.",
    epilog="""\b
Examples:
  polyseme eval wsd --data CoarseWSD-20
  polyseme eval sts --data stsbenchmark -m MODEL --json""",
)


class Rung(str, Enum):
    """The rungs that every model has below itself."""

    STATIC = "static"
    PARAMETER_FREE = "parameter-free"


class Library(str, Enum):
    """Who runs the model."""

    POLYSEME = "polyseme"
    SENTENCE_TRANSFORMERS = "sentence-transformers"


class Learns(str, Enum):
    """What is trained on the task."""

    HEAD = "head"
    ATTENTION = "attention"
    ALL = "all"


Train = Annotated[
    Learns | None,
    typer.Option("--train", help="Learn the task from train first; see train task --help."),
]


class Split(str, Enum):
    """Splits beside dev."""

    TRAIN = "train"
    TEST = "test"


def _opened(
    *,
    model: Model = None,
    rung: Annotated[
        Rung | None, typer.Option(help="A lower rung of the model.  [default: the model itself]")
    ] = None,
    library: Annotated[
        Library, typer.Option(help="What runs the model; another one is for comparison.")
    ] = Library.POLYSEME,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> "Evaluated":
    """The model that the options of all tasks name."""
    if library is Library.SENTENCE_TRANSFORMERS:
        for name, given in (("--rung", rung), ("--dtype", dtype), ("--backend", backend)):
            if given not in (None, "auto"):
                raise typer.BadParameter(f"{library.value} has no such choice", param_hint=name)
        if model is None:
            raise typer.BadParameter(f"name the model that {library.value} loads", param_hint="-m")
        from polyseme.evaluation.peers import SentenceTransformersModel

        return SentenceTransformersModel(model, device=None if device == "auto" else device)
    opened = load_model(model, device, dtype, backend)
    if rung is Rung.STATIC:
        return opened.static()
    return opened.parameter_free() if rung is Rung.PARAMETER_FREE else opened


def _learned(task: str, data: Any, what: Learns) -> Measure:
    """Train on the task, then measure; of models of another library there is nothing to train."""

    def measure(model: "Evaluated", progress: bool | None) -> Any:
        from polyseme.contextualizer import Contextualizer
        from polyseme.evaluation import trained

        if not isinstance(model, Contextualizer):
            raise typer.BadParameter("only polyseme's models are trained", param_hint="--train")
        return getattr(trained, task)(model, data, what.value, progress=progress)[0]

    return measure


def _task(epilog: str) -> Callable[[Callable[..., Measure]], Callable[..., Measure]]:
    """Register a task as a command: its own options, then those of ``_opened`` and ``--json``."""

    def register(prepare: Callable[..., Measure]) -> Callable[..., Measure]:
        own = inspect.signature(prepare).parameters
        shared = inspect.signature(_opened).parameters

        def command(ctx: typer.Context, *, as_json: bool, **options: Any) -> None:
            measure = prepare(**{name: options[name] for name in own})
            result = measure(_opened(**{name: options[name] for name in shared}), ctx.obj.progress)
            if as_json:
                return print_json(result.to_dict())
            from polyseme.cli.eval_tables import view
            from polyseme.cli.tables import show

            return show(view(prepare.__name__, result))

        keyword = inspect.Parameter.KEYWORD_ONLY
        context = inspect.Parameter(
            "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        json_too = inspect.Parameter("as_json", keyword, default=False, annotation=AsJson)
        options = [given.replace(kind=keyword) for given in own.values()]
        options += [*shared.values(), json_too]
        command.__signature__ = inspect.Signature([context, *options])  # type: ignore[attr-defined]
        command.__annotations__ = {}
        command.__doc__ = prepare.__doc__
        tasks.command(prepare.__name__, epilog=f"\b\n{epilog}")(command)
        return prepare

    return register


@_task("""Examples:
  polyseme eval wsd --data CoarseWSD-20
  polyseme eval wsd --data CoarseWSD-20 --rung static --json
\b
DIR holds a folder for each word, with train.data.txt and so on in it.
The data: https://github.com/danlou/bert-disambiguation""")
def wsd(data: Folder) -> Measure:
    """Word senses: the nearest sense centroid on CoarseWSD-20.

    A sense is the mean of its training occurrences' vectors, and an occurrence gets the nearest.
    Beside it stand the accuracies from 1, 3 and 10 examples of each sense, and that of always
    saying the most frequent sense.
    """
    from polyseme.evaluation.wsd import evaluate, read_folder
    from polyseme.progress import progress_bar

    words = read_folder(data)

    def measure(model: "Evaluated", progress: bool | None) -> Any:
        with progress_bar(len(words), progress, unit="words") as advance:
            return evaluate(model, words, advance=advance)

    return measure


@_task("""Examples:
  polyseme eval wic --data WiC_dataset
  polyseme eval wic --data WiC_dataset --rung static --json
  polyseme eval wic --data WiC_dataset --train attention
\b
DIR holds train.data.txt, train.gold.txt, dev.data.txt and dev.gold.txt.
The data: https://pilehvar.github.io/wic""")
def wic(data: Folder, train: Train = None) -> Measure:
    """Word in context: does a word mean the same in two texts?

    The cosine of the word's two vectors is held against a threshold that is chosen on train; the
    accuracy is that of dev. With --train, a PairScorer learns it from train instead.
    """
    from polyseme.evaluation.wic import evaluate, read_folder

    pairs = read_folder(data)
    if train is not None:
        return _learned("wic", pairs, train)
    return lambda model, progress: evaluate(model, pairs, progress=progress)


@_task("""Examples:
  polyseme eval idioms --data SubTaskA
  polyseme eval idioms --data SubTaskA --json
  polyseme eval idioms --data SubTaskA --train attention
\b
DIR holds train.csv and dev.csv with the columns MWE, Target, Label, and no
expression in both; needs the extra train.
The data: https://github.com/H-TayyarMadabushi/SemEval_2022_Task2-idiomaticity""")
def idioms(data: Folder, train: Train = None) -> Measure:
    """Idioms: can a linear probe tell idiomatic from literal uses?

    The mean of an expression's word vectors in its sentence goes in; the model stays as it is. The
    probe is fitted on train; the macro F1 is that of dev, whose expressions are new to it. With
    --train, a SpanClassifier learns it from train instead.
    """
    from polyseme.evaluation.idioms import evaluate, read_folder
    from polyseme.evaluation.probe import require_sklearn

    require_sklearn()
    uses = read_folder(data)
    if train is not None:
        return _learned("idioms", uses, train)
    return lambda model, progress: evaluate(model, uses, progress=progress)


@_task("""Examples:
  polyseme eval sts --data stsbenchmark
  polyseme eval sts --data stsbenchmark --split train --json
\b
DIR holds sts-dev.csv, and the file of each split that is asked for.
The data: https://ixa2.si.ehu.eus/stswiki/index.php/STSbenchmark""")
def sts(
    data: Folder,
    split: Annotated[
        list[Split] | None,
        typer.Option(metavar="NAME", help="train or test, beside dev; may be repeated."),
    ] = None,
) -> Measure:
    """Sentence similarity: Spearman's rank correlation on STS Benchmark.

    Between the scores that people gave to pairs of sentences and the cosine of the sentences'
    vectors. Nothing is trained.
    """
    from polyseme.evaluation.sts import evaluate, read_split

    names = dict.fromkeys(["dev", *(more.value for more in split or [])])
    splits = [read_split(data, name) for name in names]
    return lambda model, progress: evaluate(model, splits, progress=progress)


@_task(f"""Examples:
  polyseme eval order --data simplewiki.txt.xz
  polyseme eval order --data simplewiki.txt.xz --rung parameter-free
\b
Needs the extra train.
{_WIKIPEDIA}""")
def order(data: TextFile) -> Measure:
    """Word order: do the vectors say who did what to whom?

    In sentences such as "Frazier defeated Ali" the names change places. Measured is in what share
    of the pairs both names get another vector, and how often a linear probe can tell from one
    name's vector whether it is the doer, for verbs that it was not fitted on. A model that is
    blind to order is right half of the time; it passes with 0.99 and 0.75.
    """
    from polyseme.evaluation.order import evaluate, find_swaps, split
    from polyseme.evaluation.passages import passages
    from polyseme.evaluation.probe import require_sklearn

    require_sklearn()
    swaps = find_swaps(passages(data))
    split(swaps)
    return lambda model, progress: evaluate(model, swaps, progress=progress)


@_task(f"""Examples:
  polyseme eval spread --data simplewiki.txt.xz
  polyseme eval spread --data notes.txt --texts 200 --json
\b
{_WIKIPEDIA}""")
def spread(
    data: TextFile,
    texts: Annotated[
        int, typer.Option(min=2, help="How many passages, of at most 60 words.")
    ] = 1000,
) -> Measure:
    """Spread: do the words of a text keep vectors of their own?

    Measured on passages chosen at random, the same in every run: the mean cosine between different
    words of one text, how often a word's nearest vector in all texts is another use of the same
    word, and how often it is a different word of its own text.
    """
    from polyseme.evaluation.passages import choose
    from polyseme.evaluation.spread import evaluate

    chosen = choose(data, texts)
    return lambda model, progress: evaluate(model, chosen, progress=progress)
