"""Case 2: the relay is killed between putting rows into Redis and marking them. Case 13: commits out of order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from uuid import UUID

from services.kernel.database import Database
from tests.faults.conftest import OpenDriver, Trials
from tests.support.courses import add_course
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, come_to_rest, judge
from tests.support.stack import Process, Stack
from tests.support.waiting import eventually

POINT = "relay.after_enqueue"
TAKE_OVER_SECONDS = 5.0
"""R3, killed leader, election by PostgreSQL."""
HAND_OVER_SECONDS = 3.0
"""R3, leader asked to stop."""
WITHOUT_WAKE_UP_SECONDS = 2.0
"""GAP20: rows that nobody announced leave within this time."""


async def test_rows_are_sent_once_when_the_relay_dies_before_it_marks_them(
    stack: Stack, db: Database, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """The next relay sends the unmarked rows again; Redis refuses what it has, and each effect is there once."""
    rounds = trials(2, full=100)
    api, _ = await stack.start_all("api", "stage_worker")
    driver = drive(api)
    for _ in range(rounds):
        relay = await stack.start("outbox_relay", faults=f"{POINT}=kill@1")
        await driver.load([driver.order() for _ in range(3)], per_second=100)
        assert await relay.ended(within=30) == -signal.SIGKILL
        assert await _unmarked(db) > 0
        successor = await stack.start("outbox_relay")
        await come_to_rest(db)
        assert await _unmarked(db) == 0
        assert await successor.stopped() == 0

    verdict = await judge(db, journal, stack, {f"{POINT} kill": rounds})

    assert_passed(verdict, stack)
    assert verdict.acked == 3 * rounds


async def test_a_standby_takes_over_from_a_killed_leader(
    stack: Stack, db: Database, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Two relays: within 5 s of the leader's death its rows are marked by the other; asked to stop, within 3 s."""
    rounds = trials(1, full=100)
    api, _, leader = await stack.start_all("api", "stage_worker", "outbox_relay")
    driver = drive(api)
    gaps: list[float] = []
    for _ in range(rounds):
        doomed = await _succeed(stack, db, leader, faults=f"{POINT}=kill@1")
        leader = await stack.start("outbox_relay")
        ended, _ = await asyncio.gather(
            doomed.ended(within=30), driver.load([driver.order() for _ in range(3)], per_second=100)
        )
        died = time.monotonic()
        assert ended == -signal.SIGKILL
        await eventually(partial(_leads, db, leader), within=30)
        gaps.append(time.monotonic() - died)
        await come_to_rest(db)

    verdict = await judge(db, journal, stack, {f"{POINT} kill": rounds})
    print(f"take-over of {rounds} killed leaders: longest {max(gaps):.2f} s")

    assert_passed(verdict, stack)
    assert await _unmarked(db) == 0
    assert max(gaps) <= TAKE_OVER_SECONDS


async def _succeed(stack: Stack, db: Database, leader: Process, *, faults: str) -> Process:
    """Let a relay with faults become the leader by stopping the present one; it is told from others by its pid."""
    heir = await stack.start("outbox_relay", faults=faults)
    asked = time.monotonic()
    leader.terminate()
    await eventually(partial(_leads, db, heir), within=30)
    assert time.monotonic() - asked <= HAND_OVER_SECONDS
    assert await leader.ended() == 0
    return heir


async def test_a_late_commit_is_not_skipped(stack: Stack, db: Database, trials: Trials) -> None:
    """A transaction with the lowest position stays open while 1,000 others commit and are sent; then it is sent too."""
    hold_seconds = float(trials(1, full=10))
    course_id = await add_course(db)
    await stack.start("outbox_relay", env={"RELAY_HIGH_WATER": "0"})
    async with db.transaction() as late:
        first = await late.fetchval(_INSERT, course_id)
        await db.execute(f"{_MANY} generate_series(1, 1000)", course_id)
        await eventually(lambda: _sent(db, course_id, 1000), within=30)
        await asyncio.sleep(hold_seconds)
        await db.execute(f"{_MANY} generate_series(1, 1)", course_id)
        await eventually(lambda: _sent(db, course_id, 1001), within=10)
    committed = time.monotonic()
    await eventually(lambda: _sent(db, course_id, 1002), within=30)
    waited = time.monotonic() - committed
    lowest = await db.fetchval("SELECT outbox_id FROM job_outbox ORDER BY position LIMIT 1")

    assert lowest == first
    assert waited <= WITHOUT_WAKE_UP_SECONDS + 1


_INSERT = "INSERT INTO job_outbox (entity_id, queue_name) VALUES ($1, 'test-late') RETURNING outbox_id"
_MANY = "INSERT INTO job_outbox (entity_id, queue_name) SELECT $1, 'test-late' FROM"


async def _sent(db: Database, course_id: UUID, count: int) -> bool:
    sent = await db.fetchval(
        "SELECT count(*) FROM job_outbox WHERE entity_id = $1 AND processed_at IS NOT NULL", course_id
    )
    return bool(sent == count)


async def _unmarked(db: Database) -> int:
    return int(await db.fetchval("SELECT count(*) FROM job_outbox WHERE processed_at IS NULL"))


async def _leads(db: Database, relay: Process) -> bool:
    holder = await db.fetchval("SELECT holder FROM relay_leadership")
    return bool(holder) and holder == f"{os.uname().nodename}:{relay.pid}"
