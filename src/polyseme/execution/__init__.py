"""The encoder's primitives, faster: the same functions, held against the plain ones in tests.

``numpy_blocks`` is for NumPy, ``torch_cpu`` and, in 8 bits, ``torch_int8`` for torch on a CPU,
``torch_gpu`` for torch on a GPU, ``torch_eager`` for training; ``together`` joins the calls of
several threads. On a CPU all of them keep the promise that a text's vectors do not depend, to the
last bit, on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.encoder import EncoderConfig
from polyseme.operations import Operations

Backend = Literal["numpy", "torch"]

_NUMPY_DTYPES = ("float32", "float64")
_TORCH_DTYPES = ("float32", "float64", "float16", "bfloat16", "int8")


@dataclass(frozen=True)
class Place:
    """Where and in which precision a model runs.

    Attributes:
        backend: "numpy" or "torch".
        device: "cpu", "cuda", "cuda:1", "mps".
        dtype: of the computation; with "int8", of the products in the layers.
    """

    backend: Backend
    device: str
    dtype: str


def place(*, device: str, dtype: str, backend: str, layers: int) -> Place:
    """Choose where a model runs; what was asked for is met or refused, never replaced.

    With everything on "auto", a model without layers runs on NumPy. One with layers runs on torch
    where it is installed, on a GPU if torch sees one, and on NumPy where it is not.

    Raises:
        ValueError: an unknown name, or a combination that does not exist.
        ImportError: torch is needed and not installed.
        RuntimeError: there is no such device.
    """
    if backend not in ("auto", "numpy", "torch"):
        raise ValueError(f"backend is {backend!r}: use 'auto', 'numpy' or 'torch'")
    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda", "mps"):
        raise ValueError(f"device is {device!r}: use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'")
    dtype = "float32" if dtype == "auto" else dtype
    if dtype not in _TORCH_DTYPES:
        raise ValueError(f"dtype is {dtype!r}: use one of 'auto', {', '.join(_TORCH_DTYPES)}")
    if dtype == "int8" and layers == 0:
        raise ValueError("dtype is 'int8', which is for models with layers: use 'auto'")
    if dtype == "int8" and kind not in ("auto", "cpu"):
        raise ValueError(f"dtype 'int8' runs on device 'cpu', not on {device!r}: use 'bfloat16'")
    has_torch = find_spec("torch") is not None
    needs_torch = kind in ("cuda", "mps") or dtype not in _NUMPY_DTYPES or backend == "torch"
    if backend == "numpy" and needs_torch:
        raise ValueError(
            f"backend 'numpy' runs on device 'cpu' with {' or '.join(_NUMPY_DTYPES)}, not on "
            f"{device!r} with {dtype!r}"
        )
    if needs_torch and not has_torch:
        asked = f"device {device!r}, dtype {dtype!r}, backend {backend!r}"
        raise ImportError(f'{asked} needs torch: pip install "polyseme[torch]"')
    if not needs_torch and (backend == "numpy" or layers == 0 or not has_torch):
        return Place("numpy", "cpu", dtype)
    import torch

    if dtype == "int8":
        device = "cpu"
    elif kind == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif kind == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device is {device!r}, but torch sees no CUDA device")
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError("device is 'mps', but torch sees no Metal device")
    return Place("torch", device, dtype)


def prepare(
    parameters: Mapping[str, npt.NDArray[Any]], config: EncoderConfig, where: Place
) -> tuple[dict[str, Any], Operations]:
    """The parameters as arrays of the place, and its fastest primitives over them.

    With "int8" the factors of the layers' states are among the parameters (``calibration``).
    """
    if where.backend == "numpy":
        from polyseme.execution import numpy_blocks

        arrays = {
            name: array.astype(np.dtype(where.dtype), copy=False)
            for name, array in parameters.items()
        }
        return arrays, numpy_blocks.operations(arrays, config)
    import torch

    dtype = torch.float32 if where.dtype == "int8" else getattr(torch, where.dtype)

    def tensor(name: str, array: npt.NDArray[Any]) -> Any:
        own = torch.from_numpy(np.require(array, requirements="W"))
        # On a CPU, rows of the table and each layer's weights are brought to half precision by what
        # uses them, so that there is no second copy of all of them.
        layered = name.startswith("layers.") and array.ndim > 1
        looked_up = name == "embeddings.tokens" and config.layers and dtype.itemsize < 4
        shared = where.device == "cpu" and (layered or (looked_up and array.flags.writeable))
        return own if shared else own.to(where.device, dtype)

    tensors = {name: tensor(name, array) for name, array in parameters.items()}
    if where.dtype == "int8":
        from polyseme.execution import torch_int8

        return tensors, torch_int8.operations(tensors, config)
    if where.device == "cpu":
        from polyseme.execution import torch_cpu

        return tensors, torch_cpu.operations(tensors, config, dtype)
    from polyseme.execution import torch_gpu

    return tensors, torch_gpu.operations(tensors, config)


def on_host(array: Any) -> npt.NDArray[np.float32]:
    """A result as a float32 NumPy array."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float32, copy=False)
    result: npt.NDArray[np.float32] = array.float().cpu().numpy()
    return result
