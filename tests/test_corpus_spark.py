"""The function for Spark: the same vectors, carried columns, a model opened once a process."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="the function for Spark needs pyarrow (extra `corpus`)")
pytest.importorskip("pyspark", reason="needs pyspark (extra `spark`)")
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("Spark needs Java", allow_module_level=True)

import polyseme  # noqa: E402
from polyseme.contextualizer import Contextualizer  # noqa: E402
from polyseme.corpus import Wanted  # noqa: E402
from polyseme.corpus import spark as on_spark  # noqa: E402
from polyseme.corpus.spark import map_in_arrow  # noqa: E402
from tests.conftest import write_model  # noqa: E402

TEXTS = ["An apple a day", "the doctor keeps the new apple", "", "Apple away."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Contextualizer:
    return polyseme.load(write_model(tmp_path_factory.mktemp("spark") / "model"), backend="numpy")


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.memory", "512m")
            .config("spark.sql.shuffle.partitions", "2")
            .getOrCreate()
        )
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()


@pytest.fixture(scope="module")
def posts(spark: Any) -> Any:
    rows = [(i, text, text.split(), {"share": i / 2}) for i, text in enumerate(TEXTS)]
    schema = "id long, body string, own array<string>, more map<string, double>"
    return spark.createDataFrame(rows, schema).repartition(2)


def test_rows_by_texts_are_sentence_vectors(posts: Any, model: Contextualizer) -> None:
    frame = posts.mapInArrow(*map_in_arrow(posts, model=model, column="body", keep=["id", "more"]))
    assert frame.schema.simpleString() == (
        "struct<text:string,id:bigint,more:map<string,double>,vector:array<float>>"
    )
    rows = frame.orderBy("id").collect()
    assert [(row.text, row.id, row.more) for row in rows] == [
        (text, i, {"share": i / 2}) for i, text in enumerate(TEXTS)
    ]
    np.testing.assert_array_equal(
        np.asarray([row.vector for row in rows], np.float32), model.encode(TEXTS)
    )


@pytest.mark.parametrize("store", ["float32", "int8"])
def test_rows_by_words_are_those_of_contextualize(
    posts: Any, model: Contextualizer, store: Any
) -> None:
    wanted = Wanted("words", store, words=frozenset(["apple"]))
    frame = posts.mapInArrow(
        *map_in_arrow(posts, model=model, wanted=wanted, column="body", keep=["id"])
    )
    rows = frame.orderBy("id").collect()
    assert [(row.id, row.start, row.end, row.word) for row in rows] == [
        (0, 3, 8, "apple"),
        (1, 25, 30, "apple"),
        (3, 0, 5, "Apple"),
    ]
    docs = model.contextualize(TEXTS)
    for row in rows:
        exact = docs[row.id].vectors[row.position]
        if store == "float32":
            np.testing.assert_array_equal(np.asarray(row.vector, np.float32), exact)
        else:
            assert np.abs(np.asarray(row.vector) * row.scale - exact).max() <= row.scale * 0.501


def test_own_words_need_no_other_column(posts: Any, model: Contextualizer) -> None:
    frame = posts.mapInArrow(
        *map_in_arrow(posts, model=model, wanted=Wanted("words"), column="own")
    )
    assert sorted(row.word for row in frame.collect()) == sorted(" ".join(TEXTS).split())


def test_a_python_worker_opens_the_model_once(
    spark: Any, model: Contextualizer, tmp_path: Path
) -> None:
    frame = spark.createDataFrame([(text,) for text in TEXTS * 10], "text string").repartition(12)
    # Another model than that which the same processes opened for other tests.
    function, schema = map_in_arrow(frame, model=model.parameter_free())

    def watched(batches: Iterator[Any]) -> Iterator[Any]:
        before = list(on_spark._opened)
        yield from function(batches)
        opened = "kept" if before == list(on_spark._opened) else "opened"
        with (tmp_path / f"{os.getpid()}-{opened}").open("a") as file:
            file.write("task\n")

    assert frame.mapInArrow(watched, schema).count() == 40
    tasks = {file.name: len(file.read_text().split()) for file in tmp_path.iterdir()}
    assert sum(tasks.values()) == 12
    processes = {name.partition("-")[0] for name in tasks}
    assert len(processes) < 12, "no process had a second task"
    assert {name: n for name, n in tasks.items() if "opened" in name} == {
        f"{process}-opened": 1 for process in processes
    }


def test_what_does_not_go_is_refused_before_work(posts: Any, model: Contextualizer) -> None:
    with pytest.raises(ValueError, match="no column 'text'; there are id, body, own, more"):
        map_in_arrow(posts, model=model)
    with pytest.raises(ValueError, match="'id' is of type bigint: it must be a string"):
        map_in_arrow(posts, model=model, column="id")
    with pytest.raises(ValueError, match="'float16', which Spark does not have"):
        map_in_arrow(posts, model=model, column="body", wanted=Wanted(store="float16"))
    renamed = posts.withColumnRenamed("id", "vector")
    with pytest.raises(ValueError, match="'vector' can't be kept"):
        map_in_arrow(renamed, model=model, column="body", keep=["vector"])
    with pytest.raises(ValueError, match="dim is 99"):
        map_in_arrow(posts, model=model, column="body", wanted=Wanted(dim=99))


def test_null_is_an_error_that_names_the_column(model: Contextualizer) -> None:
    batch = pa.record_batch({"body": ["apple", None]})
    with pytest.raises(ValueError, match="'body' is null"):
        list(on_spark._embedded(model, batch, Wanted(), "body", ()))
