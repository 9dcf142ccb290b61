"""What users get back: indexing, conversion, display."""

from __future__ import annotations

import numpy as np
import pytest

import polyseme
from polyseme import EmbeddedText, EmbeddedTexts


def text() -> EmbeddedText:
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)
    spans = [(0, 1), (2, 7), (8, 9), (10, 15)]
    return EmbeddedText(
        "a Apple a apple", ["a", "Apple", "a", "apple"], spans, vectors, np.ones(4, bool)
    )


def test_vectors_by_word_position_slice_and_span() -> None:
    doc = text()
    assert doc["Apple"].tolist() == [2, 3]
    assert doc["apple"].tolist() == [6, 7]
    assert doc[-1].tolist() == [6, 7]
    assert doc[1:3].tolist() == [[2, 3], [4, 5]]
    assert doc[(2, 7)].tolist() == [2, 3]
    assert doc[(3, 9)].tolist() == [3, 4]
    assert doc.find("APPLE") == [1, 3]
    assert doc.find("Apple") == [1]


def test_wrong_keys_say_what_would_do() -> None:
    doc = text()
    with pytest.raises(KeyError, match="its words are 'a', 'Apple'"):
        doc["pear"]
    with pytest.raises(ValueError, match=r"'a' occurs 2 times, at \[0, 2\]"):
        doc["a"]
    with pytest.raises(IndexError, match="word 4 of a text of 4 words"):
        doc[4]
    with pytest.raises(KeyError, match="no word stands in characters 7 to 8"):
        doc[(7, 8)]


def texts() -> EmbeddedTexts:
    return polyseme.load().contextualize(["An apple", "", "Apple just launched it"])


def test_texts_are_a_sequence() -> None:
    docs = texts()
    assert len(docs) == 3
    assert docs[-1].words == ["Apple", "just", "launched", "it"]
    assert [doc.text for doc in docs[1:]] == ["", "Apple just launched it"]
    assert [len(doc) for doc in docs] == [2, 0, 4]
    with pytest.raises(IndexError, match="text 3 of 3"):
        docs[3]
    vectors, offsets = docs.to_numpy()
    assert vectors is docs.vectors
    assert offsets.tolist() == [0, 2, 2, 6]


def test_a_part_has_its_texts_and_memory_of_its_own() -> None:
    docs = texts()
    part = docs.part(1, 3)
    assert [doc.text for doc in part] == [doc.text for doc in docs[1:]]
    assert [doc.words for doc in part] == [doc.words for doc in docs[1:]]
    assert np.array_equal(part.vectors, docs.vectors[2:])
    for name in ("offsets", "spans", "vectors", "known"):
        assert not np.shares_memory(getattr(part, name), getattr(docs, name))


def test_arrow_holds_what_the_texts_hold() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Arrow output needs pyarrow")
    docs = texts()
    table = docs.to_arrow()
    assert table["text"].to_pylist() == docs.texts
    assert table["words"].to_pylist() == [doc.words for doc in docs]
    assert table["starts"].to_pylist() == [[start for start, _ in doc.spans] for doc in docs]
    assert table["ends"].to_pylist() == [[end for _, end in doc.spans] for doc in docs]
    assert np.array_equal(np.asarray(table["vectors"].to_pylist()[2], np.float32), docs[2].vectors)
    vector = table.schema.field("vectors").type.value_type
    assert vector == pyarrow.list_(pyarrow.float32(), 256)
    one = docs[2].to_arrow()
    assert one["word"].to_pylist() == docs[2].words
    assert docs[1].to_arrow().num_rows == 0


def test_reprs_are_readable_and_html_is_escaped() -> None:
    docs = texts()
    assert repr(docs) == "EmbeddedTexts(3 texts, 6 words x 256)"
    assert repr(docs[0]) == "EmbeddedText('An apple', 2 words x 256)"
    page = polyseme.load().contextualize("<b> & apple")._repr_html_()
    assert "<b>" not in page
    assert "&lt;" in page
    assert "&amp;" in page
