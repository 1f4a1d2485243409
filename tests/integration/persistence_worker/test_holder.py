"""What a worker takes, keeps and leaves, when a server was away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from services.kernel.database import Database
from services.kernel.errors import CoursegenError
from services.kernel.messages import names
from services.kernel.messages.consuming import StreamExit
from services.kernel.messages.partitions import PartitionBook
from services.kernel.settings import CommonSettings, Secret
from services.persistence_worker.figures import Figures
from services.persistence_worker.holder import Holder
from services.persistence_worker.shares import Shares
from tests.support.clocks import StandingClock
from tests.support.wire import wire_to

PARTITIONS = 16
LEASE_SECONDS = 20.0


@pytest.fixture
async def app(app_database_url: str) -> AsyncIterator[Database]:
    """The database as the worker sees it."""
    database = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    yield database
    await database.close()


class Bench:
    """One worker's holder on real servers."""

    def __init__(self, app: Database, redis: Redis, node: str) -> None:
        self.clock = StandingClock()
        self.shares = Shares()
        self.holder = Holder(
            PartitionBook(app, node, LEASE_SECONDS),
            StreamExit(redis, node),
            self.shares,
            Figures(),
            clock=self.clock,
            partitions=PARTITIONS,
            lease_seconds=LEASE_SECONDS,
        )


async def _owners(db: Database) -> dict[str | None, int]:
    rows: Any = await db.fetch("SELECT owner, count(*) AS many FROM message_partitions GROUP BY 1")
    return {row["owner"]: row["many"] for row in rows}


async def test_the_first_one_back_after_an_outage_of_postgresql_leaves_others_time_to_renew(
    app: Database, db: Database, redis: Redis
) -> None:
    """All leases have run out meanwhile, and nobody was seen for a while: each keeps what it had."""
    first, second = Bench(app, redis, "first"), Bench(app, redis, "second")
    await PartitionBook(app, "second", LEASE_SECONDS).renew(PARTITIONS)
    for bench in (first, second):
        await bench.holder.look()
    assert await _owners(db) == {"first": 8, "second": 8}
    await db.execute("ALTER TABLE message_partitions RENAME TO elsewhere")
    for bench in (first, second):
        with pytest.raises(CoursegenError):
            await bench.holder.look()
    await db.execute("ALTER TABLE elsewhere RENAME TO message_partitions")
    await db.execute("UPDATE message_partitions SET expires_at = clock_timestamp() - interval '1 minute'")
    await db.execute("UPDATE message_workers SET seen_at = clock_timestamp() - interval '30 minutes'")
    await first.holder.look()
    assert await _owners(db) == {"first": 8, "second": 8}
    await second.holder.look()
    await first.holder.look()

    assert await _owners(db) == {"first": 8, "second": 8}
    await PartitionBook(app, "second", LEASE_SECONDS).leave()
    await db.execute("UPDATE message_partitions SET expires_at = '-infinity' WHERE owner = 'second'")
    await first.holder.look()
    assert await _owners(db) == {"first": 16}


async def test_a_number_of_partitions_that_redis_contradicts_is_said_once(
    app: Database, db: Database, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Redis counts; whoever has changed the setting must hear of it."""
    await redis.set(names.PARTITIONS, 32)
    bench = Bench(app, redis, "first")
    for _ in range(3):
        await bench.holder.look()
    said = capsys.readouterr()

    assert (said.out + said.err).count("STREAM_PARTITIONS is 16, but Redis says 32") == 1
    assert await _owners(db) == {"first": 32}


async def test_a_worker_cut_off_from_redis_leaves_its_partitions_to_others(
    app: Database, db: Database, redis: Redis, redis_url: str
) -> None:
    """Not at once, but after the time of a lease; and it takes its part again when Redis answers."""
    async with wire_to(redis_url) as (wire, through), Redis.from_url(through) as cut:
        first, second = Bench(app, cut, "first"), Bench(app, redis, "second")
        await PartitionBook(app, "second", LEASE_SECONDS).renew(PARTITIONS)
        for bench in (first, second):
            await bench.holder.look()
        wire.break_off()
        first.clock.pass_by(LEASE_SECONDS / 2)
        await first.holder.look()
        assert await _owners(db) == {"first": 8, "second": 8}
        first.clock.pass_by(LEASE_SECONDS)
        await first.holder.look()
        assert (len(first.shares), await _owners(db)) == (0, {None: 8, "second": 8})
        await second.holder.look()
        await first.holder.look()
        assert await _owners(db) == {"second": 16}
        wire.mend()
        for _ in range(2):
            await first.holder.look()
        await second.holder.look()

        assert len(second.shares.to_open()) == 8
