"""The server against requests that schemathesis makes of its own description."""

from __future__ import annotations

from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

import polyseme
from polyseme.contextualizer import Contextualizer
from tests.conftest import write_model
from tests.served import running

pytest.importorskip("fastapi", reason="needs the extra `server`")
pytest.importorskip("prometheus_client", reason="needs the extra `server`")
pytest.importorskip("orjson", reason="needs the extra `server`")
schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis (extra `dev`)")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_request_makes_the_server_fail_or_contradict_its_description(
    tmp_path: Path, mode: Any
) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    model = polyseme.load(write_model(tmp_path / "small"))
    with running(model, index=index_of(model, tmp_path)) as url:
        operations = [
            found.ok()
            for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations()
        ]
        assert len(operations) > 8
        statuses: defaultdict[str, set[int]] = defaultdict(set)
        for operation in operations:

            @settings(
                max_examples=40,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def answered(case: Any) -> None:
                if case.path == "/v1/embeddings" and isinstance(case.body, dict):
                    case.body["model"] = "small"
                response = case.call()
                statuses[case.path].add(response.status_code)
                case.validate_response(response, checks=checks)

            try:
                answered()
            except Unsatisfiable:  # nothing can be wrong with a request that says nothing
                assert operation.method == "get"
            if operation.path in ("/contextualize", "/v1/embeddings") and mode.is_positive:
                assert 200 in statuses[operation.path]


def index_of(model: Contextualizer, folder: Path) -> Any:
    """An index of two sentences, if its libraries are installed."""
    if find_spec("lancedb") is None or find_spec("sklearn") is None:
        return None
    from polyseme.senses import SenseIndex, build_index

    (folder / "notes.txt").write_text("an apple a day\nthe new apple\n")
    build_index(folder / "notes.txt", folder / "index", model=model)
    return SenseIndex.open(folder / "index", model)
