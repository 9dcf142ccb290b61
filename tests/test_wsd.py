from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import polyseme
from polyseme.evaluation import models, wsd
from polyseme.vectors import WordVectors
from tests.fakes import FakeModel

TRAIN = {
    "we sat by the bank of the river": 0,
    "the muddy bank of a river": 0,
    "my bank lends money": 1,
    "money in the bank": 1,
    "a bank of money and loans": 1,
}
TEST = {"a river and its bank": 0, "the bank took my money": 1}


def write_split(folder: Path, split: str, texts: dict[str, int], word: str = "bank") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = "\n".join(f"{text.split().index(word)}\t{text}" for text in texts)
    (folder / f"{split}.data.txt").write_text(data, encoding="utf-8")
    gold = "\n".join(map(str, texts.values()))
    (folder / f"{split}.gold.txt").write_text(gold, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, texts in (("train", TRAIN), ("test", TEST)):
        write_split(tmp_path / "bank", split, texts)
    (tmp_path / "README.txt").write_text("not a word")
    (tmp_path / "notes").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def model() -> polyseme.Contextualizer:
    words = ["bank", "river", "money", "the", "a", "of"]
    vectors = np.asarray(
        [[1, 1, 1], [3, 0, 0], [0, 3, 0], [0, 0, 1], [0, 0.1, 1], [0.1, 0, 1]], np.float32
    )
    return polyseme.load(WordVectors(words, vectors))


def test_reading_finds_the_word_folders_and_nothing_else(folder: Path) -> None:
    (word,) = wsd.read_folder(folder)
    assert word.word == "bank"
    assert (len(word.train), len(word.test)) == (5, 2)
    assert word.train.texts[0] == ["we", "sat", "by", "the", "bank", "of", "the", "river"]
    assert word.train.positions.tolist() == [4, 2, 1, 3, 1]
    assert word.train.senses.tolist() == [0, 0, 1, 1, 1]


def test_context_tells_senses_apart_and_static_vectors_tie(
    folder: Path, model: polyseme.Contextualizer
) -> None:
    words = wsd.read_folder(folder)
    mixed, static = wsd.evaluate(model, words), wsd.evaluate(model.static(), words)
    assert mixed.accuracy == 1.0
    assert static.accuracy == 0.5, "equal vectors are a tie between two senses"
    assert mixed.most_frequent == 0.5, "money is the more frequent sense of the training"
    assert (mixed.rung, static.rung) == ("parameter-free", "static")


def test_result_goes_through_json(folder: Path, model: polyseme.Contextualizer) -> None:
    result = wsd.evaluate(model, wsd.read_folder(folder))
    told = json.loads(json.dumps(result.to_dict()))
    assert told["accuracy"] == result.accuracy
    assert told["words"] == [
        {
            "word": "bank",
            "senses": 2,
            "train": 5,
            "test": 2,
            "accuracy": 1.0,
            "most_frequent": 0.5,
            "few": {"1": 1.0, "3": 1.0, "10": 1.0},
        }
    ]
    assert told["few"] == {"1": 1.0, "3": 1.0, "10": 1.0}


def test_vectors_are_those_of_the_word_in_its_text_whatever_the_batch(
    folder: Path, model: polyseme.Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = wsd.read_folder(folder)[0].train
    expected = [
        model.contextualize([text])[0].vectors[position]
        for text, position in zip(train.texts, train.positions, strict=True)
    ]
    monkeypatch.setattr(models, "_TEXTS_AT_ONCE", 2)
    found = models.vectors_at(model, train.texts, train.positions)
    np.testing.assert_array_equal(found, expected)


def test_few_examples_are_balanced_different_and_the_same_at_every_call() -> None:
    senses = np.asarray([0] * 20 + [1] * 2 + [5] * 20)
    for number, sizes in ((1, [1, 1, 1]), (3, [3, 2, 3]), (10, [10, 2, 10])):
        drawn = wsd.draws(senses, number)
        assert len(drawn) == 10
        assert len({tuple(rows.tolist()) for rows in drawn}) > 1
        for rows, again in zip(drawn, wsd.draws(senses, number), strict=True):
            assert np.unique(senses[rows], return_counts=True)[1].tolist() == sizes
            assert len(set(rows.tolist())) == len(rows)
            np.testing.assert_array_equal(rows, again)


def test_few_shot_accuracy_is_the_mean_over_the_draws() -> None:
    train = {"good x": 0, "bad x": 0, "other x": 1}
    directions = {"good": (1, 0, 0), "bad": (-1.5, 0.1, 0), "other": (0, 1, 0)}
    model = FakeModel(3, lambda words, i: directions[words[0]])
    texts = [text.split() for text in train]
    known = wsd.Occurrences(texts, np.ones(3, np.int64), np.asarray([0, 0, 1]))
    tested = wsd.Occurrences(texts[:1], np.ones(1, np.int64), np.asarray([0]))
    score = wsd.score(model, wsd.AmbiguousWord("x", known, tested))
    lucky = sum(0 in rows for rows in wsd.draws(known.senses, 1))
    assert 0 < lucky < 10
    # Drawing "bad" makes "other" the nearer centroid.
    assert score.few == (pytest.approx(lucky / 10), 0.0, 0.0)
    assert score.accuracy == score.few[2], "ten of each is all of it here"


def test_training_occurrences_are_computed_once(folder: Path) -> None:
    model = FakeModel(2, lambda words, i: (len(words), i))
    wsd.evaluate(model, wsd.read_folder(folder))
    assert sorted(map(len, model.asked)) == [len(TEST), len(TRAIN)]


def test_a_sense_that_training_lacks_is_never_met(
    folder: Path, model: polyseme.Contextualizer
) -> None:
    write_split(folder / "bank", "test", {"a river and its bank": 7})
    assert wsd.evaluate(model, wsd.read_folder(folder)).accuracy == 0.0


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.just(4)), elements=st.floats(-1, 1)),
    st.data(),
)
def test_accuracy_is_the_mean_of_one_over_the_number_of_ties(
    cosines: np.ndarray, data: st.DataObject
) -> None:
    cosines = cosines.round(2)
    senses = np.asarray([1, 2, 5, 9])
    gold = data.draw(hnp.arrays(np.int64, len(cosines), elements=st.sampled_from([1, 2, 3, 5, 9])))
    expected = 0.0
    for row, right in zip(cosines.tolist(), gold.tolist(), strict=True):
        tied = [s for s, cosine in zip(senses.tolist(), row, strict=True) if cosine == max(row)]
        expected += (right in tied) / len(tied)
    assert wsd.tied_accuracy(cosines, senses, gold) == pytest.approx(expected / len(cosines))


def test_tie_survives_what_rounding_does_to_equal_cosines() -> None:
    cosines = np.asarray([[0.1 + 0.2, 0.3]])
    assert cosines[0, 0] != cosines[0, 1]
    assert wsd.tied_accuracy(cosines, np.asarray([0, 1]), np.asarray([1])) == 0.5


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("train.data.txt", "1\ta b\n5\ta b", ValueError, "train.data.txt, line 2: position 5 of"),
        ("train.data.txt", "-1\ta b", ValueError, "line 1: position -1"),
        ("train.data.txt", "0 a b", ValueError, "line 1: no tab"),
        ("train.data.txt", "x\ta b", ValueError, "line 1: 'x' is no integer"),
        ("train.data.txt", "", ValueError, "train.data.txt 0: give as many"),
        ("train.gold.txt", "0\n1", ValueError, r"train.gold.txt has 2 lines and .* 5"),
        ("test.gold.txt", "0\nriver", ValueError, "test.gold.txt, line 2: 'river' is no integer"),
        ("test.gold.txt", b"0\n\xff", ValueError, "test.gold.txt, line 2: not UTF-8"),
        ("test.gold.txt", None, FileNotFoundError, "test.gold.txt is missing"),
        ("test.data.txt", None, FileNotFoundError, "test.data.txt is missing"),
    ],
)
def test_errors_name_file_and_line(
    folder: Path, file: str, content: str | bytes | None, error: type[Exception], message: str
) -> None:
    path = folder / "bank" / file
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    with pytest.raises(error, match=message):
        wsd.read_folder(folder)


def test_split_without_occurrences_is_refused(folder: Path) -> None:
    for kind in ("data", "gold"):
        (folder / "bank" / f"test.{kind}.txt").write_text("")
    with pytest.raises(ValueError, match=r"test\.data\.txt is empty"):
        wsd.read_folder(folder)


def test_folder_of_something_else_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"apple/train\.data\.txt"):
        wsd.read_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        wsd.read_folder(tmp_path / "nowhere")


def test_bundled_model_keeps_its_score_on_real_words(shared_data: Path) -> None:
    model = polyseme.load()
    words = [word for word in wsd.read_folder(shared_data / "wsd") if word.word in ("mole", "yard")]
    scores = {score.word: score for score in wsd.evaluate(model, words).words}
    assert scores["mole"].accuracy == pytest.approx(0.956, abs=0.005)
    assert scores["yard"].accuracy == pytest.approx(0.875, abs=0.014)
    static = {score.word: score.accuracy for score in wsd.evaluate(model.static(), words).words}
    assert static == pytest.approx({"mole": 1 / 5, "yard": 1 / 2})
