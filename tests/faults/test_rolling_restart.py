"""Case 9: everything is restarted, one process after the other, while clients go on asking (R11)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson
import pytest

from services.kernel.database import Database
from tests.faults.conftest import OpenDriver, Trials
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, come_to_rest, judge
from tests.support.ports import claim
from tests.support.stack import Kind, Process, Stack
from tests.support.waiting import eventually

PER_SECOND = 10
"""Of each client: one keeps its connections, one opens a new one for every request."""
KINDS: tuple[Kind, ...] = ("api", "outbox_relay", "stage_worker")


@pytest.mark.no_second_try
async def test_a_rolling_restart_costs_no_request(
    stack: Stack, db: Database, redis: Any, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """Two of each kind, two apis on one port: no failed request, no attempt used up, every exit 0 within 28 s."""
    rounds = trials(1, full=20)
    port = claim()
    stack.environment |= {"API_REUSE_PORT": "true", "INSTANT_SECONDS": "0.2", "STAGE_WORKER_CONCURRENCY": "16"}
    running = [stack.spawn(kind, port=port if kind == "api" else None) for kind in KINDS for _ in range(2)]
    await asyncio.gather(*(each.ready() for each in running))
    enough = asyncio.Event()
    clients = [drive(running[0], keep=True), drive(running[0], keep=False)]
    asking = [
        asyncio.create_task(client.load(client.orders(until=enough), per_second=PER_SECOND, insist=False))
        for client in clients
    ]
    exits: list[int] = []
    for _ in range(rounds):
        for index, old in enumerate(running):
            running[index] = await stack.start(old.kind, port=port if old.kind == "api" else None)
            exits.append(await old.stopped())
    enough.set()
    await asyncio.gather(*asking)
    proof = {"restart": len(exits)}
    verdict = await judge(db, journal, stack, {"restart": 6 * rounds}, also_fired=proof)
    print(
        f"{len(exits)} restarts under {len(journal.attempts)} requests, longest answer {max(journal.seconds.values()):.2f} s"
    )

    assert journal.failures == []
    assert exits == [0] * 6 * rounds
    assert_passed(verdict, stack)
    assert await _charged(db, redis) == []
    assert verdict.acked == len(journal.attempts) > 0


async def test_a_second_signal_ends_a_draining_worker_and_loses_nothing(
    stack: Stack, db: Database, redis: Any, journal: Journal, drive: OpenDriver, trials: Trials
) -> None:
    """SIGTERM twice: the worker leaves at once with work in hand, and another one does that work, once."""
    rounds = trials(1, full=20)
    stack.environment["INSTANT_SECONDS"] = "3"
    api, _ = await stack.start_all("api", "outbox_relay")
    driver = drive(api)
    for _ in range(rounds):
        hasty = await stack.start("stage_worker")
        await driver.load([driver.order() for _ in range(3)], per_second=100)
        await eventually(lambda: redis.llen("saq:course-generation:analysis:active"))
        hasty.terminate()
        await eventually(partial(_is_stopping, hasty))
        hasty.terminate()
        assert await hasty.ended(within=5) != 0
        patient = await stack.start("stage_worker")
        await come_to_rest(db)
        assert await patient.stopped() == 0

    verdict = await judge(db, journal, stack, {"second signal": rounds}, also_fired={"second signal": rounds})

    assert_passed(verdict, stack)


def _is_stopping(process: Process) -> bool:
    return "stopping" in process.tail()


async def _charged(db: Database, redis: Any) -> list[str]:
    """Rows and jobs that have lost an attempt to a shutdown."""
    rows = await db.fetch(
        "SELECT outbox_id::text AS id FROM job_outbox WHERE retry_count > 0 OR last_error IS NOT NULL"
    )
    charged = [str(row["id"]) for row in rows]
    async for name in redis.scan_iter("saq:job:*", count=1000):
        body = orjson.loads(await redis.get(name) or b"{}")
        if body.get("attempts", 0) > 1:
            charged.append(f"{name.decode()}: {body['attempts']} attempts")
    return charged
