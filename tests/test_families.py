"""Every family of checkpoints against the reference implementation in `transformers`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polyseme.checkpoints import Checkpoint, read_checkpoint
from polyseme.encoder import encode
from polyseme.packed import Packed, offsets_of

torch = pytest.importorskip("torch", reason="the reference models need torch")
transformers = pytest.importorskip("transformers", reason="the reference models")

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 220,
}
DISTILBERT = {
    "vocab_size": 60,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 220,
}
MODERNBERT = SHAPE | {
    "num_hidden_layers": 5,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "local_attention": 16,
    "attn_implementation": "eager",
}
MODELS = {
    "bert": ("BertConfig", "BertModel", SHAPE),
    "bert-with-head": ("BertConfig", "BertForMaskedLM", SHAPE),
    "bert-relu": ("BertConfig", "BertModel", SHAPE | {"hidden_act": "relu"}),
    "bert-gelu_new": ("BertConfig", "BertModel", SHAPE | {"hidden_act": "gelu_new"}),
    "roberta": ("RobertaConfig", "RobertaModel", SHAPE),
    "roberta-with-head": ("RobertaConfig", "RobertaForMaskedLM", SHAPE),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaModel", SHAPE),
    "camembert": ("CamembertConfig", "CamembertModel", SHAPE),
    "distilbert": ("DistilBertConfig", "DistilBertModel", DISTILBERT),
    "mpnet": ("MPNetConfig", "MPNetModel", SHAPE),
    "electra": ("ElectraConfig", "ElectraModel", SHAPE | {"embedding_size": 16}),
    "electra-wide": ("ElectraConfig", "ElectraModel", SHAPE | {"embedding_size": 32}),
    "modernbert": ("ModernBertConfig", "ModernBertModel", MODERNBERT),
    "modernbert-with-head": ("ModernBertConfig", "ModernBertForMaskedLM", MODERNBERT),
}


TOKENIZER = '{"model": "read by another test"}'


def saved(name: str, folder: Path, **options: object) -> object:
    config_name, model_name, settings = MODELS[name]
    torch.manual_seed(len(name))
    config = getattr(transformers, config_name)(**settings)
    model = getattr(transformers, model_name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, **options)
    (folder / "tokenizer.json").write_text(TOKENIZER)
    return model


def on_torch(checkpoint: Checkpoint) -> dict[str, object]:
    return {name: torch.from_numpy(array) for name, array in checkpoint.parameters.items()}


def batch(lengths: list[int]) -> Packed:
    ids = np.random.default_rng(5).integers(5, 60, size=sum(lengths))
    return Packed(ids, offsets_of(lengths))


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_are_those_of_the_reference(name: str, tmp_path: Path) -> None:
    model = saved(name, tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    texts = batch([7, 1, 30, 7, 200])
    body = getattr(model, model.base_model_prefix, model)
    for layer in range(checkpoint.config.layers + 1):
        ours = encode(checkpoint.parameters, checkpoint.config, texts, layer=layer)
        theirs = encode(on_torch(checkpoint), checkpoint.config, texts, layer=layer)
        for i, ids in enumerate(texts):
            with torch.no_grad():
                output = body(torch.from_numpy(ids)[None], output_hidden_states=True)
            expected = output.hidden_states[layer][0].numpy()
            assert np.abs(ours[i] - expected).max() < 1e-4
            assert np.abs(theirs[i].numpy() - expected).max() < 1e-4


def test_sharded_weights_are_read_like_whole_ones(tmp_path: Path) -> None:
    saved("bert", tmp_path / "whole")
    saved("bert", tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = read_checkpoint(tmp_path / "whole"), read_checkpoint(tmp_path / "shards")
    assert whole.parameters.keys() == shards.parameters.keys()
    for name, array in whole.parameters.items():
        assert np.array_equal(array, shards.parameters[name])


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    model = saved("bert", tmp_path / "float")
    whole = read_checkpoint(tmp_path / "float")
    for dtype in (torch.bfloat16, torch.float16):
        folder = tmp_path / str(dtype)
        model.to(dtype).save_pretrained(folder)
        (folder / "tokenizer.json").write_text(TOKENIZER)
        half = read_checkpoint(folder)
        for name, array in whole.parameters.items():
            assert half.parameters[name].dtype == np.float32
            np.testing.assert_allclose(half.parameters[name], array, rtol=0.01, atol=0.01)
        model.float()


def test_names_of_the_first_bert_checkpoints_are_understood(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    saved("bert", tmp_path)
    expected = read_checkpoint(tmp_path).parameters
    path = tmp_path / "model.safetensors"
    renamed = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): array
        for name, array in load_file(path).items()
    }
    save_file(renamed, path)
    found = read_checkpoint(tmp_path).parameters
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_minilm_agrees_with_the_reference(minilm: Path) -> None:
    checkpoint = read_checkpoint(minilm)
    model = transformers.BertModel.from_pretrained(minilm).eval()
    ids = np.random.default_rng(0).integers(1000, 30000, size=300)
    texts = Packed(ids, offsets_of([100, 200]))
    numpy_states = encode(checkpoint.parameters, checkpoint.config, texts)
    torch_states = encode(on_torch(checkpoint), checkpoint.config, texts)
    for i, text in enumerate(texts):
        with torch.no_grad():
            expected = model(torch.from_numpy(text)[None]).last_hidden_state[0].numpy()
        assert np.abs(numpy_states[i] - expected).max() < 1e-4
        assert np.abs(torch_states[i].numpy() - expected).max() < 1e-4
