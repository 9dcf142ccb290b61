from __future__ import annotations

import subprocess
import sys

import pytest

from polyseme.training.settings import Recipe, Shape, Steps


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shape(layers=0), "layers is 0"),
        (lambda: Shape(dim=30, heads=4), "multiple of the 4 heads"),
        (lambda: Shape(inner=0), "inner is 0"),
        (lambda: Shape(positions="sideways"), "positions is 'sideways'"),  # type: ignore[arg-type]
        (lambda: Recipe(mean_share=-1), "mean_share is -1"),
        (lambda: Recipe(mean_share=float("nan")), "mean_share is nan"),
        (lambda: Recipe(middle_share=0, mean_share=0), "are all 0"),
        (lambda: Recipe(masked=1.5), "masked is 1.5"),
        (lambda: Recipe(start_share=2), "start_share is 2"),
        (lambda: Recipe(sense_tokens=0), "sense_tokens is 0"),
        (lambda: Recipe(centroid_tokens=0), "centroid_tokens is 0"),
        (lambda: Recipe(sense_weight=-1), "sense_weight is -1"),
        (lambda: Recipe(masked_word_weight=1), "needs masked tokens"),
        (lambda: Recipe(batch_tokens=0), "batch_tokens is 0"),
        (lambda: Steps(steps=0), "steps is 0"),
        (lambda: Steps(learning_rate=0), "learning_rate is 0"),
        (lambda: Steps(warmup=1), "warmup is 1"),
        (lambda: Steps(dtype="float16"), "dtype is 'float16'"),  # type: ignore[arg-type]
    ],
)
def test_what_can_not_be_is_refused_by_name(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    steps = Steps(steps=50, learning_rate=0.3, warmup=0.2)
    rates = [steps.rate(i) for i in range(50)]
    assert max(rates) == rates[9] == pytest.approx(0.3)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_help_needs_no_torch() -> None:
    code = "import sys, polyseme.cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
