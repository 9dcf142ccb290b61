from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import polyseme
from polyseme.cli import app
from polyseme.evaluation import wic
from tests.fakes import FakeModel

ANGLES = {"same": 0.1, "near": 0.4, "far": 1.5}


def write_split(folder: Path, split: str, pairs: list[tuple[str, str, str]]) -> None:
    folder.mkdir(exist_ok=True)
    data = "".join(f"x\tN\t0-1\tx a .\t{word} x .\n" for _, word, _ in pairs)
    (folder / f"{split}.data.txt").write_text(data)
    (folder / f"{split}.gold.txt").write_text("".join(f"{gold}\n" for *_, gold in pairs))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_split(tmp_path, "train", [("x", "same", "T"), ("x", "near", "T"), ("x", "far", "F")])
    write_split(
        tmp_path,
        "dev",
        [("x", "same", "T"), ("x", "near", "F"), ("x", "far", "F"), ("x", "far", "T")],
    )
    return tmp_path


@pytest.fixture
def model() -> FakeModel:
    """The word x points another way behind each word; all other words point nowhere near it."""

    def vector(words: list[str], i: int) -> tuple[float, float]:
        if words[i] != "x":
            return (0.0, -1.0)
        angle = ANGLES[words[0]] if i else 0.0
        return (float(np.cos(angle)), float(np.sin(angle)))

    return FakeModel(2, vector)


def test_threshold_is_from_train_and_accuracy_from_dev(folder: Path, model: FakeModel) -> None:
    result = wic.evaluate(model, wic.read_folder(folder))
    assert result.train_accuracy == 1.0
    assert result.threshold == pytest.approx((np.cos(0.4) + np.cos(1.5)) / 2, abs=1e-6)
    assert result.accuracy == 2 / 4, "right: same and the first far"
    assert result.majority == 2 / 4, "T is more frequent in train"
    assert (result.train, result.dev) == (3, 4)
    assert json.loads(json.dumps(result.to_dict()))["accuracy"] == 0.5


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=12))
def test_no_other_threshold_is_right_more_often(given_pairs: list[tuple[int, bool]]) -> None:
    cosines = np.asarray([value / 5 for value, _ in given_pairs])
    same = np.asarray([gold for _, gold in given_pairs])
    found = np.mean((cosines >= wic.best_threshold(cosines, same)) == same)
    others = [*(cosines - 0.01), *(cosines + 0.01), -2, 2]
    assert found == max(np.mean((cosines >= other) == same) for other in others)


def test_equal_vectors_give_equal_cosines_in_spite_of_rounding() -> None:
    generator = np.random.default_rng(0)
    of = {str(i): generator.normal(size=50) for i in range(40)}
    model = FakeModel(50, lambda words, i: of[words[i]])
    uses = [[name] for name in of] * 2
    pairs = wic.Pairs(uses, np.zeros(80, np.int64), np.ones(40, bool), ["w"] * 40)
    assert set(wic.cosines_of(model, pairs).tolist()) == {1.0}


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("dev.data.txt", "x\tN\t0-9\tx a\ta x\n", ValueError, "dev.data.txt, line 1: position 9"),
        ("dev.data.txt", "x\tN\t0\tx a\ta x\n", ValueError, "line 1: '0' is no pair of positions"),
        ("dev.data.txt", "x\tN\t0-b\tx a\ta x\n", ValueError, "line 1: 'b' is no integer"),
        ("dev.data.txt", "x\tN\t0-1\tx a\n", ValueError, "line 1: 4 fields between tabs"),
        ("dev.data.txt", "", ValueError, r"dev.gold.txt has 4 lines and .*dev.data.txt 0"),
        ("dev.gold.txt", "T\nF\nX\nF\n", ValueError, "dev.gold.txt, line 3: 'X' is neither"),
        ("train.gold.txt", b"\xff\n", ValueError, "train.gold.txt, line 1: not UTF-8"),
        ("train.gold.txt", None, FileNotFoundError, "train.gold.txt is missing"),
    ],
)
def test_errors_name_file_and_line(
    folder: Path, file: str, content: str | bytes | None, error: type[Exception], message: str
) -> None:
    path = folder / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        wic.read_folder(folder)


def test_split_without_pairs_is_refused(folder: Path) -> None:
    write_split(folder, "dev", [])
    with pytest.raises(ValueError, match=r"dev\.data\.txt is empty"):
        wic.read_folder(folder)


def test_command_prints_table_and_json(folder: Path) -> None:
    arguments = ["eval", "wic", "--data", str(folder)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "polyseme-small (learned)" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*arguments, "--rung", "static", "--json"]).stdout)
    assert (told["task"], told["rung"]) == ("wic", "static")
    static = CliRunner().invoke(app, [*arguments, "--rung", "static"]).stdout
    assert re.search(rf"^accuracy +{told['accuracy']:.3f} ", static, re.M)
    (folder / "dev.gold.txt").unlink()
    failed = CliRunner().invoke(app, arguments)
    assert failed.exit_code == 1
    assert "dev.gold.txt is missing" in failed.stderr


def test_static_vectors_know_next_to_nothing_on_real_pairs(shared_data: Path) -> None:
    pairs = wic.read_folder(shared_data / "wic")
    assert (len(pairs[0]), len(pairs[1])) == (5428, 638)
    result = wic.evaluate(polyseme.load().static(), pairs)
    assert result.accuracy == pytest.approx(0.522, abs=0.005)
    assert result.majority == 0.5
