"""Data sets that workers compute: the local engine's bytes, whatever is lost on the way.

This is on a stand-in for Ray whose workers finish and die by chance; test_corpus_cluster.py is on
a real one.
"""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="data sets need pyarrow (extra `corpus`)")

import polyseme
from polyseme.contextualizer import Contextualizer
from polyseme.corpus import RayCluster, Wanted, embed_corpus, on_ray
from polyseme.corpus.manifest import NAME
from polyseme.execution import Place
from polyseme.files import WrongLineError
from tests.conftest import write_model
from tests.test_corpus import contents
from tests.test_corpus_resume import parts, run, write_rows

SHARD_ROWS = 100
OPTIONS: dict[str, Any] = {
    "wanted": Wanted("words"),
    "keep": ["n"],
    "shard_rows": SHARD_ROWS,
    "on_error": "skip",
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("ray") / "model")


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Contextualizer:
    return polyseme.load(model_folder, backend="numpy")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,010 rows in 3 files, of which every 50th is bad: 21 shards, the last one short."""
    return write_rows(tmp_path_factory.mktemp("texts") / "in", 3, 670, bad=True)


@pytest.fixture(scope="module")
def expected(
    texts: Path, model: Contextualizer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What the local engine makes of them."""
    out = tmp_path_factory.mktemp("local") / "out"
    assert embed_corpus(texts, out, model=model, **OPTIONS).shards == 21
    return contents(out)


class LostError(Exception):
    """As Ray's error of a worker that is gone."""


class RaisedError(LostError):
    """As Ray's error of a worker's code."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a traceback")
        self.cause = cause


class Reference:
    """What will be there one day."""

    value: Any = None
    error: Exception | None = None


class Actor:
    """A worker whose calls run one after the other, when the stand-in comes to them."""

    def __init__(self, ray: StandIn) -> None:
        self.worker = on_ray._Worker()
        self.calls: list[tuple[Reference, str, tuple[Any, ...]]] = []
        self.alive = True
        ray.actors.append(self)
        self.open = SimpleNamespace(remote=lambda *given: self.call("open", given))
        self.make = SimpleNamespace(remote=lambda *given: self.call("make", given))

    def call(self, name: str, given: tuple[Any, ...]) -> Reference:
        reference = Reference()
        if not self.alive:
            reference.error = LostError()
        self.calls.append((reference, name, given))
        return reference


class StandIn:
    """The few functions of Ray that the engine calls, in one process, in an order of chance."""

    exceptions = SimpleNamespace(RayError=LostError, RayTaskError=RaisedError)

    def __init__(self, seed: int = 0, loss: float = 0.0, deadly: str = "") -> None:
        self.draw = random.Random(seed)
        self.loss = loss
        self.deadly = deadly
        self.actors: list[Actor] = []
        self.options_given: dict[str, Any] = {}
        self.put_rows = self.losses = 0

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 3.0, "GPU": 1.0}

    def remote(self, worker: type) -> Any:
        def options(**given: Any) -> Any:
            self.options_given = given
            return SimpleNamespace(remote=lambda: Actor(self))

        return SimpleNamespace(options=options)

    def put(self, value: Any) -> Any:
        self.put_rows += len(value) if isinstance(value, list) else 0
        return pickle.dumps(value)

    def wait(self, pending: list[Any], num_returns: int, timeout: float) -> Any:
        assert pending
        failed = [reference for reference in pending if reference.error]
        if failed:
            return failed[:1], []
        actor = self.draw.choice([a for a in self.actors if a.calls and a.calls[0][0] in pending])
        reference, name, given = actor.calls[0]
        if name == self.deadly or self.draw.random() < self.loss:
            self.losses += 1
            self.kill(actor)
            return [reference], []
        actor.calls.pop(0)
        given = tuple(pickle.loads(x) if isinstance(x, bytes) else x for x in given)
        try:
            made = getattr(actor.worker, name)(*given)
            reference.value = pickle.loads(pickle.dumps(made))
        except Exception as error:
            reference.error = RaisedError(pickle.loads(pickle.dumps(error)))
        return [reference], []

    def get(self, reference: Reference) -> Any:
        if reference.error is not None:
            raise reference.error
        return reference.value

    def kill(self, actor: Actor) -> None:
        actor.alive = False
        for reference, _, _ in actor.calls:
            reference.error = LostError()


def stand_in(monkeypatch: pytest.MonkeyPatch, **options: Any) -> StandIn:
    made = StandIn(**options)
    monkeypatch.setattr(on_ray, "require_ray", lambda: made)
    return made


@pytest.mark.parametrize("seed", range(6))
def test_workers_that_die_by_chance_make_the_same_bytes(  # noqa: PLR0917
    seed: int,
    texts: Path,
    model: Contextualizer,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = stand_in(monkeypatch, seed=seed, loss=0.1)
    told: list[str] = []
    made = embed_corpus(
        texts,
        tmp_path / "out",
        model=model,
        cluster=RayCluster(workers=1 + seed % 4),
        finished=lambda shard, seconds: told.append(shard.file),
        **OPTIONS,
    )
    assert ray.losses
    assert contents(tmp_path / "out") == expected
    assert told == sorted(set(told))
    assert (made.shards, made.new_shards, made.rows) == (21, 21, 2010)
    assert not any(actor.alive for actor in ray.actors)


def test_no_more_is_read_than_workers_need(
    texts: Path, model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = stand_in(monkeypatch)
    ahead: list[int] = []
    written = 0

    def finished(shard: Any, seconds: float) -> None:
        nonlocal written
        ahead.append(ray.put_rows - written)
        written += shard.rows

    embed_corpus(
        texts,
        tmp_path / "out",
        model=model,
        cluster=RayCluster(workers=2),
        finished=finished,
        **OPTIONS,
    )
    assert max(ahead) <= 2 * on_ray._AHEAD * SHARD_ROWS
    assert max(ahead) > 2 * SHARD_ROWS, "workers would wait for rows"


@pytest.mark.parametrize("skip", [False, True])
def test_a_bad_line_stops_or_is_rejected_as_on_one_machine(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, skip: bool
) -> None:
    """One that is met in reading, and one whose value, in a worker, does not fit its column."""
    lines = [json.dumps({"text": "an apple", "n": i}) for i in range(100)]
    lines[35] = '{"text": "an apple", "n": "many"}'
    lines[67] = "no JSON"
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    seen: list[Any] = []
    for place, cluster in (("here", None), ("there", RayCluster(workers=3))):
        stand_in(monkeypatch, seed=3)
        options = {"model": model, "keep": ["n"], "shard_rows": 10, "cluster": cluster}
        options["on_error"] = "skip" if skip else "stop"
        try:
            made = embed_corpus(tmp_path / "a.jsonl", tmp_path / place, **options)
            seen.append((made.rows, made.rejects, contents(tmp_path / place)))
        except WrongLineError as error:
            seen.append((str(error), error.line, contents(tmp_path / place)))
    assert seen[0] == seen[1]
    assert seen[0][1] == (2 if skip else 36)
    assert parts(tmp_path / "there") == (10 if skip else 3)


def test_a_bad_line_in_reading_waits_for_the_parts_before_it(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"text": "an apple"})] * 45
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "no JSON"]))
    stand_in(monkeypatch)
    with pytest.raises(WrongLineError, match=r"a\.jsonl, line 46"):
        embed_corpus(
            tmp_path / "a.jsonl",
            tmp_path / "out",
            model=model,
            shard_rows=10,
            cluster=RayCluster(workers=2),
        )
    assert parts(tmp_path / "out") == 4


@pytest.mark.parametrize(
    ("deadly", "message", "losses"),
    [("open", "no worker could be started", 9), ("make", "a shard was lost 4 times", 4)],
)
def test_what_kills_all_workers_ends_the_run(  # noqa: PLR0917
    model: Contextualizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deadly: str,
    message: str,
    losses: int,
) -> None:
    (tmp_path / "a.txt").write_text("an apple\n" * 10)
    ray = stand_in(monkeypatch, deadly=deadly)
    with pytest.raises(RuntimeError, match=message):
        embed_corpus(
            tmp_path / "a.txt", tmp_path / "out", model=model, cluster=RayCluster(workers=2)
        )
    assert ray.losses == losses
    assert parts(tmp_path / "out") == 0


def test_nothing_to_do_needs_no_cluster(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("")
    ray = stand_in(monkeypatch)
    options: dict[str, Any] = {"model": model, "cluster": RayCluster()}
    assert embed_corpus(tmp_path / "a.txt", tmp_path / "out", **options).shards == 1
    embed_corpus(tmp_path / "a.txt", tmp_path / "here", model=model)
    assert contents(tmp_path / "out") == contents(tmp_path / "here")
    monkeypatch.setattr(ray, "is_initialized", lambda: pytest.fail("Ray was asked for"))
    assert embed_corpus(tmp_path / "a.txt", tmp_path / "out", **options).new_shards == 0


def test_a_node_with_other_versions_is_refused(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("an apple\n")
    stand_in(monkeypatch)
    real, asked = on_ray.versions, []

    def versions(place: Place) -> dict[str, str]:
        asked.append(place)
        return real(place) | ({"numpy": "1.0"} if len(asked) > 1 else {})

    monkeypatch.setattr(on_ray, "versions", versions)
    with pytest.raises(RuntimeError, match=r"the node .* has numpy 1\.0, and this process has"):
        embed_corpus(tmp_path / "a.txt", tmp_path / "out", model=model, cluster=RayCluster())


def test_gpus_are_asked_for_and_the_model_moves_to_them(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RayCluster().place_of(model) == model.place
    shared = RayCluster(gpus_per_worker=0.5)
    assert shared.place_of(model) == Place("torch", "cuda", "float32")
    on_gpu: Any = SimpleNamespace(place=Place("torch", "cuda:1", "bfloat16"))
    assert (RayCluster().gpus(on_gpu), shared.gpus(on_gpu)) == (1, 0.5)
    # Ray shows a worker nothing but its own GPU, whatever its number is.
    assert RayCluster().place_of(on_gpu) == Place("torch", "cuda", "bfloat16")
    with pytest.raises(ValueError, match="is on 'cuda:1' and gpus_per_worker is 0"):
        RayCluster(gpus_per_worker=0).place_of(on_gpu)
    (tmp_path / "a.txt").write_text("an apple\n")
    ray = stand_in(monkeypatch)
    try:
        embed_corpus(tmp_path / "a.txt", tmp_path / "out", model=model, cluster=shared)
    except (RuntimeError, ImportError) as error:
        # Without a GPU or without torch, the worker says so; it computes on nothing else.
        assert "'cuda'" in str(error)
    told = json.loads((tmp_path / "out" / NAME).read_text())["job"]["model"]
    assert (told["backend"], told["device"]) == ("torch", "cuda")
    assert (ray.options_given["num_gpus"], ray.options_given["num_cpus"]) == (0.5, 1)
    assert len(ray.actors) == 2, "one GPU has room for two workers that share it"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"cpus_per_worker": 0}, "cpus_per_worker is 0"),
        ({"gpus_per_worker": 2}, "gpus_per_worker is 2"),
    ],
)
def test_a_cluster_is_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RayCluster(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers"),
        (["--address", "auto"], "--address"),
        (["--engine", "ray", "--dry-run"], "looks at this machine"),
        (["--engine", "ray", "--gpus-per-worker", "1", "--device", "cpu"], "needs --device cuda"),
        (["--engine", "ray", "--device", "cuda", "--backend", "numpy"], "no --backend numpy"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(
    tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "a.txt").write_text("an apple\n")
    done = run("corpus", tmp_path / "a.txt", "-o", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
