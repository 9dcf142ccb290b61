"""What can be said of a model without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyseme.loading import place_of

if TYPE_CHECKING:
    from polyseme.contextualizer import Contextualizer


def facts_of(model: Contextualizer, source: str | None) -> dict[str, Any]:
    """A model's rung, sizes, licence and place, as JSON takes them.

    Args:
        model: the model.
        source: what it was loaded from; None for the bundled one.
    """
    path = place_of(source)
    config, place, sentence = model.config, model.place, model.checkpoint.sentence
    words = model.word_vectors
    return {
        "model": model.name,
        "rung": model.rung,
        "layers": model.layers,
        "width": model.dim,
        "vocabulary": config.vocabulary_size if words is None else len(words),
        "positions": config.positions,
        "max_tokens": config.max_tokens,
        "parameters": sum(int(array.size) for array in model.checkpoint.parameters.values()),
        "file_bytes": sum(file.stat().st_size for file in _weight_files(path)),
        "pooling": sentence.unsupported or sentence.pooling,
        "normalize": sentence.normalize,
        "backend": place.backend,
        "device": place.device,
        "dtype": place.dtype,
        "licence": licence(path / "README.md"),
    }


def licence(card: Path) -> str | None:
    """The licence that the head of a model card names."""
    if not card.is_file():
        return None
    head, *lines = card.read_text(encoding="utf-8").splitlines() or [""]
    if head.strip() != "---":
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "license":
            return value.strip().strip("'\"") or None
        if line.strip() == "---":
            break
    return None


def _weight_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("*.safetensors"))
