"""Damaged, incomplete and foreign checkpoints: each error names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import polyseme
from polyseme.checkpoints import dequantized, read_checkpoint, read_tensors, resolve, write_whole
from polyseme.families import FAMILIES

from .conftest import MakeModel


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def change_tensors(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def bert_folder(folder: Path) -> Path:
    """A BERT checkpoint of one layer, written without the `transformers` library."""
    folder.mkdir()
    config = {
        "model_type": "bert",
        "vocab_size": 9,
        "hidden_size": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 6,
        "hidden_act": "gelu",
        "max_position_embeddings": 8,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (9, 4),
        "embeddings.position_embeddings.weight": (8, 4),
        "embeddings.token_type_embeddings.weight": (2, 4),
        "embeddings.LayerNorm.weight": (4,),
        "embeddings.LayerNorm.bias": (4,),
    }
    sizes = {"up": (6, 4), "down": (4, 6)}
    for ours, theirs in FAMILIES["bert"].layers.items():
        size = (4,) if ours.endswith("norm") else sizes.get(ours.split(".")[1], (4, 4))
        shapes[f"encoder.layer.0.{theirs}.weight"] = size
        shapes[f"encoder.layer.0.{theirs}.bias"] = size[:1]
    save_file(
        {name: np.ones(shape, np.float32) for name, shape in shapes.items()},
        folder / "model.safetensors",
    )
    return folder


def test_a_written_out_bert_is_read(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(bert_folder(tmp_path / "bert"))
    assert checkpoint.config.layers == 1
    assert checkpoint.parameters["embeddings.positions"].tolist() == [[2.0] * 4] * 8


def test_every_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    names = list(load_file(folder / "model.safetensors"))
    assert len(names) == 21
    for name in names:
        whole = (folder / "model.safetensors").read_bytes()
        change_tensors(folder, lambda tensors, name=name: tensors.pop(name))
        with pytest.raises(ValueError, match=f"tensor '{name}' is missing"):
            read_checkpoint(folder)
        (folder / "model.safetensors").write_bytes(whole)


def test_every_missing_field_is_named(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    whole = json.loads((folder / "config.json").read_text())
    for name in whole.keys() - {"model_type", "hidden_act"}:
        kept = {key: value for key, value in whole.items() if key != name}
        (folder / "config.json").write_text(json.dumps(kept))
        with pytest.raises(ValueError, match=rf"config\.json: field '{name}' is missing"):
            read_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'; polyseme reads polyseme, bert"),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_size": "4"}, "field 'hidden_size' is '4'"),
        ({"hidden_size": -1}, "field 'hidden_size' is -1"),
        ({"num_attention_heads": 3}, "field 'num_attention_heads' is 3, no divisor of width 4"),
        ({"hidden_act": "mish"}, "field 'hidden_act' is 'mish'"),
        ({"position_embedding_type": "relative_key"}, "field 'position_embedding_type'"),
        ({"is_decoder": True}, "field 'is_decoder' is True"),
        ({"num_hidden_layers": 0}, "belongs to layer 1, config.json says that there are 0"),
        ({"num_hidden_layers": 2}, "tensor 'encoder.layer.1.attention.self.query.weight' is miss"),
        ({"vocab_size": 10}, r"'embeddings.word_embeddings.weight' has shape \[9, 4\].*\[10, 4\]"),
        ({"intermediate_size": 5}, r"encoder.layer.0.intermediate.dense.weight' has shape"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = bert_folder(tmp_path / "bert")
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(folder)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_not_a_number_in_a_tensor_is_named(tmp_path: Path, number: float) -> None:
    folder = bert_folder(tmp_path / "bert")

    def spoil(tensors: dict[str, Any]) -> None:
        tensors["encoder.layer.0.output.dense.weight"][1, 1] = number

    change_tensors(folder, spoil)
    with pytest.raises(ValueError, match=r"'encoder.layer.0.output.dense.weight' holds NaN"):
        read_checkpoint(folder)


def test_a_file_with_tensors_in_bfloat16_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    expected: dict[str, Any] = {}
    header: dict[str, Any] = {}
    data = b""
    for number in range(6):
        array = np.random.default_rng(number).normal(size=(number, 3)).astype("<f4")
        bits = array.view("<u4")
        own = bits.tobytes()
        if number % 2:
            # The upper half of a number's bits; the lower one is zero when it is read.
            own = (bits >> 16).astype("<u2").tobytes()
            array = (bits >> 16 << 16).view("<f4")
        header[str(number)] = {
            "dtype": "BF16" if number % 2 else "F32",
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + len(own)],
        }
        expected[str(number)] = array
        data += own
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)
    read: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda own: read.append(own) or read_bytes(own))
    found = read_tensors(tmp_path)
    assert read == [path]
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, expected[name])


@pytest.mark.parametrize("kept", [0, 5, 100, 900])
def test_truncated_weights_are_an_error_that_names_the_file(tmp_path: Path, kept: int) -> None:
    folder = bert_folder(tmp_path / "bert")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged or truncated"):
        read_checkpoint(folder)


def test_broken_json_is_an_error_that_names_file_and_line(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    (folder / "config.json").write_text('{\n"model_type": \n}')
    with pytest.raises(ValueError, match=r"config\.json, line 3: not JSON"):
        read_checkpoint(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="not a JSON object"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = bert_folder(tmp_path / "bert")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read_checkpoint(folder)


def test_pickled_weights_are_refused_with_advice(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="convert it to safetensors"):
        read_checkpoint(folder)


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "a/b", "..", "", "a\\b"])
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, shard: str) -> None:
    folder = bert_folder(tmp_path / "bert")
    (folder / "model.safetensors").rename(tmp_path / "secret.safetensors")
    index = {"weight_map": {"embeddings.word_embeddings.weight": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is no file name of its folder"):
        read_checkpoint(folder)


def test_a_missing_shard_and_a_shard_without_its_tensor_are_named(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "two.safetensors"}}))
    with pytest.raises(FileNotFoundError, match=r"two\.safetensors is missing"):
        read_checkpoint(folder)
    index.write_text(json.dumps({"weight_map": {"x": "one.safetensors"}}))
    with pytest.raises(ValueError, match=r"one\.safetensors: tensor 'x' is missing"):
        read_checkpoint(folder)
    index.write_text("{}")
    with pytest.raises(ValueError, match="'weight_map' is missing"):
        read_checkpoint(folder)


def test_unknown_fields_of_our_own_format_are_refused(make_model: MakeModel) -> None:
    folder = make_model()
    change_config(folder, parameter_free={"warmth": 1})
    with pytest.raises(ValueError, match=r"'parameter_free' holds \['warmth'\]"):
        read_checkpoint(folder)
    change_config(folder, parameter_free={"temperature": 0})
    with pytest.raises(ValueError, match="temperature is 0"):
        read_checkpoint(folder)
    change_config(folder, parameter_free=None, encoder={"hidden_size": 16})
    with pytest.raises(ValueError, match="vocabulary_size"):
        read_checkpoint(folder)


def test_eight_bits_times_scale() -> None:
    tensors = {
        "t": np.asarray([[1, -2], [3, 4]], np.int8),
        "t.scale": np.asarray([0.5, 2], np.float16),
    }
    assert dequantized(tensors)["t"].tolist() == [[0.5, -1.0], [6.0, 8.0]]
    assert dequantized(tensors).keys() == {"t"}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_whole(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_is_nowhere_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (tmp_path / "nothing", "./nothing", "a/b/c", "C:\\nothing", ""):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            polyseme.load(source)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="somebody/nothing: no such file or folder"):
        resolve("somebody/nothing")


def test_a_hub_id_in_the_cache_needs_no_network(tmp_path: Path, make_model: MakeModel) -> None:
    """The layout of a hub cache: snapshots of a repository, the branch's name in refs."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models--somebody--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    make_model().rename(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        patch.setattr("socket.socket.connect", _no_network)
        found = resolve("somebody/tiny")
        model = polyseme.load("somebody/tiny")
    assert found == snapshot
    assert model.contextualize("an apple").vectors.shape == (2, 16)


def _no_network(*_: object) -> None:
    raise AssertionError("the network was used")
