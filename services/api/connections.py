"""Connections with deadlines: uvicorn's HTTP protocol, which by itself waits for ever (reliability.md M8, S7).

Promises: a client that is silent, drips its headers, promises a body it does not send, uploads slower than the least rate
or does not read its answer is cut off in time; what it is told, if anything can be told, has the shape of every other error.
One sweep a second looks at all connections, so that a request costs no timers.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api import problems
from services.kernel import metrics
from services.kernel.ids import new_request_id
from services.kernel.logs import get_logger
from services.kernel.pauses import pause

SWEEP_SECONDS: Final = 1.0
"""Time between two looks at all connections."""

_RATE_WINDOW_SECONDS = 10.0
_UPLOAD_PATH = re.compile(r"/api/courses/[^/]+/documents/?")
_NEVER = math.inf
_log = get_logger(__name__)

_CONNECTIONS = metrics.gauge("http_connections", "Open connections")
_CUT = metrics.counter("http_connections_cut", "Connections ended because the client was late", ["owed"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a client may take, in seconds, and how much it may send."""

    header_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 30.0
    upload_bytes_per_second: int = 10_000
    largest_head_bytes: int = 2 * 1024 * 1024
    """Request line and headers together. Above a megabyte, so that a giant token is told 401 and not cut off."""
    most_connections: int = 4096


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, keeping a deadline for whatever the client owes next."""

    def __init__(self, *args: Any, patience: Patience, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._owed_by = _NEVER
        self._read_by = _NEVER
        self._head_bytes = 0
        self._in_head = True
        self._window: tuple[float, int] | None = None
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._owed_by = self.loop.time() + self._patience.header_seconds
        if len(self.connections) > self._patience.most_connections:
            self._refuse(503, "overloaded", "Too many connections; try again in a moment.")

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the head has grown beyond all reason."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._patience.largest_head_bytes:
                self._refuse(431, "headers_too_large", "The request's headers are too large.")
                return
        self._received += len(data)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the shape of every other error."""
        del msg
        self._refuse(400, "invalid_request", "This is not a valid HTTP request.")

    def on_message_begin(self) -> None:
        """The first byte of a request: its head is due."""
        super().on_message_begin()
        self._in_head = True
        self._owed_by = min(self._owed_by, self.loop.time() + self._patience.header_seconds)

    def on_headers_complete(self) -> None:
        """The head is whole: the body is due."""
        self._in_head = False
        self._head_bytes = 0
        super().on_headers_complete()
        now = self.loop.time()
        if self.scope["method"] == "POST" and _UPLOAD_PATH.fullmatch(self.scope["path"]):
            self._owed_by = _NEVER
            self._window = (now, self._received)
        else:
            self._owed_by = now + self._patience.body_seconds

    def on_message_complete(self) -> None:
        """The request is whole: nothing is due until the next one begins."""
        super().on_message_complete()
        self._owed_by = _NEVER
        self._window = None

    def pause_writing(self) -> None:
        """The client does not read: it has some time to begin."""
        super().pause_writing()
        self._read_by = self.loop.time() + self._patience.answer_seconds

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._read_by = _NEVER

    def enforce(self, now: float) -> None:
        """Cut the client off when it is late."""
        if now > self._read_by:
            _CUT.labels("reading").inc()
            self.transport.abort()
        elif now > self._owed_by or self._is_too_slow(now):
            _CUT.labels("head" if self._in_head else "body").inc()
            self._owed_by, self._window = _NEVER, None
            self._refuse(408, "request_timeout", "The request did not arrive in time; send it again.")

    def abandon_stream(self) -> None:
        """Cut off the reader of a stream that has ended who does not read: the process that ends cannot wait for him."""
        is_stream = self.cycle is not None and self.cycle.chunked_encoding  # every other answer tells its length
        if is_stream and self.transport.get_write_buffer_size():
            _CUT.labels("reading").inc()
            self.transport.abort()

    def _is_too_slow(self, now: float) -> bool:
        if self._window is None:
            return False
        since, received = self._window
        if self.flow.read_paused:
            self._window = (now, self._received)  # we are the slow ones
            return False
        if now - since < _RATE_WINDOW_SECONDS:
            return False
        self._window = (now, self._received)
        return (self._received - received) < self._patience.upload_bytes_per_second * (now - since)

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = problems.body(code, message, {})
            request_id = new_request_id()
            _log.info("connection refused", requestId=request_id, code=code, status=status, reason=message)
            head = (
                f"HTTP/1.1 {status} {code}\r\ncontent-type: application/json\r\nx-request-id: {request_id}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def protocol_factory(patience: Patience) -> Callable[..., PatientProtocol]:
    """What uvicorn calls for each new connection."""

    def build(*args: Any, **kwargs: Any) -> PatientProtocol:
        return PatientProtocol(*args, patience=patience, **kwargs)

    return build


async def sweep(connections: Callable[[], Iterable[Any]], stopping: asyncio.Event) -> None:
    """Cut off late clients until `stopping` is set."""
    loop = asyncio.get_running_loop()
    while not stopping.is_set():
        now = loop.time()
        held = list(connections())
        _CONNECTIONS.set(len(held))
        for connection in held:
            if isinstance(connection, PatientProtocol):
                connection.enforce(now)
        await pause(stopping, SWEEP_SECONDS)
