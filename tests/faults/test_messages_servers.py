"""PostgreSQL and Redis go away under load and come back: no message is charged, none is lost, none is out of order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
import pytest
from redis.exceptions import RedisError

from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable
from services.kernel.messages import names
from services.kernel.messages.consumer_scripts import ConsumerScripts
from tests.faults.conftest import Trials
from tests.faults.test_messages_owners import load
from tests.support.databases import opened
from tests.support.servers import APPLICATION_ROLE, PrivatePostgres, PrivateRedis, with_user
from tests.support.stack import Process, Stack
from tests.support.streamed import Ledger, settled
from tests.support.versions import each_redis
from tests.support.waiting import eventually
from tests.support.wire import wire_to

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
def stack(fragile_stack: Stack) -> Stack:
    """Processes on servers that this test may stop."""
    fragile_stack.environment |= {"STREAM_LEASE_SECONDS": "2"}
    return fragile_stack


@pytest.fixture
async def db(private_database_url: str) -> AsyncIterator[Database]:
    """The same database, as its owner."""
    async with opened(private_database_url) as database:
        yield database


@pytest.fixture
async def redis(private_redis: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of the test's own Redis."""
    from redis.asyncio import Redis as Client

    async with Client.from_url(private_redis.url()) as client:
        yield client


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """What was accepted."""
    return Ledger(redis)


async def _nothing_is_dead(redis: Redis) -> bool:
    return not await redis.exists(names.DEAD_LETTERS) or await redis.xlen(names.DEAD_LETTERS) == 0


async def _rows(db: Database, more_than: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages") > more_than)


async def test_postgresql_killed_and_started_again(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, private_postgres: PrivatePostgres, trials: Trials
) -> None:
    """Immediate stops during inserts; the stream goes on filling meanwhile."""
    await stack.start_all("persistence_worker", "persistence_worker")
    async with load(ledger):
        for _ in range(trials(2, full=20)):
            there = await db.fetchval("SELECT count(*) FROM messages")
            await eventually(lambda there=there: _rows(db, there + 200), within=30)
            await asyncio.to_thread(private_postgres.kill)
            await asyncio.sleep(1.5)
            await asyncio.to_thread(private_postgres.start)
            await eventually(lambda: _rows(db, 0), within=30)
    await ledger.persisted(db, within=60)
    await eventually(lambda: settled(redis), within=30)

    assert await _nothing_is_dead(redis)


async def test_postgresql_behind_a_wire_that_is_cut(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, private_database_url: str, trials: Trials
) -> None:
    """Black-holed for longer than a lease: one of two workers hangs, the other takes over; then the wire is whole again.

    What the hanging one had sent arrives late, at a server that knows a later epoch.
    """
    seconds = trials(8, full=60)
    url = with_user(private_database_url, APPLICATION_ROLE)
    async with wire_to(url) as (wire, through):
        cut_off = await stack.start("persistence_worker", env={"DATABASE_URL": through})
        await stack.start("persistence_worker")
        async with load(ledger):
            await eventually(lambda: _rows(db, 200), within=30)
            wire.break_off()
            await asyncio.sleep(seconds)
            wire.mend()
        await ledger.persisted(db, within=60)
        await eventually(lambda: settled(redis), within=30)
        assert cut_off.exit_code is None
        assert wire.swallowed > 0
        assert await cut_off.stopped() == 0

    assert await _nothing_is_dead(redis)


async def test_the_only_worker_is_cut_off_from_postgresql(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, private_database_url: str, trials: Trials
) -> None:
    """Nobody takes over: it goes on by itself when the wire is whole, and is alive all the while."""
    url = with_user(private_database_url, APPLICATION_ROLE)
    async with wire_to(url) as (wire, through):
        worker = await stack.start(
            "persistence_worker", env={"DATABASE_URL": through, "DATABASE_STATEMENT_SECONDS": "2"}
        )
        async with load(ledger):
            await eventually(lambda: _rows(db, 200), within=30)
            wire.break_off()
            await asyncio.sleep(trials(8, full=60))
            assert (await worker.ask("/livez"))[0] == 200
            assert (await worker.ask("/readyz"))[0] == 503
            wire.mend()
        await ledger.persisted(db, within=60)
        await eventually(lambda: settled(redis), within=30)

    assert await _nothing_is_dead(redis)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_redis_goes_away_and_comes_back(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, private_redis: PrivateRedis, how: str
) -> None:
    """With its data on disk: what was delivered to nobody and what was in hand is persisted in order."""
    await redis.config_set("appendonly", "yes")
    await redis.config_set("appendfsync", "always")
    workers = await stack.start_all("persistence_worker", "persistence_worker")
    await ledger.talk(40, 50)
    await asyncio.to_thread(private_redis.stop if how == "stopped" else private_redis.pause)
    await asyncio.sleep(3 if how == "stopped" else 12)  # longer than a client waits for an answer
    if how == "stopped":
        for worker in workers:  # a lag of before says nothing
            assert "stream_partition_lag{" not in await _figures(worker)
        private_redis.server = _keeping(private_redis)
    await asyncio.to_thread(private_redis.start if how == "stopped" else private_redis.resume)
    await ledger.talk(40, 50, first=50)
    await ledger.persisted(db, within=60)
    await eventually(lambda: settled(redis), within=30)

    assert await _nothing_is_dead(redis)


async def _figures(worker: Process) -> str:
    async with httpx.AsyncClient(timeout=5) as client:
        return (await client.get(f"http://127.0.0.1:{worker.metrics_port}/metrics")).text


def _keeping(server: PrivateRedis) -> object:
    """The same server, which reads its file at its next start."""
    server.server._options = {**server.server._options, "appendonly": "yes", "appendfsync": "always"}
    return server.server


async def test_redis_emptied_forgets_its_epochs_and_serves_on(
    stack: Stack, db: Database, redis: Redis, private_redis: PrivateRedis
) -> None:
    """What was in the stream is gone, as documented; what comes later is persisted, without a restart."""
    before = Ledger(redis)
    await stack.start_all("persistence_worker", "persistence_worker")
    await before.talk(40, 20)
    await before.persisted(db)
    await redis.flushall()
    await before.talk(40, 20, first=20)
    await before.persisted(db, within=60)
    await eventually(lambda: settled(redis), within=30)

    assert await _nothing_is_dead(redis)


@each_redis
async def test_a_full_redis_is_emptied_by_owners_who_begin_meanwhile(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger
) -> None:
    """No room for another byte: a first owner is killed, its successor takes over, buries and settles all there is."""
    await ledger.talk(40, 20)
    await redis.xadd(names.stream(3), {"envelope": b"{"})
    doomed = stack.spawn("persistence_worker", faults="persistence.before_settle=kill@3")
    assert await doomed.ended(within=30) == -9
    await redis.config_set("maxmemory-policy", "noeviction")
    await redis.config_set("maxmemory", "1mb")
    with pytest.raises(RedisError, match=r"maxmemory|OOM"):
        await redis.set("anything", "x")
    await redis.delete(names.EPOCHS)
    await stack.start("persistence_worker")
    await ledger.persisted(db, within=60)
    await eventually(lambda: settled(redis), within=30)

    assert await redis.xlen(names.DEAD_LETTERS) == 1
    with pytest.raises(BrokerUnavailable, match=r"maxmemory|OOM"):
        await ledger.talk(1, 1, first=20)


async def test_a_read_that_reaches_redis_late_takes_nothing(
    stack: Stack, db: Database, redis: Redis, ledger: Ledger, private_redis: PrivateRedis
) -> None:
    """The worker has given the read up and reads on under a new epoch; what the late one would take, nobody would hear of."""
    read_script = ConsumerScripts(redis).sha("read")
    async with wire_to(private_redis.url()) as (wire, through):
        worker = await stack.start("persistence_worker", env={"REDIS_URL": through})
        await ledger.talk(20, 5)
        await ledger.persisted(db)
        wire.break_off_at(read_script.encode())
        await eventually(
            lambda: worker.lines("Redis is unreachable, consuming pauses; no message is charged"), within=30
        )
        wire.mend_for_others()
        await eventually(lambda: worker.lines("consuming goes on"), within=30)
        worker.pause()
        await ledger.talk(20, 5, first=5)
        before = await _scripts_run(redis)
        wire.deliver()
        await eventually(lambda: _have_run(redis, before), within=10)
        worker.resume()
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
        assert await worker.stopped() == 0

    assert wire.swallowed > 0


async def _scripts_run(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


async def _have_run(redis: Redis, before: int) -> bool:
    return await _scripts_run(redis) > before
