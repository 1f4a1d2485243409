"""From commit to queue: how long a committed row takes until its job is in Redis, at a steady rate.

Writers commit one row a transaction, through the function that the api calls, at 1,000 a second in all, and wake the relay
as the api does. A job's arrival is the message that Redis publishes in the very script that puts the job into its queue.
No worker takes jobs out, so the high-water mark is off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from benchmarks.support import usage
from benchmarks.support.cases import Options, main
from benchmarks.support.grounds import Grounds, open_grounds
from benchmarks.support.machine import load
from benchmarks.support.samples import Latencies
from benchmarks.support.tables import Table, verdict
from services.kernel.database import Database
from services.kernel.redis_connection import open_redis
from services.kernel.settings import CommonSettings, Secret
from services.kernel.wakeup import WakeUp
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

TITLE = "Relay: from commit to queue"
RATE = 1000
"""Commits a second."""
WRITERS = 16
P50_MS, P99_MS = 5.0, 50.0

_COURSES = """
INSERT INTO auth.users (id) VALUES ('00000000-0000-0000-0000-000000000012') ON CONFLICT DO NOTHING;
INSERT INTO courses (id, title, slug, user_id, organization_id, generation_status)
SELECT gen_random_uuid(), 'Course ' || n, 'course-' || gen_random_uuid(), '00000000-0000-0000-0000-000000000012',
       '759ba851-3f16-4294-9627-dc5a0a366c8e', 'pending'
  FROM generate_series(1, {courses}) AS n;
VACUUM ANALYZE;
CHECKPOINT;
"""
_INITIATE = """
SELECT initialize_fsm_with_outbox($1::uuid, '00000000-0000-0000-0000-000000000012', '759ba851-3f16-4294-9627-dc5a0a366c8e',
  'bench:' || $1::uuid::text, 'API_INITIATE', 'stage_4_init',
  '[{"queue": "course-generation", "job_type": "STRUCTURE_ANALYSIS", "data": {"style": "academic"}}]'::jsonb)
"""


class Arrivals:
    """When each job was announced."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    async def listen(self, redis: Redis) -> None:
        """Note arrivals until cancelled."""
        async with redis.pubsub() as channel:
            await channel.subscribe("course-generation:added")
            async for message in channel.listen():
                now = time.perf_counter()
                if message["type"] == "message":
                    for job in orjson.loads(message["data"]):
                        self.at.setdefault(job["courseId"], now)


class Writers:
    """Commit rows at a steady rate and wake the relay after each."""

    def __init__(self, db: Database, courses: Sequence[UUID], rate: int) -> None:
        self._db = db
        self._wake = WakeUp(db)
        self._left = iter(enumerate(courses))
        self._rate = rate
        self._start = 0.0
        self.committed: dict[str, float] = {}

    async def run(self) -> None:
        """Write every course's row."""
        self._start = time.perf_counter()
        await asyncio.gather(*(self._write() for _ in range(WRITERS)))
        await self._wake.drain()

    async def _write(self) -> None:
        for number, course in self._left:
            due = self._start + number / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await self._db.fetchval(_INITIATE, course)
            self.committed[str(course)] = time.perf_counter()
            self._wake.notify()


async def _measure(grounds: Grounds, rate: int, seconds: int) -> dict[str, Any]:
    grounds.sql(_COURSES.format(courses=rate * seconds))
    settings = CommonSettings(database_url=Secret(grounds.owner_url), pool_max_size=WRITERS + 2)
    db = await Database.open(settings)
    redis = open_redis(Secret(grounds.redis_url), name="benchmark", socket_timeout=None)
    relay = await grounds.stack.start("outbox_relay", env={"RELAY_HIGH_WATER": "0"})
    courses = [row["id"] for row in await db.fetch("SELECT id FROM courses WHERE generation_status = 'pending'")]
    arrivals, writers = Arrivals(), Writers(db, courses, rate)
    listening = asyncio.create_task(arrivals.listen(redis))
    try:
        await asyncio.sleep(2)
        before, start = usage.cpu_seconds(relay.pid), time.perf_counter()
        await writers.run()
        took = time.perf_counter() - start
        await eventually(lambda: len(arrivals.at) >= len(courses), within=30)
        cpu = usage.cpu_seconds(relay.pid) - before
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await redis.aclose()
        await db.close()
        await relay.stopped()
    spans = [max(0.0, arrivals.at[name] - at) * 1000 for name, at in writers.committed.items()]
    return {
        "rate": len(courses) / took,
        "latencies": Latencies.of(spans),
        "cpu": cpu / took,
    }


async def measure(options: Options) -> Sequence[Table]:
    """At 1,000 commits a second, and at one every 20 ms for an idle relay."""
    table = Table(TITLE, ["commits/s", "rows", "p50 ms", "goal", "", "p99 ms", "goal", "", "worst ms", "relay's CPU"])
    with open_grounds() as grounds:
        for rate, seconds in ((50, options.choose(10, 5)), (RATE, options.choose(30, 10))):
            found = await _measure(grounds, rate, seconds)
            spans = found["latencies"]
            table.add(
                f"{found['rate']:,.0f}", f"{spans.count:,}",
                f"{spans.p50:.1f}", f"≤ {P50_MS:g}", verdict(spans.p50, P50_MS, at_least=False),
                f"{spans.p99:.1f}", f"≤ {P99_MS:g}", verdict(spans.p99, P99_MS, at_least=False),
                f"{spans.worst:.1f}", f"{found['cpu']:.0%} of a core",
            )  # fmt: skip
    table.notes.append("from the return of COMMIT in the writing process to the message on the queue's channel")
    table.notes.append(
        f"writers, relay, PostgreSQL (fsync on) and Redis on one machine; load average at the end {load()}"
    )
    return [table]


if __name__ == "__main__":
    raise SystemExit(main(measure, TITLE))
