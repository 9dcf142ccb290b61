"""Explanations are exact where they say so, and faithful where they are not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import polyseme
from polyseme.explain import _rollout

from .conftest import WORDS, MakeModel

SENTENCE = "Apple just launched a new iPhone."


@settings(max_examples=40)
@given(
    words=st.lists(st.sampled_from(["apple", "doctor", "unheardof", ",", "river"]), min_size=1),
    data=st.data(),
)
def test_parameter_free_weights_add_up_to_the_vector(words: list[str], data: st.DataObject) -> None:
    model = polyseme.load().parameter_free()
    position = data.draw(st.integers(0, len(words) - 1))
    explanation = model.explain(words, position)
    static = model.static_vectors([words]).vectors
    vector = model.contextualize([words]).vectors[position]
    assert explanation.exact
    assert math.isclose(explanation.weights.sum(), 1, abs_tol=1e-6)
    assert np.allclose(explanation.weights @ static, vector, atol=1e-6)


def test_static_vectors_are_explained_by_themselves() -> None:
    explanation = polyseme.load().static().explain(SENTENCE, "Apple")
    assert explanation.formula() == "Apple = 1.00 Apple"
    assert explanation.exact
    assert explanation.left_out.tolist() == [0.0] * 7


def test_the_formula_reads_as_a_person_writes_it() -> None:
    explanation = polyseme.load().parameter_free().explain(SENTENCE, "Apple")
    formula = explanation.formula(top=2)
    head, *terms = formula.replace(" + ", " = ").split(" = ")
    assert head == "Apple"
    assert len(terms) == 3
    assert terms[0].endswith(" iPhone")
    assert terms[2].endswith("from 5 other words")
    assert math.isclose(sum(float(term.split()[0]) for term in terms), 1, abs_tol=0.02)


def test_what_a_word_does_is_measured_by_leaving_it_out(make_model: MakeModel) -> None:
    for model in (polyseme.load(), polyseme.load(make_model(), backend="numpy")):
        words = WORDS[:5]
        explanation = model.explain(words, 1)
        whole = model.contextualize([words])[0].vectors[1]
        for j in range(5):
            if j == 1:
                assert explanation.left_out[j] == 0
                continue
            rest = words[:j] + words[j + 1 :]
            without = model.contextualize([rest])[0][words[1]]
            cosine = whole @ without / np.linalg.norm(whole) / np.linalg.norm(without)
            assert math.isclose(explanation.left_out[j], 1 - cosine, abs_tol=1e-5)


def test_deep_models_say_that_their_weights_approximate(make_model: MakeModel) -> None:
    model = polyseme.load(make_model(), backend="numpy")
    explanation = model.explain("an apple a day keeps", "apple")
    assert not explanation.exact
    assert "approximation" in explanation.note
    assert "\u2248" in explanation.formula()
    assert explanation.layer_weights.shape == (2, 2, 5)
    assert (explanation.layer_weights.sum(axis=-1) < 1).all()
    assert np.allclose(explanation.matrix.sum(axis=-1), 1, atol=1e-5)
    assert np.array_equal(explanation.matrix[1], explanation.weights)


def test_rollout_is_the_product_of_half_mixed_layers() -> None:
    generator = np.random.default_rng(0)
    layers = [generator.dirichlet(np.ones(3), size=(2, 3)) for _ in range(2)]
    mixed = [0.5 * layer.mean(axis=0) + 0.5 * np.eye(3) for layer in layers]
    assert np.allclose(_rollout(layers), mixed[1] @ mixed[0], atol=1e-6)


def test_weights_of_pieces_are_summed_to_words(make_model: MakeModel) -> None:
    model = polyseme.load(make_model(), backend="numpy")
    explanation = model.explain("apples cake", "apples")
    tokens = model.tokenizer(["apples cake"])
    assert tokens.word_tokens.tolist() == [[0, 2], [2, 3]]
    recorded, sequences = model.weights(tokens)
    assert sequences is not None
    expected = recorded[1][:, 1:3, 1:3].sum(axis=-1).mean(axis=-1)
    assert np.allclose(explanation.layer_weights[1, :, 0], expected, atol=1e-6)


def test_a_text_that_needs_windows_is_not_explained_in_part(make_model: MakeModel) -> None:
    model = polyseme.load(make_model(), backend="numpy")
    with pytest.raises(ValueError, match="more than the model's 24 positions"):
        model.explain("an apple a day " * 20, 0)


def test_the_word_must_be_there_once() -> None:
    model = polyseme.load()
    with pytest.raises(KeyError, match="'pear' is no word of this text"):
        model.explain(SENTENCE, "pear")
    with pytest.raises(ValueError, match=r"'a' occurs 2 times, at \[0, 2\]"):
        model.explain("a cake a day", "a")
    with pytest.raises(IndexError, match="word 7 of a text of 7 words"):
        model.explain(SENTENCE, 7)
    assert model.explain("a cake a day", -1).word == "day"


def test_everything_is_json_and_picture(tmp_path: Path) -> None:
    explanation = polyseme.load().explain(SENTENCE, "Apple")
    content = json.loads(json.dumps(explanation.to_dict()))
    assert content["words"][content["position"]] == "Apple"
    assert content["exact"] is False
    for kind in ("arcs", "heatmap"):
        svg = explanation.plot(kind).to_svg()  # type: ignore[arg-type]
        assert all(word in svg for word in explanation.words)
    explanation.plot().save(tmp_path / "arcs.svg")
    assert (tmp_path / "arcs.svg").read_text().startswith("<svg")
    assert "<svg" in explanation._repr_html_()
    with pytest.raises(ValueError, match="kind is 'pie'"):
        explanation.plot("pie")  # type: ignore[arg-type]


def test_a_sense_map_has_a_point_for_every_use() -> None:
    model = polyseme.load()
    texts = ["An apple a day", SENTENCE, "apple to apple"]
    svg = model.sense_map("apple", texts, groups=["fruit", "company", "fruit"]).to_svg()
    assert "fruit" in svg
    assert "company" in svg
    with pytest.raises(ValueError, match="'apple' does not stand in text 1"):
        model.sense_map("apple", ["apple", "pear"])
    with pytest.raises(ValueError, match="groups has 1 labels for 3 texts"):
        model.sense_map("apple", texts, groups=["fruit"])
