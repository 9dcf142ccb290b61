"""The index of senses: what goes in, what is found, how senses fall apart, and what is refused."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("lancedb", reason="senses need LanceDB (extra `search`)")
pytest.importorskip("sklearn", reason="senses need scikit-learn (extra `search`)")

import polyseme
from polyseme.attention import unit
from polyseme.contextualizer import Contextualizer
from polyseme.senses import SenseIndex, build_index
from polyseme.senses.arranging import AXES, GROUP, axes_of, groups_of, stretches
from polyseme.senses.clustering import centroids_of, nearest_to
from polyseme.senses.marks import marks_of
from polyseme.senses.tables import checked_where, cosines, directions
from polyseme.senses.vectors import Vectors, removed, written
from polyseme.senses.words import alike, is_content, nearest_spelling
from tests.conftest import WORDS, write_model

RIVER = "We walked along the bank of the {} and watched the water"
MONEY = "The bank raised its interest rates and refused the {} a loan"
RIVERS = ["river", "stream", "Thames", "Seine", "lake", "brook", "Nile", "canal"]
BORROWERS = ["company", "farmer", "firm", "customer", "buyer", "shop", "builder", "student"]


@pytest.fixture(scope="module")
def model() -> Contextualizer:
    return polyseme.load(backend="numpy")


@pytest.fixture(scope="module")
def index(model: Contextualizer, tmp_path_factory: pytest.TempPathFactory) -> SenseIndex:
    """Forty uses of a bank by the water, forty of one with money, with a year and an author."""
    folder = tmp_path_factory.mktemp("senses")
    lines = []
    for i in range(40):
        for form, words, author in ((RIVER, RIVERS, "O'Neill"), (MONEY, BORROWERS, "Ann")):
            text = form.format(words[i % 8]) + f" in {words[i // 8]} country"
            lines.append({"text": text, "year": 1980 + i, "author": author, "n": None})
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    build_index(file, folder / "index", model=model, keep=["year", "author", "n"])
    return SenseIndex.open(folder / "index", model)


def all_rows(index: SenseIndex) -> list[dict[str, Any]]:
    return index._tables.occurrences.search().to_arrow().to_pylist()


# what goes in


def test_every_occurrence_of_a_content_word_is_there_once(
    index: SenseIndex, model: Contextualizer
) -> None:
    texts = index._tables.texts.to_arrow().to_pylist()
    assert [row["id"] for row in texts] == list(range(80)), "a text's row is its id"
    expected: Counter[tuple[int, int, int, str]] = Counter()
    for row in texts:
        doc = model.contextualize(row["text"])
        for word, (start, end) in zip(doc.words, doc.spans, strict=True):
            if is_content(word.casefold()):
                expected[row["id"], start, end, word.casefold()] += 1
    seen = Counter((r["text"], r["start"], r["end"], r["word"]) for r in all_rows(index))
    assert seen == expected
    assert len(index) == expected.total() == sum(index.words.values())


def test_vectors_on_disk_point_where_the_models_do(
    index: SenseIndex, model: Contextualizer
) -> None:
    rows = index._tables.of_words(["bank"])
    texts = {row["id"]: row["text"] for row in index._tables.texts.to_arrow().to_pylist()}
    stored = directions(rows["vector"])
    for row, vector in list(zip(rows.to_pylist(), stored, strict=True))[::9]:
        exact = unit(model.contextualize(texts[row["text"]])[row["start"], row["end"]])
        assert float(exact @ vector) > 0.9998


def test_a_words_rows_lie_together_and_so_do_a_groups(index: SenseIndex) -> None:
    rows = all_rows(index)
    words = [row["word"] for row in rows]
    assert words == sorted(words)
    groups = index._tables.groups.to_arrow().to_pylist()
    for group in groups:
        members = rows[group["first"] : group["first"] + group["size"]]
        assert {row["word"] for row in members} == {group["word"]}
        assert 1 <= len(members) <= GROUP
    assert sum(group["size"] for group in groups) == len(rows)


@pytest.mark.parametrize("store", ["float16", "float32"])
def test_wider_numbers_are_kept_if_asked_for(
    store: Any, model: Contextualizer, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a river bank\n")
    build_index(tmp_path / "a.txt", tmp_path / "index", model=model, store=store)
    opened = SenseIndex.open(tmp_path / "index", model)
    assert opened.search("a river bank", "bank")[0].score == pytest.approx(1, abs=1e-3)
    assert opened.info()["store"] == store


def test_only_the_words_that_were_asked_for(model: Contextualizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The Bank of it\nnothing here\n\nthe bank\n")
    made = build_index(tmp_path / "a.txt", tmp_path / "index", model=model, words=["BANK", "the"])
    opened = SenseIndex.open(tmp_path / "index", model)
    assert made.texts == 2, "a text without a wanted word is left out"
    assert dict(opened.words) == {"bank": 2, "the": 2}


def test_no_text_at_all(model: Contextualizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    made = build_index(tmp_path / "a.txt", tmp_path / "index", model=model)
    assert made.occurrences == 0
    opened = SenseIndex.open(tmp_path / "index", model)
    assert len(opened) == 0
    assert opened.synonyms("a river", "river") == []
    with pytest.raises(KeyError, match="'river' does not occur"):
        opened.search("a river", "river")


def test_texts_that_are_lists_of_words(model: Contextualizer, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": ["O'Neill's", "bank", "!"]}) + "\n")
    build_index(tmp_path / "a.jsonl", tmp_path / "index", model=model)
    found = SenseIndex.open(tmp_path / "index", model).search(["my", "bank"], "bank")
    assert [(one.text, one.start, one.end) for one in found] == [("O'Neill's bank !", 10, 14)]


# what is found


def test_the_same_sense_comes_first_and_other_senses_last(index: SenseIndex) -> None:
    near = index.search("They sat on the bank of the Danube", "bank", 40)
    assert sum("water" in one.text for one in near) >= 38
    scores = [one.score for one in near]
    assert scores == sorted(scores, reverse=True)
    far = index.search("They sat on the bank of the Danube", "bank", 40, same=False)
    assert sum("loan" in one.text for one in far) >= 38


def test_what_is_found_says_where_it_stands(index: SenseIndex) -> None:
    for one in index.search("the bank lends", "bank", 5):
        assert one.text[one.start : one.end] == one.word == "bank"
        assert one.source.endswith("texts.jsonl")
        assert set(one.metadata) == {"year", "author", "n"}
        assert one.metadata["year"] == 1980 + (one.line - 1) // 2
        assert json.loads(json.dumps(one.to_dict()))["line"] == one.line


def test_search_is_exact(index: SenseIndex, model: Contextualizer) -> None:
    vector = unit(model.contextualize("a bank by the sea")["bank"])
    rows = index._tables.of_words(["bank"])
    cosines = np.sort(directions(rows["vector"]) @ vector)[::-1]
    found = index.search("a bank by the sea", "bank", 25)
    np.testing.assert_allclose([one.score for one in found], cosines[:25], rtol=1e-6)


def test_conditions_on_metadata(index: SenseIndex) -> None:
    found = index.search("the bank", "bank", 100, where="year >= 2000 AND author = 'O''Neill'")
    assert len(found) == 20
    assert all(one.metadata["author"] == "O'Neill" for one in found)
    assert index.search("the bank", "bank", where="year > 3000") == []
    assert index.search("the bank", "bank", where="n IS NOT NULL") == []
    assert len(index.search("the bank", "bank", 100, where="year < 1990 or year > 2009")) == 40


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("", "it is empty"),
        ("1=1) OR (1=1", "brackets"),
        ("year > (1990", "brackets"),
        ("year > 1990; DROP TABLE texts", "';' on its own"),
        ("year > 1990 -- and more", "'--' on its own"),
        ("author = 'Ann", '"\'" on its own'),
        ("yaer > 1990", "the columns of this index are .*year, author"),
        ("year > ", "where is 'year > '"),
        ("author > 3 +", "where is"),
    ],
)
def test_a_condition_that_is_none_is_told_so(index: SenseIndex, where: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        index.search("the bank", "bank", where=where)
    assert "where is" in str(error.value)
    assert ".rs:" not in str(error.value)


def test_quotes_and_brackets_within_strings_are_part_of_them() -> None:
    assert checked_where("name = 'a ); -- '' b'") == "name = 'a ); -- '' b'"


def test_words_with_quotes_are_searched_and_no_code(model: Contextualizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("O'Neill wrote plays\nthe O’Neill house\n" * 2)
    build_index(tmp_path / "a.txt", tmp_path / "index", model=model)
    opened = SenseIndex.open(tmp_path / "index", model)
    assert len(opened.search("I read O'Neill", "O'Neill")) == 2
    assert len(opened.search("I read O'Neill", "O'Neill", words=["o'neill", "o’neill"])) == 4
    with pytest.raises(KeyError, match="does not occur"):
        opened.search("it", "it", words=["x' OR '1'='1"])


def test_synonyms_are_other_words_one_occurrence_of_each(index: SenseIndex) -> None:
    found = index.synonyms("They sat on the bank of the river", "river", 6)
    words = [one.word.casefold() for one in found]
    assert len(set(words)) == len(words) == 6
    assert "river" not in words
    assert len({"stream", "lake", "brook", "canal", "seine", "thames", "nile"} & set(words)) >= 4
    assert index.synonyms("the river", "river", 3, where="year > 3000") == []
    everything = index.synonyms("the river", "river", 10_000)
    assert len(everything) == len(index.words) - 1


def test_unknown_words_and_arguments_are_told_what_would_do(index: SenseIndex) -> None:
    with pytest.raises(KeyError, match=r"'bnak' does not occur in .*'bank'"):
        index.search("the bnak", "bnak")
    with pytest.raises(KeyError, match="is no word of this text"):
        index.search("the river", "bank")
    with pytest.raises(ValueError, match="occurs 2 times"):
        index.search("a bank and a bank", "bank")
    assert index.search("a bank and a bank", 1, 1)[0].word == "bank"
    with pytest.raises(ValueError, match="k is 0"):
        index.search("the bank", "bank", 0)
    with pytest.raises(TypeError, match=r"write \['bank'\]"):
        index.search("the bank", "bank", words="bank")
    with pytest.raises(ValueError, match="words is empty"):
        index.search("the bank", "bank", words=[])


# senses


def test_two_senses_are_found_where_there_are_two(index: SenseIndex) -> None:
    senses = index.senses("Bank")
    assert [sense.number for sense in senses] == list(range(1, len(senses) + 1))
    assert sum(sense.size for sense in senses) == 80
    assert sum(sense.share for sense in senses) == pytest.approx(1)
    for sense in senses:
        kinds = {"water" in example.text for example in sense.examples}
        assert len(kinds) == 1, "examples of one sense are of one kind"
    assert {"water" in sense.examples[0].text for sense in senses} == {True, False}
    water = next(sense for sense in senses if "water" in sense.examples[0].text)
    assert {"walked", "watched", "water"} & set(water.marks)
    assert not {"bank", "banks", "the"} & set(water.marks)
    again = index.senses("bank")
    assert [sense.to_dict() for sense in again] == [sense.to_dict() for sense in senses]


def test_labels_stay_and_tag_new_texts(index: SenseIndex, model: Contextualizer) -> None:
    with pytest.raises(ValueError, match="no senses are labelled"):
        index.tag(["a bank"])
    senses = index.senses("bank")
    labels = {s.number: "river" if "water" in s.examples[0].text else "money" for s in senses}
    with pytest.raises(KeyError, match="no sense 99"):
        index.label("bank", {99: "x"})
    assert [sense.title for sense in index.label("BANK", labels)] == list(labels.values())
    other = SenseIndex.open(index.folder, model)
    assert set(other.labelled()["bank"]) == {"river", "money"}
    tags = other.tag(
        ["They fished from the bank of the stream", ["My", "Bank", "refused", "a", "loan"], "none"]
    )
    assert [[(tag.word, tag.sense) for tag in of_text] for of_text in tags] == [
        [("bank", "river")],
        [("Bank", "money")],
        [],
    ]
    assert tags[0][0].start == 21
    assert 0 < tags[0][0].margin < tags[0][0].score <= 1
    assert [tag.word for tag in other.tag(["a river bank"], words=["river"])[0]] == ["river"]
    index.label("bank", dict.fromkeys(labels, ""))
    assert other.labelled() == {}


def test_change_over_a_column(index: SenseIndex) -> None:
    change = index.over("bank", "year")
    assert change.counts.sum() == 80
    assert change.values[0] == "1980–1984"
    assert change.counts.sum(axis=1).tolist() == [10] * 8
    assert change.plot().to_svg().count("<rect") >= 8
    by_author = index.over("bank", "author")
    assert by_author.values == ("Ann", "O'Neill")
    assert (by_author.counts > 0).sum() == len(by_author.senses), "each sense is one author's"
    with pytest.raises(KeyError, match="no column 'decade'; its columns are 'year'"):
        index.over("bank", "decade")
    with pytest.raises(ValueError, match="no occurrence of 'bank' has a value"):
        index.over("bank", "n")


def test_as_many_senses_as_there_are_lumps() -> None:
    draw = np.random.default_rng(3)
    for number in (1, 2, 3):
        centres = draw.normal(size=(number, 64))
        points = np.repeat(centres, 80, axis=0) + 0.4 * draw.normal(size=(number * 80, 64))
        vectors = unit(points.astype(np.float32))
        centroids = centroids_of(vectors)
        assert len(centroids) == number
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
        assert set(np.bincount(nearest_to(centroids, vectors)).tolist()) == {80}
    assert centroids_of(vectors[:1]).shape == (1, 64)
    assert centroids_of(np.repeat(vectors[:1], 50, axis=0)).shape == (1, 64)


@given(st.integers(0, 1200), st.integers(0, 5))
def test_cosines_in_blocks_are_those_of_all_at_once(number: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    numbers = draw.integers(-127, 128, size=(number, 16)).astype(np.int8)
    vector = unit(draw.normal(size=16).astype(np.float32))
    rows = numbers.astype(np.float64)
    expected = rows @ vector / np.maximum(np.linalg.norm(rows, axis=1), 1e-30)
    np.testing.assert_allclose(cosines(numbers, vector), expected, atol=1e-5)


def test_groups_are_whole_small_and_of_what_is_similar() -> None:
    draw = np.random.default_rng(0)
    vectors = unit(draw.normal(size=(1000, 16)).astype(np.float32))
    groups = groups_of(vectors)
    assert sorted(np.concatenate(groups).tolist()) == list(range(1000))
    assert all(GROUP // 2 <= len(group) <= GROUP for group in groups)
    within = np.mean([float((vectors[g] @ vectors[g].T).mean()) for g in groups])
    assert within > float((vectors @ vectors.T).mean()) + 0.1
    assert [len(group) for group in groups_of(np.repeat(vectors[:1], 200, axis=0))]
    assert [list(stretches(counts, 4)) for counts in ({}, {"a": 9})] == [[], [("a", "a")]]


def test_marks_of_the_only_sense_are_held_against_all_words() -> None:
    near = [[{"river", "year"}, {"river", "year"}, {"river"}]]
    assert marks_of(near, {"river": 3, "year": 900, "other": 2000})[0] == ["river", "year"]
    assert marks_of([[], []], {}) == [[], []]


def test_words_that_mean_something() -> None:
    assert not [
        word for word in ("the", "don’t", "don't", "a", "7", "b2b", "-", "x") if is_content(word)
    ]
    assert all(map(is_content, ["bank", "naïve", "水", "корова", "o’neill"]))
    assert alike("bank", "banking")
    assert not alike("bank", "band")
    assert not alike("river", "rive gauche")
    assert nearest_spelling("rivr", ["bank", "river", "rover"])[0] == "river"
    assert nearest_spelling("zzz", ["bank"]) == []


# models


def test_another_model_is_refused(index: SenseIndex, model: Contextualizer, tmp_path: Path) -> None:
    other = polyseme.load(write_model(tmp_path / "model"), backend="numpy")
    with pytest.raises(ValueError, match=r"was made with the model .*can't be compared"):
        SenseIndex.open(index.folder, other)
    (tmp_path / "a.txt").write_text("an apple\n")
    with pytest.raises(ValueError, match="can't be compared"):
        build_index(tmp_path / "a.txt", index.folder, model=other)
    with pytest.raises(ValueError, match="can't be compared"):
        SenseIndex.open(index.folder, model.static())
    assert SenseIndex.open(index.folder).search("the bank", "bank", 1), "the bundled one, by itself"
    build_index(tmp_path / "a.txt", tmp_path / "own", model=other, words=["apple"])
    with pytest.raises(ValueError, match="can't be compared"):
        SenseIndex.open(tmp_path / "own").search("an apple", "apple")


def test_the_nearest_words_are_found_among_many_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyseme.senses import arranging

    monkeypatch.setattr(arranging, "_ROWS_AT_ONCE", 500)
    monkeypatch.setattr(arranging, "AXES", 8)
    small = polyseme.load(write_model(tmp_path / "model"), backend="numpy")
    draw = random.Random(0)
    lines = [
        json.dumps({"text": " ".join(draw.choices(WORDS, k=8)), "year": i}) for i in range(400)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    build_index(tmp_path / "a.jsonl", tmp_path / "index", model=small, words=WORDS, keep=["year"])
    opened = SenseIndex.open(tmp_path / "index", small)
    assert len(opened) == 3200
    tables = opened._tables
    assert tables.meeting.leading.shape == (len(tables.groups), 8)
    assert len(tables.groups) > 100
    vector = unit(small.contextualize("new doctor")["doctor"])
    rows = tables.of_words(WORDS)
    every = directions(rows["vector"]) @ vector
    for where, chosen in ((None, range(400)), ("year % 50 = 7", range(7, 400, 50))):
        best: dict[str, float] = {}
        for word, year, cosine in zip(
            rows["word"].to_pylist(), rows["year"].to_pylist(), every.tolist(), strict=True
        ):
            if word != "doctor" and year in chosen:
                best[word] = max(best.get(word, -1), cosine)
        found = opened.synonyms("new doctor", "doctor", 5, where=where)
        assert [one.word for one in found] == sorted(best, key=best.__getitem__, reverse=True)[:5]
        np.testing.assert_allclose(
            [one.score for one in found], sorted(best.values())[:-6:-1], atol=1e-6
        )
    # The vectors are in the order of the table's rows, and what is searched is all of them.
    numbers, at, near = tables.in_groups(vector, 10**6, None, ["doctor"])
    words = tables.occurrences.search().to_arrow()["word"].to_pylist()
    assert [tables.meeting.words[i] for i in numbers] == [words[i] for i in at]
    assert at.tolist() == [i for i, word in enumerate(words) if word != "doctor"]
    np.testing.assert_allclose(near, every[at], atol=1e-6)
    # Where few groups are looked into, more are until there are enough words.
    monkeypatch.setattr("polyseme.senses.searching.GROUPS", 1)
    assert tables.meeting.enough == max(1, len(tables.groups) // 160)
    assert len(opened.synonyms("new doctor", "doctor", 5)) == 5


def test_words_of_any_signs_are_arranged(
    model: Contextualizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyseme.senses import arranging

    monkeypatch.setattr(arranging, "_ROWS_AT_ONCE", 1)
    words = ["O'Neill", "'", '"', "\\", "%", "_", "naïve", "🍎", "한국어", "x\x00y", "\U0010ffff"]
    for number in (1, 2):  # and once more with those that are there
        file = tmp_path / f"{number}.jsonl"
        file.write_text(json.dumps({"text": words}) + "\n" + json.dumps({"text": words[::2]}))
        build_index(file, tmp_path / "index", model=model, words=words)
        found = SenseIndex.open(tmp_path / "index", model).words
        assert found == {word.casefold(): number * (2 - i % 2) for i, word in enumerate(words)}


def test_axes_hold_most_of_the_vectors() -> None:
    draw = np.random.default_rng(0)
    turned, _ = np.linalg.qr(draw.normal(size=(200, 200)))
    long = np.geomspace(1, 1e-3, 200)
    vectors = (draw.normal(size=(1000, 200)) * long @ turned).astype(np.float16)
    axes = axes_of([vectors[:300], vectors[300:]], 200)
    assert axes.shape == (AXES, 200)
    np.testing.assert_allclose(axes @ axes.T, np.eye(AXES), atol=1e-5)
    held = np.linalg.norm(vectors @ axes.T) / np.linalg.norm(vectors)
    assert held > 0.999
    assert axes_of([], 5).shape == (5, 5)


@pytest.mark.parametrize("reads", [True, False])
def test_vectors_are_read_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    if not reads:
        monkeypatch.delattr(os, "preadv", raising=False)
    draw = np.random.default_rng(0)
    numbers = draw.integers(-127, 128, size=(5000, 4)).astype(np.int8)
    written(tmp_path, 1, "int8", numbers.shape, [numbers[:1], numbers[1:]])
    vectors = Vectors(tmp_path, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "vectors-1.npy"), numbers)
    written(tmp_path, 2, "int8", (0, 4), [])
    removed(tmp_path, but=2)
    assert [file.name for file in tmp_path.iterdir()] == ["vectors-2.npy"]
    rows = draw.integers(0, 5000, 4999)
    np.testing.assert_array_equal(vectors.take(rows), numbers[rows])
    np.testing.assert_array_equal(vectors.take(np.arange(7, 900)), numbers[7:900])
    assert Vectors(tmp_path, 2).take(rows[:0]).shape == (0, 4)


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="a mapped file cannot tell")
def test_a_file_that_is_cut_off_while_it_is_read(tmp_path: Path) -> None:
    written(tmp_path, 1, "int8", (50, 4), [np.ones((50, 4), np.int8)])
    vectors = Vectors(tmp_path, 1)
    os.truncate(tmp_path / "vectors-1.npy", 300)
    with pytest.raises(OSError, match=r"vectors-1.npy: the file ends before row 50"):
        vectors.take(np.asarray([0, 48, 49]))
