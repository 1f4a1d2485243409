"""W3C trace context: valid ones are continued, all others begin a trace of their own."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import tracing
from services.kernel.tracing import TraceContext

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_header_is_continued_under_a_span_of_our_own() -> None:
    """The trace stays, the flags stay, the span is new."""
    ours = tracing.begin(VALID)

    assert (ours.trace_id, ours.flags) == (TRACE, 1)
    assert re.fullmatch("[0-9a-f]{16}", ours.span_id)
    assert ours.span_id != SPAN
    assert ours.header == f"00-{TRACE}-{ours.span_id}-01"


def test_without_a_header_a_trace_begins() -> None:
    """With identifiers of the standard's form, different each time."""
    first, second = tracing.begin(), tracing.begin(None)

    assert tracing.parse(first.header) == first
    assert first.trace_id != second.trace_id


def test_a_child_is_a_new_span_of_the_same_trace() -> None:
    """For a further hop."""
    parent = TraceContext(TRACE, SPAN, 0)

    assert parent.child().trace_id == TRACE
    assert parent.child().span_id != SPAN
    assert parent.child().flags == 0


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (VALID, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 1),
        (f"00-{TRACE}-{SPAN}-02", 0),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"cc-{TRACE}-{SPAN}-01-", 1),
    ],
)
def test_what_the_standard_calls_valid(header: str, flags: int) -> None:
    """Later versions are read as far as they agree; only the sampled flag is kept."""
    assert tracing.parse(header) == TraceContext(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "header",
    [
        None,
        7,
        b"00",
        "",
        VALID.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{VALID}-more",
        f"{VALID}-",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"cc-{TRACE}-{SPAN}-0x",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f" {VALID}",
        f"{VALID}\n",
        f"00_{TRACE}_{SPAN}_01",
        f"0-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 600}",
        VALID.replace("4", "٤"),
    ],
)
def test_what_the_standard_calls_invalid(header: object) -> None:
    """It is ignored, and a trace begins."""
    assert tracing.parse(header) is None
    assert tracing.begin(header).trace_id != TRACE


@given(st.text() | st.from_regex(r"\A[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z"))
def test_whatever_comes_in_a_valid_header_goes_out(header: str) -> None:
    """And it names the caller's trace exactly when the caller's header was valid."""
    ours, caller = tracing.begin(header), tracing.parse(header)

    assert tracing.parse(ours.header) == ours._replace(parent_id="")
    assert caller is None or caller.trace_id == ours.trace_id


async def test_the_current_span_belongs_to_the_task_and_those_it_starts() -> None:
    """Blocks nest; outside of them nothing is sent on."""

    async def seen() -> dict[str, str]:
        return tracing.outgoing()

    assert (tracing.current(), tracing.current_header(), tracing.outgoing()) == (None, None, {})
    with tracing.working_in(tracing.begin(VALID)) as outer:
        with tracing.working_in(outer.child()) as inner:
            assert await asyncio.create_task(seen()) == {"traceparent": inner.header}
        assert tracing.current() == outer
    assert tracing.current_header() is None
