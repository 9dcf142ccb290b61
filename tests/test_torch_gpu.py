"""What a GPU runs, on a CPU: torch's kernel for packed texts is stood in for by its definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a GPU needs torch")

from polyseme.encoder import encode  # noqa: E402
from polyseme.execution import torch_gpu  # noqa: E402
from polyseme.packed import mean_of_ranges  # noqa: E402

from .test_encoder import KINDS, config_of, ids_of, random_parameters  # noqa: E402

LENGTHS = [7, 1, 70, 0, 7, 33]
CPU = torch.device("cpu")


def by_definition(
    states: tuple[Any, Any, Any], edges: Any, longest: int, window: tuple[int, int]
) -> Any:
    """Each text by itself, on (T, heads, head_dim)."""
    query = states[0]
    assert edges.dtype == torch.int32
    assert int(edges[-1]) == len(query)
    assert longest == int(edges.diff().max())
    found = torch.full_like(query, float("nan"))
    for start, stop in pairwise(edges.tolist()):
        own = (array[start:stop].transpose(0, 1) for array in states)
        index = torch.arange(stop - start)
        behind = index[:, None] - index
        visible = torch.ones_like(behind, dtype=torch.bool)
        if window != (-1, -1):
            visible = (behind <= window[0]) & (-behind <= window[1])
        mixed = torch.nn.functional.scaled_dot_product_attention(*own, attn_mask=visible)
        found[start:stop] = mixed.transpose(0, 1)
    return found


def tensors_of(config: Any) -> dict[str, Any]:
    return {
        name: torch.from_numpy(array.astype(np.float64))
        for name, array in random_parameters(config).items()
    }


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_the_plain_functions(
    kind: str, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def varlen(*given: Any) -> Any:
        calls.append(given)
        return by_definition(*given)

    monkeypatch.setattr(torch_gpu, "_varlen", varlen)
    monkeypatch.setattr(torch_gpu, "has_packed_attention", lambda *given: packs)
    config = config_of(kind)
    parameters, ids = tensors_of(config), ids_of(LENGTHS)
    operations = torch_gpu.operations(parameters, config)
    expected = encode(parameters, config, ids).values
    found = encode(parameters, config, ids, operations=operations).values
    assert torch.allclose(found, expected, atol=1e-10)
    assert bool(calls) == (packs and not config.relative_buckets)
    # What fills up a step is seen by no text.
    filled = replace(operations, rows=lambda rows: rows + 5)
    found = encode(parameters, config, ids, operations=filled).values
    assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_on_the_host(
    kind: str, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packs:
        pytest.importorskip("torch.nn.attention.varlen", reason="torch has it from 2.10 on")
    # Tensors of the device "meta" have no numbers, and refuse to meet those of another device; of
    # torch's kernel they check the arguments.
    monkeypatch.setattr(torch_gpu, "has_packed_attention", lambda *given: packs)
    config = config_of(kind)
    parameters = {
        name: torch.empty(tensor.shape, dtype=torch.bfloat16, device="meta")
        for name, tensor in tensors_of(config).items()
    }
    operations = torch_gpu.operations(parameters, config)
    for tokens in (20, 2048):
        states = encode(
            parameters, config, ids_of(LENGTHS), operations=operations, batch_tokens=tokens
        ).values
        words = mean_of_ranges(states, np.asarray([0, 3, 5]), np.asarray([2, 3, 9]))
        assert states.device.type == words.device.type == "meta"
        assert states.shape == (sum(LENGTHS), config.hidden_size)


def test_weights_are_recorded_where_texts_attend_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_gpu, "_varlen", by_definition)
    monkeypatch.setattr(torch_gpu, "has_packed_attention", lambda *given: True)
    config = config_of("post-norm")
    parameters, ids = tensors_of(config), ids_of([5, 5])
    operations = torch_gpu.operations(parameters, config)
    weights: list[Any] = []
    found = encode(parameters, config, ids, operations=operations, record=weights)
    assert [array.shape for array in weights] == [(2, config.heads, 5, 5)] * config.layers
    assert torch.allclose(found.values, encode(parameters, config, ids).values, atol=1e-10)


def nothing(*given: Any) -> Any:
    raise NotImplementedError("no kernel")


def without_a_window(*given: Any) -> Any:
    return by_definition(*given[:-1], (-1, -1))


@pytest.mark.parametrize(
    ("kernel", "dtype", "right"),
    [
        (by_definition, torch.bfloat16, True),
        (by_definition, torch.float16, True),
        (by_definition, torch.float32, False),  # which the kernel does not take
        (without_a_window, torch.bfloat16, False),
        (lambda states, *given: states[2], torch.bfloat16, False),
        (nothing, torch.bfloat16, False),
        (torch_gpu._varlen, torch.bfloat16, False),  # on a CPU
    ],
)
def test_the_kernel_is_tried_before_it_is_used(
    kernel: Callable[..., Any], dtype: Any, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_gpu, "_varlen", kernel)
    torch_gpu.has_packed_attention.cache_clear()
    assert torch_gpu.has_packed_attention(CPU, dtype, 16) == right
    torch_gpu.has_packed_attention.cache_clear()
