from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import polyseme
from polyseme.cli import app
from polyseme.evaluation.models import vectors_at, vectors_of_spans
from polyseme.evaluation.peers import SentenceTransformersModel
from tests.fakes import FakeModel

TEXTS = [
    "Self-attention isn't unbelievably hard, naïve reader!",
    "",
    ["my", "own words", "state-of-the-art", "."],
    "An apple a day keeps the doctor away.",
]


@pytest.fixture(scope="module")
def peer(minilm: Path) -> SentenceTransformersModel:
    pytest.importorskip("sentence_transformers")
    return SentenceTransformersModel(str(minilm), device="cpu")


def test_words_and_vectors_are_those_of_our_own_engine(
    peer: SentenceTransformersModel, minilm: Path
) -> None:
    own = polyseme.load(minilm, device="cpu").contextualize(TEXTS)
    docs = peer.contextualize(TEXTS)
    assert docs.texts == own.texts
    np.testing.assert_array_equal(docs.offsets, own.offsets)
    np.testing.assert_array_equal(docs.spans, own.spans)
    np.testing.assert_allclose(docs.vectors, own.vectors, atol=2e-5)
    assert docs.known.all()
    assert (peer.rung, peer.dim) == ("sentence-transformers", 384)


def test_sentence_vectors_are_the_librarys(peer: SentenceTransformersModel, minilm: Path) -> None:
    texts = [text for text in TEXTS if isinstance(text, str)]
    own = polyseme.load(minilm, device="cpu").encode(texts)
    np.testing.assert_allclose(peer.encode(texts), own, atol=2e-5)


def test_words_that_the_library_cuts_off_are_told(peer: SentenceTransformersModel) -> None:
    with pytest.warns(UserWarning, match="46 of 302 words have no token"):
        docs = peer.contextualize(["apple " * 300, "an apple"])
    assert docs.known.sum() == 254 + 2
    assert not docs.vectors[~docs.known].any()


def test_command_takes_a_model_of_the_library(minilm: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    line = "main\tMSRvid\t2012test\t0000\t{}\t{}\t{}\n"
    (tmp_path / "sts-dev.csv").write_text(
        line.format(5, "A cat sleeps.", "The cat is asleep.")
        + line.format(0, "A cat sleeps.", "Cars are sold here.")
    )
    arguments = ["eval", "sts", "--data", str(tmp_path), "--library", "sentence-transformers"]
    told = CliRunner().invoke(app, [*arguments, "-m", str(minilm), "--json"]).stdout
    assert json.loads(told)["rung"] == "sentence-transformers"
    assert json.loads(told)["spearman"] == pytest.approx(1)
    for wrong in ([], ["-m", "x", "--rung", "static"], ["-m", "x", "--dtype", "bfloat16"]):
        assert CliRunner().invoke(app, [*arguments, *wrong]).exit_code == 2


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"polyseme\[bench\]"):
        SentenceTransformersModel("any")


def test_vectors_are_the_same_however_many_texts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel(2, lambda words, i: (len(words), i))
    texts = [["a"] * n for n in range(1, 8)]
    positions = np.arange(7)
    whole = vectors_at(model, texts, positions)
    assert whole.tolist() == [[n + 1, n] for n in range(7)]
    monkeypatch.setattr("polyseme.evaluation.models._TEXTS_AT_ONCE", 3)
    np.testing.assert_array_equal(vectors_at(model, texts, positions), whole)
    assert [len(batch) for batch in model.asked] == [7, 3, 3, 1]
    spans = [[(0, 1), (0, 2 * n)] for n in range(1, 8)]
    found = vectors_of_spans(model, [" ".join(text) for text in texts], spans)
    assert found.tolist() == [v for n in range(1, 8) for v in ([n, 0], [n, (n - 1) / 2])]


def test_span_is_the_mean_of_its_known_words() -> None:
    model = FakeModel(1, lambda words, i: None if words[i] == "odd" else [i + 1.0])
    spans = [[(2, 9), (2, 5), (0, 9)]]
    assert vectors_of_spans(model, ["a odd bcd"], spans).tolist() == [[3.0], [0.0], [2.0]]
    with pytest.raises(ValueError, match="no word in characters 1 to 2 of 'a odd'"):
        vectors_of_spans(model, ["a odd"], [[(1, 2)]])
