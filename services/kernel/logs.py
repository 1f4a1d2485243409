"""Structured logs: one JSON object a line for machines, a readable form on a terminal.

Every line has `level`, `timestamp`, `process` and `event`, and whatever `bind_context` put into the current task:
`requestId`, `traceId`, `userId`, `tier`, `courseId`, `jobId` (contract.md q). Scrubbed before anything is written, in both
forms and in tracebacks too: the values of secret settings (`conceal`), values of keys that smell of a secret, credentials
inside URLs, bearer tokens and JWTs. What a client sends cannot forge a line: JSON escapes it, the console form shows
control characters as their codes.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from functools import lru_cache
from typing import Any, Final, Literal, cast

import orjson

from services.kernel.lean import lean

with lean():
    import structlog

Level = Literal["debug", "info", "warn", "error"]
Logger = structlog.typing.FilteringBoundLogger

SHORTEST_SECRET: Final = 8
"""A secret value of fewer characters is not looked for in lines: it would be found in ordinary words."""

_LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}
_SECRET_KEY = re.compile(r"(secret|password|passwd|token|api_?key|authorization|credential|cookie)", re.IGNORECASE)
_URL_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s:@]*:[^@\s/]+@", re.IGNORECASE)
_BEARER = re.compile(r"(?i)bearer\s+[a-z0-9._~+/=-]+")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")
_MASK = "***"
_NOTHING: Mapping[str, Any] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=_NOTHING)
_concealed: list[str] = []


def get_logger(name: str) -> Logger:
    """The logger of one module; `name` becomes the field `module`."""
    return cast(Logger, structlog.get_logger(module=name))


def configure(level: str, fmt: str, process: str) -> None:
    """Set up logging for this process, once, before anything is logged.

    Args:
        level: least severe level written: `debug`, `info`, `warn` or `error`.
        fmt: `json`, `console`, or `auto` (console on a terminal).
        process: name of the process, a field of each line.
    """
    console = fmt == "console" or (fmt == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            _merge_context,
            _level_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _named(process),
            structlog.processors.format_exc_info,  # to text before the scrubbing, for tracebacks quote secrets too
            _scrub,
            *([_printable, _console()] if console else [structlog.processors.JSONRenderer(_dumps)]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _capture_standard_logging(level)


def conceal(secrets: Iterable[str]) -> None:
    """Mask these values wherever they occur in a line of this process, in place of those given before.

    Values of less than `SHORTEST_SECRET` characters are left to the patterns: keys, URLs, bearer tokens.
    """
    _concealed[:] = sorted({each for each in secrets if len(each) >= SHORTEST_SECRET}, key=len, reverse=True)


def shows_debug() -> bool:
    """Whether lines of level debug are written; ask before gathering what only such a line needs."""
    return bool(get_logger(__name__).is_enabled_for(_LEVELS["debug"]))


def bind_context(**fields: Any) -> AbstractContextManager[None]:
    """Add fields to every line logged by this task (and tasks it starts) until the block ends; None adds nothing."""
    return _Binding(fields)


class _Binding:
    """One `bind_context` block. Every request enters several, so this is one assignment and no generator."""

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        added = {key: value for key, value in self._fields.items() if value is not None}
        self._token: Token[Mapping[str, Any]] = _context.set({**_context.get(), **added})

    def __exit__(self, *_: object) -> None:
        _context.reset(self._token)


def _merge_context(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**_context.get(), **entry}


def scrub_text(text: str) -> str:
    """`text` without the values of secret settings, credentials in URLs, bearer tokens and JWTs."""
    for secret in _concealed:
        if secret in text:
            text = text.replace(secret, _MASK)
    # Most text has none of the three; looking for what each must contain costs a tenth of trying to match it.
    if "://" in text:
        text = _URL_CREDENTIALS.sub(rf"\g<scheme>{_MASK}@", text)
    if "bearer" in text.lower():
        text = _BEARER.sub(f"Bearer {_MASK}", text)
    return _JWT.sub(_MASK, text) if "eyJ" in text else text


def _dumps(entry: Any, **_: Any) -> str:
    return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _console() -> structlog.dev.ConsoleRenderer:
    # The plain form of tracebacks: the other one prints local variables, secrets among them.
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )


def _level_name(_logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`level` in the words of contract.md q: debug, info, warn, error."""
    entry["level"] = {"warning": "warn", "exception": "error", "critical": "error"}.get(method, method)
    return entry


def _printable(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Control characters as their codes: a client's text must not move the cursor or begin a line."""
    for key, value in entry.items():
        if isinstance(value, str) and not value.isprintable():
            text = value.translate(_CONTROLS)
            entry[key] = text if key == "exception" else text.replace("\n", "\\n")
    return entry


def _named(process: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        entry["process"] = process
        return entry

    return add


def _scrub(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in entry.items():
        entry[key] = _scrubbed(key, value)
    return entry


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None and not key.lower().endswith("id")  # `secretId` only names one


def _scrubbed(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return _MASK if _is_secret(key) else scrub_text(value)
    if isinstance(value, dict):
        return {inner: _scrubbed(str(inner), each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(key, each) for each in value]
    return value


class _Bridge(logging.Handler):
    """Carries lines of libraries that use the standard `logging` into ours.

    What a library warns of with a traceback (asyncpg's pool does, every second while PostgreSQL is away) is one line here.
    """

    def emit(self, record: logging.LogRecord) -> None:
        logger = get_logger(record.name)
        if record.levelno >= logging.ERROR:
            logger.error(record.getMessage(), exc_info=record.exc_info or None)
            return
        level = logging.getLevelName(record.levelno).lower()
        error = record.exc_info[1] if record.exc_info else None
        reason = {} if error is None else {"error": f"{type(error).__name__}: {error}"}
        getattr(logger, level if level in _LEVELS else "info")(record.getMessage(), **reason)


def _capture_standard_logging(level: str) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
