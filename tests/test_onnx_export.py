"""The exported graph says what the encoder says, on ONNX Runtime."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner

pytest.importorskip("onnx", reason="export is for onnx")
pytest.importorskip("onnxruntime", reason="the graph is run by ONNX Runtime")

import polyseme
from polyseme.checkpoints import Sentence
from polyseme.cli import app
from polyseme.onnx_export import export_onnx
from polyseme.vectors import WordVectors
from tests.conftest import MakeModel, wordpiece_json

TEXTS = [
    "An apple a day keeps the doctor away",
    "Apple just launched a new iPhone.",
    "apple",
    "a piece of cake, an apple and the doctor just away",
]
SHAPES: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"norm": "pre", "activation": "gelu_tanh"},
    "gated": {"gated": True, "activation": "silu", "bias": False},
    "rotary and local": {
        "positions": "rotary",
        "norm": "pre",
        "local_window": 2,
        "global_every": 2,
        "local_rotary_base": 100.0,
        "layers": 3,
    },
    "relative": {"positions": "none", "relative_buckets": 8, "activation": "relu"},
    "narrow table": {"embedding_size": 8},
    "offset": {"position_offset": 2},
    "no positions": {"positions": "none", "max_tokens": None},
}


def run(path: Path, texts: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What ONNX Runtime makes of a batch that is filled up, and the mask."""
    tokenizer = Tokenizer.from_file(str(path.with_name("tokenizer.json")))
    tokenizer.enable_padding()
    read = tokenizer.encode_batch(texts)
    given = {
        "input_ids": np.asarray([one.ids for one in read], np.int64),
        "attention_mask": np.asarray([one.attention_mask for one in read], np.int64),
    }
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True)), given["attention_mask"]


def check(model: polyseme.Contextualizer, path: Path) -> None:
    tokens = model.tokenizer(TEXTS)
    (expected,) = model.states(model.sequences(tokens), (model.layers,))
    found, mask = run(path, TEXTS)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        found["last_hidden_state"][mask.astype(bool)] / scale,
        np.asarray(expected) / scale,
        atol=2e-5,
    )
    np.testing.assert_allclose(
        found["sentence_embedding"] / np.abs(found["sentence_embedding"]).max(),
        model.encode(TEXTS) / np.abs(model.encode(TEXTS)).max(),
        atol=2e-5,
    )
    alone, _ = run(path, TEXTS[2:3])
    np.testing.assert_allclose(
        alone["last_hidden_state"][0] / scale,
        found["last_hidden_state"][2, : mask[2].sum()] / scale,
        atol=2e-5,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_encoder_s_states(
    shape: str, make_model: MakeModel, tmp_path: Path
) -> None:
    model = polyseme.load(make_model(**SHAPES[shape]), backend="numpy")
    check(model, export_onnx(model, tmp_path / "onnx"))


FAMILIES = ["bert", "bert-gelu_new", "bert-relu", "camembert", "distilbert", "electra"]
FAMILIES += ["modernbert", "mpnet", "roberta", "xlm-roberta"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_encoder_s_states(family: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="writes the family's checkpoint")
    pytest.importorskip("transformers", reason="writes the family's checkpoint")
    from tests.test_families import saved

    saved(family, tmp_path / "given")
    (tmp_path / "given" / "tokenizer.json").write_text(wordpiece_json())
    model = polyseme.load(tmp_path / "given", backend="numpy")
    check(model, export_onnx(model, tmp_path / "onnx"))


def test_the_default_does_too_and_words_are_found_by_offsets(tmp_path: Path) -> None:
    model = polyseme.load(backend="numpy")
    path = export_onnx(model, tmp_path)
    check(model, path)
    text = "Unbelievable applesauce"
    found, _ = run(path, [text])
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    read = tokenizer.encode(text)
    doc = model.contextualize(text)
    for word, (start, end) in enumerate(doc.spans):
        own = [
            i
            for i, (a, b) in enumerate(read.offsets)
            if start <= a < b <= end and read.special_tokens_mask[i] == 0
        ]
        np.testing.assert_allclose(
            found["last_hidden_state"][0, own].mean(axis=0), doc.vectors[word], atol=1e-4
        )


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_sentences_are_pooled_as_the_model_says(
    pooling: Any, make_model: MakeModel, tmp_path: Path
) -> None:
    given = polyseme.load(make_model(), backend="numpy")
    sentence = Sentence(pooling=pooling, normalize=pooling != "max")
    model = polyseme.Contextualizer(
        replace(given.checkpoint, sentence=sentence), given.tokenizer, given.place
    )
    check(model, export_onnx(model, tmp_path / "onnx"))


def test_what_cannot_be_exported_is_said_before_a_file_is_written(tmp_path: Path) -> None:
    model = polyseme.load(backend="numpy")
    with pytest.raises(ValueError, match="has no layers"):
        export_onnx(model.parameter_free(), tmp_path / "no")
    assert not (tmp_path / "no").exists()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(NotADirectoryError, match="give a folder"):
        export_onnx(model, tmp_path / "file")


def test_a_model_over_word_vectors_leaves_no_half_export(tmp_path: Path) -> None:
    model = polyseme.load(backend="numpy")
    vectors = WordVectors(["apple", "day"], np.eye(2, model.dim, dtype=np.float32))
    over = polyseme.Contextualizer(
        model.checkpoint, model.tokenizer, model.place, word_vectors=vectors
    )
    with pytest.raises(ValueError, match="over word vectors"):
        export_onnx(over, tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_file_that_is_there_is_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("kept")
    with pytest.raises(FileExistsError, match=f"{name} is there already"):
        export_onnx(polyseme.load(backend="numpy"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "kept"


def test_a_model_s_own_folder_can_be_loaded_after_an_export(
    make_model: MakeModel, tmp_path: Path
) -> None:
    folder = make_model()
    model = polyseme.load(folder, backend="numpy")
    with pytest.raises(FileExistsError):
        export_onnx(model, folder)
    before = model.encode(TEXTS)
    export_onnx(model, folder, force=True)
    assert np.array_equal(polyseme.load(folder, backend="numpy").encode(TEXTS), before)


def test_a_pooling_that_is_not_supported_leaves_the_states_alone(
    make_model: MakeModel, tmp_path: Path
) -> None:
    given = polyseme.load(make_model(), backend="numpy")
    checkpoint = replace(given.checkpoint, sentence=Sentence(unsupported="a Dense step"))
    model = polyseme.Contextualizer(checkpoint, given.tokenizer, given.place)
    found, _ = run(export_onnx(model, tmp_path / "onnx"), TEXTS)
    assert list(found) == ["last_hidden_state"]


def test_a_missing_onnx_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"polyseme\[onnx\]"):
        export_onnx(polyseme.load(backend="numpy"), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_the_command_writes_the_files(make_model: MakeModel, tmp_path: Path) -> None:
    command = ["export", "onnx", str(make_model()), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.onnx",
        "tokenizer.json",
    ]
    assert "is there already" in CliRunner().invoke(app, command).stderr
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
