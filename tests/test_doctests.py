"""Every example in a docstring runs and gives what it says, in the package that is installed."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import polyseme

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(polyseme.__path__, "polyseme.")
    if module.name != "polyseme.__main__"
)
NEEDED = {
    "torch": (
        "fused",
        "torch_cpu",
        "torch_eager",
        "torch_gpu",
        "torch_int8",
        "torch_attention",
        "distil",
        "learner",
        "loop",
        "losses",
        "task",
    ),
    "spacy": ("spacy",),
    "onnx": ("onnx_export",),
    "sklearn": ("sklearn", "estimators", "reports"),
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    if name.startswith("polyseme.corpus"):
        pytest.importorskip("pyarrow", reason="corpora are written with pyarrow")
        pytest.importorskip("fsspec", reason="corpora are read with fsspec")
    if name.startswith("polyseme.server"):
        for library in ("fastapi", "httptools", "orjson", "prometheus_client", "uvicorn"):
            pytest.importorskip(library, reason="needs the extra `server`")
    if name.startswith("polyseme.senses"):
        for library in ("lancedb", "sklearn", "fsspec"):
            pytest.importorskip(library, reason="an index of senses needs the extra `search`")
    for library, modules in NEEDED.items():
        if name.rpartition(".")[2] in modules:
            pytest.importorskip(library, reason=f"this module is for {library}")
    result = doctest.testmod(import_module(name))
    assert result.failed == 0


def test_the_public_faces_have_examples() -> None:
    finder = doctest.DocTestFinder()
    for name in ("attention", "contextualizer", "loading", "explain", "embedded", "neighbours"):
        module = import_module(f"polyseme.{name}")
        assert any(test.examples for test in finder.find(module)), name
