"""The spaCy component: polyseme's own vectors, each at exactly its token, on any text."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import polyseme
from polyseme import Contextualizer, WordVectors

from .conftest import MakeModel

spacy = pytest.importorskip("spacy", reason="the component needs spaCy (extra `spacy`)")

from spacy.tokens import Doc, DocBin  # noqa: E402

from polyseme.spacy import hook, keep  # noqa: E402

Nlp = Any

TEXTS = {
    "plain": ("en", "An apple a day keeps the doctor away."),
    "empty": ("en", ""),
    "whitespace": ("en", " \n\n \t "),
    "whitespace between": ("en", "  An  apple\n\na day \u00a0\u3000 keeps\t\tthe doctor away. \n"),
    "long": ("en", "Apple just launched a new iPhone. " * 200),
    "long, of whitespace": ("en", "apple \n " * 700),
    "one long token": ("en", "https://apple.com/" + "a-b/" * 300 + " apple"),
    "emoji": ("en", "I 👩🏽‍🚀❤️ apples 🏳️‍🌈🇩🇪 \U0001faf6!"),
    "invisible": ("en", "an \u200b apple \ufeff a\u00adday \u202e"),
    "combining": ("en", "cafe\u0301 naïve a\u0300\u0301\u0302 \u0301"),
    "arabic": ("ar", "تفاحة في اليوم تغني عن الطبيب."),
    "hebrew": ("he", "תפוח ביום, \u200fapple\u200e הרופא"),
    "chinese": ("zh", "我吃了一个苹果。"),
    "german": ("de", "Der Äpfelbaum z. B. trägt Früchte."),
    "any language": ("xx", "яблоко 사과 แอปเปิ้ล りんご"),
}


@pytest.fixture(scope="module")
def nlp() -> Nlp:
    pipeline = spacy.blank("en")
    pipeline.add_pipe("polyseme")
    return pipeline


@pytest.fixture(scope="module")
def model() -> Contextualizer:
    return polyseme.load()


def over(folder: Path | str, **config: object) -> Nlp:
    pipeline = spacy.blank("en")
    pipeline.add_pipe("polyseme", config={"model": str(folder), **config})
    return pipeline


@pytest.mark.parametrize("language, text", TEXTS.values(), ids=list(TEXTS))
def test_each_token_has_the_vector_that_polyseme_gives_it(
    language: str, text: str, model: Contextualizer
) -> None:
    nlp = spacy.blank(language)
    nlp.add_pipe("polyseme")
    doc = nlp(text)
    shown = [token for token in doc if not token.is_space]
    expected = model.contextualize([[token.text for token in shown]])
    assert doc.text == text
    assert doc.tensor.shape == (len(doc), model.dim)
    assert doc.tensor.dtype == np.float32
    for token, vector in zip(shown, expected.vectors, strict=True):
        np.testing.assert_array_equal(token.vector, vector)
        assert token.has_vector == bool(vector.any())
    for token in doc:
        if token.is_space:
            assert not token.has_vector
            assert not token.vector.any()
            assert token.vector_norm == 0


def test_the_long_texts_are_longer_than_the_models_window(model: Contextualizer) -> None:
    for name in ("long", "long, of whitespace", "one long token"):
        assert len(model.tokenizer([TEXTS[name][1]]).token_ids) > 512


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_a_pipe_gives_the_bits_of_single_docs(nlp: Nlp, batch_size: int) -> None:
    texts = [text for _, text in TEXTS.values()]
    docs = list(nlp.pipe(iter(texts), batch_size=batch_size))
    assert [doc.text for doc in docs] == texts
    for doc in docs:
        np.testing.assert_array_equal(doc.tensor, nlp(doc.text).tensor)


def test_spans_and_docs_are_means_of_the_tokens_that_have_a_vector(nlp: Nlp) -> None:
    doc = nlp("An  apple a \n day")
    rows = [token.vector for token in doc if token.has_vector]
    assert len(rows) == 4 < len(doc)
    np.testing.assert_allclose(doc.vector, np.mean(rows, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(doc[:].vector, doc.vector)
    np.testing.assert_array_equal(doc[1:3].vector, doc[2].vector)
    for item in (doc, doc[1:4], doc[2]):
        assert item.has_vector
        assert item.vector_norm == pytest.approx(np.linalg.norm(item.vector), rel=1e-6)


def test_what_has_no_visible_token_has_no_vector(nlp: Nlp) -> None:
    for item in (nlp(""), nlp(" \n"), nlp("a \n b")[1:2], nlp("a b")[1:1]):
        assert not item.has_vector
        assert item.vector.shape == (256,)
        assert item.vector_norm == 0
        assert item.similarity(nlp("apple")) == 0


def test_similarity_is_the_cosine_between_tokens_spans_and_docs(nlp: Nlp) -> None:
    doc, other = nlp("An apple a day"), nlp("Apple launched a new iPhone")
    for a, b in product((doc, doc[1:3], doc[1]), (other, other[0:2], other[0])):
        cosine = a.vector @ b.vector / np.linalg.norm(a.vector) / np.linalg.norm(b.vector)
        assert a.similarity(b) == pytest.approx(cosine, abs=1e-5)
        assert a.similarity(b) == pytest.approx(b.similarity(a), abs=1e-6)
        assert a.similarity(a) == pytest.approx(1, abs=1e-5)


def test_the_same_word_is_nearer_to_itself_where_it_means_the_same(nlp: Nlp) -> None:
    texts = [
        "An apple a day keeps the doctor away.",
        "She drank a glass of apple juice.",
        "He picked a ripe apple from the tree.",
        "Peel the apple and cut it into slices.",
        "Apple just launched a new iPhone.",
        "Shares of Apple rose after the earnings report.",
        "The engineer left Apple to join Google.",
        "Apple released an update of its operating system.",
    ]
    uses = [next(t for t in doc if t.lower_ == "apple") for doc in nlp.pipe(texts)]
    fruit, company = uses[:4], uses[4:]
    between = np.mean([a.similarity(b) for a, b in product(fruit, company)])
    for like in (fruit, company):
        assert np.mean([a.similarity(b) for a, b in combinations(like, 2)]) > between + 0.03


def test_a_similarity_to_another_models_vector_is_refused(nlp: Nlp, make_model: MakeModel) -> None:
    other = over(make_model())
    with pytest.raises(ValueError, match=r"width 256.*width 16"):
        nlp("apple").similarity(other("apple"))


def test_config_names_model_layer_and_backend(make_model: MakeModel) -> None:
    folder = make_model()
    nlp = over(folder, layer=1, backend="numpy", device="cpu", dtype="float64")
    doc = nlp("An apple a day")
    own = polyseme.load(folder, backend="numpy", device="cpu", dtype="float64")
    assert nlp.get_pipe("polyseme").contextualizer.place == own.place
    expected = own.contextualize([[token.text for token in doc]], layer=1)
    np.testing.assert_array_equal(doc.tensor, expected.vectors)


def test_a_wrong_config_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        over("./missing")("apple")
    with pytest.raises(ValueError, match="layer is 99"):
        nlp = spacy.blank("en")
        nlp.add_pipe("polyseme", config={"layer": 99})
        nlp("apple")
    with pytest.raises(ValueError, match="layers"):
        over("./missing", layers=1)


def test_a_saved_pipeline_gives_the_same_bits(nlp: Nlp, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "nlp")
    assert not (tmp_path / "nlp" / "polyseme").exists()
    loaded = spacy.load(tmp_path / "nlp")
    np.testing.assert_array_equal(loaded("An apple").tensor, nlp("An apple").tensor)


@pytest.mark.parametrize("kind", ["folder", "word vectors"])
def test_a_saved_pipeline_needs_the_models_first_place_no_more(
    kind: str, make_model: MakeModel, tmp_path: Path
) -> None:
    if kind == "folder":
        source = make_model()
    else:
        source = tmp_path / "vectors.txt"
        source.write_text("an 1 0 0.5\napple 0 1 0.5\nday 0.5 1 0\n")
    nlp = over(source)
    expected = nlp("An apple a day").tensor
    nlp.to_disk(tmp_path / "first")
    source.rename(tmp_path / "moved")
    spacy.load(tmp_path / "first").to_disk(tmp_path / "second")
    (tmp_path / "first").rename(tmp_path / "moved first")
    loaded = spacy.load(tmp_path / "second")
    np.testing.assert_array_equal(loaded("An apple a day").tensor, expected)


def test_a_pipeline_is_pickled_without_its_model(nlp: Nlp) -> None:
    expected = nlp("An apple").tensor
    pickled = pickle.dumps(nlp)
    assert len(pickled) < 1_000_000
    np.testing.assert_array_equal(pickle.loads(pickled)("An apple").tensor, expected)


def test_vectors_come_back_from_bytes(nlp: Nlp) -> None:
    for text in ("An  apple 🍏", ""):
        doc = nlp(text)
        with pytest.warns(UserWarning, match="W109"):
            stored = doc.to_bytes()
        copy = hook(Doc(spacy.blank("en").vocab).from_bytes(stored))
        np.testing.assert_array_equal(copy.tensor, doc.tensor)
        np.testing.assert_array_equal(copy.vector, doc.vector)
        assert [token.has_vector for token in copy] == [token.has_vector for token in doc]


def test_vectors_come_back_from_a_docbin(nlp: Nlp) -> None:
    docs = list(nlp.pipe(["An  apple 🍏", "", "Apple launched a new iPhone"]))
    stored = DocBin(docs=map(keep, docs), store_user_data=True).to_bytes()
    copies = DocBin().from_bytes(stored).get_docs(spacy.blank("en").vocab)
    for doc, copy in zip(docs, map(hook, copies), strict=True):
        np.testing.assert_array_equal(copy.tensor, doc.tensor)
        assert [token.has_vector for token in copy] == [token.has_vector for token in doc]


def test_a_doc_without_vectors_gets_no_hooks(nlp: Nlp) -> None:
    bare = next(iter(DocBin(docs=[nlp("An apple")]).get_docs(nlp.vocab)))
    with pytest.raises(ValueError, match=r"keep\(doc\)"):
        hook(bare)
    again = nlp.get_pipe("polyseme")(bare)
    np.testing.assert_array_equal(again.tensor, nlp("An apple").tensor)


def test_a_pickled_doc_keeps_its_hooks(nlp: Nlp) -> None:
    doc = nlp("An  apple")
    copy = pickle.loads(pickle.dumps(doc))
    np.testing.assert_array_equal(copy[2].vector, doc[2].vector)
    assert not copy[1].has_vector


def test_vectors_stay_at_their_tokens_when_spacy_changes_the_doc(nlp: Nlp) -> None:
    doc = nlp("An apple a day keeps the doctor away")
    cut = doc[4:7].as_doc()
    np.testing.assert_array_equal(cut[2].vector, doc[6].vector)
    expected = doc[6].vector
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:4])
    np.testing.assert_array_equal(doc[3].vector, expected)


def test_contextual_vectors_go_before_the_vocabularys(nlp: Nlp) -> None:
    own = spacy.blank("en")
    own.vocab.set_vector("apple", np.ones(256, np.float32))
    own.add_pipe("polyseme")
    np.testing.assert_array_equal(own("An apple")[1].vector, nlp("An apple")[1].vector)


def test_vectors_that_another_component_wrote_are_not_taken_for_ours(nlp: Nlp) -> None:
    doc = nlp("An apple")
    doc.tensor = np.ones((2, 96), np.float32)
    for item in (doc, doc[0:1], doc[1]):
        with pytest.raises(ValueError, match="add polyseme after it"):
            _ = item.vector


def test_unknown_words_get_the_vector_that_a_model_over_word_vectors_gives_them(
    tmp_path: Path,
) -> None:
    source = tmp_path / "vectors.txt"
    source.write_text("an 1 0 0.5\napple 0 1 0.5\n")
    doc = over(source)("an apple zyzzyva")
    own = polyseme.load(WordVectors.load(source)).contextualize([["an", "apple", "zyzzyva"]])
    np.testing.assert_array_equal(doc.tensor, own.vectors)
    assert not own.known[2]


def test_without_spacy_the_extra_is_named() -> None:
    code = "import sys; sys.modules['spacy'] = None; import polyseme.spacy"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: " in run.stderr
    assert 'pip install "polyseme[spacy]"' in run.stderr
