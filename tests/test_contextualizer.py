"""The main job: texts in, a vector for each of their words out, on every rung."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import polyseme
from polyseme import Contextualizer, WordVectors, contextualizer

from .conftest import MakeModel, write_model

TEXTS = [
    "An apple a day keeps the doctor away",
    "Apple just launched a new iPhone.",
    "",
    "apple",
    "piece of cake, a piece of cake",
    "\u732b\u306f\U0001f408 caf\u00e9!",
    "an apple " * 40,
]


def backends() -> list[str]:
    from importlib.util import find_spec

    return ["numpy", "torch"] if find_spec("torch") else ["numpy"]


@pytest.fixture(scope="module")
def default() -> Contextualizer:
    return polyseme.load()


@pytest.fixture(params=["static", "parameter-free", "learned", "vectors"])
def model(request: pytest.FixtureRequest, make_model: MakeModel) -> Contextualizer:
    if request.param == "learned":
        return polyseme.load(make_model(), backend="numpy")
    if request.param == "vectors":
        words = ["apple", "an", "a", "day", "doctor", "cake", "."]
        return polyseme.load(WordVectors(words, np.random.default_rng(0).normal(size=(7, 5))))
    loaded = polyseme.load(backend="numpy")
    return loaded.static() if request.param == "static" else loaded.parameter_free()


def test_the_default_is_found_by_its_name_unless_that_is_here(
    default: Contextualizer,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = polyseme.load(default.name)
    assert named.name == default.name == "polyseme-small"
    assert named.dim == default.dim
    own = make_model()
    own.rename(tmp_path / default.name)
    assert polyseme.load(default.name).dim != default.dim


def test_words_are_cut_from_the_users_own_text(model: Contextualizer) -> None:
    docs = model.contextualize(TEXTS)
    assert docs.texts == TEXTS
    for text, doc in zip(TEXTS, docs, strict=True):
        assert [text[start:end] for start, end in doc.spans] == doc.words
        assert doc.vectors.shape == (len(doc.words), model.dim)
        assert doc.vectors.dtype == np.float32
        assert np.isfinite(doc.vectors).all()


def test_context_moves_a_word_and_static_vectors_do_not(default: Contextualizer) -> None:
    fruit, company = default.contextualize(TEXTS[:2])
    assert np.abs(fruit["apple"] - company["Apple"]).max() > 0.01
    fruit, company = default.static().contextualize(TEXTS[:2])
    assert np.array_equal(fruit["apple"], company["Apple"])


@pytest.fixture(scope="module", params=backends())
def both_rungs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Contextualizer]:
    folder = write_model(tmp_path_factory.mktemp("learned") / "model")
    return [polyseme.load(source, backend=request.param) for source in (None, folder)]


@settings(max_examples=25)
@given(data=st.data())
def test_a_text_has_the_same_bits_in_any_batch(
    both_rungs: list[Contextualizer], data: st.DataObject
) -> None:
    order = data.draw(st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, max_size=12))
    batch_tokens = data.draw(st.sampled_from([1, 7, 64, 8192]))
    for model in both_rungs:
        docs = model.contextualize([TEXTS[i] for i in order], batch_tokens=batch_tokens)
        sentences = model.encode([TEXTS[i] for i in order], batch_tokens=batch_tokens)
        for i, doc, sentence in zip(order, docs, sentences, strict=True):
            assert np.array_equal(doc.vectors, model.contextualize(TEXTS[i]).vectors)
            assert np.array_equal(sentence, model.encode(TEXTS[i]))


def test_the_callers_autocast_changes_no_bit() -> None:
    torch = pytest.importorskip("torch", reason="autocast is torch's")
    model = polyseme.load(backend="torch")
    texts = ["An apple a day keeps the doctor away"] * 300
    for some in (texts, texts[:1]):
        expected = model.contextualize(some).vectors
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert np.array_equal(model.contextualize(some).vectors, expected)


def test_what_is_tokenised_while_a_gpu_computes_comes_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = polyseme.load(write_model(tmp_path / "model"), backend="numpy")
    texts = [TEXTS[i % len(TEXTS)] for i in range(300)]
    docs, sentences = model.contextualize(texts), model.encode(texts)
    monkeypatch.setattr(model, "_on_gpu", True)
    for name in ("LIST", "GPU_STREAM"):
        monkeypatch.setattr(contextualizer, f"_CHARACTERS_OF_A_{name}", 200)
    monkeypatch.setattr(contextualizer, "_CHARACTERS_OF_A_SMALL_CALL", 0)
    assert np.array_equal(model.contextualize(texts).vectors, docs.vectors)
    assert np.array_equal(model.encode(texts), sentences)
    for doc, found in zip(docs, model.contextualize(iter(texts)), strict=True):
        assert np.array_equal(doc.vectors, found.vectors)
    stream = model.contextualize(iter([*texts, 3]))
    with pytest.raises(TypeError, match="300"):
        list(stream)


def test_a_generator_is_streamed_and_not_listed(model: Contextualizer) -> None:
    taken = []

    def endless() -> Iterator[str]:
        for i in range(10**9):
            taken.append(i)
            yield TEXTS[i % 2] * 50

    stream = model.contextualize(endless())
    first = next(stream)
    assert np.array_equal(first.vectors, model.contextualize(TEXTS[0] * 50).vectors)
    assert len(taken) < 10_000


def test_every_kind_of_collection_gives_the_same(model: Contextualizer) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas strings are one kind of collection")
    pyarrow = pytest.importorskip("pyarrow", reason="Arrow strings are one kind of collection")
    expected = model.contextualize(TEXTS)
    for texts in (
        tuple(TEXTS),
        np.asarray(TEXTS),
        np.asarray(TEXTS, dtype=object),
        pandas.Series(TEXTS),
        pyarrow.array(TEXTS),
        pyarrow.chunked_array([TEXTS[:2], TEXTS[2:]]),
    ):
        docs = model.contextualize(texts)
        assert docs.texts == TEXTS
        assert np.array_equal(docs.vectors, expected.vectors)
    streamed = list(model.contextualize(iter(TEXTS)))
    assert np.array_equal(np.concatenate([doc.vectors for doc in streamed]), expected.vectors)


@pytest.mark.parametrize("wrong", [None, b"text", float("nan"), 3, {"a": 1}, ["a", None]])
def test_what_is_no_text_is_refused_with_its_position(default: Contextualizer, wrong: Any) -> None:
    with pytest.raises(TypeError, match="text 1"):
        default.contextualize(["fine", wrong])
    with pytest.raises(TypeError, match="text 1"):
        list(default.contextualize(iter(["fine", wrong])))
    with pytest.raises(TypeError, match="text 1"):
        default.encode(["fine", wrong])
    if not isinstance(wrong, list):
        with pytest.raises(TypeError, match="texts is"):
            default.contextualize(wrong)


def test_unknown_and_unmet_options_are_errors(default: Contextualizer) -> None:
    with pytest.raises(TypeError, match="normalise"):
        default.contextualize("a", normalise=True)  # type: ignore[call-overload]
    for name in ("batch_tokens", "layer"):
        with pytest.raises(TypeError, match=name):
            default.contextualize("a", **{name: "1"})
    with pytest.raises(ValueError, match="batch_tokens is 0"):
        default.contextualize("a", batch_tokens=0)
    with pytest.raises(ValueError, match=r"layer is 4: this model has layers 0 \(static\) to 2"):
        default.contextualize("a", layer=4)
    with pytest.raises(ValueError, match="dtype is 'int4'"):
        polyseme.load(dtype="int4")
    with pytest.raises(ValueError, match="device is 'tpu'"):
        polyseme.load(device="tpu")
    with pytest.raises(ValueError, match="backend is 'jax'"):
        polyseme.load(backend="jax")
    with pytest.raises(ValueError, match="backend 'numpy' runs on device 'cpu'"):
        polyseme.load(backend="numpy", dtype="bfloat16")
    with pytest.raises(TypeError, match="source is of type int"):
        polyseme.load(3)  # type: ignore[arg-type]


def test_layers_can_be_chosen_from_both_ends(make_model: MakeModel) -> None:
    model = polyseme.load(make_model(), backend="numpy")
    text = TEXTS[0]
    states = [model.contextualize(text, layer=i).vectors for i in range(3)]
    assert np.array_equal(states[2], model.contextualize(text).vectors)
    assert np.array_equal(states[1], model.contextualize(text, layer=-2).vectors)
    assert np.array_equal(states[0], model.contextualize(text, layer=-3).vectors)
    assert not np.allclose(states[0], states[1])
    assert not np.allclose(states[1], states[2])


def test_unit_vectors_on_request(model: Contextualizer) -> None:
    lengths = np.linalg.norm(model.contextualize(TEXTS, normalize=True).vectors, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
    lengths = np.linalg.norm(model.encode(["an apple", "a day"], normalize=True), axis=1)
    assert np.allclose(lengths, 1, atol=1e-6)


def test_unknown_words_keep_their_row(model: Contextualizer) -> None:
    doc = model.contextualize("an \u4dff apple")
    assert doc.words == ["an", "\u4dff", "apple"]
    assert doc.known.tolist() == [True, False, True]


def test_an_unknown_word_becomes_its_context() -> None:
    vectors = WordVectors(["a", "b"], [[1.0, 0.0], [0.0, 1.0]])
    doc = polyseme.load(vectors).contextualize("a b zzz")
    assert np.allclose(doc["zzz"], [0.5, 0.5])
    only = polyseme.load(vectors).contextualize("zzz yyy")
    assert np.array_equal(only.vectors, np.zeros((2, 2)))
    without = polyseme.load(vectors).contextualize("a b")
    assert np.array_equal(doc.vectors[:2], without.vectors)


def test_phrases_are_units_with_one_vector(model: Contextualizer) -> None:
    doc = model.contextualize("A piece of cake.", phrases=["piece of cake"])
    assert doc.words == ["A", "piece of cake", "."]
    assert doc["piece of cake"].shape == (model.dim,)


def test_the_users_own_words_are_taken_as_they_are(model: Contextualizer) -> None:
    docs = model.contextualize([["an", "apple", "a day"], ["cake"]])
    assert docs[0].words == ["an", "apple", "a day"]
    assert docs[0].text == "an apple a day"


def test_long_texts_are_read_in_windows_and_never_cut(make_model: MakeModel) -> None:
    model = polyseme.load(make_model(), backend="numpy")
    text = "an apple a day keeps the doctor away . " * 9
    doc = model.contextualize(text)
    assert len(doc) == 81
    assert np.abs(doc.vectors).min(axis=1).max() > 0
    head = model.contextualize(" ".join(doc.words[:22]))
    middle = 8
    assert np.allclose(doc.vectors[:middle], head.vectors[:middle], atol=1e-6)
    sentences = model.encode([text, text[: len(text) // 2]])
    assert np.isfinite(sentences).all()
    assert not np.allclose(sentences[0], sentences[1])


def test_empty_input_gives_empty_output(model: Contextualizer) -> None:
    assert model.contextualize([]).vectors.shape == (0, model.dim)
    assert model.contextualize("").vectors.shape == (0, model.dim)
    assert model.contextualize(" \n\t").words == []
    assert model.encode([]).shape == (0, model.dim)
    assert model.encode("").shape == (model.dim,)


def test_many_threads_get_what_one_gets(model: Contextualizer) -> None:
    expected = model.contextualize(TEXTS).vectors
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            docs = model.contextualize([*TEXTS, f"new words {number}"])
            if not np.array_equal(docs.vectors[: len(expected)], expected):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_calls_with_other_options_are_not_mixed_up(model: Contextualizer) -> None:
    calls = [
        lambda text: model.contextualize(text).vectors,
        lambda text: model.contextualize(text, layer=0).vectors,
        lambda text: model.contextualize(text, normalize=True).vectors,
        lambda text: model.contextualize([text], phrases=["apple pie"]).vectors,
        lambda text: model.contextualize(text, batch_tokens=7).vectors,
        lambda text: model.encode([text]),
        lambda text: model.encode([text], normalize=True),
    ]
    asked = [(call, text) for text in TEXTS for call in calls] * 8
    expected = [call(text) for call, text in asked]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda pair: pair[0](pair[1]), asked))
    assert all(map(np.array_equal, found, expected))


@pytest.mark.parametrize("backend", backends())
def test_what_is_saved_is_what_is_loaded(
    model: Contextualizer, tmp_path: Path, backend: str
) -> None:
    model.save_pretrained(tmp_path / "saved")
    again = polyseme.load(tmp_path / "saved", backend=backend)
    assert again.rung == model.rung
    texts = ["an apple a day .", "\u4dff"]
    vectors = again.contextualize(texts).vectors
    if backend == "numpy":
        assert np.array_equal(vectors, model.contextualize(texts).vectors)
    else:
        assert np.allclose(vectors, model.contextualize(texts).vectors, atol=1e-5)
    again.save_pretrained(tmp_path / "saved")
    third = polyseme.load(tmp_path / "saved", backend=backend)
    assert np.array_equal(third.contextualize(texts).vectors, vectors)


def test_saving_over_a_file_is_refused(default: Contextualizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(NotADirectoryError, match="give a folder"):
        default.save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def test_frequency_and_centre_on_request(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    words = ["the", "of", "apple", "doctor", "cake"]
    vectors = WordVectors(words, generator.normal(1, 1, (5, 4)))
    model = polyseme.load(vectors)
    by_rank = model.parameter_free(frequency="rank")
    plain, ranked = (m.explain("the doctor", "doctor") for m in (model, by_rank))
    assert ranked.weights[0] < plain.weights[0]
    centred = model.parameter_free(center=True, temperature=0.2)
    table = vectors.table - vectors.table.mean(axis=0)
    assert np.allclose(centred.contextualize("apple").vectors, table[2:3], atol=1e-6)
    centred.save_pretrained(tmp_path / "centred")
    again = polyseme.load(tmp_path / "centred")
    assert np.array_equal(
        again.contextualize("the cake").vectors, centred.contextualize("the cake").vectors
    )
    with pytest.raises(ValueError, match="without counts"):
        model.parameter_free(frequency="counts")
    with pytest.raises(ValueError, match="frequency is 'zipf'"):
        model.parameter_free(frequency="zipf")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="warmth"):
        model.parameter_free(warmth=1)
    with pytest.raises(ValueError, match="temperature is 0"):
        model.parameter_free(temperature=0)


def test_a_learned_model_has_its_lower_rungs(make_model: MakeModel) -> None:
    model = polyseme.load(make_model(), backend="numpy")
    assert (model.rung, model.static().rung, model.parameter_free().rung) == (
        "learned",
        "static",
        "parameter-free",
    )
    static = model.static().contextualize(["apple cake", "cake"])
    assert np.array_equal(static[0]["cake"], static[1]["cake"])
    free = model.parameter_free(own_similarity=None).contextualize("apple cake")
    assert not np.allclose(free["cake"], static[0]["cake"])


def test_sentence_vectors_are_those_of_sentence_transformers(minilm: Path) -> None:
    library = pytest.importorskip("sentence_transformers", reason="the reference")
    reference = library.SentenceTransformer(str(minilm), device="cpu")
    texts = [*TEXTS[:5], "The quick brown fox jumps over the lazy dog. " * 5]
    expected = reference.encode(texts)
    for backend in backends():
        model = polyseme.load(minilm, backend=backend)
        assert np.abs(model.encode(texts) - expected).max() < 1e-5


def test_half_precision_on_torch_is_near_and_keeps_its_bits(make_model: MakeModel) -> None:
    pytest.importorskip("torch", reason="half precision needs torch")
    folder = make_model()
    exact = polyseme.load(folder, backend="numpy").contextualize(TEXTS, normalize=True)
    for dtype in ("bfloat16", "float16"):
        model = polyseme.load(folder, dtype=dtype)
        half = model.contextualize(TEXTS, normalize=True)
        assert half.vectors.dtype == np.float32
        cosines = (half.vectors * exact.vectors).sum(axis=1)[exact.known]
        assert cosines.mean() > 0.99
        for text, doc in zip(TEXTS, half, strict=True):
            assert np.array_equal(model.contextualize(text, normalize=True).vectors, doc.vectors)


def test_a_model_names_itself() -> None:
    model = polyseme.load(backend="numpy")
    assert repr(model) == (
        "Contextualizer('polyseme-small', learned, 2 x 256, numpy on cpu in float32)"
    )


def test_a_model_goes_through_pickle(model: Contextualizer) -> None:
    again = pickle.loads(pickle.dumps(model))
    for text in TEXTS:
        assert (again.contextualize(text).vectors == model.contextualize(text).vectors).all()
    assert copy.deepcopy(model) is model
