"""A receiver of webhooks: a real server on the loopback that keeps what it gets, byte for byte, and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from cryptography.fernet import Fernet
from standardwebhooks.webhooks import Webhook

WEBHOOK_KEY: Final = Fernet.generate_key().decode()

LOCAL_RECEIVERS: Final = {
    "WEBHOOK_ENCRYPTION_KEYS": WEBHOOK_KEY,
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
}
"""The settings with which api and workers speak to a receiver of the tests."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        """By which a receiver knows a repetition."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The body, read."""
        found: dict[str, Any] = orjson.loads(self.body)
        return found

    def verify(self, secret: str) -> Any:
        """What the standard's own package says to it.

        Raises:
            WebhookVerificationError: it does not verify.
        """
        return Webhook(secret).verify(self.body, dict(self.headers))


def answer(status: int = 204, *, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if status not in {204, 304}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Receiver:
    """What came, and what is answered."""

    port: int = 0
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    replies: list[bytes] = field(default_factory=list)
    """Answers to the first requests, in order; afterwards `usual`."""
    usual: bytes = answer()
    behave: Callable[[asyncio.StreamWriter], Any] | None = None
    """Instead of an answer: does with the connection what it likes."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}/hooks?key=v"

    def by_id(self) -> dict[str, list[Received]]:
        """What came, by `webhook-id`."""
        found: dict[str, list[Received]] = {}
        for each in self.received:
            found.setdefault(each.webhook_id, []).append(each)
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            try:
                self.received.append(await _read(reader))
                if self.behave is not None:
                    await self.behave(writer)
                else:
                    writer.write(self.replies.pop(0) if self.replies else self.usual)
                    await writer.drain()
            finally:
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


@contextlib.asynccontextmanager
async def open_receiver(context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver that listens while the block runs, with TLS if given a context."""
    receiver = Receiver(scheme="http" if context is None else "https")
    busy: set[asyncio.Task[None]] = set()

    def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(receiver.serve(reader, writer))
        busy.add(task)
        task.add_done_callback(busy.discard)

    server = await asyncio.start_server(welcome, "127.0.0.1", port, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
