"""Checkpoints: a folder or a hub id in, an encoder's configuration and named parameters out.

Two kinds of folder are read. Our own has ``config.json`` (``model_type`` "polyseme"),
``model.safetensors`` with this package's parameter names, 8-bit tables beside their ``.scale``, and
``tokenizer.json``. Checkpoints of the BERT family are told apart by ``model_type`` and converted by
the small tables of ``families.py``. Weights come from safetensors only, sharded or not; nothing is
unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from polyseme.encoder import EncoderConfig, parameter_shapes
from polyseme.families import FAMILIES, Field
from polyseme.hub import reason
from polyseme.parameter_free import ParameterFree

OWN_TYPE = "polyseme"
Tensors = dict[str, npt.NDArray[Any]]
Pooling = Literal["mean", "cls", "max"]
Stored = Literal["float32", "int8"]

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_VECTORS = "vectors.safetensors"
_HUB_FILES = [
    "config.json",
    "model*.safetensors",
    _INDEX,
    _VECTORS,
    "tokenizer.json",
    "task.json",
    "head.safetensors",
    "modules.json",
    "*_Pooling/config.json",
    "README.md",
]


@dataclass(frozen=True)
class Sentence:
    """How word states become a sentence vector.

    Attributes:
        pooling: "mean" of all tokens, "cls" (the first token) or "max".
        normalize: whether the sentence vector is scaled to length one.
        unsupported: a step that the checkpoint asks for and this package does not have.
    """

    pooling: Pooling = "mean"
    normalize: bool = False
    unsupported: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds.

    Attributes:
        name: as the user gave it.
        model_type: "polyseme" or the family.
        config: shape of the encoder.
        parameters: name -> NumPy array, as ``encoder.parameter_shapes`` names them.
        parameter_free: settings of parameter-free attention, if the model uses it.
        sentence: how sentence vectors are made.
        card: text of its README.md, "" without one.
    """

    name: str
    model_type: str
    config: EncoderConfig
    parameters: Tensors
    parameter_free: ParameterFree | None
    sentence: Sentence
    card: str = ""


def resolve(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | None = None,
    files: Sequence[str] = (),
) -> Path:
    """The local path of a file, a folder or a hub id.

    A hub id is looked up in the local hub cache first; the network is asked only for what is not
    there, and never with HF_HUB_OFFLINE=1. HF_HOME, HF_HUB_CACHE and HF_TOKEN are honoured.

    Args:
        source: a path or a hub id.
        revision: branch, tag or commit of a hub id.
        token: for private repositories.
        files: without these, what the cache has is not enough, besides what every model needs.

    Raises:
        FileNotFoundError: nothing is there, neither as a path nor, as far as can be seen, on the
            hub.
    """
    name = os.fspath(source)
    path = Path(name).expanduser()
    if name and path.exists():
        return path
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or "\\" in name or not name:
        raise FileNotFoundError(f"{name!r}: no such file or folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
    )

    options: dict[str, Any] = {
        "repo_id": name,
        "revision": revision,
        "token": token,
        "allow_patterns": _HUB_FILES,
    }
    try:
        folder = Path(snapshot_download(local_files_only=True, **options))
        if _is_complete(folder) and all((folder / file).exists() for file in files):
            return folder
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    try:
        return Path(snapshot_download(**options))
    except HFValidationError as error:
        raise FileNotFoundError(
            f"{name}: no such file or folder, and no hub id ({error})"
        ) from None
    except (HTTPError, OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name}: no such file or folder here, not in the hub cache, and the hub could not "
            f"deliver it ({reason(error)})"
        ) from error


def read_checkpoint(folder: Path, *, name: str | None = None) -> Checkpoint:
    """Read a folder of config.json, safetensors and tokenizer.json.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: a field or a tensor is missing, unknown or of the wrong shape, or a file is
            damaged; the message names the file and the field or tensor.
    """
    raw = read_json(folder / "config.json")
    model_type = raw.get("model_type")
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists():
        raise FileNotFoundError(
            f"{tokenizer} is missing: save it with the `tokenizers` library (a fast tokenizer's "
            "save_pretrained writes it)"
        )
    parameter_free = None
    if model_type == OWN_TYPE:
        config, parameter_free, sentence = own_config(raw, folder / "config.json")
        parameters = dequantized(read_tensors(folder))
        sources = {name: name for name in parameters}
    elif model_type in FAMILIES:
        family = FAMILIES[model_type]
        config = family.config(Field(raw, folder / "config.json"))
        parameters, sources = family.convert(read_tensors(folder), config, folder)
        sentence = _sentence_of(folder)
    else:
        known = ", ".join([OWN_TYPE, *sorted(FAMILIES)])
        raise ValueError(
            f"{folder / 'config.json'}: model_type is {model_type!r}; polyseme reads {known}"
        )
    check_shapes(parameters, config, folder, sources)
    own_card = folder / "README.md" if model_type == OWN_TYPE else None
    card = own_card.read_text(encoding="utf-8") if own_card and own_card.exists() else ""
    return Checkpoint(
        name or folder.name, model_type, config, parameters, parameter_free, sentence, card
    )


def write_checkpoint(
    folder: Path,
    checkpoint: Checkpoint,
    card: str,
    tokenizer_json: str | None,
    *,
    dtype: Stored = "float32",
) -> None:
    """Write our own format; every file whole, under a temporary name first."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    parameters = dict(sorted(checkpoint.parameters.items()))
    tensors = {
        name: np.ascontiguousarray(array)
        for name, array in (quantized(parameters) if dtype == "int8" else parameters).items()
    }
    write_whole(folder / _WEIGHTS, save(tensors, {"format": "polyseme"}))
    if tokenizer_json is not None:
        write_whole(folder / "tokenizer.json", tokenizer_json.encode())
    write_whole(folder / "config.json", own_json(checkpoint))
    write_whole(folder / "README.md", card.encode())


def own_json(checkpoint: Checkpoint) -> bytes:
    """Our own config.json; ``own_config`` reads it."""
    free, sentence = checkpoint.parameter_free, checkpoint.sentence
    config = {
        "model_type": OWN_TYPE,
        "encoder": asdict(checkpoint.config),
        "parameter_free": asdict(free) if free else None,
        "sentence": {"pooling": sentence.pooling, "normalize": sentence.normalize},
    }
    return (json.dumps(config, indent=2) + "\n").encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or wholly the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def dequantized(tensors: Tensors) -> Tensors:
    """8-bit tables times their rows' scales, and half precision, as float32."""
    parameters: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith(".scale") and name.removesuffix(".scale") in tensors:
            continue
        scale = tensors.get(f"{name}.scale")
        if scale is not None:
            # In two steps: a product of int8 and float32 takes several times as long.
            parameters[name] = tensor.astype(np.float32)
            parameters[name] *= scale.astype(np.float32).reshape(-1, *[1] * (tensor.ndim - 1))
        else:
            parameters[name] = tensor.astype(np.float32, copy=False)
    return parameters


def quantized(parameters: Mapping[str, npt.NDArray[Any]]) -> Tensors:
    """Matrices as int8, with a float32 scale for each row beside them; all else as it is.

    Example:
        >>> rows = quantized({"a.weight": np.asarray([[1.0, -0.5]], np.float32)})
        >>> rows["a.weight"].tolist(), (127 * rows["a.weight.scale"]).tolist()
        ([[127, -64]], [1.0])
    """
    tensors: Tensors = {}
    for name, array in parameters.items():
        if array.ndim != 2 or name == "attention.relative":
            tensors[name] = array
            continue
        scale = np.maximum(np.abs(array).max(axis=1), 1e-30) / np.float32(127)
        tensors[name] = np.rint(array / scale[:, None]).astype(np.int8)
        tensors[f"{name}.scale"] = scale.astype(np.float32)
    return tensors


def check_shapes(
    parameters: Tensors, config: EncoderConfig, folder: Path, sources: Mapping[str, str]
) -> None:
    """Hold every parameter against the shape that the configuration asks for."""
    for name, shape in parameter_shapes(config, parameters).items():
        if name not in parameters:
            raise ValueError(f"{folder}: tensor {sources.get(name, name)!r} is missing")
        seen = parameters[name].shape
        if seen != shape:
            raise ValueError(
                f"{folder}: tensor {sources.get(name, name)!r} has shape {list(seen)}, config.json "
                f"asks for {list(shape)}"
            )
    for name, tensor in parameters.items():
        # A NaN is the least and the largest; flags would take a quarter of the tensor's memory.
        if tensor.size and not np.isfinite([tensor.min(), tensor.max()]).all():
            raise ValueError(
                f"{folder}: tensor {sources.get(name, name)!r} holds NaN or infinity: the file is "
                "damaged or its training diverged"
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is not a JSON object; the message names file and line.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not JSON (not UTF-8 text)") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a JSON object")
    return content


def _is_complete(folder: Path) -> bool:
    """Whether a cached snapshot has everything that loading needs."""
    if (folder / _VECTORS).exists():
        return (folder / "config.json").exists()
    if not (folder / "config.json").exists() or not (folder / "tokenizer.json").exists():
        return False
    if (folder / _INDEX).exists():
        shards = set(read_json(folder / _INDEX).get("weight_map", {}).values())
        return all((folder / str(shard)).exists() for shard in shards)
    return (folder / _WEIGHTS).exists()


def own_config(
    raw: dict[str, Any], path: Path
) -> tuple[EncoderConfig, ParameterFree | None, Sentence]:
    """What our own config.json says.

    Raises:
        ValueError: a field is missing or unknown.
    """

    def build(kind: type[Any], key: str) -> Any:
        content = raw[key]
        known = {field.name for field in fields(kind)}
        if not isinstance(content, dict) or set(content) - known:
            unknown = sorted(set(content) - known) if isinstance(content, dict) else content
            raise ValueError(f"{path}: field {key!r} holds {unknown}, which polyseme does not know")
        try:
            return kind(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: field {key!r}: {error}") from None

    if "encoder" not in raw:
        raise ValueError(f"{path}: field 'encoder' is missing")
    config = build(EncoderConfig, "encoder")
    free = build(ParameterFree, "parameter_free") if raw.get("parameter_free") else None
    sentence = build(Sentence, "sentence") if raw.get("sentence") else Sentence()
    return config, free, sentence


def _sentence_of(folder: Path) -> Sentence:
    """Pooling as sentence-transformers writes it down in modules.json; plain mean without it."""
    if not (folder / "modules.json").exists():
        return Sentence()
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    sentence = Sentence()
    for module in modules:
        kind = str(module.get("type", "")).rsplit(".", 1)[-1]
        if kind == "Pooling":
            sentence = replace(sentence, **_pooling(folder / str(module.get("path", ""))))
        elif kind == "Normalize":
            sentence = replace(sentence, normalize=True)
        elif kind != "Transformer":
            sentence = replace(sentence, unsupported=f"modules.json asks for a {kind} module")
    return sentence


def _pooling(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    names: dict[str, Pooling] = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
    }
    modes = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    if "pooling_mode" in config:
        modes = [f"pooling_mode_{config['pooling_mode']}_tokens"]
        names["pooling_mode_cls_tokens"] = "cls"
    if len(modes) == 1 and modes[0] in names:
        return {"pooling": names[modes[0]]}
    return {"unsupported": f"{folder / 'config.json'} asks for pooling by {' and '.join(modes)}"}


def read_tensors(folder: Path) -> Tensors:
    """All tensors of a folder's safetensors files, sharded or not."""
    tensors: Tensors = {}
    for path in _weight_files(folder):
        for name, tensor in _read_file(path):
            tensors[name] = tensor
    index = folder / _INDEX
    if index.exists() and not (folder / _WEIGHTS).exists():
        for name, shard in read_json(index).get("weight_map", {}).items():
            if name not in tensors:
                raise ValueError(f"{folder / str(shard)}: tensor {name!r} is missing")
    return tensors


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).exists():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).exists():
        hint = ""
        if (folder / "pytorch_model.bin").exists():
            hint = "; pytorch_model.bin is a pickle and is not read: convert it to safetensors"
        raise FileNotFoundError(f"{folder / _WEIGHTS} is missing{hint}")
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{folder / _INDEX}: field 'weight_map' is missing or empty")
    shards = sorted({str(shard) for shard in weight_map.values()})
    for shard in shards:
        if shard in ("", ".", "..") or any(sign in shard for sign in ("/", "\\", "\0")):
            raise ValueError(f"{folder / _INDEX}: shard {shard!r} is no file name of its folder")
        if not (folder / shard).exists():
            raise FileNotFoundError(f"{folder / shard} is missing; {_INDEX} names it")
    return [folder / shard for shard in shards]


def _read_file(path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    try:
        halves: set[str] = set()
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 -- the handle is not iterable
                if file.get_slice(name).get_dtype() == "BF16":
                    halves.add(name)
                else:
                    yield name, file.get_tensor(name)
        if halves:
            yield from _read_bfloat16(path, halves)
    except SafetensorError as error:
        size = path.stat().st_size
        raise ValueError(
            f"{path}: damaged or truncated safetensors file of {size:,} bytes ({error})"
        ) from None


def _read_bfloat16(path: Path, names: set[str]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """The file's bfloat16 tensors, which NumPy lacks: the upper half of a float32's bits."""
    from safetensors import deserialize

    tensors: list[tuple[str, Any]] = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    for name, tensor in tensors:
        if name in names:
            bits = np.frombuffer(tensor["data"], dtype="<u2").astype(np.uint32) << 16
            yield name, bits.view(np.float32).reshape(tensor["shape"])
