"""The server against requests that schemathesis makes of its own description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

import polyseme
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
    with running(polyseme.load(write_model(tmp_path / "small"))) as url:
        operations = [
            found.ok()
            for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations()
        ]
        assert len(operations) > 8
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
                case.call_and_validate(checks=checks)

            try:
                answered()
            except Unsatisfiable:  # nothing can be wrong with a request that says nothing
                assert operation.method == "get"
