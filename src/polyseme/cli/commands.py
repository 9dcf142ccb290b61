"""The commands: compare, explain, embed, info."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from polyseme.cli.app import (
    MODEL_HELP,
    AsJson,
    Backend,
    Device,
    Dtype,
    Force,
    Model,
    Phrase,
    app,
    load_model,
    print_json,
)

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer
    from polyseme.corpus import Estimate
    from polyseme.corpus.reading import Row
    from polyseme.files import Source
    from polyseme.inputs import Text


class Kind(str, Enum):
    """Pictures of an explanation."""

    ARCS = "arcs"
    HEATMAP = "heatmap"


class Form(str, Enum):
    """Formats of texts."""

    TXT = "txt"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    ARROW = "arrow"


@app.command(
    epilog="""\b
Examples:
  polyseme compare bank "the bank of a river" "my bank raised its rates"
  polyseme compare "piece of cake" --phrase "piece of cake" \\
      "the test was a piece of cake" "she ate a piece of cake"
  polyseme compare apple "an apple a day" "an Apple store" --json"""
)
def compare(
    ctx: typer.Context,
    word: Annotated[str, typer.Argument(metavar="WORD", show_default=False)],
    sentences: Annotated[list[str], typer.Argument(metavar="SENTENCE", show_default=False)],
    *,
    model: Model = None,
    phrase: Phrase = None,
    topn: Annotated[int, typer.Option(min=0, help="How many nearest words; 0 for none.")] = 5,
    as_json: AsJson = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Hold a word's uses in two or more sentences against each other.

    Shows how similar they are by cosine, and the words of the vocabulary that each is nearest to:
    with static vectors, with parameter-free attention, and with the model where it has layers. A
    word that stands in a sentence more than once has as many uses.
    """
    if len(sentences) < 2:
        raise typer.BadParameter("give two or more", param_hint="SENTENCE")
    from polyseme.comparison import compare as compared

    opened = load_model(model, device, dtype, backend)
    progress = ctx.obj.progress
    result = compared(opened, word, sentences, phrases=phrase, topn=topn, progress=progress)
    if as_json:
        return print_json(result.to_dict())
    from polyseme.cli.tables import comparison_view, show

    return show(comparison_view(result))


@app.command(
    epilog="""\b
Examples:
  polyseme explain "Apple launched a new iPhone" Apple
  polyseme explain "the bank on the river bank" --at 5 --top 3
  polyseme explain "We sat on the river bank" bank --plot bank.svg"""
)
def explain(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False)],
    word: Annotated[str | None, typer.Argument(metavar="WORD", show_default=False)] = None,
    *,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="POSITION", help="Which word of the text, from 0."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many words to show.")] = 10,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Save a picture: .svg, .html or .png."),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="Which picture.")] = Kind.ARCS,
    force: Force = False,
    model: Model = None,
    as_json: AsJson = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Show which words made a word what it is in its text.

    Prints the weights of the words in its vector, whether they are the exact truth of this model,
    and how far the vector turns when a word is left out. A word that occurs more than once is
    named by its position.
    """
    key = word if at is None else at
    if key is None:
        raise typer.BadParameter("give WORD, or its position with --at", param_hint="WORD")
    if plot is not None:
        from polyseme.files import check_target

        check_target(plot, (".svg", ".html", ".png"), force=force)
    opened = load_model(model, device, dtype, backend)
    explanation = opened.explain(text, key)
    if word is not None and explanation.word.casefold() != word.casefold():
        raise ValueError(f"word {explanation.position} is {explanation.word!r}, not {word!r}")
    if plot is not None:
        explanation.plot(kind.value).save(plot)
        ctx.obj.note(f"the picture is in {plot}")
    if as_json:
        return print_json(explanation.to_dict())
    from polyseme.cli.tables import explanation_view, show

    return show(explanation_view(explanation, top))


@app.command(
    epilog="""\b
Examples:
  polyseme embed notes.txt -o notes.npz
  polyseme embed posts.csv --column body --sentence -o posts.parquet
  polyseme embed notes.txt -o notes.npz --dry-run
  cat lines.jsonl | polyseme embed - --format jsonl -o - | head -1
\b
Files in, UTF-8, may be packed as .gz, .bz2, .xz, .zst or .zip:
  txt        a line is a text; an empty line is an empty text
  jsonl      a line is an object; its text is a string, or a list of words
  csv, tsv   the first line is the header
  parquet    the text is a column; arrow or feather too
\b
Files out:
  jsonl      text, words, spans, vectors; a line for each text
  parquet    text, words, starts, ends, vectors; a row for each text
  npz        vectors (n, dim); offsets: the rows of text i are offsets[i] to
             offsets[i + 1]; spans (n, 2); known (n); texts and words in
             UTF-8, end to end, with texts_offsets and words_offsets.
             polyseme.embedded_files.read_npz opens it"""
)
def embed(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE", show_default=False)],
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help=".npz, .jsonl, .parquet, or -.")
    ],
    form: Annotated[
        Form | None,
        typer.Option("--format", help="Of the texts.  [default: by the suffix; txt for stdin]"),
    ] = None,
    column: Annotated[
        str, typer.Option("--column", metavar="NAME", help="Of the text, in all but txt.")
    ] = "text",
    sentence: Annotated[
        bool, typer.Option("--sentence", help="One vector a text, not one a word.")
    ] = False,
    phrase: Phrase = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Scale each vector to length one.")
    ] = False,
    force: Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try a sample, say what all takes, write nothing.")
    ] = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Write the vector of every word of every text to a file.

    A file that is - is read from stdin, or written to stdout as jsonl. Files may be larger than
    memory. OUT is there once all of it is written; if something fails, it stays as it was.
    """
    if sentence and phrase:
        raise typer.BadParameter("sentence vectors have no phrases", param_hint="--phrase")
    if files.count("-") > 1:
        raise typer.BadParameter("stdin can be read once", param_hint="FILE")
    from polyseme.embedded_files import WRITERS, embedded, require_pyarrow, write_jsonl
    from polyseme.files import check_target, source, whole
    from polyseme.progress import progress_bar

    sources = [source(name, form.value if form else None, column) for name in files]
    target = Path(output)
    if output != "-":
        check_target(target, tuple(WRITERS), force=force)
        if any(given.path and target.exists() and given.path.samefile(target) for given in sources):
            raise ValueError(f"{target} would be read and written: name another file")
        if target.suffix.lower() == ".parquet":
            require_pyarrow()
    for given in sources:
        given.check()

    writer = write_jsonl if output == "-" else WRITERS[target.suffix.lower()]
    opened = load_model(model, device, dtype, backend)

    def write(texts: Iterable[Text], file: IO[bytes]) -> tuple[int, int]:
        done = [0, 0]
        with progress_bar(None, ctx.obj.progress) as advance:

            def count(n_texts: int, n_vectors: int) -> None:
                done[0] += n_texts
                done[1] += n_vectors
                advance(n_texts)

            batches = embedded(
                opened, texts, sentence=sentence, phrases=phrase, normalize=normalize, count=count
            )
            writer(batches, file)
        return done[0], done[1]

    if dry_run:
        typer.echo(_tried(opened, sources, write))
        return
    texts = (text for given in sources for text in given.texts())
    if output == "-":
        write(texts, sys.stdout.buffer)
        return
    with whole(target) as file:
        n_texts, n_vectors = write(texts, file)
    ctx.obj.note(f"{n_texts:,} texts, {n_vectors:,} vectors in {target}")


def _tried(
    model: Contextualizer,
    sources: Sequence[Source],
    write: Callable[[Iterable[Text], IO[bytes]], tuple[int, int]],
) -> Estimate:
    """What the texts of files would take, by a sample that is written into memory."""
    from polyseme.corpus.estimate import Trial, estimate_by
    from polyseme.corpus.parts import count_words

    def trial(rows: Sequence[Row]) -> Trial:
        texts = [row.text for row in rows if row.text is not None]
        file = BytesIO()
        _, vectors = write(texts, file)
        return Trial(vectors, count_words(model, rows), file.tell(), len(rows) - len(texts))

    return estimate_by(trial, sources)


@app.command(
    epilog="""\b
Examples:
  polyseme info
  polyseme info sentence-transformers/all-MiniLM-L6-v2 --json"""
)
def info(
    *,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help=MODEL_HELP)] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Say what a model is, how large, and where it runs."""
    from polyseme.cli.facts import facts_of

    facts = facts_of(load_model(model, device, dtype, backend), model)
    if as_json:
        return print_json(facts)
    from polyseme.cli.tables import facts_view, show

    return show(facts_view(facts))
