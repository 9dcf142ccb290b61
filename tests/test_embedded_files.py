from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import polyseme
from polyseme import embedded_files
from polyseme.embedded import EmbeddedTexts
from polyseme.embedded_files import (
    SentenceVectors,
    embedded,
    read_npz,
    write_jsonl,
    write_npz,
    write_parquet,
)

TEXTS = ["An apple a day", "", "Æther 🍎 naïve", ["my", "own words"], "한국어 apple"]


@pytest.fixture(scope="module")
def model() -> polyseme.Contextualizer:
    return polyseme.load()


def in_batches(model: polyseme.Contextualizer) -> list[embedded_files.Batch]:
    """The texts in batches of none, one and two, as a long stream would have them."""
    return [batch for part in (TEXTS[:1], TEXTS[1:3], TEXTS[3:]) for batch in embedded(model, part)]


def assert_same(given: EmbeddedTexts, expected: EmbeddedTexts) -> None:
    assert given.texts == expected.texts
    for name in ("offsets", "spans", "vectors", "known"):
        np.testing.assert_array_equal(getattr(given, name), getattr(expected, name), strict=True)


def test_npz_of_a_stream_is_that_of_one_batch_and_opens_without_pickle(
    tmp_path: Path, model: polyseme.Contextualizer
) -> None:
    path = tmp_path / "out.npz"
    with path.open("wb") as file:
        write_npz(in_batches(model), file)
    expected = model.contextualize(TEXTS)
    assert_same(read_npz(path), expected)
    with np.load(path, allow_pickle=False) as arrays:
        ends = arrays["words_offsets"]
        blob = arrays["words"].tobytes()
        words = [blob[a:b].decode() for a, b in pairwise(ends)]
    assert words == [word for doc in expected for word in doc.words]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.npz"]


def test_npz_of_equal_arrays_is_the_same_file(model: polyseme.Contextualizer) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_npz(embedded(model, TEXTS), file)
    assert files[0].getvalue() == files[1].getvalue()


def test_files_without_texts_are_whole_files(
    tmp_path: Path, model: polyseme.Contextualizer
) -> None:
    path = tmp_path / "none"
    with path.open("wb") as file:
        write_npz(embedded(model, []), file)
    assert_same(read_npz(path), model.contextualize([]))
    pq = pytest.importorskip("pyarrow.parquet")
    with path.open("wb") as file:
        write_parquet(embedded(model, []), file)
    assert pq.read_table(path).schema == model.contextualize([]).to_arrow().schema


def test_parquet_rows_are_those_of_to_arrow(tmp_path: Path, model: polyseme.Contextualizer) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    with path.open("wb") as file:
        write_parquet(in_batches(model), file)
    assert pq.read_table(path).to_pylist() == model.contextualize(TEXTS).to_arrow().to_pylist()


def test_jsonl_rows_bring_every_vector_back_to_the_bit(model: polyseme.Contextualizer) -> None:
    file = io.BytesIO()
    write_jsonl(in_batches(model), file)
    rows = [json.loads(line) for line in file.getvalue().decode().splitlines()]
    docs = model.contextualize(TEXTS)
    assert len(rows) == len(docs)
    for row, doc in zip(rows, docs, strict=True):
        assert list(row) == ["text", "words", "spans", "vectors"]
        assert (row["text"], row["words"]) == (doc.text, doc.words)
        assert row["spans"] == [list(span) for span in doc.spans]
        vectors = np.asarray(row["vectors"], np.float32).reshape(doc.vectors.shape)
        np.testing.assert_array_equal(vectors, doc.vectors)


@given(hnp.arrays(np.float32, (2, 3), elements=st.floats(width=32, allow_nan=False)))
def test_nine_digits_keep_any_float32(vectors: np.ndarray) -> None:
    batch = SentenceVectors(["a", "b\u2028c"], vectors)
    file = io.BytesIO()
    if not np.isfinite(vectors).all():
        with pytest.raises(ValueError, match="NaN or infinity"):
            write_jsonl([batch], file)
        return
    write_jsonl([batch], file)
    rows = [json.loads(line) for line in file.getvalue().split(b"\n")[:-1]]
    assert [row["text"] for row in rows] == batch.texts
    back = np.asarray([row["vector"] for row in rows], np.float32)
    np.testing.assert_array_equal(back, vectors)


def test_sentence_vectors_are_those_of_encode(
    tmp_path: Path, model: polyseme.Contextualizer
) -> None:
    batches = list(embedded(model, TEXTS, sentence=True))
    texts = [text if isinstance(text, str) else " ".join(text) for text in TEXTS]
    path = tmp_path / "out.npz"
    with path.open("wb") as file:
        write_npz(batches, file)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["vectors"], model.encode(TEXTS))
        assert arrays["texts"].tobytes().decode() == "".join(texts)
    with pytest.raises(ValueError, match=r"out\.npz: no vectors of words, known, offsets, spans"):
        read_npz(path)
    pq = pytest.importorskip("pyarrow.parquet")
    with path.open("wb") as file:
        write_parquet(batches, file)
    table = pq.read_table(path)
    assert table["text"].to_pylist() == texts
    assert table["vector"].to_pylist() == model.encode(TEXTS).tolist()


def test_options_reach_the_model_and_all_is_counted(model: polyseme.Contextualizer) -> None:
    told: list[tuple[int, int]] = []
    batches = list(
        embedded(
            model,
            iter(["a piece of cake"]),
            phrases=["piece of cake"],
            normalize=True,
            count=lambda *counts: told.append(counts),
        )
    )
    assert isinstance(batches[1], EmbeddedTexts)
    assert batches[1][0].words == ["a", "piece of cake"]
    np.testing.assert_allclose(np.linalg.norm(batches[1].vectors, axis=1), 1, rtol=1e-6)
    assert told == [(1, 2)]


def test_stream_is_read_no_further_than_a_batch(
    model: polyseme.Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_files, "_CHARACTERS_AT_ONCE", 10)
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield "an apple a day"

    stream = embedded(model, endless())  # type: ignore[arg-type]
    assert [len(next(stream).texts) for _ in range(3)] == [0, 1, 1]
    assert taken == 2
