"""Which model made a data set: its name for people, and a digest of all that its vectors follow."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from polyseme import __version__
from polyseme.loading import made_from

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer
    from polyseme.execution import Place

_AT_ONCE = 1 << 16


def digest_of(model: Contextualizer) -> str:
    """SHA-256 over the model's parameters, settings and tokenizer, in hexadecimal."""
    checkpoint = model.checkpoint
    found = hashlib.sha256()
    settings = asdict(model.settings) if model.settings else None
    shape = [asdict(checkpoint.config), settings, asdict(checkpoint.sentence)]
    found.update(json.dumps(shape, sort_keys=True).encode())
    for name, array in sorted(checkpoint.parameters.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        # By parts: a table of word vectors may be mapped from a file that is larger than memory.
        for start in range(0, len(array), _AT_ONCE) if array.ndim else ():
            found.update(np.ascontiguousarray(array[start : start + _AT_ONCE]).data.cast("B"))
    if model.word_vectors is None:
        found.update(model.tokenizer.to_json().encode())
    else:
        found.update("\n".join(model.word_vectors.words).encode())
    return found.hexdigest()


def identity(model: Contextualizer, place: Place) -> dict[str, Any]:
    """What a manifest holds of a model: with another of these, the bits may be others.

    Args:
        model: whose parameters are used.
        place: where it computes, which on a cluster is not where it was opened.
    """
    return {
        "name": made_from(model),
        "sha256": digest_of(model),
        "backend": place.backend,
        "device": str(place.device),
        "dtype": place.dtype,
    }


def metadata(model: dict[str, Any], dim: int) -> dict[str, str]:
    """What every part holds beside its schema, of a model's identity."""
    return {
        "polyseme.model": model["name"],
        "polyseme.model_sha256": model["sha256"],
        "polyseme.dim": str(dim),
        "polyseme.version": __version__,
    }
