"""Where the processes tell what they have done. Costs one look at a variable while spans are off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from services.kernel import tracing
from services.kernel.collectors import collector_at
from services.kernel.spans.exporter import Exporter
from services.kernel.spans.span import Attribute, Kind, Span
from services.kernel.tracing import TraceContext

_exporters: list[Exporter] = []
"""The one in use, if any: a process sends to one collector."""


@dataclass(slots=True)
class Call:
    """A call to another server that is under way."""

    attributes: dict[str, Attribute] = field(default_factory=dict)
    has_failed: bool = False


def is_recording() -> bool:
    """Whether spans go anywhere."""
    return bool(_exporters)


def record(
    trace: TraceContext | None,
    name: str,
    kind: Kind,
    seconds: float,
    attributes: Mapping[str, Attribute],
    *,
    has_failed: bool = False,
) -> None:
    """Say that the span `trace` has just ended, after so many seconds: nothing where spans are off or it is not sampled."""
    if not _exporters or trace is None or not trace.is_sampled:
        return
    ended = time.time_ns()
    began = ended - int(seconds * 1e9)
    _exporters[0].add(
        Span(trace.trace_id, trace.span_id, trace.parent_id, name, kind, began, ended, attributes, has_failed)
    )


@contextmanager
def calling(name: str, attributes: Mapping[str, Attribute]) -> Iterator[Call]:
    """Call another server under a span of its own, which `tracing.outgoing` then names; an exception is its failure."""
    here = tracing.current()
    trace = tracing.begin() if here is None else here.child()
    call, began = Call(dict(attributes)), time.perf_counter()
    try:
        with tracing.working_in(trace):
            yield call
    except BaseException:
        call.has_failed = True
        raise
    finally:
        record(trace, name, Kind.CLIENT, time.perf_counter() - began, call.attributes, has_failed=call.has_failed)


@asynccontextmanager
async def exporting(endpoint: str, resource: Mapping[str, Attribute]) -> AsyncIterator[None]:
    """Send what is recorded to the collector at `endpoint` while the block runs; an empty one turns spans off."""
    if not endpoint:
        yield
        return
    exporter = Exporter(collector_at(endpoint), resource)
    sending = asyncio.create_task(exporter.run(), name="spans")
    _exporters.append(exporter)
    try:
        yield
    finally:
        _exporters.remove(exporter)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await exporter.finish()
