"""`polyseme train task` and `polyseme predict`, as a user calls them."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("sklearn", reason="tasks are learned with scikit-learn")

import polyseme
from polyseme.cli import app
from polyseme.files import source
from polyseme.tasks.records import Columns, records
from tests.test_tasks import MONEY, SENSES, SHORE

TEXTS = [text.format("bank") for text in SHORE + MONEY]
HEAD = ["--train", "head"]


def run(*arguments: Any, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["-q", *map(str, arguments)], input=given)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "senses.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sentence", "word", "from", "to", "sense", "topic"])
        for i, (text, sense) in enumerate(zip(TEXTS, SENSES, strict=True)):
            start = text.index("bank")
            writer.writerow([text, "bank", start, start + 4, sense, i % 4])
    return path


SPANS = ["--kind", "spans", "--text", "sentence", "--label", "sense"]


def test_spans_are_learned_and_said(rows: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    command = ["train", "task", rows, *SPANS, "--span", "word", "-o", made, *HEAD]
    result = run(*command, "--group", "topic", "--dev", rows, "--held-out", 0.3)
    assert result.exit_code == 0, result.stderr
    assert "held out: accuracy" in result.stdout
    assert "dev: accuracy" in result.stdout
    assert "money" in result.stdout
    assert polyseme.load(made).rung == "learned"
    said = run(
        "predict", rows, "--task", made, "--text", "sentence", "--start", "from", "--end", "to"
    )
    assert said.exit_code == 0, said.stderr
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert len(lines) == 12
    assert lines[0]["place"] == f"{rows}, line 2"
    assert set(lines[0]["probabilities"]) == {"money", "shore"}
    assert sum(line["label"] == sense for line, sense in zip(lines, SENSES, strict=True)) >= 9
    out = tmp_path / "said.jsonl"
    again = run("predict", rows, "--task", made, "--text", "sentence", "--span", "word", "-o", out)
    assert again.exit_code == 0, again.stderr
    assert out.read_text() == said.stdout
    refused = run(*command)
    assert "holds a trained task: name another folder, or use --force" in refused.stderr
    assert run(*command, "--force", "--json").exit_code == 0


def test_rows_that_cannot_be_used_are_listed_by_line(rows: Path, tmp_path: Path) -> None:
    with rows.open("a") as file:
        file.write("A river,bank,0,1,shore,1\n,bank,0,1,shore,1\n")
    command = ["train", "task", rows, *SPANS, "--span", "word", *HEAD, "-o", tmp_path / "made"]
    result = run(*command)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "polyseme: error: 2 of 14 examples can't be used (--on-error skip leaves them out): "
        f"{rows}, line 14: 'bank' is not in its text; {rows}, line 15: the text is empty"
    )
    assert not (tmp_path / "made").exists()
    done = CliRunner().invoke(app, [*map(str, command), "--on-error", "skip"])
    assert done.exit_code == 0, done.stderr
    assert "2 of 14 examples can't be used, left out" in done.stderr
    call = ["predict", rows, "--task", tmp_path / "made", "--text", "sentence", "--span", "word"]
    stopped = run(*call)
    assert (stopped.exit_code, stopped.stdout) == (1, "")
    assert f"{rows}, line 14" in stopped.stderr
    lines = [json.loads(line) for line in run(*call, "--on-error", "skip").stdout.splitlines()]
    assert len(lines) == 14
    assert lines[12] == {"place": f"{rows}, line 14", "error": "'bank' is not in its text"}
    assert "label" in lines[11]


def test_texts_words_and_pairs(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(
            json.dumps({"text": text, "label": [sense] if i else []}) + "\n"
            for i, (text, sense) in enumerate(zip(TEXTS, SENSES, strict=True))
        )
    )
    made = tmp_path / "texts"
    assert run("train", "task", texts, "--kind", "texts", "-o", made, *HEAD).exit_code == 0
    plain = run("predict", "-", "--task", made, given="the river\nthe loan\n")
    assert [json.loads(line)["place"] for line in plain.stdout.splitlines()] == [
        "stdin, line 1",
        "stdin, line 2",
    ]
    words = tmp_path / "words.tsv"
    words.write_text("text\tlabel\n" + "Ann sings\tB O\nBob met Carol\tB O B\n" * 4)
    made = tmp_path / "words"
    assert run("train", "task", words, "--kind", "words", "-o", made, *HEAD).exit_code == 0
    said = run("predict", words, "--task", made).stdout.splitlines()
    assert json.loads(said[1])["label"] == ["B", "O", "B"]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        "".join(
            json.dumps({"text": a, "second": b, "label": str(1.5 * (i < 6))}) + "\n"
            for i, (a, b) in enumerate(zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True))
        )
    )
    made = tmp_path / "pairs"
    done = run("train", "task", pairs, "--kind", "pairs", "--scores", "-o", made, *HEAD)
    assert done.exit_code == 0, done.stderr
    assert set(json.loads(run("predict", pairs, "--task", made).stdout.splitlines()[0])) == {
        "place",
        "score",
    }


def test_the_confusion_matrix_is_drawn(rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    command = ["train", "task", rows, *SPANS, "--span", "word", *HEAD, "-o", tmp_path / "made"]
    result = run(*command, "--plot", tmp_path / "confusion.png", "--held-out", 0.4)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "spans", "--text", "no"], "no column 'no'; there are 'sentence', 'word'"),
        ([*SPANS, "--span", "word", "--start", "from"], "a span is a column of words, or two of"),
        ([*SPANS, "--span", "word", "--scores"], "--scores is for pairs"),
        (
            ["--kind", "texts", "--text", "sentence", "--span", "word"],
            "has no spans: leave out word",
        ),
        (
            [
                "--kind",
                "pairs",
                "--text",
                "sentence",
                "--scores",
                "--second",
                "word",
                "--label",
                "sense",
            ],
            "line 2: the score 'shore' is no number",
        ),
    ],
)
def test_wrong_options_are_named(
    options: list[str], message: str, rows: Path, tmp_path: Path
) -> None:
    result = run("train", "task", rows, *options, "-o", tmp_path / "made", *HEAD)
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "made").exists()


def test_labels_of_dev_must_be_learnable(rows: Path, tmp_path: Path) -> None:
    dev = tmp_path / "dev.csv"
    dev.write_text("sentence,word,sense\nThe bank of a couch,bank,sofa\n")
    result = run(
        "train",
        "task",
        rows,
        *SPANS,
        "--span",
        "word",
        "--dev",
        dev,
        "-o",
        tmp_path / "made",
        *HEAD,
    )
    assert f"{dev}, line 2: no example to learn from has the label 'sofa'" in result.stderr


def test_a_missing_task_and_texts_without_labels_are_said(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("one\n")
    assert "holds no trained task" in run("predict", text, "--task", tmp_path).stderr
    made = run("train", "task", text, "--kind", "texts", "-o", tmp_path / "made", *HEAD)
    assert "a txt file has no labels" in made.stderr


def test_records_of_parquet_are_those_of_jsonl(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"a": "the bank", "s": 4, "e": 8, "y": "x"}, {"a": "a bank", "s": 2, "e": 6, "y": "z"}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "r.parquet")
    columns = Columns("a", start="s", end="e", label="y")
    found = [
        [
            (r.example, r.label)
            for r in records([source(str(tmp_path / name), None, "a")], "spans", columns)
        ]
        for name in ("r.jsonl", "r.parquet")
    ]
    assert found[0] == found[1] == [(("the bank", 4, 8), "x"), (("a bank", 2, 6), "z")]


def test_an_interrupted_training_is_not_overwritten(rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="layers are trained with torch")
    made = tmp_path / "made"
    made.mkdir()
    (made / "state.safetensors").write_bytes(b"")
    command = ["train", "task", rows, *SPANS, "--span", "word", "-o", made, "--epochs", 1]
    result = run(*command)
    assert "go on with --resume, or start again with --force" in result.stderr
    assert run(*command, "--force", "--device", "cpu").exit_code == 0
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md",
        "config.json",
        "head.safetensors",
        "metrics.jsonl",
        "model.safetensors",
        "task.json",
        "tokenizer.json",
    ]


def test_an_interrupted_command_says_how_to_go_on_and_does(rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="layers are trained with torch")
    command = [sys.executable, "-m", "polyseme", "-q", "train", "task", str(rows), *SPANS]
    command += ["--span", "word", "--device", "cpu", "--patience", "200", "--held-out", "0.3"]

    def made(name: str, epochs: str) -> list[str]:
        return [*command, "-o", str(tmp_path / name), "--epochs", epochs]

    broken = subprocess.Popen(made("broken", "80"), stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "broken" / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    broken.send_signal(signal.SIGINT)
    _, said = broken.communicate(timeout=60)
    assert broken.returncode == 130, said
    assert "--resume goes on" in said
    resumed = subprocess.run([*made("broken", "80"), "--resume"], capture_output=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    whole = subprocess.run(made("whole", "80"), capture_output=True, check=False)
    assert whole.returncode == 0, whole.stderr
    for name in ("model.safetensors", "head.safetensors", "task.json"):
        first, second = ((tmp_path / run / name).read_bytes() for run in ("broken", "whole"))
        assert first == second, name
