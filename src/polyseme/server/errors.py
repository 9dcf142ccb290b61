"""Errors as every route answers them: the shape that clients of OpenAI's API understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from starlette.responses import Response

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


# Of pydantic's kinds of errors those that have a status of their own.
_STATUS = {"too_short": 400, "too_long": 413, "string_too_short": 400, "string_too_long": 413}


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        message: what is wrong and what would do.
        param: the field that it is about.
        code: the same for programs, such as "model_not_found".
        headers: more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = headers

    def response(self) -> Response:
        """The answer."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return Response(
            json.dumps({"error": error}),  # ASCII, as a lone surrogate has no UTF-8
            self.status,
            headers=dict(self.headers or {}),
            media_type="application/json",
        )


def overloaded(message: str) -> RequestError:
    """Too much is waiting already."""
    return RequestError(429, message, code="overloaded", headers={"retry-after": "1"})


def too_slow(timeout: float, *, computing: bool) -> RequestError:
    """The time that a request may take is over, in waiting and computing or in being sent."""
    if not computing:
        return RequestError(408, f"the body did not come within {timeout:g} seconds")
    return RequestError(
        504, f"not done within {timeout:g} seconds: send fewer or shorter texts", code="timeout"
    )


def from_validation(errors: list[Any] | tuple[Any, ...], *, status: int) -> RequestError:
    """Of pydantic's list of errors the first; what was sent is not repeated.

    Args:
        errors: as pydantic gives them.
        status: for what has the wrong form; what is empty is 400 and what is too long 413.
    """
    first: dict[str, Any] = errors[0]
    place = [str(part) for part in first.get("loc", ()) if part != "body"]
    # The alternatives of a union stand behind the field by their types' names.
    fields = takewhile(lambda part: "[" not in part and part not in ("str", "int"), place)
    param = ".".join(fields) or None
    message = str(first.get("msg", "malformed"))
    if first.get("type") in _STATUS:
        status = _STATUS[first["type"]]
    return RequestError(
        status, f"{param}: {message}" if param else message, param=param, code=first.get("type")
    )
