"""Case 6: every job is delivered at least three times: before, during and after its work, to two workers (R8)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import orjson

from services.cli.stack import ports
from services.kernel.database import Database
from tests.faults.conftest import OpenDriver, Trials
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, come_to_rest, judge
from tests.support.stack import Process, Stack
from tests.support.waiting import eventually

COURSES_A_ROUND = 6
PIPELINE = ("course-generation:analysis", "course-generation:generation")


async def test_three_deliveries_are_one_effect(
    stack: Stack, db: Database, redis: Any, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Twins under the job's own key and under a foreign one, and a third delivery after the end, change nothing."""
    rounds = trials(1, full=20)
    stack.environment["INSTANT_SECONDS"] = "0.3"  # so that twins are at work at the same time
    api, _ = await stack.start_all("api", "outbox_relay")
    driver = drive(api)
    repeated, jobs = 0, 0
    for _ in range(rounds):
        orders = await driver.load([driver.order() for _ in range(COURSES_A_ROUND)], per_second=100)
        courses = [order.course_id for order in orders]
        await eventually(lambda: _waiting(redis, PIPELINE[0], COURSES_A_ROUND), within=30)
        await _double_what_waits(redis, PIPELINE[0])
        workers = await stack.start_all("stage_worker", "stage_worker")
        await come_to_rest(db)
        jobs += await _deliver_again(db, redis, courses)
        await eventually(lambda: _idle(redis), within=60)
        repeated += sum(await asyncio.gather(*(_repetitions(worker) for worker in workers)))
        for worker in workers:
            assert await worker.stopped() == 0

    proof = {"repeated delivery": repeated}
    verdict = await judge(db, journal, stack, {"repeated delivery": 2 * jobs}, also_fired=proof)
    print(f"{jobs} jobs, {repeated} deliveries of a job that had been decided already")

    assert_passed(verdict, stack)
    assert verdict.effects == jobs == 2 * COURSES_A_ROUND * rounds


async def _waiting(redis: Any, queue: str, count: int) -> bool:
    lists = [each async for each in redis.scan_iter(f"saq:{queue}:queued:*")]
    return bool(sum([await redis.llen(each) for each in lists]) == count)


async def _double_what_waits(redis: Any, queue: str) -> None:
    """Put each waiting job into its list once more, and once more under another key of the queue."""
    for name in [each async for each in redis.scan_iter(f"saq:{queue}:queued:*")]:
        for job_id in await redis.lrange(name, 0, -1):
            body = orjson.loads(await redis.get(job_id))
            body["key"] = f"twin-{body['key']}"
            twin = f"saq:job:{queue}:{body['key']}"
            await redis.set(twin, orjson.dumps(body))
            await redis.zadd(f"saq:{queue}:incomplete", {twin: 0})
            await redis.rpush(name, job_id, twin)


async def _deliver_again(db: Database, redis: Any, courses: list[Any]) -> int:
    """Put every job of the courses, done as it is, back into its queue, twice; how many jobs."""
    rows = await db.fetch(
        "SELECT outbox_id, saq_queue, job_body FROM job_outbox WHERE entity_id = ANY ($1::uuid[])", courses
    )
    for row in rows:
        job_id, queue = f"saq:job:{row['saq_queue']}:{row['outbox_id']}", row["saq_queue"]
        await redis.set(job_id, row["job_body"])
        await redis.zadd(f"saq:{queue}:incomplete", {job_id: 0})
        await redis.rpush(f"saq:{queue}:queued:1", job_id, job_id)
    return len(rows)


async def _idle(redis: Any) -> bool:
    names = [f"saq:{queue}:{part}" for queue in PIPELINE for part in ("active", "queued:1", "queued:5", "queued")]
    return not any([await redis.llen(name) for name in names])


async def _repetitions(worker: Process) -> int:
    """How many deliveries this worker found to have been decided before, by its metrics."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{ports.LOOPBACK}:{worker.metrics_port}/metrics")).text
    lines = re.findall(r'^stage_jobs_total\{[^}]*result="(?:repeated|skipped)"[^}]*\} (\S+)$', text, re.MULTILINE)
    return int(sum(map(float, lines)))
