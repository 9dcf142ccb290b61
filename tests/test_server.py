"""The routes of the server, asked in-process."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import polyseme
from polyseme.contextualizer import Contextualizer
from polyseme.embedded import EmbeddedText

pytest.importorskip("fastapi", reason="needs the extra `server`")
pytest.importorskip("prometheus_client", reason="needs the extra `server`")
pytest.importorskip("orjson", reason="needs the extra `server`")
pytest.importorskip("httpx2", reason="the test client needs httpx2 (extra `dev`)")

from fastapi.testclient import TestClient

from polyseme.server.app import create_app
from polyseme.server.settings import Settings
from tests.conftest import write_model

TEXTS = ["An apple a day keeps the doctor away", "Apple just launched a new iPhone", "", "apple"]
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Contextualizer:
    return polyseme.load(write_model(tmp_path_factory.mktemp("served") / "small"))


@pytest.fixture(scope="module")
def client(model: Contextualizer) -> Iterator[TestClient]:
    with TestClient(create_app(model)) as running:
        yield running


def served(model: Contextualizer, **settings: Any) -> TestClient:
    return TestClient(create_app(model, Settings(**settings)))


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_words_spans_and_vectors_are_those_of_the_library(
    client: TestClient, model: Contextualizer
) -> None:
    answer = client.post("/contextualize", json={"texts": [*TEXTS, ["An", "apple"]]}).json()
    assert (answer["model"], answer["dim"]) == ("small", model.dim)
    for told, doc in zip(
        answer["texts"], model.contextualize([*TEXTS, ["An", "apple"]]), strict=True
    ):
        assert (told["text"], told["words"]) == (doc.text, doc.words)
        assert told["spans"] == [list(span) for span in doc.spans]
        assert told["known"] == doc.known.tolist()
        assert same_bits(told["vectors"], doc)


def same_bits(numbers: list[list[float]], doc: EmbeddedText) -> bool:
    vectors = np.asarray(numbers, np.float32).reshape(doc.vectors.shape)
    return vectors.tobytes() == doc.vectors.tobytes()


def test_options_reach_the_model(client: TestClient, model: Contextualizer) -> None:
    asked = {"texts": ["a piece of cake"], "phrases": ["piece of cake"], "layer": 1}
    (told,) = client.post("/contextualize", json=asked | {"normalize": True}).json()["texts"]
    doc = model.contextualize("a piece of cake", phrases=["piece of cake"], layer=1, normalize=True)
    assert told["words"] == ["a", "piece of cake"]
    assert same_bits(told["vectors"], doc)


def test_base64_holds_the_same_vectors(client: TestClient, model: Contextualizer) -> None:
    asked = {"texts": TEXTS, "encoding_format": "base64"}
    for told, doc in zip(
        client.post("/contextualize", json=asked).json()["texts"],
        model.contextualize(TEXTS),
        strict=True,
    ):
        assert base64.b64decode(told["vectors"]) == doc.vectors.tobytes()


def test_an_arrow_stream_holds_the_same_vectors(client: TestClient, model: Contextualizer) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the extra `corpus`")
    response = client.post("/contextualize", json={"texts": TEXTS}, headers={"accept": ARROW})
    assert response.headers["content-type"] == ARROW
    with pa.ipc.open_stream(response.content) as reader:
        assert reader.read_all().equals(model.contextualize(TEXTS).to_arrow())


def test_a_large_answer_comes_in_pieces_and_whole(
    client: TestClient, model: Contextualizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polyseme.server.answers._AT_ONCE", 40)
    answer = client.post("/contextualize", json={"texts": TEXTS})
    assert "content-length" not in answer.headers
    for told, doc in zip(answer.json()["texts"], model.contextualize(TEXTS), strict=True):
        assert same_bits(told["vectors"], doc)


def test_an_answer_that_cannot_be_had_is_refused(client: TestClient) -> None:
    asked = {"texts": ["apple"]}
    error_of(client.post("/contextualize", json=asked, headers={"accept": "text/html"}), 406)
    browser = {"accept": "text/html, application/xhtml+xml, */*;q=0.8"}
    assert client.post("/contextualize", json=asked, headers=browser).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"texts": []}, 400, "texts"),
        ({"texts": ["a"] * 2049}, 413, "texts"),
        ({}, 422, "texts"),
        ({"texts": "apple"}, 422, "texts"),
        ({"texts": ["apple", 3]}, 422, "texts.1"),
        ({"texts": [["apple", None]]}, 422, "texts.0"),
        ({"texts": ["apple"], "layers": 1}, 422, "layers"),
        ({"texts": ["apple"], "layer": 9}, 422, None),
        ({"texts": ["apple"], "layer": "1"}, 422, "layer"),
        ({"texts": ["apple"], "phrases": [" "]}, 422, None),
        ({"texts": ["apple"], "encoding_format": "hex"}, 422, "encoding_format"),
        ([], 422, None),
    ],
)
def test_what_is_wrong_with_a_request_is_said(
    client: TestClient, body: Any, status: int, param: str | None
) -> None:
    assert error_of(client.post("/contextualize", json=body), status)["param"] == param


@pytest.mark.parametrize("body", [b"", b"{", b'{"texts": ["\xff"]}', b'{"texts": ["\\ud800"]}'])
def test_a_body_that_is_no_json_is_malformed(client: TestClient, body: bytes) -> None:
    error_of(
        client.post("/contextualize", content=body, headers={"content-type": "application/json"}),
        422,
    )


def test_a_body_that_does_not_say_that_it_is_json_is_refused(client: TestClient) -> None:
    body = json.dumps({"texts": ["apple"]})
    plain = {"content-type": "text/plain"}
    error_of(client.post("/contextualize", content=body, headers=plain), 415)


def test_an_explanation_is_that_of_the_library(client: TestClient, model: Contextualizer) -> None:
    asked = {"text": "An apple a day", "word": "apple"}
    told = client.post("/explain", json=asked | {"matrices": True}).json()
    explained = model.explain(**asked)
    assert told["formula"] == explained.formula()
    assert (told["exact"], told["position"]) == (False, 1)
    assert told["spans"][1] == [3, 8]
    np.testing.assert_array_equal(np.float32(told["weights"]), explained.weights)
    np.testing.assert_array_equal(np.float32(told["left_out"]), explained.left_out)
    np.testing.assert_array_equal(np.float32(told["matrix"]), explained.matrix)
    np.testing.assert_array_equal(np.float32(told["layer_weights"]), explained.layer_weights)
    np.testing.assert_array_equal(np.float32(told["layer_matrices"]), explained.layer_matrices)
    assert len(told["moved"]) == model.layers + 1
    assert told["moved"][0] == 0 < told["moved"][-1]


@pytest.mark.parametrize(("rung", "layers"), [("static", 0), ("parameter-free", 1)])
def test_lower_rungs_explain_themselves(client: TestClient, rung: str, layers: int) -> None:
    asked = {"text": "An apple a day", "word": 1, "rung": rung}
    told = client.post("/explain", json=asked).json()
    assert (told["rung"], told["exact"], told["layer_matrices"]) == (rung, True, None)
    assert len(told["layer_weights"]) == layers
    assert len(told["moved"]) == layers + 1


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"text": "an apple", "word": "pear"}, 422),
        ({"text": "apple apple", "word": "apple"}, 422),
        ({"text": "an apple", "word": 2}, 422),
        ({"text": "", "word": 0}, 422),
        ({"text": "apple " * 129, "word": 0}, 413),
        ({"text": "apple " * 30, "word": 0}, 422),  # more than the model's positions
    ],
)
def test_what_cannot_be_explained_is_refused(
    client: TestClient, asked: dict[str, Any], status: int
) -> None:
    error_of(client.post("/explain", json=asked), status)


def test_uses_are_compared_on_every_rung(client: TestClient) -> None:
    asked = {"word": "apple", "sentences": ["An apple a day", "the new Apple"], "nearest": 2}
    told = client.post("/compare", json=asked).json()
    assert [use["span"] for use in told["uses"]] == [[3, 8], [8, 13]]
    assert [rung["rung"] for rung in told["rungs"]] == ["static", "parameter-free", "learned"]
    for rung in told["rungs"]:
        assert np.shape(rung["before"]) == np.shape(rung["after"]) == (2, 2)
        assert 0 <= rung["shown"] <= 1 + 1e-9
        assert [len(near) for near in rung["nearest"]] == [2, 2]
    static = told["rungs"][0]
    assert static["before"] == static["after"]
    assert static["similarity"][0][1] == pytest.approx(1)
    asked = {"word": "pear", "sentences": ["An apple a day"]}
    assert "pear" in error_of(client.post("/compare", json=asked), 422)["message"]


def test_the_server_says_what_it_serves(client: TestClient, model: Contextualizer) -> None:
    told = client.get("/info").json()
    assert (told["model"], told["dim"], told["layers"]) == ("small", model.dim, model.layers)
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}


def test_a_server_that_has_not_started_is_not_ready(model: Contextualizer) -> None:
    client = served(model)  # its start is not run
    assert client.get("/health").status_code == 200
    error_of(client.get("/ready"), 503)


def test_the_path_of_the_model_is_not_told(client: TestClient, model: Contextualizer) -> None:
    told = client.get("/info").text + client.get("/v1/models").text + client.get("/docs").text
    assert str(Path(model.name).parent) not in told


def test_unknown_paths_and_methods_have_errors_of_the_same_shape(client: TestClient) -> None:
    error_of(client.get("/nothing"), 404)
    error_of(client.get("/contextualize"), 405)
    for path in ("/../app.py", "/..%2fapp.py", "/%2e%2e/app.py", "/docs.css/../../app.py"):
        error_of(client.get(path), 404)


def test_pages_need_no_other_address(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    for path in ("/", "/docs"):
        page = client.get(path)
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "//" not in page.text.replace("http://HOST", "")
    for path in described["paths"]:
        assert path in client.get("/docs").text
    assert client.get("/docs.css").status_code == 200


def test_metrics_count_requests_batches_and_words(model: Contextualizer) -> None:
    with served(model) as client:
        for _ in range(3):
            client.post("/contextualize", json={"texts": ["An apple", "a day"]})
        client.post("/contextualize", json={"texts": []})
        told = client.get("/metrics").text
    assert 'polyseme_requests_total{route="/contextualize",status="200"} 3.0' in told
    assert 'polyseme_requests_total{route="/contextualize",status="400"} 1.0' in told
    assert "polyseme_words_total 12.0" in told
    assert "polyseme_accepted_requests 0.0" in told


def test_a_key_opens_everything_and_its_lack_only_health_and_ready(model: Contextualizer) -> None:
    with served(model, api_key="sesame") as client:
        for path in ("/docs", "/openapi.json", "/metrics", "/info", "/v1/models", "/nothing"):
            refused = client.get(path)
            assert error_of(refused, 401)["code"] == "invalid_api_key"
            assert "www-authenticate" in refused.headers
        for path in ("/health", "/ready"):
            assert client.get(path).status_code == 200
        error_of(client.post("/contextualize", json={"texts": ["apple"]}), 401)
        for wrong in ("Bearer sesam", "Bearer ", "sesame", "Basic !", "Bearer \u00e9"):
            error_of(client.get("/info", headers={"authorization": wrong.encode()}), 401)
        basic = base64.b64encode(b"anyone:sesame").decode()
        for right in ("Bearer sesame", "bearer sesame", f"Basic {basic}"):
            assert client.get("/info", headers={"authorization": right}).status_code == 200
        described = client.get("/openapi.json", headers={"authorization": "Bearer sesame"}).json()
    assert described["security"] == [{"key": []}]
    assert described["paths"]["/health"]["get"]["security"] == []


def test_a_server_answers_to_its_own_names_alone(model: Contextualizer) -> None:
    with served(model, hosts=frozenset({"localhost", "[::1]"})) as client:
        for own in ("localhost", "LocalHost:8000", "[::1]:8000"):
            assert client.get("/info", headers={"host": own}).status_code == 200
        for foreign in ("evil.example", "localhost.evil.example:8000", ""):
            error_of(client.get("/info", headers={"host": foreign}), 421)


def test_a_body_above_the_limit_is_refused_whether_it_says_so_or_not(
    model: Contextualizer,
) -> None:
    with served(model, body_bytes=100) as client:
        large = json.dumps({"texts": ["a" * 100]}).encode()
        as_json = {"content-type": "application/json"}
        error_of(client.post("/contextualize", content=large, headers=as_json), 413)
        for said, status in (("9" * 5000, 413), ("-1", 400), ("1_0", 400)):
            lying = as_json | {"content-length": said}
            error_of(client.post("/contextualize", content=b"", headers=lying), status)

        def pieces() -> Iterator[bytes]:
            yield from (large[i : i + 10] for i in range(0, len(large), 10))

        error_of(client.post("/contextualize", content=pieces(), headers=as_json), 413)
        assert client.post("/contextualize", json={"texts": ["a"]}).status_code == 200


def test_a_failure_is_answered_and_its_text_is_nowhere_in_the_log(
    model: Contextualizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def fail(self: Contextualizer, texts: list[str], **options: Any) -> None:
        raise RuntimeError(f"can't do {texts}")

    with served(model) as client:
        monkeypatch.setattr(Contextualizer, "contextualize", fail)
        message = error_of(client.post("/contextualize", json={"texts": ["secret"]}), 500)
        assert "secret" not in message["message"]
    assert "RuntimeError in" in caplog.text
    assert "secret" not in caplog.text


def test_settings_that_let_nothing_through_are_refused() -> None:
    for wrong in (
        {"queue": 0},
        {"timeout": 0},
        {"body_bytes": 2, "queue_bytes": 1},
        {"api_key": " "},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Settings(**wrong)  # type: ignore[arg-type]


class Told(dict[str, Any]):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


class FakeIndex:
    """An index whose answers say what it was asked."""

    folder = Path("/home/someone/private/index")

    def info(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "occurrences": 3, "words": "content"}

    def search(self, text: Any, word: Any, k: int = 10, **options: Any) -> list[Told]:
        if word == "pear":
            raise KeyError(f"'pear' does not occur in {self.folder}; it has 'pea'")
        return [occurrence(str(word), asked=[text, word, k, options])]

    def synonyms(self, text: Any, word: Any, k: int = 10, **options: Any) -> list[Told]:
        return [occurrence("synonym", asked=[text, word, k, options])]

    def tag(self, texts: Any, *, words: Any = None) -> list[list[Told]]:
        return [[Told(word=word, start=0, number=1) for word in words] for _ in texts]

    def senses(self, word: str) -> list[Told]:
        sense = {"word": word, "number": 1, "name": "river", "label": "", "size": 2, "share": 1.0}
        return [Told(sense, marks=["river"], examples=[occurrence(word)])]


def occurrence(word: str, **metadata: Any) -> Told:
    place = {"text": f"a {word}", "start": 2, "end": 2 + len(word), "line": 1}
    return Told(place, word=word, score=0.5, source="/home/someone/a.txt", metadata=metadata)


@pytest.fixture(scope="module")
def searched(model: Contextualizer) -> TestClient:
    return TestClient(create_app(model, index=FakeIndex()))


def test_a_search_reaches_the_index_and_tells_no_path(searched: TestClient) -> None:
    asked = {"text": ["the", "bank"], "word": 1, "k": 5, "find": "different", "where": "year > 1"}
    response = searched.post("/search", json=asked)
    (found,) = response.json()["occurrences"]
    expected = {"same": False, "where": "year > 1", "words": None}
    assert found["metadata"]["asked"] == [["the", "bank"], 1, 5, expected]
    assert found["source"] == "a.txt"
    asked = {"text": "the bank", "word": "bank", "find": "synonyms"}
    (found,) = searched.post("/search", json=asked).json()["occurrences"]
    assert found["metadata"]["asked"] == ["the bank", "bank", 10, {"where": None}]
    assert searched.get("/info").json()["index"] == {"occurrences": 3, "words": "content"}
    told = searched.post("/search", json={"text": "a pear", "word": "pear"})
    assert error_of(told, 422)["message"] == "'pear' does not occur in the index; it has 'pea'"
    error_of(searched.post("/search", json=asked | {"words": ["bank"]}), 422)
    error_of(searched.post("/search", json=asked | {"k": 201}), 422)


def test_a_real_index_answers_as_described(tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="needs the extra `search`")
    pytest.importorskip("sklearn", reason="needs the extra `search`")
    from polyseme.senses import SenseIndex, build_index
    from polyseme.server.schemas import SearchAnswer, SensesAnswer

    notes = tmp_path / "notes.txt"
    notes.write_text("We sat on the bank of the river.\nMy bank raised its rates.\n")
    bundled = polyseme.load()
    build_index(notes, tmp_path / "index", model=bundled)
    client = TestClient(create_app(bundled, index=SenseIndex.open(tmp_path / "index", bundled)))
    asked = {"text": "The bank lends money", "word": "bank"}
    told = SearchAnswer.model_validate_json(client.post("/search", json=asked).content)
    assert [found.line for found in told.occurrences] == [2, 1]
    assert told.occurrences[0].source == "notes.txt"
    senses = SensesAnswer.model_validate_json(client.post("/senses", json={"word": "bank"}).content)
    assert sum(sense.size for sense in senses.senses) == 2
    everything = client.get("/info").text + client.post("/senses", json={"word": "bnak"}).text
    assert str(tmp_path) not in everything
    assert "'bank'" in everything


def test_senses_are_told_with_their_examples(searched: TestClient) -> None:
    told = searched.post("/senses", json={"word": "bank"}).json()
    assert (told["word"], told["senses"][0]["marks"]) == ("bank", ["river"])
    assert told["senses"][0]["examples"][0]["source"] == "a.txt"


def test_texts_are_tagged_with_the_senses_of_words(searched: TestClient) -> None:
    told = searched.post("/tag", json={"texts": ["the bank", "a bank"], "words": ["bank"]}).json()
    assert told["texts"] == [[{"word": "bank", "start": 0, "number": 1}]] * 2


def test_neighbours_are_those_of_the_library(client: TestClient, model: Contextualizer) -> None:
    asked = {"text": "a piece of cake", "word": "cake", "rung": "static", "topn": 3}
    told = client.post("/neighbours", json=asked).json()
    near = model.static().most_similar("a piece of cake", "cake", topn=3)
    assert [one["word"] for one in told["nearest"]] == [one.word for one in near]
    assert (told["model"], told["rung"]) == ("small", "static")
    error_of(client.post("/neighbours", json=asked | {"word": "pie"}), 422)


def test_without_an_index_the_routes_on_it_say_so(client: TestClient) -> None:
    for path, asked in (("/search", {"text": "a", "word": 0}), ("/senses", {"word": "a"})):
        assert error_of(client.post(path, json=asked), 404)["code"] == "no_index"
    assert client.get("/info").json()["index"] is None
