"""A word's neighbours, as it is meant in its text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import polyseme
from polyseme import WordVectors, neighbours
from polyseme.neighbours import whole_words

from .conftest import MakeModel, wordpiece_json


def test_neighbours_follow_the_context() -> None:
    model = polyseme.load()
    river = [n.word for n in model.most_similar("We sat on the bank of the river", "bank")]
    money = [n.word for n in model.most_similar("The bank lent me money", "bank")]
    assert "river" in river
    assert "river" not in money
    assert "money" in money
    assert "bank" not in river
    assert len(river) == 10


def test_neighbours_are_by_cosine_nearest_first() -> None:
    vectors = WordVectors(["x", "y", "z"], [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    near = polyseme.load(vectors).static().most_similar("x", "x")
    assert [n.word for n in near] == ["y", "z"]
    assert np.allclose([n.similarity for n in near], [0.5**0.5, 0.0], atol=1e-6)


def test_neighbours_among_other_texts_say_where_they_stand() -> None:
    model = polyseme.load()
    texts = ["The river flooded its banks", "Banks lend money to people"]
    near = model.most_similar("The bank lent me money", "bank", among=texts, topn=3)
    assert near[0].text == 1
    for neighbour in near:
        assert neighbour.text is not None
        assert neighbour.span is not None
        start, end = neighbour.span
        assert texts[neighbour.text][start:end] == neighbour.word
    assert near[0].similarity >= near[1].similarity >= near[2].similarity


def test_a_vocabulary_can_be_given(make_model: MakeModel) -> None:
    for model in (polyseme.load(), polyseme.load(make_model(), backend="numpy")):
        near = model.most_similar("an apple a day", "apple", vocabulary=["doctor", "cake"])
        assert {n.word for n in near} == {"doctor", "cake"}
    with pytest.raises(ValueError, match="not both"):
        model.most_similar("an apple", "apple", vocabulary=["a"], among=["a"])
    with pytest.raises(ValueError, match="topn is 0"):
        model.most_similar("an apple", "apple", topn=0)


def test_whole_words_of_every_kind_of_vocabulary() -> None:
    words = whole_words(wordpiece_json())
    assert "apple" in words
    assert "##s" not in words
    assert "[CLS]" not in words
    assert "." not in words
    byte_level = {"model": {"vocab": {"\u0120apple": 0, "pple": 1, "\u0120": 2, "\u01202": 3}}}
    assert whole_words(json.dumps(byte_level)) == {"apple": 0}
    unigram = {"model": {"vocab": [["\u2581apple", -1.0], ["pple", -2.0], ["<s>", 0.0]]}}
    assert whole_words(json.dumps(unigram)) == {"apple": 0}


def test_the_vocabulary_of_a_model_with_layers_is_computed_once(
    make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYSEME_CACHE", str(tmp_path / "cache"))
    folder = make_model()
    first = polyseme.load(folder, backend="numpy").most_similar("an apple a day", "apple")
    again = polyseme.load(folder, backend="numpy")
    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "_own_vocabulary", None)
        assert again.most_similar("an apple a day", "apple") == first
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["embeddings.tokens"] *= -1
    save_file(tensors, weights)
    changed = polyseme.load(folder, backend="numpy").most_similar("an apple a day", "apple")
    assert changed != first
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1, "the former state is removed"
