from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training is for torch")

import polyseme  # noqa: E402
from polyseme.cli import app  # noqa: E402
from polyseme.files import source  # noqa: E402
from polyseme.packed import mean_of_ranges  # noqa: E402
from polyseme.training.distil import distil  # noqa: E402
from polyseme.training.learner import mask_id  # noqa: E402
from polyseme.training.settings import Recipe, Shape, Steps  # noqa: E402
from polyseme.training.targets import Teacher  # noqa: E402
from tests.conftest import WORDS, write_model  # noqa: E402

SHAPE = Shape(layers=1, dim=8, heads=1, max_tokens=20)
RECIPE = Recipe(batch_tokens=64, sentences=0.3)
STEPS = Steps(steps=30, learning_rate=1e-2, dtype="float32", log_every=5)


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("teacher") / "model", positions="learned")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(WORDS, random.integers(1, 12))) + "." for _ in range(400)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def uses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of uses by the option that takes them; what is near a word is its sense."""
    folder = tmp_path_factory.mktemp("uses")
    random = np.random.default_rng(1)
    given: dict[str, list[dict[str, Any]]] = {"senses": [], "nouns": [], "collocations": []}
    for word in WORDS[:6]:
        for i in range(24):
            near = WORDS[6 + i % 3]
            head = f"{near} " * int(random.integers(1, 4))
            use = {"text": f"{head}{word}", "start": len(head), "end": len(head) + len(word)}
            given["senses"].append({**use, "word": word, "sense": near})
            given["collocations"].append({**use, "word": word, "sense": near})
            given["nouns"].append({**use, "word": word, "sense": word})
    paths = {name: folder / f"{name}.jsonl" for name in given}
    for name, path in paths.items():
        path.write_text("".join(json.dumps(use) + "\n" for use in given[name]))
    return paths


def load(folder: Path) -> polyseme.Contextualizer:
    return polyseme.load(folder, device="cpu", backend="torch")


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def run(folder: Path, teacher: Path, texts: Path, **options: Any) -> polyseme.Contextualizer:
    settings: dict[str, Any] = {"shape": SHAPE, "recipe": RECIPE, "steps": STEPS} | options
    student = distil(load(teacher), [source(str(texts), None, "text")], folder, **settings)
    assert student is not None
    return student


def test_a_student_learns_and_is_what_was_saved(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    student = run(tmp_path / "run", teacher_folder, texts)
    fallen = losses(tmp_path / "run")
    assert fallen[-1] < 0.8 * fallen[0]
    text = "an apple a day keeps the doctor away"
    again = polyseme.load(tmp_path / "run", backend="numpy")
    assert (again.rung, again.layers, again.dim) == ("learned", 1, 8)
    np.testing.assert_array_equal(
        again.contextualize(text).vectors, student.contextualize(text).vectors
    )
    np.testing.assert_allclose(np.linalg.norm(again.encode(text)), 1, rtol=1e-5)
    told = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert told["recipe"]["mean_share"] == RECIPE.mean_share
    assert told["steps"]["steps"] == 30


def test_targets_are_what_their_equation_says(teacher_folder: Path) -> None:
    model = load(teacher_folder)
    given = ["an apple a day", "the new doctor"]
    recipe = Recipe(middle_layer=1, middle_share=0.5, last_share=2.0, mean_share=0.25)
    teacher = Teacher(model, recipe, model.dim, given)

    def unit(rows: Any) -> Any:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    docs = {layer: model.contextualize(given, layer=layer) for layer in (1, 2)}
    offsets = docs[2].offsets
    means = unit(mean_of_ranges(docs[2].vectors.astype(np.float64), offsets[:-1], offsets[1:]))
    h, u = (unit(docs[layer].vectors.astype(np.float64)) for layer in (1, 2))
    m = means - means.mean(axis=0)
    expected = 0.5 * (h - h.mean(axis=0)) + 2 * (u - u.mean(axis=0)) + 0.25 * m[[0] * 4 + [1] * 3]
    found = teacher(given)
    np.testing.assert_allclose(found.words, expected, atol=1e-5)
    np.testing.assert_allclose(found.sentences, m, atol=1e-5)


def test_narrow_targets_keep_the_angles_that_vary_most(teacher_folder: Path) -> None:
    model = load(teacher_folder)
    given = ["an apple a day keeps", "the new doctor away", "just launch an apple"]
    wide = Teacher(model, Recipe(), model.dim, given)(given).words
    narrow = Teacher(model, Recipe(), 8, given)(given).words
    _, sizes, _ = np.linalg.svd(wide, full_matrices=False)
    assert (narrow**2).sum() == pytest.approx((sizes[:8] ** 2).sum(), rel=1e-4)


def test_an_inherited_layer_attends_as_the_teacher_s(teacher_folder: Path, texts: Path) -> None:
    """As wide as its teacher, the student's first maps are the teacher's own."""
    from polyseme.training.student import contextualizer, inherit, initial_parameters

    teacher = load(teacher_folder)
    config = Shape(layers=1, dim=16, heads=2, max_tokens=20).config(teacher.config.vocabulary_size)
    table = teacher.table_rows(np.arange(config.vocabulary_size))
    start = initial_parameters(config, table, np.random.default_rng(0))
    given = texts.read_text().splitlines()
    tokens = teacher.tokenizer(given[:1])

    def first_weights(parameters: Any) -> Any:
        student = contextualizer("student", parameters, config, teacher.tokenizer)
        return student.weights(tokens)[0][0]

    wanted = teacher.weights(tokens)[0][0]
    before = np.abs(first_weights(start) - wanted).max()
    inherit(start, config, teacher, given, depth=1)
    assert np.abs(first_weights(start) - wanted).max() < 0.25 * before


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (Shape(dim=8, heads=2, max_tokens=20), "heads are 8 wide, the student's 4"),
        (Shape(dim=32, heads=4, max_tokens=20), "has 2 heads, the student 4"),
        (Shape(dim=8, heads=1, max_tokens=99), "not as many positions as the student, 99"),
    ],
)
def test_a_student_that_is_too_unlike_to_inherit_is_refused(
    tmp_path: Path, teacher_folder: Path, texts: Path, shape: Shape, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        run(tmp_path / "run", teacher_folder, texts, shape=shape)


@pytest.mark.parametrize("passes", [1, 4])
def test_a_resumed_run_gives_the_very_same_model(
    tmp_path: Path,
    teacher_folder: Path,
    texts: Path,
    uses: dict[str, Path],
    passes: int,
) -> None:
    recipe = Recipe(
        batch_tokens=64,
        masked=0.2,
        start="random",
        passes=passes,
        sense_tokens=60,
        centroid_tokens=60,
    )
    tokenizer = teacher_folder / "tokenizer.json"
    assert "[MASK]" not in tokenizer.read_text()
    with pytest.raises(ValueError, match="no \\[MASK\\]"):
        mask_id(load(teacher_folder).tokenizer)
    masked = tmp_path / "teacher"
    masked.mkdir()
    for path in teacher_folder.iterdir():
        (masked / path.name).write_bytes(path.read_bytes())
    (masked / "tokenizer.json").write_text(tokenizer.read_text().replace("iphone", "[MASK]"))
    unbroken = run(tmp_path / "unbroken", masked, texts, recipe=recipe, **uses)
    from polyseme.training import loop

    with pytest.MonkeyPatch.context() as patch:
        written: list[int] = []
        real = loop._write_state

        def until_ten(*given: Any, step: int, **more: Any) -> None:
            real(*given, step=step, **more)
            written.append(step)
            if step == 10:
                raise SystemExit("killed")

        patch.setattr(loop, "_write_state", until_ten)
        every = Steps(**{**vars(STEPS), "checkpoint_minutes": 0.0})
        with pytest.raises(SystemExit):
            run(tmp_path / "broken", masked, texts, recipe=recipe, **uses, steps=every)
        assert written[-1] == 10
    with pytest.raises(FileExistsError, match="holds a run already"):
        run(tmp_path / "broken", masked, texts, recipe=recipe, **uses, steps=every)
    resumed = run(
        tmp_path / "broken", masked, texts, recipe=recipe, **uses, steps=every, resume=True
    )
    for name, array in unbroken.checkpoint.parameters.items():
        np.testing.assert_array_equal(resumed.checkpoint.parameters[name], array)


def test_a_batch_s_targets_are_asked_for_once(
    tmp_path: Path, teacher_folder: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyseme.training import targets

    asked: list[Sequence[str]] = []
    given = targets.Teacher.__call__

    def ask(self: Teacher, texts: Sequence[str]) -> Any:
        asked.append(texts)
        return given(self, texts)

    monkeypatch.setattr(targets.Teacher, "__call__", ask)
    recipe = Recipe(batch_tokens=64, passes=4, within_weight=1.0)
    run(tmp_path / "run", teacher_folder, texts, recipe=recipe)
    assert len(asked) == 8
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]
    assert not (tmp_path / "run" / "targets").exists()


def test_targets_of_a_run_that_left_no_state_are_not_taken_for_this_one_s(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    recipe = Recipe(batch_tokens=64, passes=3)
    clean = run(tmp_path / "clean", teacher_folder, texts, recipe=recipe)
    left = tmp_path / "run" / "targets" / "0.0-of-1.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of a run that was killed")
    again = run(tmp_path / "run", teacher_folder, texts, recipe=recipe)
    for name, array in clean.checkpoint.parameters.items():
        np.testing.assert_array_equal(again.checkpoint.parameters[name], array)


def test_known_senses_are_taught_beside(
    tmp_path: Path, teacher_folder: Path, texts: Path, uses: dict[str, Path]
) -> None:
    recipe = Recipe(batch_tokens=64, within_weight=1.0, sense_tokens=60, centroid_tokens=60)
    options: dict[str, Any] = {
        "recipe": recipe,
        "steps": Steps(40, 3e-2, dtype="float32", log_every=10),
    }
    run(tmp_path / "run", teacher_folder, texts, **uses, **options)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    first, last = (json.loads(lines[i])["losses"] for i in (0, -1))
    for name in ("uses: words", "uses: sentences", "same sense", "collocations"):
        assert last[name] < 0.9 * first[name], name
    assert {"uses: within words", "pseudowords"} < set(last)
    told = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert {name: told[name] for name in uses} == {name: str(path) for name, path in uses.items()}
    assert not (tmp_path / "run" / "targets").exists()
    with pytest.raises(ValueError, match="belongs to another run: its senses is"):
        given = {**uses, "senses": uses["nouns"]}
        run(tmp_path / "run", teacher_folder, texts, resume=True, **given, **options)


def test_a_wrong_file_of_uses_is_refused_before_work_is_done(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    wrong = tmp_path / "senses.jsonl"
    wrong.write_text('{"text": "an apple", "start": 3, "end": 99, "word": "w", "sense": "s"}\n')
    with pytest.raises(ValueError, match=r"senses.jsonl, line 1: 3 to 99"):
        run(tmp_path / "run", teacher_folder, texts, senses=wrong)
    one = tmp_path / "nouns.jsonl"
    one.write_text(wrong.read_text().replace("99", "8"))
    with pytest.raises(ValueError, match=r"nouns.jsonl has uses of 1 words: at least 4 are needed"):
        run(tmp_path / "run", teacher_folder, texts, nouns=one)
    assert not (tmp_path / "run").exists()


def test_a_student_goes_on_with_another_teacher(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    """Its targets are turned to where its vectors are, so it begins lower than a new one."""
    first = run(tmp_path / "first", teacher_folder, texts)
    other = write_model(tmp_path / "other", positions="learned", intermediate_size=24)
    recipe = Recipe(batch_tokens=64, seed=1)
    steps = Steps(steps=4, learning_rate=1e-3, dtype="float32", log_every=1)
    options: dict[str, Any] = {"recipe": recipe, "steps": steps}
    run(tmp_path / "anew", other, texts, **options)
    second = run(tmp_path / "second", other, texts, shape=None, student=first, **options)
    assert losses(tmp_path / "second")[0] < 0.9 * losses(tmp_path / "anew")[0]
    assert second.config == first.config
    told = json.loads((tmp_path / "second" / "recipe.json").read_text())
    assert (told["student"], "shape" in told) == ("first", False)
    with pytest.raises(ValueError, match="shape and tokenizer are those of first"):
        run(tmp_path / "third", other, texts, student=first)
    with pytest.raises(ValueError, match="has no layers: a student needs some"):
        run(tmp_path / "third", other, texts, student=first.static(), shape=None)


def test_a_student_goes_on_with_some_of_its_layers_and_fewer_heads(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    shape = Shape(layers=3, dim=8, heads=4, max_tokens=20)
    recipe = Recipe(batch_tokens=64, start="random")
    first = run(tmp_path / "first", teacher_folder, texts, shape=shape, recipe=recipe)
    options = {"shape": None, "student": first, "steps": Steps(steps=1, learning_rate=1e-9)}
    second = run(tmp_path / "second", teacher_folder, texts, keep_layers=[1, 3], heads=2, **options)
    assert (second.config.layers, second.config.heads) == (2, 2)
    for own, theirs in ((0, 0), (1, 2)):
        name = "attention.query.weight"
        np.testing.assert_allclose(
            second.checkpoint.parameters[f"layers.{own}.{name}"],
            first.checkpoint.parameters[f"layers.{theirs}.{name}"],
            atol=1e-6,
        )
    told = json.loads((tmp_path / "second" / "recipe.json").read_text())
    assert (told["keep_layers"], told["heads"]) == ([1, 3], 2)
    for wrong in ([], [3, 1], [0], [4]):
        with pytest.raises(ValueError, match="some of the layers 1 to 3"):
            run(tmp_path / "no", teacher_folder, texts, keep_layers=wrong, **options)
    with pytest.raises(ValueError, match="heads is 3"):
        run(tmp_path / "no", teacher_folder, texts, heads=3, **options)
    with pytest.raises(ValueError, match="change a student"):
        run(tmp_path / "no", teacher_folder, texts, heads=1)
    assert not (tmp_path / "no").exists()


def test_what_is_saved_may_keep_a_share_of_what_was_known(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    first = run(tmp_path / "first", teacher_folder, texts)
    options = {"shape": None, "student": first}
    saved = [
        run(
            tmp_path / str(share),
            teacher_folder,
            texts,
            recipe=Recipe(batch_tokens=64, start_share=share),
            **options,
        ).checkpoint.parameters
        for share in (0.0, 0.25)
    ]
    for name, before in first.checkpoint.parameters.items():
        expected = 0.75 * saved[0][name] + 0.25 * before
        np.testing.assert_allclose(saved[1][name], expected, atol=1e-6)
    with pytest.raises(ValueError, match="start_share change a student"):
        run(tmp_path / "new", teacher_folder, texts, recipe=Recipe(start_share=0.25))


def test_the_command_goes_on_with_a_student(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    run(tmp_path / "first", teacher_folder, texts)
    command = ["train", "distil", str(texts), "--teacher", str(teacher_folder)]
    command += ["--student", str(tmp_path / "first"), "-o", str(tmp_path / "second")]
    for option, value in (("--layers", "1"), ("--max-tokens", "9"), ("--start", "random")):
        result = CliRunner().invoke(app, [*command, option, value])
        assert result.stderr == f"polyseme: error: {option} is that of --student: leave it out\n"
    command += ["--steps", "2", "--batch-tokens", "64", "--device", "cpu", "--passes", "2"]
    command += ["--start-share", "0.5"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    assert polyseme.load(tmp_path / "second").dim == SHAPE.dim


def test_guessing_masked_words_is_learned(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    folder = tmp_path / "teacher"
    folder.mkdir()
    for path in teacher_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("iphone", "[MASK]"))
    recipe = Recipe(batch_tokens=64, masked=0.3, masked_word_weight=1.0)
    run(tmp_path / "run", folder, texts, recipe=recipe)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    told = [json.loads(line)["losses"]["masked words"] for line in lines]
    assert told[-1] < told[0]


def test_a_teacher_without_layers_is_refused(tmp_path: Path, texts: Path) -> None:
    folder = write_model(tmp_path / "static", layers=0, positions="none", embedding_norm=False)
    with pytest.raises(ValueError, match="has no layers"):
        distil(polyseme.load(folder), [source(str(texts), None, "text")], tmp_path / "run")


def test_a_vocabulary_of_its_own_needs_random_layers(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    tokenizer = polyseme.text.Tokenizer.from_file(teacher_folder / "tokenizer.json")
    with pytest.raises(ValueError, match="needs the teacher's tokenizer"):
        run(tmp_path / "run", teacher_folder, texts, tokenizer=tokenizer)
    recipe = Recipe(batch_tokens=64, start="random")
    run(tmp_path / "run", teacher_folder, texts, tokenizer=tokenizer, recipe=recipe)
    assert losses(tmp_path / "run")[-1] < losses(tmp_path / "run")[0]


ARGUMENTS = ["--layers", "1", "--dim", "8", "--heads", "1", "--max-tokens", "20", "--steps", "24"]
ARGUMENTS += ["--batch-tokens", "64", "--dtype", "float32", "--log-every", "4", "--device", "cpu"]
ARGUMENTS += ["--learning-rate", "1e-2"]


def test_the_command_trains_and_saves_8_bits(
    tmp_path: Path, teacher_folder: Path, texts: Path
) -> None:
    command = ["train", "distil", str(texts), "--teacher", str(teacher_folder), *ARGUMENTS]
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "run"), "--save-as", "int8"])
    assert result.exit_code == 0, result.stderr
    small = polyseme.load(tmp_path / "run").contextualize("an apple a day").vectors
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "full")])
    assert result.exit_code == 0, result.stderr
    full = polyseme.load(tmp_path / "full").contextualize("an apple a day").vectors
    np.testing.assert_allclose(small, full, atol=0.1)
    assert not np.array_equal(small, full)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("run", "full")]
    assert sizes[0] < 0.7 * sizes[1]


def test_the_command_says_which_option_is_wrong(tmp_path: Path, teacher_folder: Path) -> None:
    command = ["train", "distil", "missing.txt", "--teacher", str(teacher_folder)]
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "run")])
    assert (result.exit_code, result.stderr) == (
        1,
        "polyseme: error: missing.txt: there is no such file\n",
    )
    result = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "run"), "--steps", "0"])
    assert result.stderr == "polyseme: error: steps is 0: it must be at least 1\n"


def test_two_processes_have_the_losses_of_one(
    tmp_path: Path, teacher_folder: Path, texts: Path, uses: dict[str, Path]
) -> None:
    command = ["polyseme", "-q", "train", "distil", str(texts), "--teacher", str(teacher_folder)]
    command += [*ARGUMENTS, "--sense-tokens", "60", "--centroid-tokens", "60"]
    command += [part for name, path in uses.items() for part in (f"--{name}", str(path))]
    together = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    together += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, start in (("one", [sys.executable]), ("two", together)):
        arguments = [*start, "-m", *command, "-o", str(tmp_path / name)]
        subprocess.run(arguments, check=True, env=environment, timeout=240)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 6
    assert one[-1] < one[0]
    np.testing.assert_allclose(two, one, rtol=2e-4)
    text = "an apple a day"
    np.testing.assert_allclose(
        polyseme.load(tmp_path / "two").contextualize(text).vectors,
        polyseme.load(tmp_path / "one").contextualize(text).vectors,
        atol=5e-3,
    )
