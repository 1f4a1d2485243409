"""Case 1: a stage worker is killed before, inside and after the commit of an effect, always before the queue hears of it.

Its work runs again within 30 s (R2), and the effect is there once.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any
from uuid import UUID

from services.kernel.database import Database
from tests.faults.conftest import OpenDriver, Trials
from tests.support import plugin
from tests.support.courses import add_course, add_documents
from tests.support.driver import Journal, Order
from tests.support.evidence import assert_passed, come_to_rest, judge
from tests.support.pipeline import DOCUMENTS
from tests.support.stack import Process, Stack
from tests.support.waiting import eventually

POINTS = ("worker.before_commit", "worker.inside_transaction", "worker.after_commit")
COURSES_A_ROUND = 6
RESTART_SECONDS = 30.0
"""R2: the longest time until the work of a killed worker runs again."""


async def test_an_effect_happens_once_whenever_its_worker_dies(
    stack: Stack, db: Database, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Three workers die at the three points with work in hand; a fourth finishes everything."""
    rounds = trials(1, full=50)
    kills = 1 if rounds == 1 else 2
    api, _ = await stack.start_all("api", "outbox_relay")
    driver = drive(api)
    for _ in range(rounds):
        doomed = [_doomed(stack, point) for point in POINTS * kills]
        await asyncio.gather(*(each.ready() for each in doomed))
        orders = [driver.order() for _ in range(kills * COURSES_A_ROUND - 2)]
        orders += [await _order_with_documents(db) for _ in range(2)]
        await driver.load(orders, per_second=100)
        for each in doomed:
            assert await each.ended(within=60) == -signal.SIGKILL
        rescuer = await stack.start("stage_worker")
        await come_to_rest(db)
        assert await rescuer.stopped() == 0

    verdict = await judge(db, journal, stack, {f"{point} kill": kills * rounds for point in POINTS})

    assert_passed(verdict, stack)
    assert verdict.acked == kills * COURSES_A_ROUND * rounds
    assert await _states(db) == {"completed": kills * COURSES_A_ROUND * rounds}


async def test_orphans_run_again_within_30_seconds(stack: Stack, db: Database, redis: Any) -> None:
    """R2 for 1 orphan and for 100: a live worker takes over what two killed ones had in hand, all of it in one go."""
    groups = dict(zip(plugin.SLOW_QUEUES, (1, 100), strict=True))
    courses = {queue: await _slow_rows(db, queue, count) for queue, count in groups.items()}
    relay = stack.spawn("outbox_relay")
    doomed = [stack.spawn("stage_worker", env=_slow(queue, seconds=3600)) for queue in groups]
    await asyncio.gather(relay.ready(), *(each.ready() for each in doomed))
    await eventually(lambda: _all_in_hand(redis, groups), within=30)
    await stack.start("stage_worker", env=_slow(",".join(groups), seconds=0))
    killed_at = await db.fetchval("SELECT clock_timestamp()")
    for each in doomed:
        each.kill()
    await eventually(lambda: _done(db, sum(groups.values())), within=RESTART_SECONDS + 30)

    for queue, orphans in groups.items():
        applied = await db.fetch("SELECT applied_at FROM effect_ledger WHERE course_id = $1", courses[queue])
        waits = sorted((row["applied_at"] - killed_at).total_seconds() for row in applied)
        print(f"{queue}: {len(waits)} orphans, median {waits[len(waits) // 2]:.1f} s, last {waits[-1]:.1f} s")
        assert len(waits) == orphans
        assert 0 < waits[-1] <= RESTART_SECONDS


def _doomed(stack: Stack, point: str) -> Process:
    """A worker that dies at `point`. It has one job of each queue in hand, so that there are jobs for all that must die."""
    return stack.spawn("stage_worker", faults=f"{point}=kill@1", env={"STAGE_WORKER_CONCURRENCY": "1"})


async def _order_with_documents(db: Database) -> Order:
    """A course whose three documents are read at the same time and joined."""
    course_id = await add_course(db)
    await add_documents(db, course_id, DOCUMENTS[:3])
    return Order(course_id, key=f"documents-{course_id}", title=None)


def _slow(queues: str, *, seconds: int) -> dict[str, str]:
    return {"STAGE_WORKER_QUEUES": queues, "STAGE_WORKER_CONCURRENCY": "128", "SLOW_SECONDS": str(seconds)}


async def _slow_rows(db: Database, queue: str, count: int) -> UUID:
    course_id = await add_course(db)
    await db.execute(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type) SELECT $1, $2, $3 FROM generate_series(1, $4)",
        course_id, queue, plugin.SLOW, count,
    )  # fmt: skip
    return course_id


async def _all_in_hand(redis: Any, groups: dict[str, int]) -> bool:
    return {queue: await redis.llen(f"saq:{queue}:active") for queue in groups} == groups


async def _done(db: Database, count: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM effect_ledger") == count)


async def _states(db: Database) -> dict[str, int]:
    rows = await db.fetch("SELECT generation_status::text AS state, count(*) AS courses FROM courses GROUP BY 1")
    return {row["state"]: row["courses"] for row in rows}
