"""Data sets of vectors that were cut off, changed, or met a bad line: nothing lost or doubled."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("pyarrow", reason="data sets need pyarrow (extra `corpus`)")

import polyseme
from polyseme.cli import app
from polyseme.contextualizer import Contextualizer
from polyseme.corpus import Wanted, embed_corpus, estimate
from polyseme.files import WrongLineError
from tests.conftest import WORDS, write_model
from tests.test_corpus import contents, rows_of

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
KILLS = 20


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("resume") / "model")


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Contextualizer:
    return polyseme.load(model_folder, backend="numpy")


def write_rows(folder: Path, files: int, rows: int, *, bad: bool = False) -> Path:
    """Files of jsonl with random sentences; every 50th line is no JSON if asked for."""
    draw = random.Random(1)
    folder.mkdir()
    for i in range(files):
        lines = [
            json.dumps({"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 12))), "n": j})
            for j in range(rows)
        ]
        for j in range(7, rows, 50) if bad else ():
            lines[j] = lines[j][:-3]
        (folder / f"{i}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments: Any, given: str | None = None) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)), input=given)


def start(*arguments: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "polyseme", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def parts(folder: Path) -> int:
    return len(list(folder.glob("part-*.parquet")))


def command(arguments: list[str], log: Path) -> None:
    """What a process that will be killed does; its stderr goes into a file."""
    with log.open("a", buffering=1) as sys.stderr:
        app(arguments)


@posix
def test_a_run_that_is_killed_again_and_again_gives_the_same_bytes(
    model_folder: Path, tmp_path: Path
) -> None:
    read = write_rows(tmp_path / "in", 5, 1600, bad=True)
    options = ["--by", "words", "--keep", "n", "--shard-rows", 100, "--on-error", "skip"]
    options += ["-m", model_folder, "--backend", "numpy", "--log-json"]
    whole, broken, log = tmp_path / "whole", tmp_path / "broken", tmp_path / "log"
    done = run("corpus", read, "-o", whole, *options)
    assert done.exit_code == 0, done.stderr
    # Processes are forked from one that has imported everything, so that each costs little.
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload([__name__])
    arguments = [str(part) for part in ("corpus", read, "-o", broken, *options)]
    draw = random.Random(5)
    cut = 0
    for _ in range(KILLS):
        process = forked.Process(target=command, args=(arguments, log))
        before = log.stat().st_size if log.exists() else 0
        process.start()
        # At some moment after it has begun to work, or, now and then, before.
        if draw.random() < 0.8:
            while process.is_alive() and not (log.exists() and log.stat().st_size > before):
                time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.join(60)
        cut += process.exitcode == -signal.SIGKILL
    last = run("corpus", read, "-o", broken, *options)
    assert last.exit_code == 0, last.stderr
    assert cut >= KILLS // 2, "most of the runs were really cut off"
    assert contents(broken) == contents(whole)
    told = [json.loads(line) for line in (log.read_text() + last.stderr).splitlines()]
    files = [event["file"] for event in told if event["event"] == "shard"]
    assert len(files) == len(set(files)), "a shard was computed after it had been finished"
    assert any(event["event"] == "note" for event in told), "some went on from where others were"
    numbers = [row["row"] for row in rows_of(broken)]
    rejected = [json.loads(line)["row"] for line in (broken / "_rejects.jsonl").open()]
    assert sorted({*numbers, *rejected}) == list(range(8000))
    assert not set(numbers) & set(rejected)


@posix
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(model_folder: Path, tmp_path: Path) -> None:
    read = write_rows(tmp_path / "in", 2, 5000)
    command = ["corpus", read, "-o", tmp_path / "out", "--shard-rows", 100, "--log-json"]
    command += ["-m", model_folder, "--backend", "numpy"]
    process = start(*command)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read().decode()
    assert process.wait(timeout=60) == 130
    assert f"interrupted; finished parts are in {tmp_path / 'out'}" in rest.splitlines()[-1]
    assert "the same command goes on" in rest
    assert not [file for file in contents(tmp_path / "out") if file.startswith(".")]
    before = parts(tmp_path / "out")
    assert before > 0
    done = run(*command)
    assert done.exit_code == 0
    assert f"{before} shards with" in done.stderr
    assert [row["row"] for row in rows_of(tmp_path / "out")] == list(range(10_000))


def test_a_failure_anywhere_in_a_shard_is_as_if_it_had_not_begun(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off before each rename, after it, and while the rejects are written."""
    read = write_rows(tmp_path / "in", 1, 60, bad=True)
    options: dict[str, Any] = {"model": model, "shard_rows": 20, "on_error": "skip"}
    embed_corpus(read, tmp_path / "whole", **options)
    real, calls = os.fsync, 0

    def fails(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == turn:
            raise KeyboardInterrupt
        real(file)

    for turn in range(1, 9):
        out = tmp_path / f"out{turn}"
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            try:
                embed_corpus(read, out, **options)
            except KeyboardInterrupt:
                assert calls == turn
        embed_corpus(read, out, **options)
        assert contents(out) == contents(tmp_path / "whole"), turn


def test_leftovers_are_removed_and_finished_work_stays(
    model: Contextualizer, tmp_path: Path
) -> None:
    read, out = write_rows(tmp_path / "in", 1, 30), tmp_path / "out"
    embed_corpus(read, out, model=model, shard_rows=10)
    before = contents(out)
    for name in (".part-00001.parquet.tmp", "._manifest.json.123", "part-00009.parquet"):
        (out / name).write_bytes(b"half")
    (out / "_rejects.jsonl").write_bytes(b"{")
    assert embed_corpus(read, out, model=model, shard_rows=10).new_shards == 0
    assert contents(out) == before


def test_bad_line_stops_and_the_mended_file_goes_on(
    model_folder: Path, model: Contextualizer, tmp_path: Path
) -> None:
    read, out = write_rows(tmp_path / "in", 2, 30), tmp_path / "out"
    good = (read / "1.jsonl").read_text()
    lines = good.splitlines()
    lines[14] = '{"text": 3, "n": 1}'
    (read / "1.jsonl").write_text("\n".join(lines))
    command = ["corpus", read, "-o", out, "--shard-rows", 10, "--keep", "n"]
    command += ["-m", model_folder, "--backend", "numpy"]
    failed = run(*command)
    assert failed.exit_code == 1
    assert failed.stderr.startswith(
        f"polyseme: error: {read / '1.jsonl'}, line 15: 'text' is 3: it must be a string"
    )
    assert "mend the line and run the same command again" in failed.stderr
    assert parts(out) == 4
    (read / "1.jsonl").write_text(good)
    done = run(*command)
    assert done.exit_code == 0, done.stderr
    embed_corpus(read, tmp_path / "whole", model=model, shard_rows=10, keep=["n"])
    assert contents(out) == contents(tmp_path / "whole")


def test_after_a_stop_the_line_may_be_skipped_instead(
    model: Contextualizer, tmp_path: Path
) -> None:
    read, out = write_rows(tmp_path / "in", 1, 30, bad=True), tmp_path / "out"
    with pytest.raises(WrongLineError, match=r"0\.jsonl, line 8: no JSON"):
        embed_corpus(read, out, model=model, shard_rows=5)
    assert parts(out) == 1
    made = embed_corpus(read, out, model=model, shard_rows=5, on_error="skip")
    assert (made.rows, made.vectors, made.rejects, made.new_shards) == (30, 29, 1, 5)
    (told,) = [json.loads(line) for line in (out / "_rejects.jsonl").open()]
    assert told["source"] == str(read / "0.jsonl")
    assert (told["row"], told["line"]) == (7, 8)
    assert told["reason"].startswith("no JSON")
    assert [row["row"] for row in rows_of(out)] == [i for i in range(30) if i != 7]


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.txt", b"good\n\xff\ngood\n", 2, "is not UTF-8"),
        ("a.csv", b"text,n\ngood,1\nbad\ngood,2\n", 3, "1 fields, where the header has 2"),
        ("a.csv", b'text,n\ngood,1\n"ba\xff\nd",1\ngood,2\n', 3, "is not UTF-8"),
        ("a.csv", b'text,n\ngood,1\n"bad"x,1\ngood,2\n', 3, "malformed csv"),
        ("a.jsonl", b'{"text": "good"}\n{"n": 1}\n{"text": "good"}\n', 2, "no column 'text'"),
        ("a.jsonl", b'{"text": "good"}\n{"text": null}\n{"text": "good"}\n', 2, "must be a string"),
    ],
)
def test_rejected_rows_have_file_line_and_reason(  # noqa: PLR0917
    model: Contextualizer, tmp_path: Path, name: str, content: bytes, line: int, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    made = embed_corpus(tmp_path / name, tmp_path / "out", model=model, on_error="skip")
    assert (made.rows, made.vectors, made.rejects) == (3, 2, 1)
    (told,) = [json.loads(line) for line in (tmp_path / "out" / "_rejects.jsonl").open()]
    assert (told["row"], told["line"]) == (1, line)
    assert reason in told["reason"]
    assert [row["text"] for row in rows_of(tmp_path / "out")] == ["good", "good"]
    with pytest.raises(WrongLineError, match=rf"{name}, line {line}: .*{reason}"):
        embed_corpus(tmp_path / name, tmp_path / "stop", model=model)


def test_a_kept_value_of_another_type_is_a_bad_line(model: Contextualizer, tmp_path: Path) -> None:
    rows = [{"text": "a", "n": i} for i in range(5000)]
    rows[4500]["n"] = "many"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(WrongLineError, match="line 4501: 'n' is 'many', in a column of int64"):
        embed_corpus(tmp_path / "a.jsonl", tmp_path / "stop", model=model, keep=["n"])
    made = embed_corpus(
        tmp_path / "a.jsonl", tmp_path / "out", model=model, keep=["n"], on_error="skip"
    )
    assert (made.vectors, made.rejects) == (4999, 1)


def test_values_of_mixed_types_are_json(model: Contextualizer, tmp_path: Path) -> None:
    values = ["a", 1, None, {"x": [1, "é"]}]
    lines = [json.dumps({"text": "a", "n": value}) for value in values]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    embed_corpus(tmp_path / "a.jsonl", tmp_path / "out", model=model, keep=["n"])
    kept = [row["n"] for row in rows_of(tmp_path / "out")]
    assert kept == ["a", "1", None, '{"x": [1, "é"]}']


def test_changes_are_refused_by_name(
    model: Contextualizer, model_folder: Path, tmp_path: Path
) -> None:
    read, out = write_rows(tmp_path / "in", 3, 10), tmp_path / "out"
    options: dict[str, Any] = {"model": model, "shard_rows": 8}
    embed_corpus(read, out, **options)
    other = write_model(tmp_path / "other", heads=4)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"wanted": Wanted("words")}, "by was 'texts' and is 'words'"),
        ({"wanted": Wanted(store="int8")}, "store was 'float32' and is 'int8'"),
        ({"wanted": Wanted(dim=3)}, "dim was 16 and is 3"),
        ({"keep": ["n"]}, r"keep was \[\] and is \['n'\]"),
        ({"shard_rows": 9}, "shard_rows was 8 and is 9"),
        ({"model": polyseme.load(other, backend="numpy")}, "model sha256 was"),
        ({"model": polyseme.load(model_folder, dtype="float64", backend="numpy")}, "dtype was"),
    ]
    for change, message in changes:
        with pytest.raises(ValueError, match=f"another data set: .*{message}.*anew with --force"):
            embed_corpus(read, out, **(options | change))
    (read / "3.jsonl").write_text('{"text": "more"}\n')
    with pytest.raises(ValueError, match=r"the input '.*3\.jsonl' is new"):
        embed_corpus(read, out, **options)
    (read / "3.jsonl").unlink()
    with (read / "0.jsonl").open("a") as file:
        file.write('{"text": "more"}\n')
    with pytest.raises(ValueError, match=r"the input '.*0\.jsonl' has changed"):
        embed_corpus(read, out, **options)
    assert embed_corpus(read, out, **options, anew=True).rows == 31
    (out / "part-00001.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"part-00001\.parquet has 0 bytes, the manifest says"):
        embed_corpus(read, out, **options)


def test_rows_that_were_read_must_stay_in_a_file_that_is_half_done(
    model: Contextualizer, tmp_path: Path
) -> None:
    read, out = write_rows(tmp_path / "in", 1, 30, bad=True), tmp_path / "out"
    path = read / "0.jsonl"
    with pytest.raises(WrongLineError):
        embed_corpus(read, out, model=model, shard_rows=5)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(['{"text": "other"}', *lines[1:]]))
    with pytest.raises(ValueError, match=r"0\.jsonl: the first 5 rows, .* have changed"):
        embed_corpus(read, out, model=model, shard_rows=5)
    path.write_text("\n".join(lines[:3]))
    with pytest.raises(ValueError, match=r"0\.jsonl: 3 rows are left of 5"):
        embed_corpus(read, out, model=model, shard_rows=5)


def test_foreign_folders_are_left_alone(model: Contextualizer, tmp_path: Path) -> None:
    read = write_rows(tmp_path / "in", 1, 3)
    out = tmp_path / "out"
    out.mkdir()
    (out / "part-00000.parquet").write_bytes(b"mine")
    for anew in (False, True):
        with pytest.raises(FileExistsError, match=r"part-00000\.parquet' and no _manifest\.json"):
            embed_corpus(read, out, model=model, anew=anew)
    assert contents(out) == {"part-00000.parquet": b"mine"}
    with pytest.raises(NotADirectoryError, match="is a file"):
        embed_corpus(read, out / "part-00000.parquet", model=model)


def test_full_disks_and_unreadable_files_are_named(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, out = write_rows(tmp_path / "in", 1, 3), tmp_path / "out"

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    embed_corpus(read, out, model=model)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*manifest\.json'"):
            embed_corpus(read, out, model=model, anew=True)
    with monkeypatch.context() as patch:
        patch.setattr("polyseme.corpus.parts.os.fsync", full)
        patch.setattr("polyseme.corpus.manifest.write_whole", lambda path, content: None)
        with pytest.raises(OSError, match=r"No space left on device: '.*part-00000\.parquet'"):
            embed_corpus(read, tmp_path / "part", model=model)
    if os.name == "posix" and os.geteuid():
        (read / "0.jsonl").chmod(0)
        with pytest.raises(PermissionError, match=r"0\.jsonl"):
            embed_corpus(read, out, model=model)


def test_a_disk_that_is_full_is_named_and_loses_nothing(
    model_folder: Path, model: Contextualizer, tmp_path: Path
) -> None:
    """On a real file system of 128 kB, which then grows."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount(disk, "size=128k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system can't be mounted here: it takes Linux and root")
    try:
        read = write_rows(tmp_path / "in", 1, 3000)
        command = ["corpus", read, "-o", disk / "out", "--shard-rows", 500]
        command += ["-m", model_folder, "--backend", "numpy"]
        failed = run(*command)
        assert failed.exit_code == 1
        (line,) = failed.stderr.splitlines()
        assert re.search(r"out/part-\d+\.parquet: No space left on device$", line)
        before = parts(disk / "out")
        assert 0 < before < 6
        mount(disk, "remount,size=4m")
        done = run(*command)
        assert done.exit_code == 0, done.stderr
        assert f"{before} shards with" in done.stderr
        embed_corpus(read, tmp_path / "whole", model=model, shard_rows=500)
        assert contents(disk / "out") == contents(tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)


def mount(folder: Path, options: str) -> None:
    """A file system in memory."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)


@posix
def test_two_processes_do_not_write_into_one_folder(model: Contextualizer, tmp_path: Path) -> None:
    from polyseme.corpus.manifest import claimed

    read = write_rows(tmp_path / "in", 1, 3)
    with claimed(tmp_path / "out"), pytest.raises(BlockingIOError, match="another process"):
        embed_corpus(read, tmp_path / "out", model=model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": ["vector"]}, "'vector' can't be kept"),
        ({"keep": ["n", "n"]}, "'n' is to be kept twice"),
        ({"keep": ["m"]}, "no column 'm'"),
        ({"shard_rows": 0}, "shard_rows is 0"),
        ({"on_error": "hope"}, "on_error is 'hope'"),
    ],
)
def test_options_are_checked_before_anything_is_written(
    model: Contextualizer, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.csv").write_text("text,n\na,1\n")
    with pytest.raises(ValueError, match=message):
        embed_corpus(tmp_path / "a.csv", tmp_path / "out", model=model, **change)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "letters"}, "by is 'letters'"),
        ({"store": "int4"}, "store is 'int4'"),
        ({"words": frozenset(["a"])}, "is for rows by words"),
        ({"by": "words", "words": frozenset()}, "the list of words is empty"),
        ({"dim": 0}, "dim is 0"),
    ],
)
def test_what_is_wanted_is_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wanted(**options)


def test_dry_run_writes_nothing_and_is_about_right(
    model: Contextualizer, model_folder: Path, tmp_path: Path
) -> None:
    read = write_rows(tmp_path / "in", 30, 300)
    found = estimate(read, model=model, wanted=Wanted("words"), sample=600)
    assert found.files == 30
    assert 580 <= found.sampled <= 620
    assert 8500 < found.rows < 9500
    made = embed_corpus(read, tmp_path / "made", model=model, wanted=Wanted("words"))
    assert 0.8 < found.vectors / made.vectors < 1.25
    assert 0.7 < found.bytes / made.bytes < 1.5
    out = tmp_path / "out"
    done = run("corpus", read, "-o", out, "--dry-run", "-m", model_folder, "--backend", "numpy")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("30 files, about ")
    assert not out.exists()
    none = run("corpus", "-", "-o", out, "--dry-run", "-m", model_folder, given="a")
    assert "stdin can be read once" in none.stderr


def test_a_run_that_stopped_at_its_first_line_may_go_on_with_other_options(
    model: Contextualizer, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "an apple"}\n')
    out = tmp_path / "out"
    with pytest.raises(WrongLineError, match="no column 'text'; there are 'body'"):
        embed_corpus(tmp_path / "a.jsonl", out, model=model)
    assert embed_corpus(tmp_path / "a.jsonl", out, model=model, column="body").rows == 1
    with pytest.raises(ValueError, match="column was 'body' and is 'text'"):
        embed_corpus(tmp_path / "a.jsonl", out, model=model)


def test_command_keeps_words_of_a_file_and_tells_of_parts(
    model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("An apple a day\nthe doctor\n")
    (tmp_path / "words").write_text("Apple\n\n doctor\n")
    command = ["corpus", tmp_path / "notes.txt", "-o", tmp_path / "out", "--by", "words"]
    command += ["--vocab", tmp_path / "words", "-m", model_folder, "--log-json"]
    done = run(*command)
    assert done.exit_code == 0, done.stderr
    assert [row["word"] for row in rows_of(tmp_path / "out")] == ["apple", "doctor"]
    told = json.loads(done.stderr.splitlines()[0])
    assert (told["event"], told["file"]) == ("shard", "part-00000.parquet")
    assert (told["rows"], told["words"], told["vectors"]) == (2, 6, 2)
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["event"], last["rows"], last["vectors"]) == ("done", 2, 2)
    assert (last["shards"], last["new_shards"], last["rejects"]) == (1, 1, 0)
    both = run(*command, "--words", "a")
    assert both.exit_code == 2
