"""Partitions change hands, by agreement and by force, under load: each message is one row, in order (R1, R8)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.messages.consuming import NEW, Lease, StreamExit
from tests.faults.conftest import Trials
from tests.support.stack import Process, Stack
from tests.support.streamed import PARTITIONS, Ledger, envelope, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

LEASE_SECONDS = 2.0
CONVERSATIONS = 40


@pytest.fixture
def stack(stack: Stack) -> Stack:
    """Workers that are missed soon."""
    stack.environment |= {"STREAM_LEASE_SECONDS": str(LEASE_SECONDS)}
    return stack


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """What was accepted."""
    return Ledger(redis)


@contextlib.asynccontextmanager
async def load(ledger: Ledger, *, pause: float = 0.02) -> AsyncIterator[None]:
    """Messages of many conversations, round after round, while the block runs."""
    ended = asyncio.Event()

    async def talk() -> None:
        number = 0
        while not ended.is_set():
            await ledger.talk(CONVERSATIONS, 1, first=number)
            number += 1
            await asyncio.sleep(pause)

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        ended.set()
        await task


async def owners(db: Database) -> dict[str, int]:
    """How many partitions each worker has."""
    rows = await db.fetch("SELECT owner, count(*) AS many FROM message_partitions WHERE owner IS NOT NULL GROUP BY 1")
    return {row["owner"]: row["many"] for row in rows}


async def shared_out(db: Database, workers: int) -> dict[str, int]:
    """The partitions of each worker, once all are shared out evenly."""

    async def even() -> dict[str, int]:
        found = await owners(db)
        assert len(found) == workers, found
        assert sum(found.values()) == PARTITIONS, found
        assert max(found.values()) <= -(-PARTITIONS // workers), found
        return found

    return await eventually(even, within=30, every=0.1)


async def node_of(db: Database, worker: Process) -> str:
    """The worker's name, which has its process id."""
    node: str = await db.fetchval(
        "SELECT node FROM message_workers WHERE node LIKE '%:' || $1::text || '\\_%'", str(worker.pid)
    )
    return node


async def test_workers_come_and_go_without_losing_the_order(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger
) -> None:
    """1 → 3 → 1 workers under load; each has its share, and leaves nothing pending when it goes."""
    first = await stack.start("persistence_worker")
    async with load(ledger):
        await shared_out(db, 1)
        others = await stack.start_all("persistence_worker", "persistence_worker")
        three = await shared_out(db, 3)
        before = await ledger_rows(db)
        await eventually(lambda: _grown(db, before + 500), within=30)
        assert await asyncio.gather(*(each.stopped() for each in others)) == [0, 0]
        await shared_out(db, 1)
        before = await ledger_rows(db)
        await eventually(lambda: _grown(db, before + 500), within=30)
    await ledger.persisted(db)
    await eventually(lambda: settled(redis))

    assert sorted(three.values()) == [4, 6, 6]
    assert ledger.count > 1500
    assert await redis.exists(names.DEAD_LETTERS) == 0 or await redis.xlen(names.DEAD_LETTERS) == 0
    assert await first.stopped() == 0
    assert await owners(db) == {}


async def ledger_rows(db: Database) -> int:
    """How many rows there are."""
    return int(await db.fetchval("SELECT count(*) FROM messages"))


async def _grown(db: Database, count: int) -> bool:
    return await ledger_rows(db) >= count


@pytest.mark.no_second_try
async def test_killed_workers_lose_nothing(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, trials: Trials
) -> None:
    """Kill -9 of one of two workers, again and again, each followed by a new one: lost, double and out of order 0."""
    rounds = trials(4, full=100)
    workers = await stack.start_all("persistence_worker", "persistence_worker")
    async with load(ledger):
        for number in range(rounds):
            victim = workers.pop(0)
            await asyncio.sleep(0.2 + 0.13 * (number % 5))
            victim.kill()
            workers.append(await stack.start("persistence_worker"))
    await ledger.persisted(db, within=60)
    await eventually(lambda: settled(redis), within=30)

    assert [each.exit_code for each in stack.processes].count(-9) == rounds
    assert await redis.exists(names.DEAD_LETTERS) == 0 or await redis.xlen(names.DEAD_LETTERS) == 0


@pytest.mark.parametrize(
    "point", ["persistence.before_insert", "persistence.after_insert", "persistence.before_settle"]
)
async def test_a_worker_killed_around_its_insert_writes_no_row_twice(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, point: str
) -> None:
    """What is pending is written by the next owner; what is committed and pending is recognised."""
    await ledger.talk(CONVERSATIONS, 20)
    doomed = stack.spawn("persistence_worker", faults=f"{point}=kill@3")
    assert await doomed.ended(within=30) == -9
    written = await ledger_rows(db)
    await stack.start("persistence_worker")
    await ledger.persisted(db, within=60)
    await eventually(lambda: settled(redis), within=30)

    assert stack.fired() == {f"{point} kill": 1}
    assert written > 0


async def test_an_owner_that_slept_through_its_lease_does_no_harm(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, trials: Trials
) -> None:
    """SIGSTOP for longer than the lease, in the middle of the load: another takes over; the sleeper wakes and takes nothing."""
    workers = await stack.start_all("persistence_worker", "persistence_worker")
    async with load(ledger):
        await shared_out(db, 2)
        for number in range(trials(2, full=40)):
            sleeper = workers[number % 2]
            name = await node_of(db, sleeper)
            sleeper.pause()
            await eventually(lambda name=name: _has_nothing(db, name), within=30)
            sleeper.resume()
            await shared_out(db, 2)
    await ledger.persisted(db, within=60)
    await eventually(lambda: settled(redis), within=30)

    assert await redis.exists(names.DEAD_LETTERS) == 0 or await redis.xlen(names.DEAD_LETTERS) == 0
    taken = [line for each in workers for line in each.lines("a partition was taken by another worker")]
    late = [line for each in workers for line in each.lines("a partition is another worker's by now")]
    assert taken or late


async def _has_nothing(db: Database, node: str) -> bool:
    return node not in await owners(db)


async def test_redis_refuses_whatever_an_earlier_owner_asks_for(redis: Redis, ledger: Ledger) -> None:
    """Reading, settling, touching and burying under an epoch that has passed: nothing changes."""
    await ledger.send(*(envelope("talk", f"m-{number}") for number in range(5)))
    partition = names.partition_hash("talk") % PARTITIONS
    early, late = StreamExit(redis, "early"), StreamExit(redis, "late")
    old, new = Lease(partition, 1), Lease(partition, 2)
    await early.take_over(old)
    (delivery,) = await early.read([(old, NEW)], 2)
    ids = [entry.entry_id for entry in delivery.entries]
    assert (await late.take_over(new)).taken == 2

    (refused,) = await early.read([(old, NEW)], 2)
    assert (refused.succeeded_by, refused.entries) == (2, [])
    assert await early.settle({old: ids}) == {partition}
    assert await early.touch(old, ids[0]) is None
    assert await early.bury(old, ids[0], "", {"reason": "refused"}) is None
    assert (await early.take_over(old)).succeeded_by == 2
    (again,) = await late.read([(new, "0")], 10)
    (rest,) = await late.read([(new, NEW)], 10)

    assert [entry.entry_id for entry in again.entries] == ids
    assert len(rest.entries) == 3
    assert await redis.exists(names.DEAD_LETTERS) == 0


async def test_redis_that_was_emptied_believes_nobody_before_he_takes_over(redis: Redis, ledger: Ledger) -> None:
    """The first to speak may have been succeeded: reading, settling, touching and burying wait for a new beginning."""
    partition = names.partition_hash("talk") % PARTITIONS
    early, late = StreamExit(redis, "early"), StreamExit(redis, "late")
    old, new = Lease(partition, 1), Lease(partition, 2)
    await late.take_over(new)
    await redis.flushdb()
    await ledger.send(envelope("talk", "m-1"))
    await redis.xgroup_create(names.stream(partition), names.GROUP, "0")

    (refused,) = await early.read([(old, NEW)], 2)
    assert (refused.has_group, refused.succeeded_by, refused.entries) == (False, 0, [])
    assert await early.settle({old: ["1-1"]}) == {partition}
    assert await early.touch(old, "1-1") is None
    assert await early.bury(old, "1-1", "", {"reason": "refused"}) is None
    assert await redis.hgetall(names.EPOCHS) == {}
    await early.take_over(old)
    (delivery,) = await late.read([(new, NEW)], 2)
    assert not delivery.has_group
    await late.take_over(new)
    (delivery,) = await late.read([(new, NEW)], 2)

    assert len(delivery.entries) == 1
    assert (await early.read([(old, NEW)], 2))[0].succeeded_by == 2
