from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="tasks are learned with scikit-learn")


import polyseme
from polyseme.tasks import (
    PairScorer,
    SpanClassifier,
    TextClassifier,
    UnusableError,
    WordTagger,
    open_task,
)
from polyseme.tasks.examples import WHOLE, Units, place_of
from polyseme.tasks.features import compared, features_of, of_pairs, of_spans
from polyseme.tasks.heads import Head, fit_head, loss, probabilities
from polyseme.tasks.reports import report_of_labels

SHORE = (
    "We sat on the {} of the river.",
    "The {} of the lake was muddy.",
    "They fished from the {} of a stream.",
    "Trees grew along the {} of the canal.",
    "The river rose over its {} after the rain.",
    "Boats lay along the {} of the harbour.",
)
MONEY = (
    "The {} raised its rates.",
    "My {} lends money to small firms.",
    "Her {} closed the savings account.",
    "He asked the {} for a loan.",
    "The {} charged interest on the mortgage.",
    "Shares of the {} fell on the stock market.",
)
SPANS = [(text.format("bank"), "bank") for text in SHORE + MONEY]
SENSES = ["shore"] * len(SHORE) + ["money"] * len(MONEY)
NEW = [("The bank gave us credit.", "bank"), ("Ducks slept on the bank of the pond.", "bank")]


@pytest.fixture(scope="module")
def model() -> polyseme.Contextualizer:
    return polyseme.load()


def quick(kind: Any, model: Any, **options: Any) -> Any:
    return kind(model, **{"train": "head", "held_out": 0.0, "progress": False, **options})


def test_a_span_s_label_follows_its_context(model: polyseme.Contextualizer) -> None:
    told = quick(SpanClassifier, model).fit(SPANS, SENSES)
    assert told.predict(NEW).tolist() == ["money", "shore"]
    judged = told.predict_proba(NEW)
    np.testing.assert_allclose(judged.sum(axis=1), 1)
    assert told.classes_.tolist() == ["money", "shore"]
    assert told.counts_ == {"shore": 6, "money": 6}
    assert told.score(NEW, ["money", "shore"]) == 1.0


def test_spans_are_characters_or_the_words_themselves(model: polyseme.Contextualizer) -> None:
    by_words = quick(SpanClassifier, model).fit(SPANS, SENSES)
    by_characters = [(text, text.index("bank"), text.index("bank") + 4) for text, _ in SPANS]
    told = quick(SpanClassifier, model).fit(by_characters, SENSES)
    assert (told.predict_proba(NEW) == by_words.predict_proba(NEW)).all()
    assert place_of("The Bank is a bank of banks.", (4, 8)) == (
        "The Bank is a bank of banks.",
        (4, 8),
    )


@pytest.mark.parametrize(
    ("example", "why"),
    [
        (("", "bank"), "the text is empty"),
        (("The bank", "river"), "'river' is not in its text"),
        (("The banking sector", "bank"), "'bank' is not in its text"),
        (("A bank is a bank", "bank"), "'bank' is 2 times in its text"),
        (("The bank", 4, 9), "span 4:9 is empty, or outside its text of 8 characters"),
        (("The bank", 4, 4), "span 4:4 is empty"),
        (("The bank", 3, 4), "span 3:4 holds no word"),
        (("The \u200b bank", 4, 5), "span 4:5 holds no word"),
        (("\u200b", 0, 1), "the text has no word"),
        (("The bank", "4", "x"), "is no span"),
        ("The bank", "is no text with a span"),
        ((None, "bank"), "None is no text"),
    ],
)
def test_what_cannot_be_used_is_listed_by_row_before_anything_is_done(
    model: polyseme.Contextualizer, example: Any, why: str
) -> None:
    with pytest.raises(UnusableError, match="2 of 14 examples can't be used") as caught:
        quick(SpanClassifier, model).fit([*SPANS, example, example], [*SENSES, "shore", "money"])
    assert list(caught.value.reasons) == [12, 13]
    assert why in caught.value.reasons[12]
    with pytest.warns(UserWarning, match="row 12"):
        told = quick(SpanClassifier, model, on_error="skip").fit([*SPANS, example], [*SENSES, "x"])
    assert list(told.skipped_) == [12]
    assert told.classes_.tolist() == ["money", "shore"]
    with pytest.raises(UnusableError, match="row 0"):
        told.predict([example])


def test_a_missing_label_or_one_of_no_training_example_is_found(
    model: polyseme.Contextualizer,
) -> None:
    with pytest.raises(UnusableError, match="row 3: the label is missing"):
        quick(SpanClassifier, model).fit(SPANS, [*SENSES[:3], None, *SENSES[4:]])
    told = quick(SpanClassifier, model).fit(SPANS, SENSES)
    with pytest.raises(UnusableError, match="row 1: label 'sofa' was not there in training"):
        told.score(NEW, ["money", "sofa"])
    with pytest.raises(ValueError, match="two labels are needed"):
        quick(SpanClassifier, model).fit(SPANS, ["shore"] * 12)
    with pytest.raises(ValueError, match="12 examples and 1 labels"):
        quick(SpanClassifier, model).fit(SPANS, ["shore"])
    with pytest.raises(ValueError, match="of one type"):
        quick(SpanClassifier, model).fit(SPANS, [*SENSES[:-1], 7])


def test_tables_are_read_by_their_columns(model: polyseme.Contextualizer) -> None:
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    rows = [(text, text.index("bank"), text.index("bank") + 4) for text, _ in SPANS]
    columns = {
        name: [row[i] for row in rows] for i, name in enumerate(("text", "start", "end"))
    } | {"more": range(12)}
    plain = quick(SpanClassifier, model).fit(rows, SENSES).predict_proba(rows)
    for table in (pandas.DataFrame(columns), pyarrow.table(columns)):
        told = quick(SpanClassifier, model).fit(table, pandas.Series(SENSES))
        assert (told.predict_proba(table) == plain).all()
    with pytest.raises(ValueError, match="no column 'end'"):
        quick(SpanClassifier, model).fit(pandas.DataFrame({"text": [], "start": []}), [])
    texts = pandas.DataFrame({"text": [text for text, _ in SPANS]})
    assert len(quick(TextClassifier, model).fit(texts, SENSES).predict(texts)) == 12


def test_texts_have_one_label_or_several(model: polyseme.Contextualizer) -> None:
    texts = [text for text, _ in SPANS]
    told = quick(TextClassifier, model).fit(texts, SENSES)
    assert told.predict(["The lake and the river"]).tolist() == ["shore"]
    several = [[sense] for sense in SENSES[:-2]] + [["money", "news"], []]
    told = quick(TextClassifier, model).fit(texts, several)
    assert told.kind_ == "several"
    assert told.predict(texts[:1]) == [["shore"]]
    assert told.predict_proba(texts).shape == (12, 3)
    assert told.report_.confusion == []
    with pytest.raises(ValueError, match="labels are lists or single ones"):
        quick(TextClassifier, model).fit(texts, [["a"], "b", *SENSES[2:]])
    with pytest.raises(UnusableError, match="row 1: the text is empty; row 2: 7 is no text"):
        quick(TextClassifier, model).fit(["a", " ", 7], ["x", "y", "z"])


def test_every_word_gets_a_tag(model: polyseme.Contextualizer) -> None:
    texts = [["Ann", "sings", "."], ["Bob", "met", "Carol", "here"], ["They", "sing"]] * 4
    tags = [["B", "O", "O"], ["B", "O", "B", "O"], ["O", "O"]] * 4
    told = quick(WordTagger, model).fit(texts, tags)
    assert told.predict([["Carol", "sings"], ["here"]]) == [["B", "O"], ["O"]]
    assert [part.shape for part in told.predict_proba([["Carol", "sings"], ["here"]])] == [
        (2, 2),
        (1, 2),
    ]
    assert told.predict(["Carol sings."]) == [["B", "O", "O"]]
    assert told.predict([]) == []
    assert told.score(texts, tags) == 1.0
    with pytest.raises(UnusableError, match="row 0: 2 words and 1 labels; row 1: 'B' is no list"):
        quick(WordTagger, model).fit([["a", "b"], ["c"]], [["B"], "B"])


def test_pairs_have_labels_or_scores(model: polyseme.Contextualizer) -> None:
    shore, money = SPANS[:6], SPANS[6:]
    alike = [(a, b) for side in (shore, money) for a, b in itertools.pairwise(side)]
    other = list(zip(shore, money, strict=True)) + list(zip(shore[1:], money[:-1], strict=True))
    told = quick(PairScorer, model).fit(alike + other, [True] * 10 + [False] * 11)
    assert told.classes_.tolist() == [False, True]
    assert told.score(alike + other, [True] * 10 + [False] * 11) > 0.9
    flipped = [(b, a) for a, b in alike + other]
    np.testing.assert_allclose(told.predict_proba(flipped), told.predict_proba(alike + other))
    texts = [(a[0], b[0]) for a, b in alike + other]
    scores = [1.0] * 10 + [0.0] * 11
    told = quick(PairScorer, model).fit(texts, scores)
    assert told.kind_ == "score"
    assert told.score(texts, scores) > 0.7
    assert told.predict(texts).shape == (21,)
    with pytest.raises(AttributeError, match="scores have no probabilities"):
        told.predict_proba(texts)
    with pytest.raises(UnusableError, match=r"row 1: .* is no pair"):
        quick(PairScorer, model).fit([texts[0], "a"], [True, False])


def test_the_held_out_part_has_groups_of_its_own(model: polyseme.Contextualizer) -> None:
    told = SpanClassifier(model, train="head", held_out=0.4, progress=False)
    told.fit(SPANS, SENSES, groups=[i % 5 for i in range(12)])
    assert sum(told.report_.examples) in (4, 5)
    assert np.sum(told.report_.confusion) == sum(told.report_.examples)
    told.fit(SPANS, SENSES)
    assert told.report_.examples == [2, 2]
    with pytest.raises(ValueError, match="all examples are of one group"):
        told.fit(SPANS, SENSES, groups=[1] * 12)
    with pytest.raises(ValueError, match="12 examples and 1 groups"):
        told.fit(SPANS, SENSES, groups=[1])


def test_unequal_labels_are_reported_and_can_be_balanced(model: polyseme.Contextualizer) -> None:
    texts = [f"a lake {i}" for i in range(22)] + ["a loan", "money"]
    labels = ["shore"] * 22 + ["money"] * 2
    with pytest.warns(UserWarning, match="'shore' has 22 examples and 'money' has 2"):
        plain = quick(TextClassifier, model).fit(texts, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        balanced = quick(TextClassifier, model, class_weight="balanced").fit(texts, labels)
    assert balanced.predict_proba(["bank"])[0, 0] > plain.predict_proba(["bank"])[0, 0]


def test_a_saved_task_is_the_same_and_its_model_opens_alone(
    tmp_path: Path, model: polyseme.Contextualizer
) -> None:
    told = quick(SpanClassifier, model).fit(SPANS, SENSES)
    told.save_pretrained(tmp_path)
    for opened in (SpanClassifier.from_pretrained(tmp_path), open_task(tmp_path)):
        assert type(opened) is SpanClassifier
        assert (opened.predict_proba(NEW) == told.predict_proba(NEW)).all()
        assert opened.report_ == told.report_
        assert opened.predict(NEW).tolist() == ["money", "shore"]
    assert (polyseme.load(tmp_path).encode("bank") == model.encode("bank")).all()
    with pytest.raises(ValueError, match="holds a SpanClassifier, not a WordTagger"):
        WordTagger.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        open_task(tmp_path / "none")
    task = json.loads((tmp_path / "task.json").read_text())
    (tmp_path / "task.json").write_text(json.dumps({**task, "estimator": "Oracle"}))
    with pytest.raises(ValueError, match="unknown estimator 'Oracle'"):
        open_task(tmp_path)


def test_scikit_learn_s_tools_take_them(model: polyseme.Contextualizer) -> None:
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline

    told = quick(SpanClassifier, model)
    copied = clone(told)
    assert copied.get_params()["train"] == "head"
    assert copied.set_params(seed=3).seed == 3
    assert not hasattr(copied, "head_")
    assert cross_val_score(told, SPANS, SENSES, cv=3).mean() > 0.7
    found = GridSearchCV(told, {"class_weight": [None, "balanced"]}, cv=2).fit(SPANS, SENSES)
    assert found.predict(NEW).tolist() == ["money", "shore"]
    piped = make_pipeline(quick(TextClassifier, model)).fit([t for t, _ in SPANS], SENSES)
    assert piped.predict(["a loan from the bank"]).tolist() == ["money"]


@pytest.mark.parametrize(
    "options",
    [
        {"train": "heads"},
        {"held_out": 1.0},
        {"epochs": 0},
        {"on_error": "ignore"},
        {"class_weight": "even"},
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(options))} is "):
        SpanClassifier(**options).fit(SPANS, SENSES)


def test_nothing_is_predicted_before_fit() -> None:
    with pytest.raises(AttributeError, match="this TextClassifier is not fitted yet"):
        TextClassifier().predict(["a"])
    with pytest.raises(TypeError, match="examples are of type str"):
        TextClassifier(train="head").fit("a text", ["a"])


def test_features_are_what_their_words_say(model: polyseme.Contextualizer) -> None:
    text = 'They say "Red Herring" here'
    units = Units([text, text], np.asarray([[10, 21], [0, 4]]), np.asarray([0, 1, 2]))
    found = features_of(model, units, of_spans, pairs=False)
    doc = model.contextualize(text)
    static = model.static_vectors([text])[0].vectors
    np.testing.assert_allclose(found[0, :256], doc.vectors[3:5].mean(axis=0), atol=1e-6)
    directions = static / np.linalg.norm(static, axis=1, keepdims=True)
    own, around = directions[3:5], np.delete(directions, [3, 4], axis=0)
    np.testing.assert_allclose(found[0, 256], (own @ around.T).mean(), atol=1e-5)
    np.testing.assert_allclose(found[0, 257], (own @ around.T).max(), atol=1e-5)
    np.testing.assert_allclose(found[0, 260], own[0] @ own[1], atol=1e-5)
    assert found[:, 261:].tolist() == [[1, 0, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1]]


def test_pairs_features_do_not_depend_on_the_order(model: polyseme.Contextualizer) -> None:
    texts = ["a river bank", "The bank lends", "The bank lends", "a river bank"]
    spans = np.asarray([[8, 12], [4, 8], [4, 8], [8, 12]])
    units = Units(list(texts), spans, np.asarray([0, 2, 4]))
    found = features_of(model, units, of_pairs, pairs=True)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert found[0, -3] == 1
    whole = Units(["a b", "c"], np.asarray([WHOLE, WHOLE]), np.asarray([0, 2]))
    assert np.isfinite(features_of(model, whole, of_pairs, pairs=True)).all()


def test_comparing_a_vector_with_itself_gives_cosine_one() -> None:
    found = compared(np.asarray([[3.0, 4.0], [6.0, 8.0], [1.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found[0], [0, 0, 0.36, 0.64, 1.2, 1.6, 1], atol=1e-12)
    np.testing.assert_allclose(found[1, -1], 0)


@given(
    st.integers(2, 40),
    st.sampled_from(["one", "several", "score"]),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_a_head_is_finite_whatever_the_labels_are(
    rows: int, kind: Any, labels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 3)) * [1, 1e-9, 100]
    if kind == "one":
        targets = np.eye(labels)[random.integers(0, labels, rows)]
    elif kind == "several":
        targets = random.integers(0, 2, (rows, labels)).astype(float)
    else:
        targets = random.normal(size=(rows, 1))
    head = fit_head(features, targets, kind)
    assert np.isfinite(head.logits(features)).all()
    if kind != "score":
        judged = head.calibrated(features, targets).probabilities(features)
        assert ((judged >= 0) & (judged <= 1)).all()


def test_calibration_lowers_what_is_said_too_surely() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 1))
    right = (random.random(400) < 1 / (1 + np.exp(-features[:, 0]))).astype(int)
    targets = np.eye(2)[right]
    sure = Head(
        "one", np.asarray([[-2.5], [2.5]]), np.zeros(2), np.zeros(1), np.ones(1)
    )  # logits five times as large as the truth's
    calibrated = sure.calibrated(features, targets)
    assert 3.5 < calibrated.temperature < 7
    before = loss(sure.logits(features), targets, "one")
    after = loss(calibrated.logits(features) / calibrated.temperature, targets, "one")
    assert after < before - 0.1
    np.testing.assert_allclose(probabilities(np.zeros((2, 4)), "one"), 0.25)


def test_a_report_counts_what_was_said() -> None:
    said, right = np.eye(3)[[0, 0, 1, 1]], np.eye(3)[[0, 1, 1, 1]]
    report = report_of_labels(["a", "b", "c"], said, right, several=False, loss=[])
    assert report.confusion == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert report.examples == [1, 3, 0]
    assert report.accuracy == 0.75
    assert report.precision == [0.5, 1.0, 0.0]
    np.testing.assert_allclose(report.macro_f1, (2 / 3 + 0.8) / 2)
    assert report_of_labels(["a"], said[:0], right[:0], several=False, loss=[]).accuracy is None


def test_the_confusion_matrix_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    said, right = np.eye(2)[[0, 0, 1]], np.eye(2)[[0, 1, 1]]
    report = report_of_labels(["idiom", "literal"], said, right, several=False, loss=[])
    report.plot().savefig(tmp_path / "confusion.svg")
    drawn = (tmp_path / "confusion.svg").read_text()
    assert drawn.count('<g id="text_') >= 8
    with pytest.raises(ValueError, match="no confusion matrix"):
        report_of_labels(["a"], said[:0], right[:0], several=True, loss=[]).plot()


def test_what_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from polyseme.tasks import task

    for missing, train in (("sklearn", "head"), ("torch", "attention")):
        monkeypatch.setattr(
            task, "find_spec", lambda name, missing=missing: None if name == missing else ""
        )
        with pytest.raises(ImportError, match=r"polyseme\[train\]"):
            SpanClassifier(train=train).fit(SPANS, SENSES)
