"""Spans are told to a collector, and nothing waits for it or fails with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from services.kernel import spans, tracing
from services.kernel.metrics import REGISTRY
from services.kernel.spans import exporter
from services.kernel.spans.span import Kind
from tests.support.span_collector import SpanCollector, open_collector
from tests.support.waiting import eventually

RESOURCE = {"service.name": "coursegen-test"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A batch every hundredth of a second, and all traces sampled at the end."""
    monkeypatch.setattr(exporter, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(exporter, "LONGEST_PAUSE_SECONDS", 0.05)
    yield
    tracing.sample(1.0)


def counted(result: str) -> float:
    """Spans that became this."""
    return REGISTRY.get_sample_value("trace_spans_total", {"result": result}) or 0.0


def record(name: str, trace: tracing.TraceContext | None = None) -> None:
    """A span that took half a second."""
    spans.record(trace or tracing.begin(), name, Kind.INTERNAL, 0.5, {"number": 1})


async def arrived(collector: SpanCollector, many: int) -> list[str]:
    """The names of what has arrived, once it is so many."""
    await eventually(lambda: len(collector.spans) >= many, within=10)
    return [span.name for span in collector.spans]


async def test_what_is_recorded_arrives() -> None:
    """With its place in the trace, its time and its attributes."""
    async with open_collector() as collector, spans.exporting(collector.endpoint, RESOURCE):
        trace = tracing.begin("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        record("one", trace)
        await arrived(collector, 1)
    (span,) = collector.spans

    assert (span.service, span.name, span.kind) == ("coursegen-test", "one", Kind.INTERNAL)
    assert (span.trace_id, span.span_id, span.parent_id) == (trace.trace_id, trace.span_id, "00f067aa0ba902b7")
    assert span.seconds == pytest.approx(0.5, abs=0.001)
    assert span.attributes == {"number": 1}
    assert collector.heads[0].startswith("POST /v1/traces HTTP/1.1\r\n")


async def test_off_is_off() -> None:
    """Without a collector nothing is kept; the trace goes on all the same."""
    async with spans.exporting("", RESOURCE):
        assert not spans.is_recording()
        record("nobody hears it")
        with spans.calling("call", {}):
            assert tracing.outgoing()


async def test_what_is_not_sampled_is_not_sent() -> None:
    """The caller decides of its traces, the share of those that begin here is a setting."""
    async with open_collector() as collector, spans.exporting(collector.endpoint, RESOURCE):
        record("refused", tracing.begin("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"))
        tracing.sample(0.25)
        begun = [tracing.begin() for _ in range(2000)]
        record("wanted", tracing.begin("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
        names = await arrived(collector, 1)

    assert names == ["wanted"]
    assert sum(trace.is_sampled for trace in begun) == pytest.approx(500, abs=120)


async def test_a_call_has_a_span_of_its_own_that_goes_out_with_it() -> None:
    """The receiver's spans hang on it; an exception is its failure, and goes on."""
    async with open_collector() as collector, spans.exporting(collector.endpoint, RESOURCE):
        with tracing.working_in(tracing.begin()) as here:
            with spans.calling("good", {"a": "b"}) as call:
                header = tracing.outgoing()["traceparent"]
                call.attributes["http.response.status_code"] = 204
            assert tracing.current() == here
            with pytest.raises(OSError, match="secret"), spans.calling("bad", {}):
                raise OSError("a secret")
        await arrived(collector, 2)
    good, bad = collector.spans

    assert header == f"00-{here.trace_id}-{good.span_id}-01"
    assert (good.parent_id, good.kind, good.has_failed) == (here.span_id, Kind.CLIENT, False)
    assert good.attributes == {"a": "b", "http.response.status_code": 204}
    assert (bad.has_failed, bad.attributes) == (True, {})
    assert not any(b"secret" in body for body in collector.bodies)


async def test_a_collector_that_is_away_is_tried_again_and_nobody_waits() -> None:
    """What it did not take arrives once it does, in order."""
    async with open_collector() as collector, spans.exporting(collector.endpoint, RESOURCE):
        collector.status = 503
        began = time.monotonic()
        for number in range(600):
            record(str(number))
        took = time.monotonic() - began
        await eventually(lambda: len(collector.bodies) >= 3, within=10)
        collector.status = 200
        names = await arrived(collector, 600)

    assert names == [str(number) for number in range(600)]
    assert took < 1


async def test_what_a_collector_refuses_is_dropped_and_counted() -> None:
    """Repeating it would never help."""
    before = counted("dropped")
    async with open_collector() as collector, spans.exporting(collector.endpoint, RESOURCE):
        collector.status = 400
        record("unwanted")
        await eventually(lambda: counted("dropped") == before + 1, within=10)
        collector.status = 200
        record("wanted")

        assert await arrived(collector, 1) == ["wanted"]


async def test_too_many_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that is gone costs a bounded number of spans in memory, and a closing process no time."""
    monkeypatch.setattr(exporter, "MOST_WAITING", 10)
    before = counted("dropped")
    began = time.monotonic()
    async with spans.exporting("http://127.0.0.1:9", RESOURCE):
        for _ in range(25):
            record("x")
        assert counted("dropped") == before + 15
    took = time.monotonic() - began

    assert counted("dropped") == before + 25
    assert took < exporter.LAST_SECONDS + 1


async def test_the_last_spans_are_sent_at_the_end() -> None:
    """Those recorded just before the process stops."""
    async with open_collector() as collector:
        async with spans.exporting(collector.endpoint, RESOURCE):
            record("last")
        assert [span.name for span in collector.spans] == ["last"]


async def test_a_collector_that_hangs_does_not_hold_up_the_end() -> None:
    """Its answer is not waited for longer than what closing leaves."""
    left = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()
        left.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        began = time.monotonic()
        async with spans.exporting(endpoint, RESOURCE):
            record("x")
        took = time.monotonic() - began
        await asyncio.wait_for(left.wait(), 5)

    assert took < exporter.LAST_SECONDS + 1
