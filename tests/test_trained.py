"""Tasks that are learned before they are measured, and the command that does it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("sklearn", reason="tasks are learned with scikit-learn")

import polyseme
from polyseme.cli import app
from polyseme.evaluation import idioms, trained, wic
from tests.test_idioms import uses, write

WORDS = ["bank", "bass", "seal", "mole", "spring", "crane"]


def pairs(path: Path, split: str) -> None:
    lines, gold = [], []
    for i, word in enumerate(WORDS if split == "train" else WORDS[:2]):
        for same in (True, False):
            first = f"the {word} of the river"
            second = f"a {word} by a lake" if same else f"a {word} in a bank note {i}"
            lines.append(f"{word}\tN\t1-1\t{first}\t{second}\n")
            gold.append("T\n" if same else "F\n")
    (path / f"{split}.data.txt").write_text("".join(lines))
    (path / f"{split}.gold.txt").write_text("".join(gold))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ["big wig", "cash cow", "night owl", "red tape", "wet fish", "hot dog"]
    write(tmp_path / "train.csv", uses(names))
    write(tmp_path / "dev.csv", uses(["melting pot", "brain drain"]))
    for split in ("train", "dev"):
        pairs(tmp_path, split)
    return tmp_path


def test_pairs_have_their_words_by_characters(folder: Path) -> None:
    data, _ = wic.read_folder(folder)
    assert data.words[:3] == ["bank", "bank", "bass"]
    for side in zip(*trained.pairs_of(data), strict=True):
        assert [text[start:end] for text, start, end in side] == data.words


def test_idioms_are_learned_from_train_and_measured_on_dev(folder: Path) -> None:
    model = polyseme.load()
    result, task = trained.idioms(model, idioms.read_folder(folder), "head")
    assert (result.task, result.trained, result.train, result.dev) == ("idioms", "head", 12, 4)
    assert result.macro_f1 == 1.0
    assert task.model_.name == model.name
    assert result.loss == []


@pytest.mark.parametrize("task", ["idioms", "wic"])
def test_the_command_prints_table_and_json(folder: Path, task: str) -> None:
    arguments = ["-q", "eval", task, "--data", str(folder), "--train", "head"]
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout)["trained"] == "head"
    shown = CliRunner().invoke(app, arguments).stdout
    assert f"{json.loads(told.stdout)['accuracy']:.3f}" in shown
    assert "on 12 examples" in shown


def test_another_library_s_model_is_not_trained(folder: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="for comparison only")
    command = ["eval", "idioms", "--data", str(folder), "--train", "head", "-m", "x"]
    result = CliRunner().invoke(app, [*command, "--library", "sentence-transformers"])
    assert result.exit_code != 0
