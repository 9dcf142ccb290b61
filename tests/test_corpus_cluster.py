"""Data sets on a real Ray cluster of two nodes: the driver is killed, then a node; bytes stay."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need pyarrow (extra `corpus`)")
pytest.importorskip("ray", reason="a cluster needs Ray (extra `ray`)")

import polyseme
from polyseme.contextualizer import Contextualizer
from polyseme.corpus import RayCluster, Wanted, embed_corpus
from polyseme.corpus.manifest import NAME
from tests.conftest import write_model
from tests.test_corpus import contents, posix, rows_of
from tests.test_corpus_resume import parts, run, write_rows

OPTIONS: dict[str, Any] = {
    "wanted": Wanted("words"),
    "keep": ["n"],
    "shard_rows": 30,
    "on_error": "skip",
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("cluster") / "model")


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Contextualizer:
    return polyseme.load(model_folder, backend="numpy")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head and a node, each with room for one worker."""
    quiet = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quiet.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        from ray.cluster_utils import Cluster

        room = {"num_cpus": 1, "object_store_memory": 100_000_000}
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **room,
                "include_dashboard": False,
                "include_log_monitor": False,
                "no_monitor": True,
            },
        )
        try:
            node = cluster.add_node(**room)
            yield cluster, node
        finally:
            cluster.shutdown()


@posix
def test_the_driver_is_killed_and_then_a_node(
    nodes: Any, model_folder: Path, model: Contextualizer, tmp_path: Path
) -> None:
    cluster, node = nodes
    texts = write_rows(tmp_path / "in", 3, 670, bad=True)
    made = embed_corpus(texts, tmp_path / "here", model=model, **OPTIONS)
    out = tmp_path / "out"
    command = ["corpus", texts, "-o", out, "--by", "words", "--keep", "n"]
    command += ["--shard-rows", 30, "--on-error", "skip", "-m", model_folder]
    command += ["--backend", "numpy", "--engine", "ray", "--address", cluster.address]
    process = subprocess.Popen(
        [sys.executable, "-m", "polyseme", *map(str, command), "--log-json"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    before: list[str] = []
    for line in process.stderr:
        if '"event": "shard"' in line:
            process.send_signal(signal.SIGKILL)
            before.append(json.loads(line)["file"])
    assert process.wait(timeout=60) == -signal.SIGKILL
    listed = len(json.loads((out / NAME).read_text())["shards"])
    assert 0 < len(before) <= listed < made.shards - 10, "the job was not killed in its middle"

    said: list[str] = []
    options: dict[str, Any] = {"model": model, "note": said.append, **OPTIONS}
    options["cluster"] = RayCluster(address=cluster.address, workers=2)
    with pytest.raises(ValueError, match="by was 'words' and is 'texts'"):
        embed_corpus(texts, out, **(options | {"wanted": Wanted()}))
    after: list[str] = []

    def finished(shard: Any, seconds: float) -> None:
        after.append(shard.file)
        if len(after) == 3:
            cluster.remove_node(node, allow_graceful=False)

    embed_corpus(texts, out, finished=finished, **options)
    assert any("a worker was lost" in line for line in said), said
    assert contents(out) == contents(tmp_path / "here")
    assert after == [f"part-{i:05d}.parquet" for i in range(listed, made.shards)]


def test_an_error_in_a_worker_ends_the_command_in_one_line(
    nodes: Any, model_folder: Path, tmp_path: Path
) -> None:
    cluster, _ = nodes
    lines = [json.dumps({"text": "an apple", "n": i if i < 15 else "many"}) for i in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    command = ["corpus", tmp_path / "a.jsonl", "-o", tmp_path / "out", "--keep", "n"]
    command += ["--shard-rows", 10, "-m", model_folder, "--backend", "numpy"]
    command += ["--engine", "ray", "--address", cluster.address, "--workers", 1]
    done = run(*command)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"polyseme: error: {tmp_path / 'a.jsonl'}, line 16: 'n' is 'many', in a column of int64; "
    )
    assert parts(tmp_path / "out") == 1


@pytest.mark.gpu
def test_workers_on_gpus_are_near_to_the_cpu(model_folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="GPUs need torch (extra `torch`)")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    (tmp_path / "a.txt").write_text("an apple a day\n" * 50)
    model = polyseme.load(model_folder, device="cpu")
    cluster = RayCluster(address="local", workers=2, gpus_per_worker=0.5)
    embed_corpus(tmp_path / "a.txt", tmp_path / "out", model=model, shard_rows=9, cluster=cluster)
    vectors = np.asarray([row["vector"] for row in rows_of(tmp_path / "out")])
    near = model.encode(["an apple a day"] * 50)
    np.testing.assert_allclose(vectors, near, atol=1e-4)
