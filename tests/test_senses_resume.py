"""Indexes that were cut off, appended to or meddled with: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lancedb", reason="senses need LanceDB (extra `search`)")
pytest.importorskip("sklearn", reason="senses need scikit-learn (extra `search`)")

import polyseme
from polyseme.contextualizer import Contextualizer
from polyseme.files import WrongLineError
from polyseme.senses import SenseIndex, arranging, build_index, building
from polyseme.senses.state import State
from tests.conftest import WORDS, write_model

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
KILLS = 4


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("resume") / "model")


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Contextualizer:
    return polyseme.load(model_folder, backend="numpy")


def write_rows(folder: Path, files: int, rows: int, seed: int = 1) -> Path:
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(files):
        lines = [
            json.dumps(
                {"text": " ".join(["apple", *draw.choices(WORDS, k=8)][: j % 9 + 1]), "n": j}
            )
            for j in range(rows)
        ]
        (folder / f"{seed}-{i}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def contents(folder: Path, model: Contextualizer) -> list[tuple[Any, ...]]:
    """All that an index holds, whatever the ids of its texts."""
    opened = SenseIndex.open(folder, model)
    texts = opened._tables.texts.to_arrow().to_pylist()
    assert [row["id"] for row in texts] == list(range(len(texts)))
    found = []
    rows = opened._tables.of_words(list(opened.words)).to_pylist()
    assert len(rows) == len(opened)
    for row in rows:
        text = texts[row["text"]]
        assert text["text"][row["start"] : row["end"]].casefold() == row["word"]
        place = (text["source"], text["line"], row["start"])
        found.append((row["word"], *place, row["n"], tuple(row["vector"])))
    groups = opened._tables.groups.to_arrow()
    assert sum(groups["size"].to_pylist()) == len(found)
    return sorted(found)


@posix
def test_a_run_that_is_killed_again_and_again_loses_and_doubles_nothing(
    model_folder: Path, model: Contextualizer, tmp_path: Path
) -> None:
    read = write_rows(tmp_path / "in", 5, 400)
    build_index(read, tmp_path / "whole", model=model, keep=["n"])
    broken = tmp_path / "broken"
    code = (
        "import polyseme; from polyseme.senses import build_index; "
        f"model = polyseme.load({str(model_folder)!r}, backend='numpy'); print('on', flush=True); "
        f"build_index({str(read)!r}, {str(broken)!r}, model=model, keep=['n'], shard_rows=60)"
    )
    draw = random.Random(3)
    cut, seen = 0, [0]
    for _ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        # Until something more is committed, and then some moment more.
        for _ in range(600):
            state = broken / "index.json"
            rows = json.loads(state.read_text())["rows"] if state.exists() else 0
            if rows > seen[-1] or process.poll() is not None:
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        cut += process.wait(timeout=60) == -signal.SIGKILL
        seen.append(json.loads((broken / "index.json").read_text())["rows"])
    assert cut >= KILLS // 2, "most of the runs were really cut off"
    assert seen == sorted(seen), "what was committed stayed"
    build_index(read, broken, model=model, keep=["n"], shard_rows=60)
    assert contents(broken, model) == contents(tmp_path / "whole", model)


def test_a_failure_at_any_step_is_as_if_the_step_had_not_begun(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off before and after each write of the state, and before each table is finished."""
    read = write_rows(tmp_path / "in", 2, 30)
    options: dict[str, Any] = {"model": model, "keep": ["n"], "shard_rows": 25}
    build_index(read, tmp_path / "whole", **options)
    expected = contents(tmp_path / "whole", model)
    real = State.save

    def saves(state: State) -> None:
        nonlocal calls
        calls += 1
        if calls == turn and before:
            raise KeyboardInterrupt
        real(state)
        if calls == turn:
            raise KeyboardInterrupt

    for turn in range(1, 6):
        for before in (True, False):
            folder = tmp_path / f"out{turn}{before}"
            calls = 0
            with monkeypatch.context() as patch:
                patch.setattr(State, "save", saves)
                with pytest.raises(KeyboardInterrupt):
                    build_index(read, folder, **options)
            build_index(read, folder, **options)
            assert contents(folder, model) == expected, (turn, before)
            assert not (folder / "incoming.lance").exists()
            assert len(list(folder.glob("vectors-*.npy"))) == 1

    index = arranging._index

    def fails(table: Any) -> None:
        index(table)
        if table.name == which:
            raise KeyboardInterrupt

    for which in ("incoming", "occurrences"):
        folder = tmp_path / which
        with monkeypatch.context() as patch:
            patch.setattr(arranging, "_index", fails)
            with pytest.raises(KeyboardInterrupt):
                build_index(read, folder, **options)
        with pytest.raises(ValueError, match="was cut off while it was made, with 60 rows read"):
            SenseIndex.open(folder, model)
        build_index(read, folder, **options)
        assert contents(folder, model) == expected


def test_files_are_added_and_those_that_are_in_are_left_out(
    model: Contextualizer, tmp_path: Path
) -> None:
    first, both = write_rows(tmp_path / "in", 2, 40), tmp_path / "in"
    folder = tmp_path / "index"
    build_index(first, folder, model=model, keep=["n"])
    opened = SenseIndex.open(folder, model)
    before = len(opened)
    word = next(iter(opened.words))
    found = opened.words[word]
    write_rows(both, 1, 40, seed=2)
    notes: list[str] = []
    made = build_index(both, folder, model=model, note=notes.append)
    assert notes == [f"2 of 3 files are in {folder} already"]
    assert made.new_texts == 40
    assert len(opened) == before + made.new_occurrences > before, "an open index sees what is new"
    assert opened.words[word] > found
    assert len(opened.search(word, word, 10_000)) == opened.words[word]
    build_index(both, tmp_path / "whole", model=model, keep=["n"])
    assert contents(folder, model) == contents(tmp_path / "whole", model)
    again = build_index(both, folder, model=model)
    assert (again.new_texts, again.new_occurrences) == (0, 0)


def test_senses_that_are_labelled_stay_when_files_are_added(
    model: Contextualizer, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    build_index(write_rows(tmp_path / "in", 1, 60), folder, model=model)
    opened = SenseIndex.open(folder, model)
    labelled = opened.label("apple", {1: "fruit"})
    build_index(write_rows(tmp_path / "in", 1, 60, seed=2), folder, model=model)
    after = SenseIndex.open(folder, model).senses("apple")
    assert [sense.label for sense in after] == [sense.label for sense in labelled]
    assert sum(sense.size for sense in after) > sum(sense.size for sense in labelled)


def test_a_file_that_has_changed_is_refused(model: Contextualizer, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("an apple\n")
    build_index(file, tmp_path / "index", model=model)
    file.write_text("an apple\na doctor\n")
    with pytest.raises(ValueError, match="has changed since"):
        build_index(file, tmp_path / "index", model=model)
    assert build_index(file, tmp_path / "index", model=model, anew=True).texts == 2


def test_a_file_that_was_begun_must_go_on(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = write_rows(tmp_path / "in", 1, 60)
    other = tmp_path / "other.txt"
    other.write_text("an apple\n")
    folder = tmp_path / "index"
    real = building._Writer.commit

    def once(writer: Any) -> None:
        real(writer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building._Writer, "commit", once)
        with pytest.raises(KeyboardInterrupt):
            build_index(read, folder, model=model, shard_rows=25)
    with pytest.raises(ValueError, match=r"has the first 25 rows of .* name this file too"):
        build_index(other, folder, model=model)
    (file,) = read.iterdir()
    made = build_index([other, read], folder, model=model)
    assert made.texts == 61
    sources = SenseIndex.open(folder, model)._tables.texts.to_arrow()["source"].to_pylist()
    assert sources == [str(file)] * 60 + [str(other)]


def test_options_must_be_those_of_the_index(model: Contextualizer, tmp_path: Path) -> None:
    read = write_rows(tmp_path / "in", 1, 5)
    build_index(read, tmp_path / "index", model=model, words=["apple"], keep=["n"])
    for options, said in (
        ({"words": ["day"]}, "made with words"),
        ({"keep": []}, "made with keep"),
        ({"store": "float16"}, "made with store 'int8', not 'float16'"),
    ):
        with pytest.raises(ValueError, match=said):
            build_index(read, tmp_path / "index", model=model, **options)
    for options, said in (
        ({"words": []}, "words is empty"),
        ({"keep": ["word"]}, "can't be kept"),
        ({"keep": ["n", "n"]}, "kept twice"),
        ({"store": "int4"}, "store is 'int4'"),
        ({"shard_rows": 0}, "shard_rows is 0"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
    ):
        with pytest.raises(ValueError, match=said):
            build_index(read, tmp_path / "new", model=model, **options)
    with pytest.raises(TypeError, match="not one str"):
        build_index(read, tmp_path / "new", model=model, words="apple")
    assert not (tmp_path / "new").exists()


def test_folders_that_are_no_index(model: Contextualizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("an apple\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.md").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds 'thesis.md'"):
        build_index(tmp_path / "a.txt", tmp_path / "own", model=model, anew=True)
    assert (tmp_path / "own" / "thesis.md").exists()
    with pytest.raises(FileNotFoundError, match="holds no index"):
        SenseIndex.open(tmp_path / "own")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="no index that this version reads"):
        SenseIndex.open(tmp_path / "broken")
    (tmp_path / "broken" / "index.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"another version of polyseme.*anew with --force"):
        build_index(tmp_path / "a.txt", tmp_path / "broken", model=model)
    assert build_index(tmp_path / "a.txt", tmp_path / "broken", model=model, anew=True).texts == 1


def test_bad_lines_stop_or_are_left_out(model: Contextualizer, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "an apple"}\n{"text": 3}\n{"text": "a doctor"}\n')
    with pytest.raises(WrongLineError):
        build_index(file, tmp_path / "index", model=model)
    made = build_index(file, tmp_path / "index", model=model, on_error="skip")
    assert (made.texts, made.rejects) == (2, 1)
