"""The check of a limit: a slot asked for and given back in Redis, with few and with many courses in generation.

What is measured is what a request waits: from the call in the api's process to the decision, over a socket. Beside it the
count in PostgreSQL that stands in while Redis is away, and how long a rebuild of all counters takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from benchmarks.support.cases import Options, main
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.samples import Latencies, median
from benchmarks.support.tables import Table, verdict
from services.kernel.concurrency import MOST, Book, Claim, Decision, Slots
from services.kernel.database import Database
from services.kernel.redis_connection import open_redis
from services.kernel.settings import CommonSettings, Secret

TITLE = "The check of a limit: a slot taken and given back"
GOAL_MS = 1.0
"""Contract (e): less than a millisecond, at p95 with one caller."""
HELD = (0, 100, MOST - 100)
"""Courses that hold a slot while more are asked for."""
CALLERS = (1, 32)

_FILL = """
INSERT INTO auth.users (id) SELECT gen_random_uuid() FROM generate_series(1, 1000);
INSERT INTO courses (title, slug, user_id, organization_id, generation_status)
SELECT 'Course ' || n, 'running-' || n, (SELECT id FROM auth.users OFFSET n % 1000 LIMIT 1), gen_random_uuid(), 'stage_4_init'
  FROM generate_series(1, {count}) AS n;
ANALYZE courses;
"""
_COUNT = "SELECT concurrency_refusal($1::uuid, $2::jsonb)"


@dataclass(frozen=True, slots=True)
class _Scene:
    grounds: Grounds
    db: Database
    redis: Any
    slots: Slots
    book: Book

    async def hold(self, count: int) -> None:
        """So many courses run, and hold a slot each."""
        self.grounds.free_slots()
        self.grounds.sql("DELETE FROM courses;" + _FILL.format(count=count))
        await self.book.rebuild()


@asynccontextmanager
async def _open_scene() -> AsyncIterator[_Scene]:
    with open_grounds() as grounds:
        settings = CommonSettings(database_url=Secret(grounds.app_url), redis_url=Secret(grounds.redis_url))
        db = await Database.open(settings, application="benchmark")
        redis = open_redis(settings.redis_url, name="benchmark", max_connections=16)
        yield _Scene(grounds, db, redis, Slots(redis, wait_seconds=5), Book(db, redis))
        await redis.aclose()
        await db.close()


async def measure(options: Options) -> Sequence[Table]:
    """Latency of the check by the slots in use and the callers, and of what stands in for it or mends it."""
    calls = options.choose(5000, 1000)
    checks = Table(
        "The check: reserve in Redis, ms", ("slots in use", "callers", "calls", "p50", "p95", "p99", "goal of p95", "")
    )
    others = Table("What stands in, and what mends, ms", ("courses running", "count in PostgreSQL", "rebuild"))
    async with _open_scene() as scene:
        await scene.hold(0)
        await _check(scene.slots, 1, 200)  # scripts, connections
        for held in HELD:
            await scene.hold(held)
            for callers in CALLERS:
                found = Latencies.of(await _check(scene.slots, callers, calls))
                numbers = (f"{value:.3f}" for value in (found.p50, found.p95, found.p99))
                judged = (f"< {GOAL_MS:g}", verdict(found.p95, GOAL_MS, at_least=False)) if callers == 1 else ("–", "")
                checks.add(f"{held:,}", callers, found.count, *numbers, *judged)
            others.add(f"{held:,}", f"{await _count(scene):.2f}", f"{await _rebuild(scene):.1f}")
    checks.notes.append("every slot is given back before the caller asks for the next; the global limit is 10,000")
    checks.notes.append("callers at the same moment share a script, and wait for the one under way")
    checks.notes.append(f"load average afterwards: {load()}")
    return [checks, others]


async def _check(slots: Slots, callers: int, calls: int) -> list[float]:
    milliseconds: list[float] = []
    left = iter(range(calls))

    async def caller() -> None:
        user = uuid4()
        for _ in left:
            claim = Claim(UUID(int=uuid4().int), user, 1, MOST, "benchmark")
            begun = time.perf_counter()
            decided = await slots.reserve(claim, MOST)
            milliseconds.append((time.perf_counter() - begun) * 1000)
            assert decided.decision is Decision.TAKEN
            assert await slots.release(claim.course_id, 1)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return milliseconds


async def _count(scene: _Scene) -> float:
    limits = {"user": MOST, "global": MOST}
    return await _typical(lambda: scene.db.fetchval(_COUNT, uuid4(), limits))


async def _rebuild(scene: _Scene) -> float:
    return await _typical(scene.book.rebuild)


async def _typical(work: Any) -> float:
    milliseconds = []
    for _ in range(9):
        begun = time.perf_counter()
        await work()
        milliseconds.append((time.perf_counter() - begun) * 1000)
    return median(milliseconds)


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
