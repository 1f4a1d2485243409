"""A cheap HTTP client under load: raw keep-alive connections, requests made before the clock starts, in its own process.

`python -m benchmarks.support.http_load` reads a `Plan` from its standard input and writes a `Result` to its standard output;
`fire` does that from a benchmark. It takes some 30 µs of CPU a request, reported with the result: on a machine with few
cores that is time the server does not get.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import cast

import msgspec

from benchmarks.support.courses import course_id
from benchmarks.support.generator import carry_out_beside, cpu_seconds, is_whole, main


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send."""

    port: int
    token: str
    connections: int
    """That send requests one after the other."""
    requests: int
    """In all: each initiates a course of its own."""
    first: int
    """The number of the first course."""
    idle: int = 0
    """Further connections that ask once for the token's courses at the beginning and once at the end."""


class Result(msgspec.Struct, kw_only=True):
    """What came of it."""

    seconds: float
    cpu_seconds: float
    """Of the load generator itself."""
    statuses: dict[int, int]
    milliseconds: list[float]
    idle_statuses: dict[int, int]
    """Of the idle connections' second requests."""
    idle_milliseconds: list[float]

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return len(self.milliseconds) / self.seconds


async def fire(plan: Plan) -> Result:
    """Carry a plan out in a process of its own."""
    return await carry_out_beside("benchmarks.support.http_load", plan, Result)


class _Client(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last is whole."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._sent_at = 0.0
        self.milliseconds: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self, requests: Iterator[bytes] | None = None) -> asyncio.Future[None]:
        """Send requests until there are no more; done when the last is answered."""
        self._requests = requests or self._requests
        self.finished = asyncio.get_running_loop().create_future()
        self._next()
        return self.finished

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not is_whole(self._received):
            return
        self.milliseconds.append((time.perf_counter() - self._sent_at) * 1000)
        self.statuses[int(self._received[9:12])] += 1
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.statuses[0] += 1
            self.finished.set_result(None)

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None or self._transport is None or self._transport.is_closing():
            if request is not None:
                self.statuses[0] += 1
            self.finished.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


def _requests(plan: Plan) -> deque[bytes]:
    return deque(_initiation(plan, number) for number in range(plan.first, plan.first + plan.requests))


def _initiation(plan: Plan, number: int) -> bytes:
    body = b'{"courseId":"%s","hasFiles":false}' % str(course_id(number)).encode()
    return (
        b"POST /api/trpc/generation.initiate HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %s\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    ) % (plan.token.encode(), len(body), body)


def _listing(plan: Plan) -> bytes:
    head = "GET /api/courses?limit=1 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\r\n"
    return head.format(plan.token).encode()


def _draining(queue: deque[bytes]) -> Iterator[bytes]:
    while queue:
        yield queue.popleft()


async def _open(plan: Plan, count: int, requests: Iterator[bytes]) -> list[_Client]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(lambda: _Client(requests), "127.0.0.1", plan.port))[1] for _ in range(count)]


async def _carry_out(plan: Plan) -> Result:
    queue = _requests(plan)
    idle = await _open(plan, plan.idle, iter(()))
    for client in idle:
        await client.begin(iter([_listing(plan)]))
    active = await _open(plan, plan.connections, _draining(queue))
    cpu, started = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(client.begin() for client in active))
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    for client in idle:
        client.milliseconds.clear()
        client.statuses.clear()
        await client.begin(iter([_listing(plan)]))
    return Result(
        seconds=seconds,
        cpu_seconds=cpu,
        statuses=_added(active),
        milliseconds=[value for client in active for value in client.milliseconds],
        idle_statuses=_added(idle),
        idle_milliseconds=[value for client in idle for value in client.milliseconds],
    )


def _added(clients: list[_Client]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for client in clients:
        total += client.statuses
    return dict(total)


if __name__ == "__main__":
    raise SystemExit(main(Plan, _carry_out))
