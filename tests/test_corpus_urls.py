"""Corpora behind URLs: an S3 server of moto, in this process, on a port of its own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("pyarrow", reason="data sets need pyarrow (extra `corpus`)")
pytest.importorskip("fsspec", reason="URLs need fsspec (extra `corpus`)")

import polyseme
from polyseme.corpus import embed_corpus, estimate
from tests.conftest import write_model
from tests.test_corpus import rows_of, run


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of an S3 with a bucket `corpus`."""
    s3fs = pytest.importorskip("s3fs", reason="s3:// needs s3fs (pip install s3fs)")
    server = pytest.importorskip("moto.server", reason="no S3 here: pip install 'moto[s3,server]'")
    threaded = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    threaded.start()
    address = "http://{}:{}".format(*threaded.get_host_and_port())
    # Another test's bucket may still be there: what moto keeps belongs to the process.
    urlopen(Request(f"{address}/moto-api/reset", method="POST")).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("corpus")
    yield files
    s3fs.S3FileSystem.clear_instance_cache()
    threaded.stop()


def test_a_bucket_is_read_and_goes_on_after_a_bad_line(bucket: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    model = polyseme.load(write_model(tmp_path / "model"), backend="numpy")
    bucket.pipe("corpus/in/a.txt.gz", gzip.compress(b"an apple\na day\n"))
    bucket.pipe("corpus/in/b.jsonl", b'{"text": "the doctor"}\n{"text": 3}\n')
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": ["keeps", "away"]}), sink)
    bucket.pipe("corpus/in/deeper/c.parquet", sink.getvalue().to_pybytes())
    assert estimate("s3://corpus/in", model=model).rows == 6
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"s3://corpus/in/b\.jsonl, line 2: 'text' is 3"):
        embed_corpus("s3://corpus/in", out, model=model, shard_rows=2)
    assert len(rows_of(out)) == 2
    bucket.pipe("corpus/in/b.jsonl", b'{"text": "the doctor"}\n{"text": "three"}\n')
    made = embed_corpus("s3://corpus/in", out, model=model, shard_rows=2)
    assert (made.rows, made.new_shards) == (6, 2)
    texts = ["an apple", "a day", "the doctor", "three", "keeps", "away"]
    assert [row["text"] for row in rows_of(out)] == texts
    assert {row["source"] for row in rows_of(out)} == {
        "s3://corpus/in/a.txt.gz",
        "s3://corpus/in/b.jsonl",
        "s3://corpus/in/deeper/c.parquet",
    }
    assert embed_corpus("s3://corpus/in", out, model=model, shard_rows=2).new_shards == 0
    bucket.pipe("corpus/in/a.txt.gz", gzip.compress(b"other\n"))
    with pytest.raises(ValueError, match=r"the input 's3://corpus/in/a\.txt\.gz' has changed"):
        embed_corpus("s3://corpus/in", out, model=model, shard_rows=2)


def test_the_command_takes_globs_of_a_bucket(bucket: Any, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    for name in ("a.jsonl", "b.jsonl", "c.txt"):
        bucket.pipe(f"corpus/{name}", json.dumps({"text": name}).encode())
    command = ["corpus", "s3://corpus/*.jsonl", "-m", folder, "--backend", "numpy"]
    done = run(*command, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert [row["text"] for row in rows_of(tmp_path / "out")] == ["a.jsonl", "b.jsonl"]
    none = run("corpus", "s3://corpus/none.txt", "-m", folder, "-o", tmp_path / "no")
    assert none.exit_code == 1
    assert "s3://corpus/none.txt" in none.stderr
    missing = run("corpus", "s3://nowhere/a.txt", "-m", folder, "-o", tmp_path / "no")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("polyseme: error: s3://nowhere/a.txt")
