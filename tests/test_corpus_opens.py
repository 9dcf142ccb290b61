"""Data sets of vectors open in the libraries that people read Parquet with, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="data sets need pyarrow (extra `corpus`)")

import polyseme
from polyseme.corpus import Wanted, embed_corpus
from tests.conftest import write_model

TEXTS = ["An apple a day", "the doctor keeps the new apple", "", "Apple away."]


@dataclass(frozen=True)
class Read:
    """What another library finds: (n) words or texts, (n, dim) vectors, (n) scales if any."""

    texts: list[str]
    vectors: np.ndarray
    scales: np.ndarray | None


def by_pandas(folder: Path, name: str) -> Read:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed (extra `dev`)")
    frame = pandas.read_parquet(folder).sort_values("row", kind="stable")
    scales = frame["scale"].to_numpy() if "scale" in frame else None
    return Read(frame[name].to_list(), np.stack(frame["vector"].to_list()), scales)


def by_polars(folder: Path, name: str) -> Read:
    polars = pytest.importorskip("polars", reason="polars is not installed (extra `dev`)")
    frame = polars.scan_parquet(folder / "part-*.parquet").collect()
    scales = frame["scale"].to_numpy() if "scale" in frame.columns else None
    return Read(frame[name].to_list(), frame["vector"].to_numpy(), scales)


def by_duckdb(folder: Path, name: str) -> Read:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed (extra `dev`)")
    order = "row, position" if name == "word" else "row"
    found = duckdb.sql(f"select * from '{folder}/part-*.parquet' order by {order}").fetchnumpy()
    scales = np.asarray(found["scale"]) if "scale" in found else None
    return Read(list(found[name]), np.stack(list(found["vector"])), scales)


def by_datasets(folder: Path, name: str) -> Read:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra `dev`)")
    read = datasets.load_dataset(
        "parquet",
        data_files=str(folder / "part-*.parquet"),
        split="train",
        cache_dir=str(folder.parent / "cache"),
    )
    arrays = read.with_format("numpy")
    scales = np.asarray(arrays["scale"][:]) if "scale" in read.column_names else None
    return Read(list(read[name]), np.asarray(arrays["vector"][:]), scales)


@pytest.mark.parametrize("opened", [by_pandas, by_polars, by_duckdb, by_datasets])
@pytest.mark.parametrize("store", ["float32", "float16", "int8"])
@pytest.mark.parametrize("by", ["texts", "words"])
def test_a_data_set_opens(
    opened: Callable[[Path, str], Read], store: Any, by: Any, tmp_path: Path
) -> None:
    model = polyseme.load(write_model(tmp_path / "model"), backend="numpy")
    (tmp_path / "notes.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    made = embed_corpus(
        tmp_path / "notes.txt",
        tmp_path / "made",
        model=model,
        wanted=Wanted(by, store),
        shard_rows=2,
    )
    docs = model.contextualize(TEXTS)
    exact = docs.vectors if by == "words" else model.encode(TEXTS)
    words = [word for doc in docs for word in doc.words]
    read = opened(made.folder, "word" if by == "words" else "text")
    assert read.texts == (words if by == "words" else TEXTS)
    if store == "int8":
        assert read.scales is not None
        decoded = read.vectors.astype(np.float32) * read.scales[:, None]
        assert (np.abs(decoded - exact) <= np.abs(exact).max(axis=1, keepdims=True) / 253).all()
    else:
        assert np.array_equal(read.vectors, exact.astype(store))


def test_the_example_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("pandas", "polars", "duckdb", "datasets"):
        pytest.importorskip(library, reason=f"{library} is not installed (extra `dev`)")
    page = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    example = page.partition("## Reading it")[2].partition("```python\n")[2].partition("```")[0]
    model = polyseme.load(write_model(tmp_path / "model"), backend="numpy")
    (tmp_path / "notes.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    embed_corpus("notes.txt", "vectors", model=model)
    embed_corpus("notes.txt", "uses", model=model, wanted=Wanted("words", "int8"))
    found: dict[str, Any] = {}
    exec(example, found)
    assert found["texts"]["text"][:] == TEXTS
    assert [row[1] for row in found["apples"].fetchall()] == ["apple", "apple", "Apple"]
    exact = model.contextualize(TEXTS).vectors
    assert found["vectors"].dtype == np.float32
    assert np.abs(found["vectors"] - exact).max() <= np.abs(exact).max() / 253
