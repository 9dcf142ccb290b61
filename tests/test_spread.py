from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from polyseme.cli import app
from polyseme.evaluation import spread
from polyseme.evaluation.passages import choose
from tests.fakes import FakeModel


def slow(
    model: FakeModel, texts: list[str], same_cosine: float = 1e-6
) -> tuple[float, float, float]:
    """All pairs one after the other, in float64."""
    docs = model.contextualize(texts)
    words = [
        (word.casefold(), i, vector.astype(np.float64))
        for i, doc in enumerate(docs)
        for word, vector, known in zip(doc.words, doc.vectors, doc.known, strict=True)
        if known
    ]

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    means = []
    for i in range(len(texts)):
        own = [(word, vector) for word, at, vector in words if at == i]
        cosines = [
            cosine(a, b)
            for k, (word, a) in enumerate(own)
            for other, b in own[k + 1 :]
            if word != other
        ]
        if cosines:
            means.append(np.mean(cosines))
    same, own_text = [], []
    for k, (word, i, vector) in enumerate(words):
        if not word.isalnum() or sum(other == word for other, *_ in words) < 2:
            continue
        others = [
            (cosine(vector, w), other == word, at == i)
            for m, (other, at, w) in enumerate(words)
            if m != k
        ]
        nearest = [o for o in others if o[0] >= max(others)[0] - same_cosine]
        same.append(np.mean([alike for _, alike, _ in nearest]))
        own_text.append(np.mean([here and not alike for _, alike, here in nearest]))
    shares = [float(np.mean(part)) if part else 0.0 for part in (same, own_text)]
    return float(np.mean(means)) if means else 0.0, shares[0], shares[1]


WORDS = ["a", "B", "b", "c", ".", "odd"]
Texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=60)
@given(Texts, st.integers(0, 2), st.integers(1, 40))
def test_measures_agree_with_the_slow_version(
    texts: list[list[str]], context: int, at_once: int
) -> None:
    table = {
        word.casefold(): np.random.default_rng(i).normal(size=4) for i, word in enumerate(WORDS)
    }

    def vector(words: list[str], i: int) -> list[float] | None:
        if words[i] == "odd":
            return None
        own = table[words[i].casefold()] + context * len(words) * table["a"]
        return list(own + 0.1 * context * i)

    model = FakeModel(4, vector)
    joined = [" ".join(words) for words in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "_AT_ONCE", at_once)
        result = spread.evaluate(model, joined)
    found = result.cosine, result.same_word, result.own_text
    assert found == pytest.approx(slow(model, joined), abs=1e-5)
    assert result.words == sum(map(len, texts))


def test_collapse_into_the_text_is_seen() -> None:
    texts = ["one day the cat slept", "one day a dog slept"]
    collapsed = FakeModel(
        3, lambda words, i: (1.0, float("cat" in words) * 9, 0.01 * len(words[i]))
    )
    result = spread.evaluate(collapsed, texts)
    assert result.cosine > 0.99
    assert result.repeated == 6, "one, day, slept"
    assert (result.same_word, result.own_text) == (0.0, pytest.approx(1.0))


def test_vectors_of_the_word_alone_find_the_word_whatever_its_case() -> None:
    table = {"the": (1, 0, 0), "cat": (0, 1, 0), "dog": (0, 0, 1), ".": (0, 1, 0)}
    static = FakeModel(3, lambda words, i: table[words[i].casefold()])
    result = spread.evaluate(static, ["The dog.", "the cat.", "The The"])
    assert result.repeated == 4, "the; a full stop is no word to look for"
    assert (result.same_word, result.own_text) == (1.0, 0.0)
    assert result.cosine == pytest.approx((0 + 1 / 3) / 2), "a text of one word has no pair"


def test_texts_without_a_repeated_word_are_measured_as_zero() -> None:
    result = spread.evaluate(FakeModel(1, lambda words, i: [1.0]), ["a", "b"])
    assert (result.cosine, result.repeated, result.same_word, result.own_text) == (0, 0, 0, 0)
    json.dumps(result.to_dict(), allow_nan=False)


def test_choice_is_the_same_at_every_call_and_of_all_parts(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    long = " ".join(["word"] * 61)
    lines = [f"passage number {i}" for i in range(1000)]
    path.write_text("\n".join(["one", long, "", *lines, "passage number 3", long]))
    chosen = choose(path, 100)
    assert chosen == choose(path, 100)
    assert chosen != choose(path, 100, seed=1)
    assert len(set(chosen)) == 100
    numbers = [int(text.split()[-1]) for text in chosen]
    assert sorted(numbers)[50] in range(350, 650), "all passages are equally likely"
    assert set(choose(path, 5000)) == set(lines), "no more than there are, none twice"


def test_file_without_passages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("one\n\n")
    with pytest.raises(ValueError, match=r"few\.txt: 0 passages of 2 to 60 words"):
        choose(path, 10)


def test_command_prints_table_and_json(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("The bank of a river\nThe money in the bank\nthe river is long\n")
    arguments = ["eval", "spread", "--data", str(path)]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["task"], told["texts"], told["words"]) == ("spread", 3, 14)
    static = json.loads(CliRunner().invoke(app, [*arguments, "--rung", "static", "--json"]).stdout)
    assert static["same_word"] == 1.0
    assert static["cosine"] < told["cosine"]
    assert f"{told['cosine']:.3f}" in CliRunner().invoke(app, arguments).stdout
    two = json.loads(CliRunner().invoke(app, [*arguments, "--texts", "2", "--json"]).stdout)
    assert two["texts"] == 2
