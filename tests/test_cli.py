from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import polyseme
from polyseme.cli import app
from polyseme.embedded_files import read_npz
from polyseme.vectors import WordVectors

COMMANDS = [
    [],
    ["compare"],
    ["explain"],
    ["embed"],
    ["corpus"],
    ["info"],
    ["eval"],
    ["train"],
    ["train", "distil"],
    *(["eval", task] for task in ("wsd", "wic", "idioms", "sts", "order", "spread")),
]
SENTENCES = ["An apple a day", "Apple just launched a new iPhone"]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of a few word vectors, which opens faster than the bundled model."""
    path = tmp_path_factory.mktemp("vectors") / "tiny.txt"
    words = {"bank": (1, 1, 1), "river": (3, 0, 0), "money": (0, 3, 0), "the": (0, 0, 1)}
    path.write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in words.items()))
    return str(path)


def run(*arguments: str | Path, stdin: str | bytes | None = None) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def done(*arguments: str | Path, stdin: str | bytes | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return str(result.stdout)


def failed(*arguments: str | Path, stdin: str | bytes | None = None) -> str:
    """What stands on stderr after a failure, which is one line."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    message = str(result.stderr)
    assert re.fullmatch(r"polyseme: error: .+\n", message)
    return message


def misused(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return str(result.stderr)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "polyseme", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, **options)


def test_compare_shows_each_rung_with_its_nearest_words() -> None:
    shown = done("compare", "apple", *SENTENCES)
    assert "1  An [apple] a day" in shown
    static, mixed = shown.split("static\n")[1].split("parameter-free\n")
    assert "1.00" in static
    assert "1.00" not in mixed
    assert "iphone" in mixed


def test_compare_as_json_holds_what_the_library_gives() -> None:
    told = json.loads(done("compare", "apple", *SENTENCES, "--json", "--topn", "2"))
    assert told["uses"][1] == {"sentence": 1, "position": 0, "span": [0, 5], "known": True}
    assert [rung["rung"] for rung in told["rungs"]] == ["static", "parameter-free", "learned"]
    near = polyseme.load().most_similar(SENTENCES[1], "Apple", topn=2)
    assert [n["word"] for n in told["rungs"][2]["nearest"][1]] == [n.word for n in near]


def test_compare_says_which_sentence_lacks_the_word(vectors: str) -> None:
    message = failed("compare", "-m", vectors, "bank", "the bank", "the river")
    assert "'bank' is no word of sentence 2, 'the river'" in message
    assert "SENTENCE" in misused("compare", "bank", "the bank")


def test_compare_keeps_phrases(vectors: str) -> None:
    arguments = ("compare", "-m", vectors, "river bank", "the river bank", "a River bank")
    assert "name it as a phrase" in failed(*arguments)
    assert "the [river bank]" in done(*arguments, "--phrase", "river bank")


def test_words_are_printed_as_they_are_not_as_markup(vectors: str) -> None:
    shown = done("compare", "-m", vectors, "bank", "[red]the bank[/red]", "bank [/]")
    assert "[red]the [bank][/red]" in shown
    assert "[bank] [/]" in shown


def test_explain_shows_formula_weights_and_exactness() -> None:
    text = "We sat on the bank of the river"
    shown = done("explain", text, "bank", "--top", "3")
    explanation = polyseme.load().explain(text, "bank")
    assert shown.startswith(explanation.formula())
    assert explanation.note in " ".join(shown.split())
    assert "5 more words" in shown
    heaviest = explanation.words[int(explanation.weights.argmax())]
    assert re.search(rf"^ *\d+ +{heaviest} +{explanation.weights.max():.3f} +█{{24}}", shown, re.M)


def test_explain_by_position_and_as_json(vectors: str) -> None:
    text = "the bank by the river bank"
    assert "[1, 5]" in failed("explain", "-m", vectors, text, "bank")
    told = json.loads(done("explain", "-m", vectors, text, "--at", "5", "--json"))
    assert (told["word"], told["position"]) == ("bank", 5)
    assert sum(told["weights"]) == pytest.approx(1)
    assert "word 4 is 'river'" in failed("explain", "-m", vectors, text, "bank", "--at", "4")
    assert "99" in failed("explain", "-m", vectors, text, "--at", "99")
    assert "--at" in misused("explain", text)


@pytest.mark.parametrize("kind", ["arcs", "heatmap"])
def test_explain_saves_a_picture_and_overwrites_only_if_told(
    tmp_path: Path, vectors: str, kind: str
) -> None:
    path = tmp_path / "bank.svg"
    arguments = ("explain", "-m", vectors, "river bank", "bank", "--kind", kind, "--plot", path)
    result = run(*arguments)
    assert result.exit_code == 0
    assert str(path) in result.stderr
    first = path.read_text(encoding="utf-8")
    assert first.startswith("<svg")
    path.write_text("mine")
    assert "--force" in failed(*arguments)
    assert path.read_text() == "mine"
    done(*arguments, "--force")
    assert path.read_text(encoding="utf-8").startswith("<svg")
    assert ".svg, .html, .png" in failed(*arguments[:-1], tmp_path / "bank.gif")


def test_embed_writes_each_format_with_the_same_vectors(tmp_path: Path) -> None:
    texts = ["An apple a day", "", "naïve 🍎"]
    source = tmp_path / "in.txt"
    source.write_text("\n".join(texts), encoding="utf-8")
    expected = polyseme.load().contextualize(texts)
    result = run("embed", source, "-o", tmp_path / "out.npz")
    assert result.exit_code == 0
    assert "3 texts, 6 vectors" in result.stderr
    npz = read_npz(tmp_path / "out.npz")
    assert npz.texts == texts
    np.testing.assert_array_equal(npz.vectors, expected.vectors)
    rows = [json.loads(row) for row in done("embed", source, "-o", "-").splitlines()]
    assert [row["words"] for row in rows] == [doc.words for doc in expected]
    flat = [vector for row in rows for vector in row["vectors"]]
    np.testing.assert_array_equal(np.asarray(flat, np.float32), expected.vectors)
    pq = pytest.importorskip("pyarrow.parquet")
    done("embed", source, "-o", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.to_pylist() == expected.to_arrow().to_pylist()


def test_embed_reads_files_in_their_order_and_stdin_by_its_format(
    tmp_path: Path, vectors: str
) -> None:
    (tmp_path / "a.csv").write_text("id,body\n1,river\n")
    (tmp_path / "b.tsv").write_text("body\tid\nmoney\t1\n")
    arguments = ("embed", "-m", vectors, "--column", "body", "-o", "-")
    rows = done(*arguments, tmp_path / "a.csv", "-", tmp_path / "b.tsv", stdin="the bank\n")
    texts = [json.loads(row)["text"] for row in rows.splitlines()]
    assert texts == ["river", "the bank", "money"]
    rows = done(*arguments, "-", "--format", "jsonl", stdin='{"body": ["the", "river bank"]}')
    assert json.loads(rows)["words"] == ["the", "river bank"]


def test_embed_options_change_what_is_written(vectors: str) -> None:
    start_of = ("embed", "-m", vectors, "-", "-o", "-")
    row = json.loads(done(*start_of, "--phrase", "river bank", stdin="the river bank"))
    assert row["words"] == ["the", "river bank"]
    row = json.loads(done(*start_of, "--sentence", stdin="the river bank"))
    np.testing.assert_array_equal(
        np.float32(row["vector"]), polyseme.load(vectors).encode("the river bank")
    )
    row = json.loads(done(*start_of, "--sentence", "--normalize", stdin="the river bank"))
    assert np.linalg.norm(row["vector"]) == pytest.approx(1)
    assert "--phrase" in misused(*start_of, "--sentence", "--phrase", "river bank")


@pytest.mark.parametrize("suffix", [".npz", ".jsonl", ".parquet"])
def test_embed_tries_a_sample_and_writes_nothing(tmp_path: Path, vectors: str, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet is written with pyarrow")
    lines = [f'{{"text": "the river bank {i}"}}' for i in range(2000)]
    lines[7] = "{"
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    command = ["embed", tmp_path / "a.jsonl", "-o", tmp_path / f"out{suffix}", "-m", vectors]
    said = done(*command, "--dry-run")
    assert names_in(tmp_path) == ["a.jsonl"]
    assert said.startswith("1 file, about 2,000 rows: 7,992 vectors, ")
    assert said.endswith("by a sample of 1,000 rows, of which 1 can't be used\n")
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:7] + lines[8:]))
    done(*command)
    size = (tmp_path / f"out{suffix}").stat().st_size
    told = float(re.search(r"([\d.]+) kB", said)[1])  # type: ignore[index]
    assert 0.8 < told * 1000 / size < 1.25
    assert "stdin can be read once" in failed(
        "embed", "-", "-o", tmp_path / "b.npz", "--dry-run", "-m", vectors, stdin="a"
    )


def test_embed_leaves_no_half_file_and_keeps_the_old_one(tmp_path: Path, vectors: str) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "river"}\n{"text": "bank"\n')
    assert "in.jsonl, line 2: no JSON" in failed("embed", "-m", vectors, source, "-o", out)
    assert names_in(tmp_path) == ["in.jsonl"]
    out.write_text("mine")
    assert "--force" in failed("embed", "-m", vectors, source, "-o", out)
    failed("embed", "-m", vectors, source, "-o", out, "--force")
    assert out.read_text() == "mine"
    source.write_text('{"text": "river"}\n')
    done("embed", "-m", vectors, source, "-o", out, "--force")
    assert json.loads(out.read_text())["text"] == "river"


def test_embed_refuses_before_the_work_what_cannot_end_well(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id\n1\n")
    no_model = ("embed", "-m", tmp_path / "none")
    out = tmp_path / "out.jsonl"
    assert "no column 'text'" in failed(*no_model, source, "-o", out)
    assert "none.txt" in failed(*no_model, tmp_path / "none.txt", "-o", out)
    assert "suffix" in failed(*no_model, source, "-o", tmp_path / "out.pickle")
    same = tmp_path / "texts.jsonl"
    same.write_text("")
    assert "read and written" in failed(*no_model, same, "-o", same, "--force")
    assert "stdin" in misused(*no_model, "-", "-", "-o", out)
    assert names_in(tmp_path) == ["in.csv", "texts.jsonl"]


def test_info_says_what_the_model_is(vectors: str, minilm: Path) -> None:
    told = json.loads(done("info", "--json"))
    assert (told["rung"], told["layers"], told["width"]) == ("learned", 2, 256)
    assert told["licence"] == "apache-2.0"
    assert told["file_bytes"] > 1_000_000
    told = json.loads(done("info", vectors, "--json", "--dtype", "float64"))
    assert (told["vocabulary"], told["parameters"], told["dtype"]) == (4, 12, "float64")
    assert told["file_bytes"] == Path(vectors).stat().st_size
    assert told["licence"] is None
    shown = done("info", minilm, "--backend", "numpy")
    assert re.search(r"^parameters +22,\d{3},\d{3} *$", shown, re.M)
    assert re.search(r"^normalize +yes *$", shown, re.M)
    assert re.search(r"^max tokens +512 *$", shown, re.M)


def test_options_of_the_place_reach_the_model(vectors: str) -> None:
    assert "device is 'tpu'" in failed("info", vectors, "--device", "tpu")
    assert "backend is 'jax'" in failed("info", vectors, "--backend", "jax")
    assert "dtype is 'int4'" in failed("info", vectors, "--dtype", "int4")


def test_eval_wsd_prints_each_word_and_the_mean(tmp_path: Path, vectors: str) -> None:
    for word in ("bank", "the"):
        folder = tmp_path / word
        folder.mkdir()
        for split in ("train", "test"):
            (folder / f"{split}.data.txt").write_text(f"1\triver {word}\n0\t{word} money\n")
            (folder / f"{split}.gold.txt").write_text("0\n1\n")
    arguments = ("eval", "wsd", "--data", tmp_path, "-m", vectors)
    shown = done(*arguments)
    assert re.search(r"^bank +2 +2 +2( +1\.000){4} +0\.500 *$", shown, re.M)
    assert re.search(r"^mean( +1\.000){4} +0\.500 *$", shown, re.M)
    told = json.loads(done(*arguments, "--rung", "static", "--json"))
    assert (told["rung"], told["accuracy"]) == ("static", 0.5)
    told = json.loads(done(*arguments, "--rung", "parameter-free", "--json"))
    assert (told["rung"], told["accuracy"]) == ("parameter-free", 1.0)
    (folder / "test.gold.txt").write_text("0\nx\n")
    assert "test.gold.txt, line 2: 'x'" in failed(*arguments)


def test_version_and_debug(tmp_path: Path) -> None:
    assert done("--version") == f"polyseme {polyseme.__version__}\n"
    result = run("--debug", "info", tmp_path / "none")
    assert isinstance(result.exception, FileNotFoundError), "it is raised for its traceback"


def test_quiet_says_nothing_but_warnings(tmp_path: Path, vectors: str) -> None:
    source = tmp_path / "in.txt"
    source.write_text("river")
    out = tmp_path / "out.npz"
    assert run("--quiet", "embed", "-m", vectors, source, "-o", out).stderr == ""
    announced = tmp_path / "announced.txt"
    announced.write_text("1 2\nriver 1 2\nbank 2 3\n")
    result = run("--quiet", "info", announced)
    assert result.exit_code == 0
    assert re.fullmatch(r"polyseme: warning: .*announced\.txt.*\n", result.stderr)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_has_examples(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    help_text = done(*command, "--help")
    assert re.search(r"Examples?:", help_text)
    assert max(map(len, help_text.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_imports_no_engine(command: list[str]) -> None:
    code = (
        "import sys; from polyseme.cli import app\n"
        f"try: app({[*command, '--help']!r})\n"
        "except SystemExit: pass\n"
        "print(*{'numpy', 'torch', 'tokenizers', 'rich.table'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stderr.strip() == b""
    assert b"Usage: " in result.stdout


def test_examples_of_the_help_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("An apple a day\n")
    Path("posts.csv").write_text("body\nAn apple a day\n")
    Path("lines.jsonl").write_text('{"text": "An apple a day"}\n')
    examples = set()
    for command in COMMANDS:
        joined = done(*command, "--help").replace("\\\n", " ")
        examples |= set(
            re.findall(r"polyseme (?:compare|explain|embed|info) .*|polyseme info", joined)
        )
    examples = {line.split(" | ")[0] for line in examples if "sentence-transformers/" not in line}
    assert len(examples) >= 9
    for line in sorted(examples):
        if "parquet" in line:
            pytest.importorskip("pyarrow")
        words = shlex.split(line)[1:]
        stdin = Path("lines.jsonl").read_text() if "-" in words else None
        out = {"notes.npz", "bank.svg"} & set(words)
        done(*words, *(["--force"] if out else []), stdin=stdin)


def test_process_ends_with_status_and_one_line(tmp_path: Path) -> None:
    process = start("info", tmp_path / "none")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert re.fullmatch(rb"polyseme: error: .*none.*\n", err)
    process = start("nonsense")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, b"")
    assert b"nonsense" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupt_ends_with_130_and_leaves_no_file(tmp_path: Path, vectors: str) -> None:
    process = start("embed", "-m", vectors, "-", "-o", tmp_path / "out.jsonl")
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"the river bank\n" * 10_000)
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not sum(file.stat().st_size for file in tmp_path.iterdir()):
        assert time.monotonic() < deadline, "nothing is written while there is more to read"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    process.stdin.close()
    assert process.returncode == 130
    assert process.stderr.read() == b""
    assert names_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("texts", [1, 20_000], ids=["buffered", "much"])
def test_closed_pipe_is_quiet(tmp_path: Path, vectors: str, texts: int) -> None:
    source = tmp_path / "in.txt"
    source.write_text("the river bank\n" * texts)
    process = start("embed", "-m", vectors, source, "-o", "-")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_closed_pipe_is_quiet_for_tables_too(vectors: str) -> None:
    process = start("explain", "-m", vectors, "river bank", "bank")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1


def test_output_in_ascii_escapes_what_it_cannot_show(vectors: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    process = start("explain", "-m", vectors, "the 🏦 bank", "bank", env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"\\U0001f3e6" in out
    assert b"####" in out


def test_colour_is_for_terminals_that_want_it(
    vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("explain", "-m", vectors, "river bank", "bank")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[36m" in done(*arguments)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in done(*arguments)


def test_saved_model_keeps_its_licence(tmp_path: Path) -> None:
    polyseme.load().save_pretrained(tmp_path / "own")
    assert json.loads(done("info", tmp_path / "own", "--json"))["licence"] == "apache-2.0"
    polyseme.load(WordVectors(["a"], np.ones((1, 2), np.float32))).save_pretrained(tmp_path / "new")
    assert json.loads(done("info", tmp_path / "new", "--json"))["licence"] is None
