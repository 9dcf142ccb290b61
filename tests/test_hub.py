"""Models and tasks to a hub and back; the hub is ``fake_hub``, on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import polyseme
from polyseme.checkpoints import resolve
from polyseme.tasks import SpanClassifier, open_task
from polyseme.vectors import WordVectors

from .conftest import MakeModel, needs_sklearn
from .fake_hub import TOKEN, FakeHub

TEXT = "an apple a day keeps the doctor away"
EXAMPLES = [("an apple a day", "apple"), ("launch the new apple", "apple")] * 4
LABELS = ["fruit", "firm"] * 4

EmptyCache = Callable[[], None]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub().running() as running:
        yield running


@pytest.fixture(autouse=True)
def empty_cache(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmptyCache]:
    """The client asks the fake hub, has no token, and a cache that a call makes empty again."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    made = 0

    def empty() -> None:
        nonlocal made
        made += 1
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / f"cache-{made}"))

    empty()
    close_session()
    yield empty
    close_session()


def test_a_model_comes_back_from_the_hub_with_the_same_bits(
    hub: FakeHub, make_model: MakeModel
) -> None:
    model = polyseme.load(make_model())
    url = model.push_to_hub("ann/tiny", token=TOKEN)
    assert url == f"{hub.url}/ann/tiny/commit/{hub.branches['ann/tiny']['main']}"
    assert list(hub.large.values()) == [hub.files("ann/tiny")["model.safetensors"]]
    again = polyseme.load("ann/tiny")
    assert again.name == "ann/tiny"
    assert np.array_equal(again.contextualize(TEXT).vectors, model.contextualize(TEXT).vectors)
    assert hub.messages == ["Upload with polyseme"]
    assert not hub.private["ann/tiny"]


def test_a_client_with_xet_uploads_too(
    hub: FakeHub, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its way through the client is another one; the files here are small enough to go inline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.large_from = 1 << 30
    model = polyseme.load(make_model())
    url = model.push_to_hub("ann/tiny", token=TOKEN)
    assert url.endswith(hub.branches["ann/tiny"]["main"])
    again = polyseme.load("ann/tiny")
    assert np.array_equal(again.contextualize(TEXT).vectors, model.contextualize(TEXT).vectors)


def test_offline_the_cache_is_enough(hub: FakeHub, make_model: MakeModel, tmp_path: Path) -> None:
    """In fresh processes that know of hub and cache by the environment alone."""
    model = polyseme.load(make_model(), backend="numpy")
    model.push_to_hub("ann/tiny", token=TOKEN)
    program = f"""
import numpy, polyseme
vectors = polyseme.load("ann/tiny", backend="numpy").contextualize({TEXT!r}).vectors
numpy.save({str(tmp_path / "seen.npy")!r}, vectors)
"""
    known = {
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": hub.url,
        "NO_PROXY": os.environ["NO_PROXY"],
    }
    right = model.contextualize(TEXT).vectors
    for more in ({"HF_HUB_OFFLINE": "0"}, {"HF_HUB_OFFLINE": "1"}):
        asked = len(hub.asked)
        environment = {**os.environ, **known, "HF_HUB_DISABLE_TELEMETRY": "1", **more}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
        assert (len(hub.asked) == asked) == (more["HF_HUB_OFFLINE"] == "1")
        assert np.array_equal(np.load(tmp_path / "seen.npy"), right)


def test_a_model_over_word_vectors_is_not_asked_for_twice(hub: FakeHub) -> None:
    vectors = WordVectors(["apple", "day"], np.eye(2, dtype=np.float32))
    model = polyseme.load(vectors)
    model.push_to_hub("ann/words", token=TOKEN, private=True, commit_message="Two words")
    assert hub.private["ann/words"]
    assert hub.messages == ["Two words"]
    first = polyseme.load("ann/words", token=TOKEN)
    asked = len(hub.asked)
    again = polyseme.load("ann/words")
    assert len(hub.asked) == asked
    for found in (first, again):
        seen = found.contextualize("apple day").vectors
        assert np.array_equal(seen, model.contextualize("apple day").vectors)


def test_nothing_of_an_earlier_push_is_left(hub: FakeHub, make_model: MakeModel) -> None:
    words = polyseme.load(WordVectors(["apple"], np.ones((1, 2), np.float32)))
    words.push_to_hub("ann/model", token=TOKEN)
    hub.files("ann/model")["notes.md"] = b"mine"
    polyseme.load(make_model()).push_to_hub("ann/model", token=TOKEN)
    assert "vectors.safetensors" not in hub.files("ann/model")
    assert hub.files("ann/model")["notes.md"] == b"mine"
    assert polyseme.load("ann/model").layers == 2


def test_a_branch_is_made_and_loaded_by_revision(
    hub: FakeHub, make_model: MakeModel, empty_cache: EmptyCache
) -> None:
    model = polyseme.load(make_model())
    for _ in range(2):
        url = model.push_to_hub("ann/tiny", token=TOKEN, revision="small", dtype="int8")
    assert set(hub.files("ann/tiny")) == {".gitattributes"}
    for revision in ("small", url.rsplit("/", 1)[1]):
        empty_cache()
        assert polyseme.load("ann/tiny", revision=revision).layers == 2
    with pytest.raises(FileNotFoundError, match="no such revision"):
        polyseme.load("ann/tiny", revision="large")


def test_the_card_says_how_to_load_it_and_nothing_of_this_machine(
    hub: FakeHub, make_model: MakeModel, tmp_path: Path
) -> None:
    polyseme.load(make_model()).push_to_hub("ann/tiny", token=TOKEN)
    card = hub.files("ann/tiny")["README.md"].decode()
    assert card.startswith("---\nlibrary_name: polyseme\n")
    assert 'polyseme.load("ann/tiny")' in card
    assert "Made from 'model'" in card
    assert str(tmp_path) not in card


def test_a_card_without_a_head_gets_one(hub: FakeHub, make_model: MakeModel) -> None:
    folder = make_model()
    (folder / "README.md").write_text("# Mine\n")
    polyseme.load(folder).push_to_hub("ann/tiny", token=TOKEN)
    card = hub.files("ann/tiny")["README.md"].decode()
    assert re.fullmatch(r"---\n.*library_name: polyseme.*\n---\n\n# Mine\n", card, re.DOTALL)


@needs_sklearn
@pytest.mark.parametrize("labels", [LABELS, [1, 2] * 4])
def test_a_task_comes_back_from_the_hub(
    hub: FakeHub, make_model: MakeModel, labels: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model = polyseme.load(make_model())
    task = SpanClassifier(model, train="head", held_out=0.0).fit(EXAMPLES, labels)
    url = task.push_to_hub("ann/senses", token=TOKEN)
    assert url.startswith(f"{hub.url}/ann/senses/commit/")
    assert 'open_task("ann/senses")' in hub.files("ann/senses")["README.md"].decode()
    opened = [open_task("ann/senses"), SpanClassifier.from_pretrained("ann/senses")]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    opened.append(open_task("ann/senses", backend="numpy"))
    for again in opened:
        assert isinstance(again, SpanClassifier)
        assert again.model_.name == "ann/senses"
        assert again.predict(EXAMPLES).tolist() == labels
    judged = task.predict_proba(EXAMPLES)
    assert np.array_equal(opened[0].predict_proba(EXAMPLES), judged)
    seen = polyseme.load("ann/senses").contextualize(TEXT).vectors
    assert np.array_equal(seen, model.contextualize(TEXT).vectors)


@needs_sklearn
def test_a_task_is_found_where_a_model_was_cached(hub: FakeHub, make_model: MakeModel) -> None:
    model = polyseme.load(make_model())
    model.push_to_hub("ann/senses", token=TOKEN)
    polyseme.load("ann/senses")
    with pytest.raises(FileNotFoundError, match="ann/senses holds no trained task"):
        open_task("ann/senses")
    task = SpanClassifier(model, train="head", held_out=0.0).fit(EXAMPLES, LABELS)
    task.push_to_hub("ann/senses", token=TOKEN)
    assert open_task("ann/senses").predict(EXAMPLES).tolist() == LABELS


def test_a_task_that_is_not_fitted_is_not_pushed(hub: FakeHub) -> None:
    with pytest.raises(AttributeError, match="not fitted"):
        SpanClassifier().push_to_hub("ann/senses", token=TOKEN)
    assert not hub.asked


def test_what_cannot_be_pushed_is_refused_before_the_hub_is_asked(
    hub: FakeHub, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model = polyseme.load(make_model())
    for repo_id in ("a/b/c", "ann/ti ny", "./tiny", ""):
        with pytest.raises(ValueError, match=r"[Rr]epo"):
            model.push_to_hub(repo_id, token=TOKEN)
    with pytest.raises(ValueError, match="dtype is 'int4'"):
        model.push_to_hub("ann/tiny", token=TOKEN, dtype="int4")  # type: ignore[arg-type]
    with pytest.raises(PermissionError, match="without a token: pass token=, set HF_TOKEN"):
        model.push_to_hub("ann/tiny")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE"):
        model.push_to_hub("ann/tiny", token=TOKEN)
    assert not hub.asked


def test_the_token_of_the_environment_is_used(
    hub: FakeHub, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    polyseme.load(make_model()).push_to_hub("tiny")
    assert "ann/tiny" in hub.branches


def test_a_push_that_the_hub_refuses_says_why(
    hub: FakeHub, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model = polyseme.load(make_model())
    with pytest.raises(PermissionError, match=r"ann/tiny: .*the token does not allow it"):
        model.push_to_hub("ann/tiny", token="hf_wrong")
    with pytest.raises(PermissionError, match=r"bob/tiny: .*rights to create"):
        model.push_to_hub("bob/tiny", token=TOKEN)
    with pytest.raises(OSError, match="no such revision"):
        hub.keep("ann/tiny", "main", {})
        model.push_to_hub("ann/tiny", token=TOKEN, revision="refs/pr/7")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="ann/tiny: the way to the hub is broken"):
        model.push_to_hub("ann/tiny", token=TOKEN)


def test_what_the_hub_does_not_give_says_why(
    hub: FakeHub, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    polyseme.load(make_model()).push_to_hub("ann/tiny", token=TOKEN, private=True)
    for token, why in (
        (None, "none of this name, or a private one: pass token=, set HF_TOKEN"),
        ("hf_wrong", "the token does not allow it"),
    ):
        for load in (polyseme.load, resolve, open_task):
            with pytest.raises(FileNotFoundError, match=rf"ann/tiny: .*{why}"):
                load("ann/tiny", token=token)
    with pytest.raises(FileNotFoundError, match=r"ann/none: .*none of this name"):
        open_task("ann/none", token=TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"ann/tiny: .*HF_HUB_OFFLINE is set"):
        polyseme.load("ann/tiny")
