"""The commands about senses: index, search, senses, tag."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyseme.cli.app import (
    AsJson,
    Backend,
    Device,
    Dtype,
    Force,
    Model,
    app,
    load_model,
    print_json,
)
from polyseme.cli.corpus import CorpusForm, OnError, Store, listed, words_of

if TYPE_CHECKING:
    from polyseme.senses import Occurrence, SenseIndex

_TEXTS_AT_ONCE = 256

Index = Annotated[
    Path, typer.Argument(metavar="INDEX", show_default=False, help="Folder of the index.")
]


@app.command(
    epilog="""\b
Examples:
  polyseme index wiki.txt.xz -o senses
  polyseme index "posts/*.jsonl.gz" --column body --keep year,author -o senses
  polyseme index more.txt -o senses                 (adds to it)
  polyseme index notes/ --words bank,apple -o senses
\b
FILES are as `polyseme corpus` takes them. Without --words or --vocab, all words
are indexed that mean something by themselves. If it is cut off, by whatever, the
same command goes on; files that are in the index already are left out.
\b
Needs the extra search: pip install "polyseme[search]\""""
)
def index(
    ctx: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILES", show_default=False)],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="INDEX", help="Folder of the index.")
    ],
    column: Annotated[
        str, typer.Option(metavar="NAME", help="Of the text, in all but txt.")
    ] = "text",
    keep: Annotated[
        str, typer.Option(metavar="A,B", help="Columns that are carried along as metadata.")
    ] = "",
    form: Annotated[
        CorpusForm | None,
        typer.Option("--format", help="Of all files.  [default: by the suffix; txt for stdin]"),
    ] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out files of unknown suffixes.")
    ] = False,
    words: Annotated[str, typer.Option(metavar="A,B", help="Only these, in any case.")] = "",
    vocab: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same, a word a line.")
    ] = None,
    store: Annotated[
        Store | None, typer.Option(help="Numbers of the vectors.  [default: int8]")
    ] = None,
    shard_rows: Annotated[
        int, typer.Option(metavar="N", help="Rows of the input that are committed at a time.")
    ] = 10_000,
    on_error: Annotated[
        OnError, typer.Option(help="At a bad line: stop, or leave it out.")
    ] = OnError.STOP,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew: remove the index that is there.")
    ] = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Index every occurrence of words in files, to search them by what they mean."""
    from polyseme.corpus.estimate import in_bytes, in_time
    from polyseme.files import WrongLineError
    from polyseme.senses import build_index
    from polyseme.senses.tables import require_lancedb

    require_lancedb()
    wanted = words_of(words, vocab)
    opened = load_model(model, device, dtype, backend)
    try:
        made = build_index(
            files,
            output,
            model=opened,
            words=wanted,
            column=column,
            keep=listed(keep) or None,
            form=form and form.value,
            skip_unknown=skip_unknown,
            store=store.value if store else None,
            shard_rows=shard_rows,
            on_error=on_error.value,
            anew=force,
            progress=ctx.obj.progress,
            note=ctx.obj.note,
        )
    except KeyboardInterrupt:
        sys.stderr.write(
            f"polyseme: interrupted; what is committed is in {output}, the same command goes on\n"
        )
        raise
    except WrongLineError as error:
        raise ValueError(
            f"{error}; what is committed stays: mend the line and run the same command again, or "
            "add --on-error skip"
        ) from error
    if not made.new_occurrences:
        ctx.obj.note("nothing was added")
    each = made.bytes / max(made.occurrences, 1)
    ctx.obj.note(
        f"{made.occurrences:,} occurrences in {made.texts:,} texts in {made.folder} "
        f"({in_bytes(made.bytes)}, {each:,.0f} bytes an occurrence); {made.new_occurrences:,} of "
        f"them new in {in_time(made.seconds)}"
    )
    if made.rejects:
        ctx.obj.note(f"{made.rejects:,} rows could not be used")


@app.command(
    epilog="""\b
Examples:
  polyseme search senses "Apple just launched a new iPhone" --word Apple
  polyseme search senses "the bank of the river" -w bank --different -k 5
  polyseme search senses "the bank of the river" -w bank --synonyms
  polyseme search senses "a mouse for my laptop" -w mouse --where "year > 1990" """
)
def search(
    ctx: typer.Context,
    index: Index,
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False)],
    *,
    word: Annotated[
        str | None,
        typer.Option("--word", "-w", metavar="WORD", help="That is meant; of a text of one, it."),
    ] = None,
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="POSITION", help="Which word of the text, from 0."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many, at most.")] = 20,
    different: Annotated[
        bool, typer.Option("--different", help="What is farthest from this meaning.")
    ] = False,
    synonyms: Annotated[
        bool, typer.Option("--synonyms", help="Other words with this meaning, the best of each.")
    ] = False,
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="SQL", help='On the metadata, as "year > 1990".'),
    ] = None,
    words: Annotated[
        str, typer.Option(metavar="A,B", help="Whose occurrences.  [default: the word's]")
    ] = "",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Find the occurrences of a word in the sense that it has in a text, best first."""
    if as_json and as_csv:
        raise typer.BadParameter("give this or --json", param_hint="--csv")
    if synonyms and (different or words):
        other = "--different" if different else "--words"
        raise typer.BadParameter(f"can't go with {other}", param_hint="--synonyms")
    key: str | int | None = word if at is None else at
    if key is None:
        if len(text.split()) != 1:
            raise typer.BadParameter("say which word of the text is meant", param_hint="--word")
        key = text.strip()
    opened = _opened(index, model, device, dtype, backend)
    if synonyms:
        found = opened.synonyms(text, key, k, where=where)
    else:
        asked = listed(words) or None
        found = opened.search(text, key, k, same=not different, where=where, words=asked)
    if as_json:
        return print_json({"text": text, "found": [one.to_dict() for one in found]})
    if as_csv:
        return _print_csv(found, opened.columns)
    from polyseme.cli.concordance import concordance_view
    from polyseme.cli.tables import show

    return show(concordance_view(found, opened.columns))


@app.command(
    epilog="""\b
Examples:
  polyseme senses senses bank
  polyseme senses senses bank --label "1=money" --label "2=river"
  polyseme senses senses mouse --over year --plot mouse.svg"""
)
def senses(
    ctx: typer.Context,
    index: Index,
    word: Annotated[str, typer.Argument(metavar="WORD", show_default=False)],
    *,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="N=NAME", help="Call sense N so; may be repeated."),
    ] = None,
    over: Annotated[
        str | None,
        typer.Option("--over", metavar="COLUMN", help="Count the senses by a column."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="With --over, a picture: .svg, .html or .png."),
    ] = None,
    force: Force = False,
    examples: Annotated[int, typer.Option(min=0, max=5, help="Of each sense.")] = 3,
    as_json: AsJson = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Show the senses of a word: how frequent each is, what marks it, how it is used.

    How many there are is found. Senses that are labelled are kept in the index, and are what
    `polyseme tag` tags with.
    """
    if plot is not None:
        if over is None:
            raise typer.BadParameter("goes with --over", param_hint="--plot")
        from polyseme.files import check_target

        check_target(plot, (".svg", ".html", ".png"), force=force)
    labels = _labels(label or [])
    opened = _opened(index, model, device, dtype, backend)
    from polyseme.cli.concordance import change_view, senses_view
    from polyseme.cli.tables import show

    found = opened.label(word, labels) if labels else opened.senses(word)
    if over is None:
        if as_json:
            return print_json({"word": word, "senses": [sense.to_dict() for sense in found]})
        return show(senses_view(found, examples))
    change = opened.over(word, over)
    if plot is not None:
        change.plot().save(plot)
        ctx.obj.note(f"the picture is in {plot}")
    return print_json(change.to_dict()) if as_json else show(change_view(change))


@app.command(
    epilog="""\b
Examples:
  polyseme tag senses "We sat on the bank of the river"
  polyseme tag senses --file posts.jsonl --column body --json > tagged.jsonl
  polyseme tag senses --words mouse "The mouse ran into its hole" """
)
def tag(
    index: Index,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", show_default=False)] = None,
    *,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="FILE", help="Texts from a file, or - for stdin."),
    ] = None,
    column: Annotated[
        str, typer.Option(metavar="NAME", help="Of the text, in all but txt.")
    ] = "text",
    form: Annotated[
        CorpusForm | None, typer.Option("--format", help="Of the files.  [default: by the suffix]")
    ] = None,
    words: Annotated[
        str, typer.Option(metavar="A,B", help="Tag these.  [default: those with labelled senses]")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="An object a text, a line each.")] = False,
    model: Model = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "auto",
) -> None:
    """Say in which sense words are used in new texts."""
    from polyseme.files import source

    if not texts and not file:
        raise typer.BadParameter("give texts, or files with --file", param_hint="TEXT")
    sources = [source(name, form and form.value, column) for name in file or ()]
    for given in sources:
        given.check()
    opened = _opened(index, model, device, dtype, backend)
    from polyseme.cli.concordance import tagged_view
    from polyseme.cli.tables import show

    def all_texts() -> Iterator[Any]:
        yield from texts or ()
        for given in sources:
            yield from given.texts()

    stream = all_texts()
    while batch := list(islice(stream, _TEXTS_AT_ONCE)):
        tagged = opened.tag(batch, words=listed(words) or None)
        for text, tags in zip(batch, tagged, strict=True):
            joined = text if isinstance(text, str) else " ".join(text)
            if as_json:
                print_json({"text": joined, "tags": [one.to_dict() for one in tags]})
            else:
                show(tagged_view(joined, tags))


def _opened(index: Path, model: str | None, device: str, dtype: str, backend: str) -> SenseIndex:
    from polyseme.senses import SenseIndex
    from polyseme.senses.state import read
    from polyseme.senses.tables import require_lancedb

    require_lancedb()
    read(index)  # before the model is opened
    return SenseIndex.open(index, load_model(model, device, dtype, backend))


def _labels(given: list[str]) -> dict[int, str]:
    labels = {}
    for one in given:
        number, sign, name = one.partition("=")
        if not sign or not number.strip().isdigit():
            raise typer.BadParameter(
                f'{one!r} is not the number of a sense and its name, such as "1=river"',
                param_hint="--label",
            )
        labels[int(number)] = name.strip()
    return labels


def _print_csv(found: list[Occurrence], columns: list[str]) -> None:
    names = ["score", "word", "start", "end", "source", "line", *columns, "text"]
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    writer = csv.writer(sys.stdout)
    writer.writerow(names)
    for one in found:
        row = one.to_dict()
        writer.writerow([{**row["metadata"], **row}[name] for name in names])
