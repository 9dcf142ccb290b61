"""The commands index, search, senses and tag, as they are typed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

pytest.importorskip("lancedb", reason="senses need LanceDB (extra `search`)")
pytest.importorskip("sklearn", reason="senses need scikit-learn (extra `search`)")

from polyseme.cli import app
from polyseme.cli.concordance import Concordance, concordance_view, kept_end, kept_start
from polyseme.senses import Occurrence


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    texts = [
        ("We sat on the bank of the river", 1990),
        ("The bank raised its interest rates", 2001),
        ("The muddy bank of the stream\nfell into the water", 1994),
        ("My bank refused a loan", 2010),
    ] * 12
    file = folder / "texts.jsonl"
    lines = [json.dumps({"text": text, "year": year}) + "\n" for text, year in texts]
    file.write_text("".join(lines))
    done = run("index", file, "-o", folder / "index", "--keep", "year")
    assert done.exit_code == 0, done.output
    assert "bytes an occurrence" in done.stderr
    return folder / "index"


def test_index_says_what_it_did(index: Path, tmp_path: Path) -> None:
    file = index.parent / "texts.jsonl"
    done = run("index", file, "-o", index)
    assert done.exit_code == 0
    assert "1 of 1 files are in" in done.stderr
    assert "nothing was added" in done.stderr
    wrong = run("index", tmp_path / "none.txt", "-o", tmp_path / "x")
    assert wrong.exit_code == 1
    assert "none.txt" in wrong.stderr
    assert run("index", file, "-o", tmp_path / "x", "--words", "a", "--vocab", file).exit_code == 2


def test_search_prints_a_concordance(index: Path) -> None:
    done = run("search", index, "the bank of the Rhine", "--word", "bank", "-k", 6)
    assert done.exit_code == 0, done.output
    head, *lines = done.stdout.rstrip("\n").splitlines()
    assert head.split() == ["score", "year"]
    assert len(lines) == 6
    columns = {line.index("bank") for line in lines}
    assert len(columns) == 1, "the words stand below each other"
    assert all("1990" in line or "1994" in line for line in lines)
    different = run("search", index, "the bank of the Rhine", "-w", "bank", "--different", "-k", 3)
    assert all("2001" in line or "2010" in line for line in different.stdout.splitlines()[1:])
    assert run("search", index, "bank", "-k", 1).stdout.count("bank") >= 1


def test_search_prints_json_and_csv(index: Path) -> None:
    asked = ("search", index, "the bank of the Rhine", "-w", "bank", "-k", 2)
    found = json.loads(run(*asked, "--json", "--where", "year IN (1994, 1995)").stdout)["found"]
    assert [one["metadata"]["year"] for one in found] == [1994, 1994]
    assert found[0]["text"][found[0]["start"] : found[0]["end"]] == "bank"
    rows = list(csv.DictReader(io.StringIO(run(*asked, "--csv").stdout)))
    assert len(rows) == 2
    assert set(rows[0]) == {"score", "word", "start", "end", "source", "line", "year", "text"}
    assert (
        "\n"
        in next(
            iter(
                r
                for r in csv.DictReader(
                    io.StringIO(run(*asked, "--csv", "--where", "year = 1994").stdout)
                )
            )
        )["text"]
    )
    words = json.loads(run(*asked, "--synonyms", "--json").stdout)["found"]
    assert "bank" not in {one["word"].lower() for one in words}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("the bnak of", "-w", "bnak"), 1, "'bank'"),
        (("the bank of",), 2, "say which word"),
        (("bank", "--where", "nonsense > 3"), 1, "columns of this index"),
        (("bank", "--synonyms", "--different"), 2, "can't go with --different"),
        (("bank", "--json", "--csv"), 2, "give this or --json"),
        (("bank", "-k", "0"), 2, "-k"),
        (("bank", "--where", "year > 3000"), 0, ""),
    ],
)
def test_search_says_what_is_wrong(
    index: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = run("search", index, *arguments)
    assert done.exit_code == status, done.output
    assert said in " ".join(done.stderr.split())
    if not said:
        assert "No occurrence is left" in done.stdout


def test_senses_are_shown_labelled_and_counted(index: Path, tmp_path: Path) -> None:
    done = run("senses", index, "bank")
    assert done.exit_code == 0, done.output
    assert "uses" in done.stdout
    told = json.loads(run("senses", index, "bank", "--json").stdout)["senses"]
    labels = []
    for sense in told:
        kind = "river" if sense["examples"][0]["metadata"]["year"] < 2000 else "money"
        labels += ["--label", f"{sense['number']}={kind}"]
    labelled = run("senses", index, "bank", *labels)
    assert "river" in labelled.stdout
    assert "money" in labelled.stdout
    tagged = run("tag", index, "the bank of a brook", "my bank lends")
    assert tagged.exit_code == 0, tagged.output
    first, second = tagged.stdout.splitlines()
    assert "bank[river" in first
    assert "bank[money" in second
    file = tmp_path / "new.txt"
    file.write_text("the bank of a brook\nno such word\n")
    lines = [
        json.loads(line) for line in run("tag", index, "-f", file, "--json").stdout.splitlines()
    ]
    assert [[one["sense"] for one in line["tags"]] for line in lines] == [["river"], []]
    picture = tmp_path / "years.svg"
    over = run("senses", index, "bank", "--over", "year", "--plot", picture)
    assert over.exit_code == 0, over.output
    assert [line.split()[:2] for line in over.stdout.splitlines()[1:]] == [
        ["1990", "12"],
        ["1994", "12"],
        ["2001", "12"],
        ["2010", "12"],
    ]
    assert picture.read_text().startswith("<svg")
    assert run("senses", index, "bank", "--plot", picture).exit_code == 2
    assert run("senses", index, "bank", "--label", "river").exit_code == 2
    assert run("senses", index, "bank", "--label", "9=river").exit_code == 1
    assert run("tag", index).exit_code == 2


def test_no_index_is_said_before_a_model_is_opened(tmp_path: Path) -> None:
    done = run("search", tmp_path, "a bank", "-w", "bank", "-m", "no/such-model")
    assert done.exit_code == 1
    assert "holds no index" in done.stderr


def printed(found: list[Occurrence], width: int, columns: tuple[str, ...] = ()) -> list[str]:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(Concordance(found, columns))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def occurrence(text: str, word: str, **metadata: Any) -> Occurrence:
    start = text.index(word)
    return Occurrence(word, text, start, start + len(word), 0.5, metadata=metadata)


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_words_stand_below_each_other_whatever_is_around_them(width: int) -> None:
    found = [
        occurrence("bank", "bank"),
        occurrence("川の近くの銀行で、水が好きな人が住んでいます。" * 3, "銀行"),
        occurrence("the\n\tbank \x1b[31m of [bold]the[/bold] river 👍🏽 " * 5, "bank"),
        occurrence("x" * 300 + "bank" + "y" * 300, "bank"),
    ]
    lines = printed(found, width)
    assert len(lines) == len(found)
    starts = {
        cell_len(line[: line.index(one.word)]) for line, one in zip(lines, found, strict=True)
    }
    assert len(starts) == 1
    assert all(cell_len(line) <= width for line in lines)
    assert not any("\x1b" in line for line in lines)
    if width == 200:
        assert "[bold]" in lines[2]


def test_columns_of_metadata_stand_before() -> None:
    found = [occurrence("a bank", "bank", year=1990), occurrence("a bank", "bank", year=None)]
    first, second = printed(found, 80, ("year",))
    assert first.index("bank") == second.index("bank")
    assert "1990" in first
    assert " - " in second
    assert str(concordance_view([], ())) == "No occurrence is left."


def test_cutting_by_cells() -> None:
    assert kept_end("水が好き", 5) == "…好き"
    assert kept_start("水が好き", 6) == "水が…"
    assert kept_end("bank", 4) == kept_start("bank", 4) == "bank"
    assert kept_end("bank", 1) == "…"
