from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import polyseme
from polyseme.training.uses import (
    Use,
    batches_of_uses,
    in_turn,
    pseudowords,
    read_uses,
    some_senses,
    words_at,
)

TOKENIZER = polyseme.load().tokenizer
NOUNS = ["piano", "glacier", "lawyer", "enzyme", "island"]


def uses_of(word: str, number: int, sense: str = "") -> list[Use]:
    texts = [f"The {word} {i} of a {word}." for i in range(number)]
    return [Use(text, 4, 4 + len(word), word, sense or word) for text in texts]


def write(path: Path, uses: list[Use]) -> Path:
    path.write_text("".join(json.dumps(vars(use)) + "\n" for use in uses))
    return path


def test_uses_are_read_by_word(tmp_path: Path) -> None:
    words = [uses_of("bank", 2, "river") + uses_of("bank", 1, "money"), uses_of("seal", 2)]
    mixed = [words[0][0], words[1][0], *words[0][1:], words[1][1]]
    assert read_uses(write(tmp_path / "uses.jsonl", mixed)) == words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "4"}, "line 1: start is '4': it must be int"),
        ({"start": True}, "line 1: start is True: it must be int"),
        ({"sense": 3}, "line 1: sense is 3: it must be str"),
        ({"start": 4, "end": 4}, "line 1: 4 to 4 is no part of its text"),
        ({"end": 99}, "line 1: 4 to 99 is no part of its text"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "uses.jsonl"
    path.write_text(json.dumps({**vars(uses_of("bank", 1)[0]), **change}) + "\n")
    with pytest.raises(ValueError, match=message):
        read_uses(path)


def test_no_uses_at_all_are_refused(tmp_path: Path) -> None:
    (tmp_path / "uses.jsonl").touch()
    with pytest.raises(ValueError, match="has uses of 0 words: at least 1 are needed"):
        read_uses(tmp_path / "uses.jsonl")
    with pytest.raises(FileNotFoundError):
        read_uses(tmp_path / "other.jsonl")


def test_batches_have_each_use_once_and_whole_words() -> None:
    words = [uses_of(noun, 3 + 5 * i) for i, noun in enumerate(NOUNS)]
    batches = batches_of_uses(words, TOKENIZER, batch_tokens=60, seed=1)
    assert len(batches) > 2
    parts = list(chain.from_iterable(batches))
    assert sorted(map(str, chain.from_iterable(parts))) == sorted(
        map(str, chain.from_iterable(words))
    )
    assert all(len({use.word for use in part}) == 1 and len(part) <= 16 for part in parts)
    assert sorted(part[0].word for part in parts).count("piano") == 1
    assert batches == batches_of_uses(words, TOKENIZER, batch_tokens=60, seed=1)
    assert batches != batches_of_uses(words, TOKENIZER, batch_tokens=60, seed=2)


def test_every_batch_has_its_turn_before_one_comes_again() -> None:
    turns = [in_turn(7, step, seed=3) for step in range(21)]
    assert [sorted(turns[i : i + 7]) for i in (0, 7, 14)] == [list(range(7))] * 3
    assert turns[:7] != turns[7:14]


def test_a_pseudoword_is_written_as_its_first_word_everywhere() -> None:
    words = [uses_of(noun, 12) for noun in NOUNS]
    made = pseudowords(words, TOKENIZER, batch_tokens=400, random=np.random.default_rng(0))
    for uses in made:
        written = uses[0].sense
        assert {use.text[use.start : use.end] for use in uses} == {written}
        assert all(use.text.count(written) == 2 for use in uses)
        senses = [use.sense for use in uses]
        assert {senses.count(sense) for sense in senses} == {10}
        assert len(set(senses)) == 4


def test_senses_are_drawn_within_a_word() -> None:
    words = [
        uses_of("bank", 9, "river") + uses_of("bank", 3, "money"),
        [use for i in range(6) for use in uses_of("seal", 2, str(i))],
    ]
    drawn = some_senses(words, TOKENIZER, batch_tokens=900, random=np.random.default_rng(0))
    assert {len(uses) for uses in drawn} == {11, 8}
    assert all(len({use.word for use in uses}) == 1 for uses in drawn)


def test_words_are_found_by_their_place() -> None:
    uses = [Use("no ice", 3, 6, "ice", "a"), Use("re-iced, ", 3, 7, "ice", "b")]
    uses.append(Use("   ", 0, 1, "ice", "c"))
    tokens = TOKENIZER([use.text for use in uses])
    rows, there = words_at(tokens.spans, tokens.word_offsets, uses)
    assert there.tolist() == [0, 1]
    for row, i in zip(rows, there, strict=True):
        start, end = tokens.spans[row]
        assert start < uses[i].end and end > uses[i].start
