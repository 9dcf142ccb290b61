"""What a CUDA device computes, held against NumPy; skipped where there is none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a GPU needs torch")

import polyseme  # noqa: E402
from polyseme.encoder import encode  # noqa: E402
from polyseme.execution import Place, on_host, prepare  # noqa: E402

from .conftest import WORDS, write_model  # noqa: E402
from .test_encoder import KINDS, config_of, ids_of, random_parameters  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_numpy(kind: str, dtype: str) -> None:
    config = config_of(kind)
    parameters = random_parameters(config)
    ids = ids_of([7, 1, 70, 0, 7])
    expected = encode(parameters, config, ids).values
    arrays, operations = prepare(parameters, config, Place("torch", "cuda", dtype))
    with torch.no_grad():
        found = on_host(encode(arrays, config, ids, operations=operations).values)
    if dtype == "float32":
        np.testing.assert_allclose(found, expected, atol=2e-3)
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1)
    assert (cosines / np.linalg.norm(expected, axis=1)).min() > 0.99


def test_a_model_gives_words_and_sentences_their_vectors(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, n)) for n in random.integers(0, 20, 50)]
    there, here = (polyseme.load(folder, device=device) for device in ("cuda", "cpu"))
    docs = there.contextualize(texts)
    np.testing.assert_allclose(docs.vectors, here.contextualize(texts).vectors, atol=2e-3)
    np.testing.assert_allclose(there.encode(texts), here.encode(texts), atol=2e-3)
    free = there.static().parameter_free().contextualize(texts)
    expected = here.static().parameter_free().contextualize(texts)
    np.testing.assert_allclose(free.vectors, expected.vectors, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_texts_attend_packed_and_do_not_see_their_neighbours(dtype: str) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("flash attention needs compute capability 8.0")
    pytest.importorskip("torch.nn.attention.varlen", reason="torch has it from 2.10 on")
    config = config_of("post-norm", width=128, inner=256, heads=4)
    place = Place("torch", "cuda", dtype)
    arrays, operations = prepare(random_parameters(config), config, place)
    assert operations.packing is not None
    assert operations.attend_packed is not None
    random = torch.Generator("cuda").manual_seed(0)
    lengths = [40, 1, 7, 80]
    states = torch.randn((3, sum(lengths), 128), device="cuda", generator=random)
    query, key, value = states.to(arrays["embeddings.tokens"].dtype)
    packing = operations.packing(np.asarray(lengths), 0)
    together = operations.attend_packed(query, key, value, heads=4, packing=packing)
    for start, stop in pairwise(np.cumsum([0, *lengths]).tolist()):
        own = (array[start:stop] for array in (query, key, value))
        packing = operations.packing(np.asarray([stop - start]), 0)
        alone = operations.attend_packed(*own, heads=4, packing=packing)
        assert torch.equal(alone, together[start:stop])


def test_a_long_list_and_a_stream_come_in_order(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    texts = [f"an apple {i % 7} a day keeps the doctor" for i in range(60_000)]
    there, here = (polyseme.load(folder, device=device) for device in ("cuda", "cpu"))
    expected = here.contextualize(texts)
    np.testing.assert_allclose(there.contextualize(texts).vectors, expected.vectors, atol=2e-3)
    for doc, found in zip(expected, there.contextualize(iter(texts)), strict=True):
        assert doc.text == found.text
        np.testing.assert_allclose(found.vectors, doc.vectors, atol=2e-3)


def test_a_student_learns(tmp_path: Path) -> None:
    from polyseme.files import source
    from polyseme.training.distil import distil
    from polyseme.training.settings import Recipe, Shape, Steps

    folder = write_model(tmp_path / "teacher")
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(WORDS, n)) for n in random.integers(1, 12, 300)]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n")
    student = distil(
        polyseme.load(folder, device="cuda"),
        [source(str(tmp_path / "texts.txt"), None, "text")],
        tmp_path / "run",
        shape=Shape(layers=1, dim=8, heads=1, max_tokens=20),
        recipe=Recipe(batch_tokens=64),
        steps=Steps(steps=30, learning_rate=1e-2),
        device="cuda",
    )
    assert student is not None
    assert np.isfinite(student.contextualize("an apple a day").vectors).all()
