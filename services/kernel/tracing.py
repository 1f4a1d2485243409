"""W3C trace context: the identifier that follows one request through every process and beyond them.

Promises: a valid `traceparent` is continued, under a new span for each process that works on it; anything else begins a
trace of our own. It travels like the request id, in the outbox row's metadata and the queued job, and leaves with what we
call on the request's behalf. The lines in the logs carry `traceId`; `kernel.spans` tells a collector, where one is named.
"""

from __future__ import annotations

import re
import secrets
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Final, NamedTuple

HEADER: Final = "traceparent"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_LONGEST = 512
_SAMPLED = 0x01
"""The only flag of version 00; others must not be passed on."""


class TraceContext(NamedTuple):
    """A place in a trace: which trace, and whose span."""

    trace_id: str
    span_id: str
    flags: int = _SAMPLED
    parent_id: str = ""
    """The span that this one was begun for; empty for the first of a trace."""

    @property
    def is_sampled(self) -> bool:
        """Whether its spans are to be recorded; whoever began the trace has said so."""
        return bool(self.flags & _SAMPLED)

    @property
    def header(self) -> str:
        """The `traceparent` to send to whoever works for this span."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags & _SAMPLED:02x}"

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, secrets.token_hex(8), self.flags, self.span_id)


def parse(header: object) -> TraceContext | None:
    """The sender's place in its trace; None for what the standard calls invalid, which is then ignored.

    Versions after 00 are read as far as they agree with it; version ff, upper case, zero ids and additions to version 00
    are invalid.
    """
    if not isinstance(header, str) or len(header) > _LONGEST:
        return None
    match = _FORM.fullmatch(header)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    is_known = version != "ff" and (version != "00" or more is None)
    if not is_known or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & _SAMPLED)


def begin(header: object = None) -> TraceContext:
    """A new span: of the trace that `header` names, or of a new one."""
    caller = parse(header)
    if caller is not None:
        return caller.child()
    identifiers = secrets.token_hex(24)
    trace_id = identifiers[:32]
    return TraceContext(trace_id, identifiers[32:], _SAMPLED if _is_chosen(trace_id) else 0)


def sample(ratio: float) -> None:
    """Let this share of the traces that begin in this process be recorded; one begun elsewhere keeps its mark."""
    global _ratio  # noqa: PLW0603 - set once, at start
    _ratio = ratio


def _is_chosen(trace_id: str) -> bool:
    return _ratio >= 1 or int(trace_id[-14:], 16) < _ratio * 2**56


_ratio = 1.0
_current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def working_in(trace: TraceContext) -> AbstractContextManager[TraceContext]:
    """Make `trace` the current span of this task, and of the tasks it starts, until the block ends."""
    return _Span(trace)


class _Span:
    """One `working_in` block: one assignment and no generator, for every request enters one."""

    __slots__ = ("_token", "_trace")

    def __init__(self, trace: TraceContext) -> None:
        self._trace = trace

    def __enter__(self) -> TraceContext:
        self._token: Token[TraceContext | None] = _current.set(self._trace)
        return self._trace

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def current() -> TraceContext | None:
    """The span this task works in, if any."""
    return _current.get()


def current_header() -> str | None:
    """The `traceparent` for what this task has others do; None outside of any request."""
    trace = _current.get()
    return None if trace is None else trace.header


def outgoing() -> dict[str, str]:
    """The headers that carry the trace on, for an HTTP call made in this task; empty outside of any request."""
    header = current_header()
    return {} if header is None else {HEADER: header}
