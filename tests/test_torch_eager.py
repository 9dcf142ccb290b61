"""What training runs on: the plain functions and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="these primitives are for torch")

from polyseme.encoder import encode, encode_layers  # noqa: E402
from polyseme.execution import torch_eager  # noqa: E402

from .test_encoder import KINDS, config_of, ids_of, random_parameters  # noqa: E402

LENGTHS = [3, 9, 0, 9, 1, 40]


def tensors_of(config: Any) -> dict[str, Any]:
    return {
        name: torch.tensor(array, dtype=torch.float64, requires_grad=True)
        for name, array in random_parameters(config).items()
    }


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_gradients_are_those_of_the_plain_functions(kind: str, activation: str) -> None:
    config = config_of(kind, activation=activation)
    plain, eager = tensors_of(config), tensors_of(config)
    ids = ids_of(LENGTHS)
    expected = encode(plain, config, ids).values
    operations = torch_eager.operations(eager, config)
    found = encode(eager, config, ids, operations=operations).values
    assert torch.allclose(found, expected, atol=1e-10)
    weights = torch.tensor(np.random.default_rng(1).normal(size=expected.shape))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    for name, parameter in plain.items():
        gradient = eager[name].grad
        assert (gradient is None) == (parameter.grad is None), name
        if gradient is not None:
            assert torch.allclose(gradient, parameter.grad, atol=1e-8), name


@pytest.mark.parametrize("kind", KINDS)
def test_several_layers_come_from_one_pass(kind: str) -> None:
    config = config_of(kind, layers=3)
    parameters = tensors_of(config)
    operations = torch_eager.operations(parameters, config)
    ids = ids_of(LENGTHS)
    several = encode_layers(parameters, config, ids, (3, 0, 2), operations=operations)
    for layer, states in zip((3, 0, 2), several, strict=True):
        alone = encode(parameters, config, ids, operations=operations, layer=layer)
        assert torch.equal(states.values, alone.values)
    with pytest.raises(ValueError, match="layer is 4"):
        encode_layers(parameters, config, ids, (1, 4))


def test_half_precision_keeps_its_dtype() -> None:
    config = config_of("post-norm")
    parameters = {name: tensor.float() for name, tensor in tensors_of(config).items()}
    operations = torch_eager.operations(parameters, config)
    exact = encode(parameters, config, ids_of(LENGTHS), operations=operations).values
    with torch.autocast("cpu", torch.bfloat16):
        near = encode(parameters, config, ids_of(LENGTHS), operations=operations).values
    cosines = torch.nn.functional.cosine_similarity(near.float(), exact)
    assert cosines.min() > 0.99
