from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import polyseme
from polyseme.cli import app
from polyseme.evaluation import sts
from tests.fakes import FakeModel

LINE = "main\tMSRvid\t2012test\t0000\t{}\t{}\t{}\n"


def write_split(folder: Path, split: str, pairs: list[tuple[float, str, str]]) -> Path:
    path = folder / f"sts-{split}.csv"
    path.write_text("".join(LINE.format(*pair) for pair in pairs))
    return path


def slow_ranks(values: list[float]) -> list[float]:
    """Mean position, from 1, over all places that a value takes in the sorted list."""
    order = sorted(values)
    return [
        float(np.mean([i for i, other in enumerate(order, 1) if other == value]))
        for value in values
    ]


Values = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=15)


@given(Values)
def test_ranks_and_correlation_agree_with_the_slow_version(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.asarray(side, dtype=float) / 4 for side in zip(*pairs, strict=True))
    ranks = np.asarray(slow_ranks(a.tolist())), np.asarray(slow_ranks(b.tolist()))
    np.testing.assert_array_equal(sts.ranks(a), ranks[0])
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        assert sts.spearman(a, b) == 0
    else:
        assert sts.spearman(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])


@given(Values)
def test_correlation_looks_at_nothing_but_the_order(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.asarray(side, dtype=float) for side in zip(*pairs, strict=True))
    assert sts.spearman(a, b) == sts.spearman(np.exp(a), b**3)
    assert sts.spearman(a, b) == pytest.approx(-sts.spearman(-a, b))


def angle(words: list[str], i: int) -> tuple[float, float]:
    return float(np.cos(len(words))), float(np.sin(len(words)))


def test_score_is_the_rank_correlation_of_cosine_and_gold(tmp_path: Path) -> None:
    # The angle between two texts is the difference of their lengths.
    write_split(tmp_path, "dev", [(5, "a", "b"), (4, "a", "b c"), (0, "a", "b c d")])
    write_split(tmp_path, "train", [(1, "a", "b"), (2, "a", "b c"), (1.5, 'a "', "b c d e")])
    data = [sts.read_split(tmp_path), sts.read_split(tmp_path, "train")]
    result = sts.evaluate(FakeModel(2, angle), data)
    assert [(one.split, one.pairs) for one in result.splits] == [("dev", 3), ("train", 3)]
    assert result.splits[0].spearman == pytest.approx(1)
    assert result.splits[1].spearman == pytest.approx(-0.5), "a quote is no quoting"
    assert result.spearman == result.splits[0].spearman
    assert json.loads(json.dumps(result.to_dict()))["splits"][1]["split"] == "train"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINE.format(1, "a", "b") + "main\t1\ta\tb\n", "line 2: 4 fields between tabs"),
        (LINE.format("x", "a", "b"), "line 1: 'x' is no finite number"),
        (LINE.format("nan", "a", "b"), "line 1: 'nan' is no finite number"),
        (LINE.format(1, "a", "b"), "1 pairs, where a correlation needs two"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "sts-dev.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"sts-dev\.csv.*{message}"):
        sts.read_split(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"sts-train\.csv is missing"):
        sts.read_split(tmp_path, "train")


def test_command_prints_the_splits_that_are_asked_for(tmp_path: Path) -> None:
    for split in ("dev", "train"):
        write_split(tmp_path, split, [(5, "a cat", "the cat"), (0, "a cat", "my car is new")])
    arguments = ["eval", "sts", "--data", str(tmp_path)]
    shown = CliRunner().invoke(app, arguments).stdout
    assert "dev" in shown
    assert "train" not in shown
    told = json.loads(CliRunner().invoke(app, [*arguments, "--split", "train", "--json"]).stdout)
    assert [(one["split"], one["spearman"]) for one in told["splits"]] == [
        ("dev", pytest.approx(1)),
        ("train", pytest.approx(1)),
    ]
    missing = CliRunner().invoke(app, [*arguments, "--split", "test"])
    assert "sts-test.csv is missing" in missing.stderr


def test_bundled_model_on_real_pairs(shared_data: Path) -> None:
    dev = sts.read_split(shared_data / "sts")
    assert len(dev) == 1500
    result = sts.evaluate(polyseme.load().static(), [dev])
    assert result.spearman == pytest.approx(0.661, abs=0.005)
