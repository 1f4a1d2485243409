"""What the relay says of single rows."""

from __future__ import annotations

import logging
from uuid import uuid4

import orjson
import pytest
import structlog

from services.kernel import logs
from services.outbox_relay import lines
from services.outbox_relay.lines import context_of
from services.outbox_relay.outbox import Failure, OutboxRow

OUTBOX, COURSE = uuid4(), uuid4()
KNOWN = {"jobId": str(OUTBOX), "courseId": str(COURSE)}


def row(body: str | None) -> OutboxRow:
    """A claimed row with this body."""
    return OutboxRow(1, OUTBOX, COURSE, "q", "X", body, 1, len(body or ""))


def body(**payload: object) -> str:
    """A job body with this payload."""
    return orjson.dumps({"function": "X", "kwargs": {"payload": payload}}).decode()


def test_a_row_is_told_with_its_request() -> None:
    """Request id, user, tier and trace come out of the body; what is absent is left out."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    told = context_of(row(body(requestId="r", userId="u", tier="FREE", traceparent=f"00-{trace}-{'1' * 16}-01")))

    assert told == {**KNOWN, "requestId": "r", "userId": "u", "tier": "FREE", "traceId": trace}
    assert context_of(row(body(requestId="r", traceparent="broken"))) == {**KNOWN, "requestId": "r"}


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", "7", "null", '{"kwargs":null}', '{"kwargs":{"payload":[]}}', '{"kwargs":{"payload":null}}'],
)
def test_a_body_that_cannot_be_read_breaks_nothing(text: str | None) -> None:
    """The line then says what the row's columns say."""
    assert context_of(row(text)) == KNOWN


def test_single_rows_are_told_at_level_debug_only(capsys: pytest.CaptureFixture[str]) -> None:
    """A busy relay moves thousands in a second; a failure is told whatever the level."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    events = {}
    try:
        for severity in ("info", "debug"):
            logs.configure(severity, "json", "relay")
            lines._log = logs.get_logger(lines.__name__)
            lines.say_relayed([row(body(requestId="r"))] * 2)
            lines.say_failed(Failure(row(body(requestId="r")), "too large", is_transient=False))
            events[severity] = [orjson.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    finally:
        structlog.configure(**before)
        lines._log = logs.get_logger(lines.__name__)
        root.handlers[:], root.level = handlers, level

    assert events == {"info": ["outbox row failed"], "debug": ["job relayed", "job relayed", "outbox row failed"]}
