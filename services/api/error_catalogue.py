"""Which error codes come with which status, and what their bodies look like: made from the tree of errors itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from services.kernel import faults
from services.kernel.database import DatabaseRefused
from services.kernel.errors import CoursegenError, OperatorError

_PACKAGES: Final = ("services.api", "services.kernel")
_BY_CONNECTION: Final = {400: "invalid_request", 431: "headers_too_large", 503: "overloaded"}
"""What a connection is told before there is a request (`api.connections`)."""

_LIMIT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["limitType", "tier", "limit", "current", "retryAfterSeconds"],
    "properties": {
        "limitType": {
            "enum": ["user", "global", "streams"],
            "description": "which limit is reached: courses of the user, courses of all, or live streams of the user",
        },
        "tier": {"type": "string"},
        "limit": {"type": "integer", "minimum": 0},
        "current": {"type": "integer", "minimum": 0},
        "retryAfterSeconds": {"type": "integer", "minimum": 1},
    },
}


def codes_of(status: int) -> list[str]:
    """Every `error.code` that may come with `status`, in order."""
    codes = {each.code for each in _errors() if each.http_status == status}
    if status == 500:
        codes.add("internal_error")
    if status in _BY_CONNECTION:
        codes.add(_BY_CONNECTION[status])
    return sorted(codes)


def error_schema(status: int) -> dict[str, Any]:
    """The JSON Schema of an error's body (contract.md GAP1; GAP2 for 429; a 500 speaks Russian, a.1)."""
    message: dict[str, Any] = {"type": "string", "minLength": 1, "description": "what to do next, for people"}
    if status == 500:
        message["pattern"] = "[А-Яа-яЁё]"
    return {
        "title": f"Error{status}",
        "type": "object",
        "required": ["error"],
        "additionalProperties": False,
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "details"],
                "additionalProperties": False,
                "properties": {
                    "code": {"enum": codes_of(status), "description": "what went wrong, for programs"},
                    "message": message,
                    "details": _LIMIT if status == 429 else {"type": "object"},
                },
            }
        },
    }


def _errors(root: type[CoursegenError] = CoursegenError) -> Iterator[type[CoursegenError]]:
    """The errors that may leave the api; those of a person's making and of refused statements leave as `internal_error`."""
    for error in root.__subclasses__():
        if not issubclass(error, OperatorError | DatabaseRefused):
            if error.__module__.startswith(_PACKAGES) and error.__module__ != faults.__name__:
                yield error
            yield from _errors(error)
