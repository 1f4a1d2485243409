"""The relay's lines about single rows, with the context of the request behind them (contract.md q).

A row travels as bytes, so its context is read out of the job body, and only when a line is really written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from services.kernel import logs, tracing
from services.kernel.envelopes import log_fields
from services.outbox_relay.outbox import Failure, OutboxRow

_UNREADABLE = (orjson.JSONDecodeError, KeyError, TypeError, AttributeError)
_log = logs.get_logger(__name__)


def say_relayed(rows: Sequence[OutboxRow]) -> None:
    """One line for each row that is in its queue now; of level debug, for a busy relay moves thousands in a second."""
    if not logs.shows_debug():
        return
    for row in rows:
        with logs.bind_context(**context_of(row)):
            _log.debug("job relayed", queue=row.saq_queue, jobType=row.job_type, priority=row.priority)


def say_failed(failure: Failure) -> None:
    """The line for a row that did not get into its queue."""
    with logs.bind_context(**context_of(failure.row)):
        _log.warning("outbox row failed", reason=failure.reason, will_retry=failure.is_transient)


def trace_of(row: OutboxRow) -> tracing.TraceContext | None:
    """Whose span `row` was written in; None where nobody said so, or its body cannot be read."""
    try:
        return tracing.parse(_payload(row).get(tracing.HEADER))
    except _UNREADABLE:
        return None


def context_of(row: OutboxRow) -> dict[str, Any]:
    """What a line about `row` says of the request that it belongs to; a body that cannot be read says nothing."""
    known: dict[str, Any] = {"jobId": str(row.outbox_id), "courseId": str(row.entity_id)}
    try:
        payload = _payload(row)
        trace = tracing.parse(payload.get(tracing.HEADER))
        known |= log_fields(payload)
    except _UNREADABLE:
        return known
    return known if trace is None else {**known, "traceId": trace.trace_id}


def _payload(row: OutboxRow) -> Any:
    return orjson.loads(row.job_body or "{}")["kwargs"]["payload"]
