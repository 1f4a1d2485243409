"""R7: Redis loses everything, or goes back in time, again and again under load; every accepted course is made, once."""

from __future__ import annotations

import asyncio
from typing import Any

from services.kernel.database import Database
from tests.faults.conftest import OpenDriver, Trials
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, judge
from tests.support.stack import Stack

RETURN_SECONDS = 60.0
"""R7: everything is queued again within this time."""
PER_SECOND = 10
ROLL_BACK_SECONDS = 1.0


async def test_an_emptied_redis_costs_nothing(
    stack: Stack, db: Database, redis: Any, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Alternately emptied and rolled back while requests keep coming: lost 0, duplicate 0, no client turned away."""
    times = trials(3, full=50)
    stack.environment["INSTANT_SECONDS"] = "0.2"  # so that there is always something in hand
    api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
    driver = drive(api)
    orders = [driver.order() for _ in range(2 * PER_SECOND * times)]
    proof = {"redis emptied": 0, "redis rolled back": 0}

    async def spoil() -> None:
        for number in range(times):
            await asyncio.sleep(1.0)
            if number % 2:
                proof["redis rolled back"] += await _roll_back(redis, ROLL_BACK_SECONDS)
            else:
                proof["redis emptied"] += await _empty(redis)

    await asyncio.gather(driver.load(orders, per_second=PER_SECOND, insist=False), spoil())
    wanted = {"redis emptied": (times + 1) // 2, "redis rolled back": times // 2}
    verdict = await judge(db, journal, stack, wanted, also_fired=proof, within=RETURN_SECONDS)

    assert_passed(verdict, stack)
    assert journal.failures == []
    assert verdict.acked == len(orders)


async def _empty(redis: Any) -> int:
    """Forget everything; 1 when there was something to forget."""
    before, _ = await redis.pipeline(transaction=True).dbsize().flushdb().execute()
    return int(before > 0)


async def _roll_back(redis: Any, seconds: float) -> int:
    """Bring back, in one step, what Redis held some seconds ago; 1 when that was something else than now."""
    held = {key: await redis.dump(key) async for key in redis.scan_iter(count=1000)}
    await asyncio.sleep(seconds)
    now = {key async for key in redis.scan_iter(count=1000)}
    pipeline = redis.pipeline(transaction=True).flushdb()
    for key, dump in held.items():
        if dump is not None:
            pipeline.restore(key, 0, dump)
    await pipeline.execute()
    return int(now != set(held))
