from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from polyseme.cli import app
from polyseme.evaluation import idioms, probe
from tests.conftest import needs_sklearn
from tests.fakes import FakeModel

HEADER = ["MWE", "Previous", "Target", "Next", "Label"]
Rows = list[tuple[str, str, int]]


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows((name, "before", text, "behind,\nit", label) for name, text, label in rows)
    return path


def uses(names: list[str]) -> Rows:
    literal = [(name, f"We really saw the {name} there.", 1) for name in names]
    idiomatic = [(name, f"It is as it were a {name} again.", 0) for name in names]
    return literal + idiomatic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path / "train.csv", uses(["big wig", "cash cow", "night owl", "red tape", "wet fish"])
    )
    write(tmp_path / "dev.csv", uses(["melting pot", "brain drain"]))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("big wig", "A BIG wig and a big wig", "BIG wig"),
        ("big wig", "the bigwigs met", "bigwigs"),
        ("big wig", "some big-wigs’ club", "big-wigs’"),
        ("big wig", "big\n  wig", "big\n  wig"),
        ("double-cross", "they double crossed us", "double crossed"),
        ("fairy tale", "two fairy tales", "fairy tales"),
        ("black body", "of black bodies", "black bodies"),
        ("bad move", "he was bad moving", "bad moving"),
        ("head hunter", "the hunter lost his head", None),
        ("car park", "a scar park", None),
        ("c++ code", "see C++ code.", "C++ code"),
    ],
)
def test_expression_is_found_in_the_forms_it_takes(name: str, text: str, found: str | None) -> None:
    span = idioms.find(name, text)
    assert (None if span is None else text[slice(*span)]) == found


def test_form_as_it_stands_is_taken_before_an_inflected_one() -> None:
    text = "car parks and a car park"
    assert idioms.find("car park", text) == (16, 24)


def test_expression_that_is_not_found_is_counted_and_the_sentence_stands_in(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", [("big wig", "a wig", 1), ("big wig", "a big wig", 0)])
    read = idioms.read_uses(path)
    assert read.not_found == 1
    assert read.spans == [[(0, 5)], [(2, 9)]]


def by_second_word(words: list[str], i: int) -> tuple[float, float]:
    """A literal use's words say so; all other words of the text say the opposite."""
    mine = i in (len(words) - 4, len(words) - 3)
    return (1.0, len(words[i])) if ("really" in words) == mine else (-1.0, len(words[i]))


@needs_sklearn
def test_probe_reads_new_expressions_from_their_own_words(folder: Path) -> None:
    model = FakeModel(2, by_second_word)
    result = idioms.evaluate(model, idioms.read_folder(folder))
    assert (result.train, result.dev, result.not_found) == (10, 4, 0)
    assert (result.macro_f1, result.accuracy) == (1.0, 1.0)
    assert result.majority_f1 == pytest.approx(1 / 3), "F1 of 2/3 and of 0"
    assert json.loads(json.dumps(result.to_dict()))["macro_f1"] == 1.0
    again = idioms.evaluate(model, idioms.read_folder(folder))
    assert again == result


@needs_sklearn
def test_vectors_without_context_judge_no_better_than_one_label(folder: Path) -> None:
    static = FakeModel(2, lambda words, i: (len(words[i]), 1.0))
    result = idioms.evaluate(static, idioms.read_folder(folder))
    assert result.accuracy == 0.5, "each expression has as many literal as idiomatic uses"


def test_macro_f1_by_hand() -> None:
    gold = np.asarray([0, 0, 0, 1])
    assert idioms.macro_f1(np.asarray([0, 0, 1, 1]), gold) == pytest.approx((0.8 + 2 / 3) / 2)
    assert idioms.macro_f1(gold, gold) == 1.0
    assert idioms.macro_f1(1 - gold, gold) == 0.0


@needs_sklearn
def test_strength_is_chosen_on_groups_left_out() -> None:
    # One column tells the label; the others tell the group, in whose labels there is a trap.
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 20)
    labels = generator.integers(0, 2, 200)
    noise = generator.normal(size=(200, 60))
    features = np.concatenate([labels[:, None] + generator.normal(size=(200, 1)), noise], axis=1)
    fitted = probe.fit(features, labels, groups)
    assert fitted.strength < 0.1, "held back, as most columns say nothing"
    np.testing.assert_array_equal(
        probe.fit(features, labels, groups).predict(features), fitted.predict(features)
    )
    clean = np.repeat(labels[:, None] * 2.0, 3, axis=1)
    assert probe.fit(clean, labels, groups).strength == max(probe.STRENGTHS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "MWE,Target\nbig wig,a big wig\n",
            r"line 1: no column 'Label'; there are 'MWE', 'Target'",
        ),
        ("MWE,Target,Label\nbig wig,a big wig\n", r"line 2: 2 fields, where the header has 3"),
        ("MWE,Target,Label\nx,a x,0\nx,a x,2\n", r"line 3: the Label '2' is neither"),
        ('MWE,Target,Label\n"x","a\nx",0\nx,,0\n', r"line 4: the Target '' has no word"),
        ("MWE,Target,Label\n ,a x,0\n", r"line 2: the MWE ' ' has no word"),
        ('MWE,Target,Label\nx,"a" x,0\n', r"line 2: malformed csv"),
        ("", "line 1: an empty file"),
        ("MWE,Target,Label\n", "is empty: at least one use"),
    ],
)
def test_errors_name_file_and_line(folder: Path, content: str, message: str) -> None:
    (folder / "dev.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"dev\.csv.*{message}"):
        idioms.read_folder(folder)


def test_expression_in_both_parts_is_refused(folder: Path) -> None:
    write(folder / "dev.csv", uses(["Red Tape"]))
    with pytest.raises(ValueError, match=r"'red tape' is in train\.csv and in dev\.csv"):
        idioms.read_folder(folder)
    (folder / "dev.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"dev\.csv is missing"):
        idioms.read_folder(folder)


def test_training_data_that_can_fit_nothing_is_refused(folder: Path) -> None:
    write(folder / "train.csv", [("big wig", "a big wig", 1), ("red tape", "red tape", 1)])
    with pytest.raises(ValueError, match=r"train\.csv: two expressions and both labels"):
        idioms.read_folder(folder)


def test_missing_sklearn_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    failed = CliRunner().invoke(app, ["eval", "idioms", "--data", str(folder)])
    assert failed.exit_code == 1
    assert 'pip install "polyseme[train]"' in failed.stderr


@needs_sklearn
def test_command_prints_table_and_json(folder: Path) -> None:
    arguments = ["eval", "idioms", "--data", str(folder)]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["task"], told["train"], told["dev"]) == ("idioms", 10, 4)
    shown = CliRunner().invoke(app, arguments).stdout
    assert f"{told['macro_f1']:.3f}" in shown
    assert "not found" in shown


def test_expressions_are_found_in_the_real_data(shared_data: Path) -> None:
    train, dev = idioms.read_folder(shared_data / "idioms")
    assert (len(train), len(dev)) == (2664, 663)
    assert (train.not_found, dev.not_found) == (0, 0)
