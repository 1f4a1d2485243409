"""Messages posted at a steady rate, whatever the answers do: raw keep-alive connections, in a process of its own.

A post has its time beforehand, and its latency counts from that time: one that has to wait for a free connection waits in the
figure, too. `python -m benchmarks.support.message_load` reads a `Plan` from its standard input and writes a `Result` to its
standard output; `post` does that from a benchmark.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import cast

import msgspec

from benchmarks.support.generator import carry_out_beside, cpu_seconds, is_whole, main

_TICK_SECONDS = 0.002


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to post."""

    port: int
    run: str
    """Part of every `clientMessageId`, so that no run repeats another's messages."""
    per_second: float
    seconds: float
    connections: int = 64
    conversations: int = 1000
    content: int = 200
    """Bytes of each content."""

    @property
    def posts(self) -> int:
        """In all."""
        return round(self.per_second * self.seconds)


class Result(msgspec.Struct, kw_only=True):
    """What came of it."""

    seconds: float
    """From the first post's time to the last answer."""
    cpu_seconds: float
    """Of the load generator itself."""
    statuses: dict[int, int]
    milliseconds: list[float]

    @property
    def per_second(self) -> float:
        """Posts answered in a second."""
        return len(self.milliseconds) / self.seconds


async def post(plan: Plan) -> Result:
    """Carry a plan out in a process of its own."""
    return await carry_out_beside("benchmarks.support.message_load", plan, Result)


class _Poster:
    """All connections, and the posts whose time has come before one was free."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._free: deque[_Connection] = deque()
        self._due: deque[tuple[float, int]] = deque()
        self._body = "x" * plan.content
        self.statuses: Counter[int] = Counter()
        self.milliseconds: list[float] = []
        self.finished = asyncio.get_running_loop().create_future()

    async def carry_out(self) -> Result:
        """Post everything; done with the last answer."""
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._plan.port)
        cpu, began, number = cpu_seconds(), time.perf_counter(), 0
        while number < self._plan.posts:
            now = time.perf_counter()
            while number < self._plan.posts and (at := began + number / self._plan.per_second) <= now:
                self._due.append((at, number))
                number += 1
            self._send()
            await asyncio.sleep(_TICK_SECONDS)
        await self.finished
        return Result(
            seconds=time.perf_counter() - began,
            cpu_seconds=cpu_seconds() - cpu,
            statuses=dict(self.statuses),
            milliseconds=self.milliseconds,
        )

    def freed(self, connection: _Connection) -> None:
        """A connection has nothing under way (any more)."""
        self._free.append(connection)
        self._send()

    def answered(self, status: int, at: float) -> None:
        """One post is through."""
        self.statuses[status] += 1
        self.milliseconds.append((time.perf_counter() - at) * 1000)
        if len(self.milliseconds) == self._plan.posts:
            self.finished.set_result(None)

    def _send(self) -> None:
        while self._due and self._free:
            at, number = self._due.popleft()
            self._free.popleft().send(at, self._request(number))

    def _request(self, number: int) -> bytes:
        body = (
            f'{{"conversationId":"talk-{number % self._plan.conversations}","senderId":"user-{number % 97}",'
            f'"content":"{self._body}","contentType":"text","clientMessageId":"{self._plan.run}-{number}","recipientIds":["bob"]}}'
        )
        head = "POST /api/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
        return f"{head}{len(body)}\r\n\r\n{body}".encode()


class _Connection(asyncio.Protocol):
    """One post at a time."""

    def __init__(self, poster: _Poster) -> None:
        self._poster = poster
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poster.freed(self)

    def send(self, at: float, request: bytes) -> None:
        """Post what was due `at` a time."""
        assert self._transport is not None
        self._at = at
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not is_whole(self._received):
            return
        self._poster.answered(int(self._received[9:12]), self._at)
        self._received = b""
        self._poster.freed(self)


async def _carry_out(plan: Plan) -> Result:
    return await _Poster(plan).carry_out()


if __name__ == "__main__":
    raise SystemExit(main(Plan, _carry_out))
