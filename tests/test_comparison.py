from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import polyseme
from polyseme.comparison import compare
from polyseme.vectors import WordVectors

SENTENCES = ["An apple a day", "Apple just launched a new iPhone", "apple and apple pie"]


@pytest.fixture(scope="module")
def model() -> polyseme.Contextualizer:
    return polyseme.load()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_every_occurrence_is_a_use(model: polyseme.Contextualizer) -> None:
    uses = compare(model, "apple", SENTENCES, topn=0).uses
    assert [(use.sentence, use.position) for use in uses] == [(0, 1), (1, 0), (2, 0), (2, 2)]
    assert [SENTENCES[use.sentence][slice(*use.span)] for use in uses] == [
        "apple",
        "Apple",
        "apple",
        "apple",
    ]


def test_similarities_are_cosines_of_the_vectors_in_context(
    model: polyseme.Contextualizer,
) -> None:
    static, _, mixed = compare(model, "apple", SENTENCES[:2], topn=0).views
    np.testing.assert_allclose(static.similarity, 1, rtol=1e-5)
    docs = model.contextualize(SENTENCES[:2])
    expected = cosine(docs[0]["apple"], docs[1]["Apple"])
    assert mixed.similarity[0, 1] == pytest.approx(expected, abs=1e-6)
    assert mixed.similarity[1, 0] == mixed.similarity[0, 1]


def test_nearest_words_are_those_of_most_similar(model: polyseme.Contextualizer) -> None:
    for view, rung in zip(
        compare(model, "apple", SENTENCES[:2], topn=7).views,
        (model.static(), model.parameter_free(), model),
        strict=True,
    ):
        for near, sentence in zip(view.nearest, SENTENCES, strict=False):
            expected = rung.most_similar(sentence, "apple", topn=7)
            assert [n.word for n in near] == [n.word for n in expected]
            assert [n.similarity for n in near] == pytest.approx([n.similarity for n in expected])


def test_layers_get_a_view_of_their_own(minilm: Path) -> None:
    model = polyseme.load(minilm, backend="numpy")
    comparison = compare(model, "apple", SENTENCES[:2], topn=0)
    assert [view.rung for view in comparison.views] == ["static", "parameter-free", "pretrained"]
    docs = model.contextualize(SENTENCES[:2])
    expected = cosine(docs[0]["apple"], docs[1]["Apple"])
    assert comparison.views[2].similarity[0, 1] == pytest.approx(expected, abs=1e-5)


def test_use_without_a_vector_is_told_and_has_no_neighbours() -> None:
    vectors = WordVectors(["river", "money"], np.eye(2, dtype=np.float32))
    comparison = compare(polyseme.load(vectors), "bank", ["river bank", "bank"], topn=2)
    static, mixed = comparison.views
    assert [use.known for use in comparison.uses] == [False, False]
    assert np.isnan(static.similarity).all()
    assert static.nearest == [[], []]
    assert mixed.nearest[0][0].word == "river", "an unknown word becomes the mean of its context"
    assert mixed.nearest[1] == []
    told = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert told["rungs"][1]["similarity"] == [[pytest.approx(1), None], [None, None]]


def test_phrase_is_one_word_if_it_is_named(model: polyseme.Contextualizer) -> None:
    sentences = ["it was a piece of cake", "she ate a Piece of cake"]
    uses = compare(model, "piece of cake", sentences, phrases=["piece of cake"], topn=1).uses
    assert [use.position for use in uses] == [3, 3]
    with pytest.raises(ValueError, match=r"sentence 1, 'it was.*name it as a phrase"):
        compare(model, "piece of cake", sentences)


def test_error_names_the_sentence_that_lacks_the_word(model: polyseme.Contextualizer) -> None:
    with pytest.raises(ValueError, match="'bank' is no word of sentence 2, 'a river'"):
        compare(model, "bank", ["the bank", "a river"])
