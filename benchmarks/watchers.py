"""Live streams: how soon a thousand readers hear of a change, and what they cost the api and PostgreSQL.

Every 50 ms one of the watched courses makes a move, announced as a worker announces it. A reader's latency is the time from
the beginning of the transaction that moved the course to the arrival of its message; all readers live in this process, whose
own share of it is in the figures.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, cast
from uuid import UUID

import httpx

from benchmarks.support import usage
from benchmarks.support.cases import Options, main
from benchmarks.support.courses import Courses, course_id
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.samples import Latencies
from benchmarks.support.tables import Table, verdict
from services.kernel.database import Connection, connect
from tests.support import tokens
from tests.support.stack import Process
from tests.support.waiting import eventually

TITLE = "A thousand live streams on one api process"
ROUNDS: Final = ((1, 1), (100, 100), (1000, 1), (1000, 100), (1000, 1000), (2000, 1000))
"""Readers, and the courses that they share."""
P95_MS: Final = 1000.0
"""Goal: what happens is seen within a second."""
MOVE_SECONDS: Final = 0.05
_TOLD = re.compile(rb'event: state\ndata: .*?"createdAt":"([^"]+)"')
_LOOKS = r'live_looks_total\{result="done"\}'
_ENVIRONMENT: Final = {"LOG_FORMAT": "json", "LOG_LEVEL": "warning", "MAX_WATCHERS_PER_USER": "2000"}
"""One user is everybody here."""
_OPEN = r"live_watchers"
_MOVE = """
WITH moved AS (UPDATE courses SET title = title WHERE id = $1 RETURNING id)
INSERT INTO fsm_events (entity_id, event_type, new_state, created_by, created_at)
SELECT id, 'STATE_CHANGED', 'pending', 'WORKER', clock_timestamp() FROM moved
"""


class _Reader(asyncio.Protocol):
    """One stream; notes how old each message is when it comes."""

    def __init__(self, course: UUID, token: str) -> None:
        self._request = (
            f"GET /api/courses/{course}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        self.transport: asyncio.Transport | None = None
        self.milliseconds: list[float] = []
        self.is_level = False
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Each piece that the api sends holds whole messages, and is small enough to come as one."""
        now = time.time()
        self.is_level = self.is_level or b"event: progress" in data
        for match in _TOLD.finditer(data):
            told = datetime.fromisoformat(match[1].decode()).timestamp()
            self.milliseconds.append((now - told) * 1000)

    def connection_lost(self, exc: Exception | None) -> None:
        """A stream that ends early is a failure."""
        self.is_lost = True


@dataclass(slots=True)
class _Round:
    readers: list[_Reader]
    seconds: float = 0.0
    moves: int = 0
    looks: float = 0.0
    api_cpu: float = 0.0
    resident: float = 0.0
    expected: int = 0
    milliseconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Scene:
    grounds: Grounds
    api: Process
    courses: Courses
    session: Connection

    async def metric(self, pattern: str) -> float:
        """A number that the api publishes."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://127.0.0.1:{self.api.metrics_port}/metrics")).text
        found = re.search(rf"^{pattern} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def is_quiet(self) -> bool:
        """Whether every stream is closed."""
        return await self.metric(_OPEN) == 0


@asynccontextmanager
async def _open_scene(courses: int) -> AsyncIterator[_Scene]:
    with open_grounds() as grounds:
        prepared = Courses(grounds, courses)
        api = await grounds.stack.start("api", env=_ENVIRONMENT)
        session = await connect(grounds.owner_url)
        yield _Scene(grounds, api, prepared, session)
        await session.close()


async def measure(options: Options) -> Sequence[Table]:
    """Latency of what is told, statements, CPU time and memory, by the number of readers and courses."""
    seconds = options.choose(20, 4)
    table = Table(
        "Live streams of one api process, one course moving every 50 ms",
        (
            "readers / courses",
            "messages",
            "lost",
            "p50 ms",
            "p95 ms",
            "worst ms",
            "goal p95",
            "looks/s",
            "api CPU %",
            "api MB",
        ),
    )
    async with _open_scene(sum(courses for _, courses in ROUNDS)) as scene:
        for readers, courses in ROUNDS:
            table.add(*_row(readers, courses, await _watch(scene, readers, courses, seconds)))
    table.notes.append("looks: statements for all live streams together, as the api counts them; CPU of one core")
    table.notes.append(f"load average afterwards: {load()}")
    return [table]


async def _watch(scene: _Scene, readers: int, courses: int, seconds: float) -> _Round:
    first = scene.courses.take(courses)
    ids = [course_id(first + number) for number in range(courses)]
    token, loop = tokens.mint(), asyncio.get_running_loop()
    held = [_Reader(ids[number % courses], token) for number in range(readers)]
    for reader in held:
        await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", scene.api.port)  # type: ignore[misc]
    await eventually(lambda: all(reader.is_level for reader in held), within=60)
    found = _Round(held)
    looks, cpu = await scene.metric(_LOOKS), usage.cpu_seconds(scene.api.pid)
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        course = ids[found.moves % courses]
        await scene.session.execute(_MOVE, course)
        await scene.session.execute("NOTIFY outbox_wakeup")
        found.expected += (
            sum(1 for number in range(readers) if ids[number % courses] == course) if courses > 1 else readers
        )
        found.moves += 1
        await asyncio.sleep(MOVE_SECONDS)
    found.seconds = time.perf_counter() - began
    found.api_cpu = usage.cpu_seconds(scene.api.pid) - cpu
    found.looks = await scene.metric(_LOOKS) - looks
    await asyncio.sleep(1.0)
    found.resident = usage.resident_megabytes(scene.api.pid)
    found.milliseconds = [each for reader in held for each in reader.milliseconds]
    for reader in held:
        assert reader.transport is not None
        assert not reader.is_lost, "a stream ended"
        reader.transport.close()
    await eventually(scene.is_quiet, within=30)
    return found


def _row(readers: int, courses: int, found: _Round) -> Sequence[object]:
    latencies = Latencies.of(found.milliseconds)
    return (
        f"{readers:,} / {courses:,}",
        f"{latencies.count:,}",
        found.expected - latencies.count,
        *(f"{value:,.0f}" for value in (latencies.p50, latencies.p95, latencies.worst)),
        verdict(latencies.p95, P95_MS, at_least=False),
        f"{found.looks / found.seconds:.1f}",
        f"{100 * found.api_cpu / found.seconds:.0f}",
        f"{found.resident:.0f}",
    )


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
