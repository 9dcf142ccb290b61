"""/v1 by OpenAI's own client, over a socket."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest

import polyseme
from polyseme.attention import unit
from polyseme.contextualizer import Contextualizer
from tests.conftest import write_model
from tests.served import running

pytest.importorskip("fastapi", reason="needs the extra `server`")
pytest.importorskip("prometheus_client", reason="needs the extra `server`")
pytest.importorskip("orjson", reason="needs the extra `server`")
openai = pytest.importorskip("openai", reason="needs OpenAI's client (extra `dev`)")

TEXTS = ["An apple a day", "Apple just launched a new iPhone", "apple"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Contextualizer:
    return polyseme.load(write_model(tmp_path_factory.mktemp("served") / "small"))


@pytest.fixture(scope="module")
def client(model: Contextualizer) -> Iterator[openai.OpenAI]:
    with running(model, api_key="sesame") as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="sesame", max_retries=0)


def test_vectors_are_those_of_encode_as_the_client_asks_for_them(
    client: openai.OpenAI, model: Contextualizer
) -> None:
    # Base64, which the client decodes by itself.
    answer = client.embeddings.create(model="small", input=TEXTS)
    found = np.asarray([one.embedding for one in answer.data], np.float32)
    assert found.tobytes() == model.encode(TEXTS).tobytes()
    assert [one.index for one in answer.data] == [0, 1, 2]
    tokens = len(model.tokenizer(TEXTS).token_ids)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)
    assert answer.model == "small"


def test_floats_and_base64_are_the_same_vector(
    client: openai.OpenAI, model: Contextualizer
) -> None:
    asked = {"model": "small", "input": TEXTS[0]}
    floats = client.embeddings.create(**asked, encoding_format="float").data[0].embedding
    packed = client.embeddings.create(**asked, encoding_format="base64").data[0].embedding
    expected = model.encode(TEXTS[0]).tobytes()
    assert np.asarray(floats, np.float32).tobytes() == expected
    assert isinstance(packed, str)
    assert base64.b64decode(packed) == expected


def test_dimensions_cut_and_scale_to_length_one(
    client: openai.OpenAI, model: Contextualizer
) -> None:
    answer = client.embeddings.create(model="small", input=TEXTS, dimensions=5)
    found = np.asarray([one.embedding for one in answer.data], np.float32)
    np.testing.assert_array_equal(found, unit(model.encode(TEXTS)[:, :5]))
    whole = client.embeddings.create(model="small", input=TEXTS, dimensions=model.dim)
    assert np.float32(whole.data[0].embedding).tobytes() == model.encode(TEXTS[0]).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": [[1, 2], [3]]}, "tokens"),
        ({"input": [1, 2]}, "tokens"),
        ({"input": []}, "empty"),
        ({"input": ""}, "empty"),
        ({"input": ["apple", ""]}, "text 1"),
        ({"dimensions": 17}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"extra_body": {"truncate": True}}, "truncate"),
    ],
)
def test_what_cannot_be_done_is_a_bad_request(
    client: openai.OpenAI, change: dict[str, object], message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.embeddings.create(**({"model": "small", "input": "apple"} | change))
    assert caught.value.type == "invalid_request_error"


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    for ask in (
        lambda: client.embeddings.create(model="text-embedding-3-small", input="apple"),
        lambda: client.models.retrieve("text-embedding-3-small"),
    ):
        with pytest.raises(openai.NotFoundError, match="'small'") as caught:
            ask()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["small"]
    assert client.models.retrieve("small").owned_by == "polyseme"


def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_a_model_whose_pooling_is_missing_says_so_instead_of_failing(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    sentence = replace(model.checkpoint.sentence, unsupported="a dense layer")
    monkeypatch.setattr(model, "checkpoint", replace(model.checkpoint, sentence=sentence))
    with running(model) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="dense layer"):
            client.embeddings.create(model="small", input="apple")
