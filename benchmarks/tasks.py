"""Learning a task: seconds for 10,000 examples of spans, and the speed of what was trained.

    python benchmarks/tasks.py [--examples 10000]

The labels are made: does the sentence have a number in it? What is measured is time, not quality.
Predictions are held against ``contextualize`` of the same model on the same texts, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time

import polyseme
from polyseme.tasks import SpanClassifier
from polyseme.text import split_words
from sentences import sentences

_ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000)
    number = parser.parse_args().examples
    texts = sentences(number)
    spans = [split_words(text)[len(split_words(text)) // 2] for text in texts]
    X = [(text, *span) for text, span in zip(texts, spans, strict=True)]
    y = [any(map(str.isdigit, text)) for text in texts]
    model = polyseme.load()
    tokens = int(model.tokenizer(texts).token_offsets[-1])
    print(f"{len(X):,} examples, {tokens:,} tokens, {model}")
    for what in ("head", "attention"):
        begun = time.perf_counter()
        task = SpanClassifier(model, train=what, progress=False).fit(X, y)
        epochs = max(0, len(task.report_.loss) - 1)
        print(f"fit, train={what!r}: {time.perf_counter() - begun:.0f} s, {epochs} epochs")
    seconds: dict[str, list[float]] = {"contextualize": [], "predict": []}
    for _ in range(_ROUNDS):
        for name, call in (
            ("contextualize", lambda: model.contextualize(texts)),
            ("predict", lambda: task.predict(X)),
        ):
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in medians.items():
        print(f"{name}: {tokens / taken:,.0f} tokens/s")
    print(f"predict / contextualize: {medians['contextualize'] / medians['predict']:.2f}")


if __name__ == "__main__":
    main()
