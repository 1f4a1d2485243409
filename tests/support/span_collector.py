"""An OTLP/HTTP collector that keeps what it takes, read by the protocol's own library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.cli.stack import ports


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it arrived."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    seconds: float
    has_failed: bool
    attributes: dict[str, object]


@dataclass
class SpanCollector:
    """Takes spans on a loopback port; answers `status`."""

    port: int = 0
    status: int = 200
    spans: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` is to say."""
        return f"http://{ports.LOOPBACK}:{self.port}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one export request, keep its spans and answer."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
            body = await reader.readexactly(int(length.partition(":")[2]))
            self.heads.append(head)
            self.bodies.append(body)
            if self.status == 200:
                self.spans += read(body)
            writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        finally:
            writer.close()


def read(body: bytes) -> list[Seen]:
    """The spans of an export request."""
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource in request.resource_spans:
        described = {pair.key: _value(pair.value) for pair in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
                attributes = {pair.key: _value(pair.value) for pair in span.attributes}
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                service = str(described["service.name"])
                found.append(Seen(service, span.name, *ids, span.kind, seconds, span.status.code == 2, attributes))
    return found


def _value(value: object) -> object:
    return getattr(value, value.WhichOneof("value"))  # type: ignore[attr-defined]


@asynccontextmanager
async def open_collector() -> AsyncIterator[SpanCollector]:
    """Listen while the block runs."""
    collector = SpanCollector()
    server = await asyncio.start_server(collector.take, ports.LOOPBACK, 0)
    async with server:
        collector.port = server.sockets[0].getsockname()[1]
        yield collector
