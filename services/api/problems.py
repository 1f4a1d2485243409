"""Errors as the outside sees them: `{"error": {"code", "message", "details"}}` (contract.md GAP1).

Every error leaves through `problem`, whatever raised it; what nobody foresaw is a 500 that tells nothing of the inside.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from services.api.messages import Reply
from services.kernel.database import DatabaseRefused
from services.kernel.errors import (
    BrokerUnavailable,
    CoursegenError,
    LimitReached,
    OperatorError,
    PermanentError,
    RedisOccupied,
    RetryableError,
    Unauthorized,
)

RUSSIAN_FAILURE: Final = "Внутренняя ошибка сервера. Повторите запрос позже."
"""What a caller is told when it is our fault (contract.md a.1: in Russian)."""

RETRY_AFTER_SECONDS: Final = 1
"""What an unavailable service asks its callers to wait."""


class MethodNotAllowed(PermanentError):
    """This method is not allowed here."""

    code = "method_not_allowed"
    http_status = 405


class RequestTimeout(PermanentError):
    """The request did not arrive in time; send it again."""

    code = "request_timeout"
    http_status = 408


def problem(error: BaseException) -> Reply:
    """The answer that stands for `error`."""
    if not isinstance(error, CoursegenError) or isinstance(error, DatabaseRefused | OperatorError):
        return reply(500, "internal_error", RUSSIAN_FAILURE, {})
    if isinstance(error, RedisOccupied):
        error = BrokerUnavailable()  # what a person has to set is for the log and /readyz
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, Unauthorized):
        headers = ((b"www-authenticate", b"Bearer"),)
    elif isinstance(error, LimitReached):
        headers = ((b"retry-after", b"%d" % error.details.get("retryAfterSeconds", RETRY_AFTER_SECONDS)),)
    elif isinstance(error, RetryableError):
        headers = ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
    elif isinstance(error, MethodNotAllowed):
        headers = ((b"allow", ", ".join(error.details["allowed"]).encode()),)
    return reply(error.http_status, error.code, error.message, error.details, headers)


def reply(
    status: int, code: str, message: str, details: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Reply:
    """An error's answer from its parts."""
    return Reply(status, body(code, message, details), headers=headers)


def body(code: str, message: str, details: dict[str, Any]) -> bytes:
    """An error's compact JSON."""
    return orjson.dumps({"error": {"code": code, "message": message, "details": details}}, default=str)
