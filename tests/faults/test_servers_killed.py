"""Cases 4 and 5, in small: Redis and PostgreSQL themselves are killed under load and come back (R1, R5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret
from tests.faults.conftest import OpenDriver, Trials
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, judge
from tests.support.servers import PrivatePostgres, PrivateRedis
from tests.support.stack import Stack

PER_SECOND = 6
THERE_SECONDS = 2.0
AWAY_SECONDS = 1.0
GAP_ANSWERS = {500, 503}
"""R5: what a client may be told while PostgreSQL is away."""


@pytest.fixture
def stack(fragile_stack: Stack) -> Stack:
    """Processes on servers that this test may kill."""
    fragile_stack.environment |= {
        "INSTANT_SECONDS": "0.2",  # so that there is always something in hand
        "RELAY_RECONCILE_SECONDS": "1",
        "STAGE_WORKER_CONCURRENCY": "16",  # what gathers while a server is away must be gone a minute after it is back
    }
    return fragile_stack


@pytest.fixture
async def db(private_database_url: str) -> AsyncIterator[Database]:
    """The same database, as its owner."""
    database = await Database.open(CommonSettings(database_url=Secret(private_database_url)))
    yield database
    await database.close()


async def _under_load(
    stack: Stack, drive: OpenDriver, times: int, kill: Callable[[], None], start: Callable[[], None]
) -> int:
    """Kill a server again and again while clients ask and, if need be, ask again; how many were asked for."""
    api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
    driver = drive(api)
    orders = [driver.order() for _ in range(int(PER_SECOND * times * (THERE_SECONDS + AWAY_SECONDS)))]

    async def spoil() -> None:
        for _ in range(times):
            await asyncio.sleep(THERE_SECONDS)
            await asyncio.to_thread(kill)
            await asyncio.sleep(AWAY_SECONDS)
            await asyncio.to_thread(start)

    await asyncio.gather(driver.load(orders, per_second=PER_SECOND), spoil())
    return len(orders)


async def test_redis_killed_with_its_data_turns_no_client_away(
    stack: Stack, db: Database, private_redis: PrivateRedis, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Every request is accepted at the first try, with Redis there, gone, or back and empty; each is done once."""
    times, deaths = trials(2, full=50), []

    def kill() -> None:
        deaths.append(private_redis.pid)
        private_redis.kill(with_its_data=True)

    asked = await _under_load(stack, drive, times, kill, private_redis.start)
    verdict = await judge(db, journal, stack, {"redis killed": times}, also_fired={"redis killed": len(set(deaths))})

    assert_passed(verdict, stack)
    assert journal.failures == []
    assert verdict.acked == asked
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE retry_count > 0") == 0


async def test_postgresql_killed_loses_nothing_it_has_acknowledged(
    stack: Stack, db: Database, private_postgres: PrivatePostgres, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Immediate stops during open transactions: answers in the gap are 500 or 503; no acked write is missing."""
    times, deaths = trials(2, full=50), []

    def kill() -> None:
        deaths.append(private_postgres.pid)
        private_postgres.kill()

    asked = await _under_load(stack, drive, times, kill, private_postgres.start)
    proof = {"postgresql killed": len(set(deaths))}
    verdict = await judge(db, journal, stack, {"postgresql killed": times}, also_fired=proof)

    assert_passed(verdict, stack)
    assert {answer.status for answer in journal.answers} <= {200, *GAP_ANSWERS}
    assert journal.broken == []
    assert verdict.acked == asked
