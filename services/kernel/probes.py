"""The small HTTP server on the metrics port: `/livez`, `/readyz`, `/metrics`.

It is its own few lines because workers and the relay have no HTTP framework, and because a probe must be answered while
the rest of the process is busy: no body is read, one request a connection, every wait bounded.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import orjson

from services.kernel import metrics
from services.kernel.health import HealthRegistry
from services.kernel.logs import get_logger

_REQUEST_SECONDS = 5.0
_MAX_LINE = 8192
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_JSON = "application/json"

_log = get_logger(__name__)


Render = Callable[[str], Awaitable[metrics.Page]]
"""Makes the page `/metrics` for a header `Accept`, empty when there was none."""


async def own_metrics(accept: str) -> metrics.Page:
    """The metrics of this process."""
    return metrics.page(accept)


@asynccontextmanager
async def serve_probes(
    health: HealthRegistry, host: str, port: int, render: Render = own_metrics
) -> AsyncIterator[int]:
    """Answer probes while the block runs; yields the port in use. `render` makes the page `/metrics`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(_answer(health, render, reader, writer), _REQUEST_SECONDS)
        except (TimeoutError, OSError, ValueError):
            pass  # a client that stalls, breaks off or babbles gets no answer and costs nothing
        finally:
            writer.close()

    server = await asyncio.start_server(answer, host, port, limit=_MAX_LINE, family=socket.AF_INET)
    async with server:
        bound: int = server.sockets[0].getsockname()[1]
        _log.info("probes listening", port=bound)
        yield bound


async def _answer(
    health: HealthRegistry,
    render: Render,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    request = (await reader.readline()).decode("latin-1").split()
    accept = ""
    while line := (await reader.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"accept":  # no other header matters here
            accept = value.decode("latin-1")
    if len(request) < 2:
        return
    method, path = request[0], request[1].partition("?")[0]
    status, kind, body = await _respond(health, partial(render, accept), method, path)
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + (b"" if method == "HEAD" else body))
    await writer.drain()


async def _respond(
    health: HealthRegistry, render: Callable[[], Awaitable[metrics.Page]], method: str, path: str
) -> tuple[int, str, bytes]:
    if method not in {"GET", "HEAD"}:
        return 405, _JSON, orjson.dumps({"error": {"code": "method_not_allowed", "message": "Use GET", "details": {}}})
    if path == "/metrics":
        return 200, *await render()
    if path == "/livez":
        late = health.late()
        return (503 if late else 200), _JSON, orjson.dumps({"alive": not late, "late": late})
    if path == "/readyz":
        faults, degraded = await health.standing()
        document = {"ready": not faults, "faults": faults, "degraded": degraded}
        return (503 if faults else 200), _JSON, orjson.dumps(document)
    return 404, _JSON, orjson.dumps({"error": {"code": "not_found", "message": "Try /livez", "details": {}}})
