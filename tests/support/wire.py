"""A wire to a server that can be cut off without either end noticing: bytes are swallowed, connections stay.

That is what a lost route or a dropped firewall rule looks like; a stopped server, which refuses connections, is not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit


class Wire:
    """Forwards connections to one server."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._gate = _opened()
        self._mark = b""
        self._late: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallowed = 0
        """Bytes that did not arrive, or arrived late."""
        self.port = 0

    def break_off(self) -> None:
        """From now on nothing arrives at either end."""
        self._gate = asyncio.Event()

    def break_off_at(self, mark: bytes) -> None:
        """Break off as soon as `mark` is about to pass; it does not arrive either."""
        self._mark = mark

    def mend(self) -> None:
        """What was held up arrives, as after a route has come back; so does what comes from now on."""
        self._gate.set()

    def mend_for_others(self) -> None:
        """What comes from now on arrives; what was held up does not, until `deliver`."""
        self._late.append(self._gate)
        self._gate = _opened()

    def deliver(self) -> None:
        """What was held up arrives now, though nobody may wait for it any more."""
        while self._late:
            self._late.pop().set()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._gate.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # either end has gone
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """End every connection."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self._mark and self._mark in data:
                    self._mark = b""
                    self.break_off()
                gate = self._gate
                if not gate.is_set():
                    self.swallowed += len(data)
                    await gate.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def _opened() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@contextlib.asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the server of a connection string, and the string that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    wire = Wire(parts.hostname, parts.port)
    server = await asyncio.start_server(wire.forward, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    login = parts.netloc.rpartition("@")[0]
    user = f"{login}@" if login else ""
    try:
        yield wire, urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{wire.port}"))
    finally:
        server.close()
        await wire.close()
