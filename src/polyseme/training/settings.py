"""What a run of distillation is told: the student's shape, the recipe, how steps are taken.

Plain values, checked when they are made; nothing here needs torch or NumPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from polyseme.encoder import EncoderConfig
    from polyseme.operations import Activation

BUCKETS = 32
"""Rows of the bias by relative distance."""


@dataclass(frozen=True)
class Shape:
    """The size of a student.

    Attributes:
        layers: self-attention layers.
        dim: width of the vectors.
        heads: attention heads of a layer.
        inner: width inside the feed-forward networks; twice ``dim`` if None.
        activation: of the feed-forward networks.
        max_tokens: longest sequence; longer texts are read in windows.
        positions: "learned", or "relative" (a bias by distance, shared by the layers).
    """

    layers: int = 3
    dim: int = 256
    heads: int = 8
    inner: int | None = None
    activation: Activation = "relu"
    max_tokens: int = 512
    positions: Literal["relative", "learned"] = "learned"

    def __post_init__(self) -> None:
        for name in ("layers", "dim", "heads", "max_tokens"):
            _at_least(name, getattr(self, name), 1)
        if self.inner is not None:
            _at_least("inner", self.inner, 1)
        if self.dim % self.heads:
            raise ValueError(f"dim is {self.dim}: it must be a multiple of the {self.heads} heads")
        if self.positions not in ("relative", "learned"):
            raise ValueError(f"positions is {self.positions!r}: use 'relative' or 'learned'")

    def config(self, vocabulary_size: int) -> EncoderConfig:
        """The encoder's configuration."""
        from polyseme.encoder import EncoderConfig

        relative = self.positions == "relative"
        return EncoderConfig(
            vocabulary_size=vocabulary_size,
            hidden_size=self.dim,
            layers=self.layers,
            heads=self.heads,
            intermediate_size=self.inner or 2 * self.dim,
            activation=self.activation,
            embedding_norm=True,
            positions="none" if relative else "learned",
            relative_buckets=BUCKETS if relative else 0,
            max_tokens=self.max_tokens,
            norm_epsilon=1e-6,
        )


@dataclass(frozen=True)
class Recipe:
    """What the student is taught: see ``distil.py`` for the equation.

    Attributes:
        middle_layer: layer of the teacher that gives a word's own part; half of them if None.
        middle_share: of that state in a word's target.
        last_share: of the last layer's state in a word's target.
        mean_share: of the text's mean in a word's target.
        within_weight: of the loss of what a word is here beyond its static vector.
        sentence_weight: of the loss of the text's vector.
        sense_weight: of the loss of telling whether two uses of a word mean the same.
        pseudoword_weight: of the loss of telling by centroids which word a pseudoword stands for.
        collocation_weight: of the loss of telling by centroids which word stood next to a noun.
        sense_tokens: tokens of a step's uses whose senses are known.
        centroid_tokens: tokens of a step's pseudowords, and as many of its collocations.
        masked: share of the input's tokens that are masked.
        masked_word_weight: of the loss of guessing the masked tokens.
        sentences: share of the texts that are cut into sentences.
        batch_tokens: tokens of a step, of all processes.
        passes: how often every batch is taken; its targets are kept on disk from the first time.
        start: "inherited": layers that attend as the teacher's do; or "random".
        seed: of the order of the texts, the masks and the first parameters.
        skip: texts at the head of every file that are left out at first, as others have been
            trained on them already.
        start_share: of the student's first parameters in those that are saved in the end.
    """

    middle_layer: int | None = None
    middle_share: float = 1.0
    last_share: float = 0.0
    mean_share: float = 0.7
    within_weight: float = 0.0
    sentence_weight: float = 0.5
    sense_weight: float = 2.0
    pseudoword_weight: float = 1.0
    collocation_weight: float = 1.0
    sense_tokens: int = 1024
    centroid_tokens: int = 2048
    masked: float = 0.0
    masked_word_weight: float = 0.0
    sentences: float = 0.5
    batch_tokens: int = 2048
    passes: int = 1
    start: Literal["inherited", "random"] = "inherited"
    seed: int = 0
    skip: int = 0
    start_share: float = 0.0

    def __post_init__(self) -> None:
        shares = ("middle_share", "last_share", "mean_share")
        weights = (
            "within_weight",
            "sentence_weight",
            "sense_weight",
            "pseudoword_weight",
            "collocation_weight",
            "masked_word_weight",
        )
        for name in (*shares, *weights, "seed", "skip"):
            _at_least(name, getattr(self, name), 0)
        for name in ("masked", "sentences", "start_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be from 0 to 1")
        for name in ("batch_tokens", "sense_tokens", "centroid_tokens", "passes"):
            _at_least(name, getattr(self, name), 1)
        if self.start not in ("inherited", "random"):
            raise ValueError(f"start is {self.start!r}: use 'inherited' or 'random'")
        if not any(getattr(self, name) for name in shares):
            raise ValueError(f"{', '.join(shares)} are all 0: a word's target needs one of them")
        if self.masked_word_weight and not self.masked:
            raise ValueError("masked_word_weight needs masked tokens: give masked, such as 0.15")


@dataclass(frozen=True)
class Steps:
    """How steps are taken.

    Attributes:
        steps: how many.
        learning_rate: its peak.
        warmup: share of the steps in which it rises from zero.
        weight_decay: of matrices; the table of static vectors, biases and norms have none.
        clip: largest norm of the gradient.
        dtype: of the products; parameters stay float32.
        checkpoint_minutes: how often the state is written.
        log_every: steps between two lines of metrics.jsonl.
    """

    steps: int = 2000
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    checkpoint_minutes: float = 5.0
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "log_every"):
            _at_least(name, getattr(self, name), 1)
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("weight_decay", "checkpoint_minutes"):
            _at_least(name, getattr(self, name), 0)
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}: it must be at least 0 and below 1")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype is {self.dtype!r}: use 'float32' or 'bfloat16'")

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine down to zero.

        Loshchilov and Hutter 2017 (https://arxiv.org/abs/1608.03983), without restarts.

        Example:
            >>> steps = Steps(steps=100, learning_rate=1.0, warmup=0.1)
            >>> [round(steps.rate(i), 2) for i in (0, 9, 55, 99)]
            [0.1, 1.0, 0.48, 0.0]
        """
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step + 1 - warm) / max(1, self.steps - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _at_least(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise ValueError(f"{name} is {value}: it must be at least {least}")
