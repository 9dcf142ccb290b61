"""Long texts on torch's kernel, held against the definition."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the kernel is torch's")

from polyseme import attention  # noqa: E402
from polyseme.execution import fused  # noqa: E402

N, M, D = 150, 170, 8


def draw(*shape: int, dtype: Any = torch.float64, seed: int = 0) -> Any:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def masks() -> dict[str, Any]:
    some = draw(N, M) > 0
    some[7] = False
    keys = draw(M) > -1
    return {"none": None, "of keys": keys, "of pairs": some, "of texts": (draw(2, 1, N, M) > 0)}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_kernel_gives_what_is_defined(
    dtype: str, mask: str, biased: bool, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = getattr(torch, dtype)
    m = N if causal else M
    query, key, value = draw(2, 3, N, D, dtype=kind), draw(m, D, dtype=kind, seed=1), draw(3, m, D)
    options = {
        "mask": None if masks()[mask] is None else masks()[mask][..., :m],
        "bias": draw(N, m, seed=3) if biased else None,
        "causal": causal,
        "scale": 0.7,
    }
    calls = []
    kernel = fused.attend
    monkeypatch.setattr(fused, "attend", lambda *a, **b: calls.append(1) or kernel(*a, **b))
    found = attention.attend(query, key, value.to(kind), **options)
    assert bool(calls) == (not causal or (mask == "none" and not biased))
    monkeypatch.setattr(fused, "fits", lambda *given, **options: False)
    expected = attention.attend(query, key, value.to(kind), **options)
    assert found.dtype == expected.dtype == kind
    tolerance = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 1e-2}[dtype]
    assert torch.allclose(found, expected, atol=tolerance, rtol=tolerance)
    if mask == "of pairs":
        assert (found[..., 7, :] == 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"query": draw(90, D)},  # short
        {"value": draw(M, D + 1)},
        {"query": 1e20 * draw(N, D), "key": 1e20 * draw(M, D)},  # which may overflow
        {"bias": draw(N, M).requires_grad_()},
        {"bias": 1e38 * draw(N, M)},
    ],
)
def test_what_the_kernel_does_not_take_is_computed_as_defined(change: dict[str, Any]) -> None:
    options: dict[str, Any] = {"scale": 1.0, "bias": None, "mask": None, "causal": False}
    given = {"query": draw(N, D), "key": draw(M, D), "value": draw(M, D)}
    assert fused.fits(**given, **options)
    assert not fused.fits(**given | options | change)


def test_gradients_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for fits in (fused.fits, lambda *given, **options: False):
        monkeypatch.setattr(fused, "fits", fits)
        given = [draw(n, D, seed=n).requires_grad_() for n in (N, M, M)]
        attention.attend(*given).square().sum().backward()
        found.append([array.grad for array in given])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-10)
