from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import polyseme
from polyseme.cli import app
from polyseme.evaluation import order
from polyseme.evaluation.passages import passages
from polyseme.text import split_words
from polyseme.vectors import WordVectors
from tests.conftest import needs_sklearn
from tests.fakes import FakeModel

NAMES = ["Ali", "Frazier", "Caesar", "Brutus", "Plato", "Anna", "Maria", "Oslo", "Peter", "Paul"]
VERBS = ["defeated", "attacked", "hired", "visited", "killed", "followed", "sued"]


def sentences() -> list[str]:
    told = []
    for i, verb in enumerate(VERBS):
        for j, name in enumerate(NAMES[:6]):
            first, second = (NAMES[(i + j + step) % len(NAMES)] for step in (1, 2))
            if first != name:
                told.append(f"In the end, {name} {verb} {first} on that day.")
            if second != name:
                told.append(f"{second} was {verb} by {name}.")
    return told


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "passages.txt"
    path.write_text("\n".join(f"Nothing. {sentence} Again nothing." for sentence in sentences()))
    return path


def moved(swap: order.Swap) -> list[tuple[str, str]]:
    return [
        (text[slice(*doer)], text[slice(*done_to)])
        for text, doer, done_to in zip(swap.texts, swap.doers, swap.done_to, strict=True)
    ]


@pytest.mark.parametrize(
    ("sentence", "other", "doer", "done_to"),
    [
        (
            "In 1971, Joe Frazier defeated Ali in New York.",
            "In 1971, Ali defeated Joe Frazier in New York.",
            "Frazier",
            "Ali",
        ),
        (
            "Later Caesar slept, but Caesar was killed by Marcus Junius Brutus.",
            "Later Caesar slept, but Marcus Junius Brutus was killed by Caesar.",
            "Brutus",
            "Caesar",
        ),
        (
            "The general defeated the king when it rained.",
            "The king defeated the general when it rained.",
            "general",
            "king",
        ),
        ("Étienne married Zoë.", "Zoë married Étienne.", "Étienne", "Zoë"),
    ],
)
def test_names_change_places_and_nothing_else_does(
    sentence: str, other: str, doer: str, done_to: str
) -> None:
    swap = order.swap_of(sentence)
    assert swap is not None
    assert swap.texts == (sentence, other)
    assert moved(swap) == [(doer, done_to), (done_to, doer)]
    assert swap.names == tuple(sorted([doer, done_to]))
    assert swap.passive == (" by " in sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The king of France defeated England.",  # France does nothing
        "He defeated Ali.",
        "Frazier defeated Ali's brother.",
        "Frazier defeated Ali Smithson junior.",
        "Frazier was defeated Ali.",
        "Frazier defeated by Ali.",
        "Ali Frazier defeated Joe Frazier.",
        "The king defeated Ali.",
        "Frazier saw Ali.",
        "Frazier defeated Ali" + " and on" * 20 + ".",
    ],
)
def test_sentence_whose_parts_are_not_certain_is_left_alone(sentence: str) -> None:
    assert order.swap_of(sentence) is None


def test_a_pair_of_names_and_a_verb_is_taken_once_and_a_verb_not_too_often() -> None:
    same = ["Ali defeated Frazier.", "Then he slept. Frazier defeated Ali in 1971. So it was."]
    assert len(order.find_swaps(same)) == 1
    many = [f"Ali{chr(97 + i // 26)}{chr(97 + i % 26)} defeated Frazier." for i in range(100)]
    assert len(order.find_swaps(many)) == 60


def test_no_verb_and_no_two_names_are_in_both_parts() -> None:
    train, test = order.split(order.find_swaps(sentences()))
    assert train
    assert test
    assert not {swap.verb for swap in train} & {swap.verb for swap in test}
    assert not {swap.names for swap in train} & {swap.names for swap in test}
    assert not order.TRAINING_VERBS & order.TESTED_VERBS


@needs_sklearn
def test_blind_models_get_exactly_chance(text: Path) -> None:
    """Their vectors differ at most by rounding, which must not decide."""
    swaps = order.find_swaps(passages(text))
    generator = np.random.default_rng(0)
    words = sorted({word for sentence in sentences() for word in sentence.strip(".").split()})
    model = polyseme.load(WordVectors(words, generator.normal(size=(len(words), 24))))
    for blind in (model.static(), model):
        result = order.evaluate(blind, swaps)
        assert (result.accuracy, result.active, result.passive) == (0.5, 0.5, 0.5)
        assert result.changed == 0.0
        assert not result.passes
    assert model.rung == "parameter-free"


def role(words: list[str], i: int) -> tuple[float, float]:
    """Who does it stands before the verb, or behind "by"."""
    at = next(j for j, word in enumerate(words) if word in VERBS)
    return (1.0 if (i > at) == ("by" in words) else -1.0, float(len(words[i])))


@needs_sklearn
def test_model_that_knows_roles_passes(text: Path) -> None:
    swaps = order.find_swaps(passages(text))
    result = order.evaluate(FakeModel(2, role), swaps)
    assert (result.changed, result.accuracy, result.passes) == (1.0, 1.0, True)
    assert result.train + result.test <= len(swaps)
    assert json.loads(json.dumps(result.to_dict()))["passes"] is True
    assert order.evaluate(FakeModel(2, role), swaps) == result


@needs_sklearn
def test_model_that_knows_only_positions_is_told_from_one_that_knows_roles(text: Path) -> None:
    swaps = order.find_swaps(passages(text))
    verbs = set(VERBS)
    result = order.evaluate(
        FakeModel(1, lambda words, i: [1.0 if verbs & set(words[:i]) else -1.0]), swaps
    )
    assert result.changed == 1.0
    assert result.active is not None
    assert {result.active, result.passive} == {0.0, 1.0}
    assert not result.passes


@needs_sklearn
def test_one_word_that_stays_the_same_makes_a_pair_unchanged(text: Path) -> None:
    swaps = order.find_swaps(passages(text))

    def vector(words: list[str], i: int) -> tuple[float, float]:
        return (1.0, 1.0) if words[i] == "Ali" else role(words, i)

    train, test = order.split(swaps)
    with_ali = sum("Ali" in swap.names for swap in train + test)
    expected = 1 - with_ali / len(train + test)
    assert order.evaluate(FakeModel(2, vector), swaps).changed == pytest.approx(expected)


@needs_sklearn
def test_too_little_text_is_refused_before_work_starts(tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("Ali defeated Frazier.\n")
    failed = CliRunner().invoke(app, ["eval", "order", "--data", str(path), "-m", "no/model"])
    assert failed.exit_code == 1
    assert "1 sentences whose names can change places" in failed.stderr


@needs_sklearn
def test_command_reads_a_file_or_a_folder(text: Path, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    packed = tmp_path / "text" / "simplewiki.txt.xz"
    packed.write_bytes(lzma.compress(text.read_bytes()))
    command = ["eval", "order", "--rung", "parameter-free", "--data"]
    told = [
        json.loads(CliRunner().invoke(app, [*command, str(data), "--json"]).stdout)
        for data in (text, packed, tmp_path)
    ]
    assert told[0] == told[1] == told[2]
    assert (told[0]["accuracy"], told[0]["passes"]) == (0.5, False)
    shown = CliRunner().invoke(app, [*command, str(text)]).stdout
    assert "passes" in shown
    assert "passive" in shown


@needs_sklearn
def test_errors_name_file_and_line(text: Path, tmp_path: Path) -> None:
    with text.open("ab") as file:
        file.write(b"\n\xff\n")
    lines = len(text.read_bytes().splitlines())
    failed = CliRunner().invoke(app, ["eval", "order", "--data", str(text)])
    assert f"passages.txt, line {lines}: byte 0xff" in failed.stderr
    failed = CliRunner().invoke(app, ["eval", "order", "--data", str(tmp_path)])
    assert "simplewiki.txt.xz: there is no such file" in failed.stderr
    table = tmp_path / "some.csv"
    table.write_text("a,b\n")
    with pytest.raises(ValueError, match=r"some\.csv: a csv file, where a \.txt"):
        list(passages(table))


def test_missing_sklearn_names_the_extra(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    failed = CliRunner().invoke(app, ["eval", "order", "--data", str(text)])
    assert 'pip install "polyseme[train]"' in failed.stderr


def test_real_sentences_are_found(shared_data: Path) -> None:
    with lzma.open(shared_data / "text" / "simplewiki.txt.xz", "rt", encoding="utf-8") as file:
        swaps = order.find_swaps(
            line.rstrip("\n") for line, _ in zip(file, range(40_000), strict=False)
        )
    assert len(swaps) > 100
    for swap in swaps:
        first, second = (
            sorted(text[start:end] for start, end in split_words(text)) for text in swap.texts
        )
        assert first == second, "the same words"
        assert moved(swap)[0] == moved(swap)[1][::-1]
