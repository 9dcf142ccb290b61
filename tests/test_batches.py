from __future__ import annotations

import lzma
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Library

from polyseme.files import Source, source
from polyseme.text import Tokenizer
from polyseme.training.batches import batches, split_sentences
from tests.conftest import wordpiece_json


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(Library.from_str(wordpiece_json()))


def sources(folder: Path, **texts: list[str]) -> list[Source]:
    found = []
    for name, lines in texts.items():
        path = folder / f"{name}.txt.xz"
        with lzma.open(path, "wt") as file:
            file.writelines(f"{line}\n" for line in lines)
        found.append(source(str(path), None, "text"))
    return found


def test_each_text_comes_once_before_any_comes_again(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = [f"apple {'a ' * (i % 7)}day {i}" for i in range(1024)]
    given = sources(tmp_path, one=texts[:300], two=texts[300:])
    seen: list[str] = []
    stream = batches(given, tokenizer, batch_tokens=64, window=32)
    while len(seen) < 1024:
        seen += next(stream)
    assert Counter(seen) == Counter(texts)


def test_batches_are_full_of_texts_of_like_length(tmp_path: Path, tokenizer: Tokenizer) -> None:
    texts = [f"{'a ' * (i % 30)}day" for i in range(900)]
    for batch in islice(batches(sources(tmp_path, one=texts), tokenizer, batch_tokens=100), 60):
        lengths = np.diff(tokenizer(batch).token_offsets)
        assert lengths.sum() <= 100
        assert lengths.max() - lengths.min() <= 4


def test_a_text_longer_than_a_batch_stands_alone(tmp_path: Path, tokenizer: Tokenizer) -> None:
    given = sources(tmp_path, one=["a " * 50, "day", "the"])
    found = list(islice(batches(given, tokenizer, batch_tokens=10, window=8), 800))
    long = [batch for batch in found if any(text.startswith("a a") for text in batch)]
    assert long
    assert all(len(batch) == 1 for batch in long)


def test_the_seed_fixes_the_order(tmp_path: Path, tokenizer: Tokenizer) -> None:
    given = sources(tmp_path, one=[f"apple {i}" for i in range(99)], two=["the day"] * 50)

    def first(seed: int) -> list[list[str]]:
        stream = batches(given, tokenizer, batch_tokens=40, seed=seed, window=8)
        return list(islice(stream, 30))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_a_share_of_the_texts_is_cut_into_sentences(tmp_path: Path, tokenizer: Tokenizer) -> None:
    given = sources(tmp_path, one=["A day. The apple."] * 2000)
    stream = batches(given, tokenizer, batch_tokens=400, sentences=0.5, window=32)
    seen = Counter(text for batch in islice(stream, 32) for text in batch)
    whole = seen["A day. The apple."]
    assert seen["A day."] == pytest.approx(seen["The apple."], rel=0.2)
    assert whole / (whole + seen["A day."]) == pytest.approx(0.5, abs=0.1)
    assert split_sentences("One. Two? 3 of them! and so on.") == [
        "One.",
        "Two?",
        "3 of them! and so on.",
    ]


def test_skipped_texts_come_only_when_the_files_start_again(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    texts = [f"day {i}" for i in range(1524)]
    given = sources(tmp_path, one=texts[:1274], two=texts[1274:])
    stream = batches(given, tokenizer, batch_tokens=64, window=16, skip=250)
    seen: list[str] = []
    while len(seen) < 1024 + 1524:
        seen += next(stream)
    assert set(seen[:1024]) == set(texts[250:1274])
    assert set(texts[:250]) < set(seen[1024:])


def test_files_without_any_text_are_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"one\.txt\.xz: there is no text"):
        next(batches(sources(tmp_path, one=["", "  "]), tokenizer, batch_tokens=8))
