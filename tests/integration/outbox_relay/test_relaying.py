"""Rows reach their queues: whole, once, soon, in order, whatever committed first."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
import pytest

from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.metrics import render
from services.kernel.queue import Inspector
from services.kernel.wakeup import WakeUp
from services.outbox_relay.figures import Figures
from tests.integration.outbox_relay.conftest import QUEUE, StartRelay, add_rows, outbox, processed, waiting
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def _all_processed(db: Database, ids: list[UUID]) -> bool:
    return await processed(db, ids) == len(ids)


async def test_a_row_becomes_the_job_whose_body_it_holds(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """Byte for byte, under its outbox id, in the queue it is routed to; the row then counts as processed."""
    ids = await add_rows(db, course, 3)

    async with relaying():
        await eventually(lambda: _all_processed(db, ids))
    rows = await outbox(db, ids)

    assert await waiting(redis) == [str(each) for each in ids]
    assert [await redis.get(f"saq:job:{QUEUE}:{each}") for each in ids] == [row["job_body"].encode() for row in rows]
    assert [(row["retry_count"], row["last_error"]) for row in rows] == [(0, None)] * 3


async def test_a_row_written_without_a_wake_up_leaves_within_two_seconds(
    db: Database, course: UUID, relaying: StartRelay
) -> None:
    """The leader probes the pending index once a second, however long its polling interval has grown."""
    async with relaying() as relay:
        await eventually(lambda: relay._loop.poll_interval_ms > 1000, within=15)
        ids = await add_rows(db, course, 1)
        await eventually(lambda: _all_processed(db, ids), within=2.0)


async def test_a_wake_up_is_heard_at_once(db: Database, course: UUID, relaying: StartRelay) -> None:
    """After NOTIFY the row is in Redis in a fraction of a second (seconds would be the poll)."""
    spans = []
    async with relaying():
        await eventually(lambda: _leads(db))
        for _ in range(5):
            ids = await add_rows(db, course, 1)
            start = time.monotonic()
            WakeUp(db).notify()
            await eventually(lambda ids=ids: _all_processed(db, ids), within=2.0, every=0.005)
            spans.append(time.monotonic() - start)

    assert sorted(spans)[2] < 0.5


async def _leads(db: Database) -> bool:
    return bool(await db.fetchval("SELECT holder IS NOT NULL FROM relay_leadership"))


async def test_a_listening_session_that_was_lost_is_replaced(db: Database, course: UUID, relaying: StartRelay) -> None:
    """The relay listens again, and looks at once for what it has not heard."""
    name = "coursegen relay wake-up"
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
    async with relaying() as relay:
        await eventually(lambda: relay._loop.poll_interval_ms > 1000, within=15)
        await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", name)
        ids = await add_rows(db, course, 1)
        await eventually(lambda: db.fetchval(count, name), within=5)
        await eventually(lambda: _all_processed(db, ids), within=2)


async def test_a_row_that_is_committed_late_is_not_passed(db: Database, course: UUID, relaying: StartRelay) -> None:
    """A transaction with lower positions stays open while a thousand others commit and are relayed."""
    async with relaying(high_water=0):
        async with db.transaction() as slow:
            early = await slow.fetch(
                "INSERT INTO job_outbox (entity_id, queue_name, job_type) SELECT $1, 'course-generation', 'STRUCTURE_ANALYSIS'"
                " FROM generate_series(1, 3) RETURNING outbox_id, position",
                course,
            )
            late: list[UUID] = []
            for _ in range(10):
                late += await add_rows(db, course, 100)
                await asyncio.sleep(0.02)
            await eventually(lambda: _all_processed(db, late))
            lowest = await db.fetchval("SELECT min(position) FROM job_outbox")
        await eventually(lambda: _all_processed(db, [row["outbox_id"] for row in early]), within=3)

    assert max(row["position"] for row in early) < lowest


async def test_a_backlog_waits_in_postgresql_and_each_priority_has_room_of_its_own(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """With room for three, three rows of each priority enter the queue, though those of another fill it."""
    free = await add_rows(db, course, 5, priority=1)
    async with relaying(high_water=3):
        await eventually(lambda: _has_depth(redis, 3))
        premium = await add_rows(db, course, 2, priority=10)
        await eventually(lambda: _all_processed(db, premium))
        await asyncio.sleep(0.5)  # long enough for a relay that ignores the mark to pass it
        in_redis = await waiting(redis)

    assert in_redis == [str(each) for each in (*premium, *free[:3])]
    assert await processed(db, free) == 3


async def test_free_rows_advance_under_an_endless_stream_of_premium_ones(
    db: Database, course: UUID, relaying: StartRelay
) -> None:
    """There are always more PREMIUM rows than a claim can take; one claim in ten begins with the least urgent."""
    free = await add_rows(db, course, 8, priority=1)
    premium = await add_rows(db, course, 400, priority=10)
    async with relaying(high_water=0, batch_size=5, batch_max=5):
        await eventually(lambda: _all_processed(db, free))
        await eventually(lambda: _all_processed(db, premium))
    passed = {row["outbox_id"]: row["processed_at"] for row in await outbox(db, [*free, *premium])}
    last_free = max(passed[each] for each in free)

    assert sum(passed[each] < last_free for each in premium) <= 100
    assert [passed[each] for each in premium] == sorted(passed[each] for each in premium)


async def _has_depth(redis: Redis, depth: int) -> bool:
    return await Inspector(redis).depths([QUEUE]) == {QUEUE: depth}


async def test_a_full_queue_is_filled_up_again_and_holds_up_no_other(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """Rows follow as jobs leave; meanwhile another queue's rows pass."""
    ids = await add_rows(db, course, 30)
    other = await add_rows(db, course, 3, queue="test-queue")

    async with relaying(high_water=10, batch_size=5, batch_max=5):
        await eventually(lambda: _all_processed(db, other))
        await eventually(lambda: _has_depth(redis, 10))
        assert await processed(db, ids) == 10
        await redis.ltrim(f"saq:{QUEUE}:queued:1", 6, -1)
        await eventually(lambda: _has_depth(redis, 10))

    assert await processed(db, ids) == 16


@pytest.mark.parametrize("high_water", [0, 1000])
async def test_a_backlog_of_many_queues_drains_without_loss_or_double(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay, high_water: int
) -> None:
    """Several batches, several queues, several priorities: every row once, within its queue by priority then position."""
    ids: list[UUID] = []
    for queue in ("course-generation", "alpha", "beta"):
        for priority in (1, 10, 5):
            ids += await add_rows(db, course, 90, queue=queue, priority=priority)

    Figures(Counters(db))
    before = _duplicates()
    async with relaying(high_water=high_water, batch_size=40, batch_max=80):
        await eventually(lambda: _all_processed(db, ids), within=20)
    rows = await outbox(db, ids)

    assert _duplicates() == before  # rows in hand are never claimed again

    for queue in (QUEUE, "alpha", "beta"):
        expected = sorted(
            (row for row in rows if row["saq_queue"] == queue), key=lambda row: (-row["priority"], row["position"])
        )
        assert await waiting(redis, queue) == [str(row["outbox_id"]) for row in expected]


def _duplicates() -> float:
    return float(
        next(line.split()[1] for line in render().decode().splitlines() if line.startswith("relay_duplicates_total"))
    )


async def test_new_jobs_are_announced_for_layer_2(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """One message per batch on the channel of the pipeline queue, naming job, course, type and queue (contract.md g)."""
    async with redis.pubsub() as channel:
        await channel.subscribe("course-generation:added")
        await channel.get_message(timeout=5)
        ids = await add_rows(db, course, 2)
        async with relaying():
            message = await channel.get_message(timeout=5)

    assert message is not None
    assert orjson.loads(message["data"]) == [
        {"outboxId": str(each), "courseId": str(course), "jobType": "STRUCTURE_ANALYSIS", "queue": QUEUE}
        for each in ids
    ]


async def test_only_rows_put_by_the_relay_count_as_jobs(db: Database, course: UUID, relaying: StartRelay) -> None:
    """Batches and jobs are counted across processes; a row flushed by hand is not a job created (TRAP37)."""
    dead = await add_rows(db, course, 1, retry_count=5, last_error="x")
    ids = await add_rows(db, course, 3)

    async with relaying():
        await eventually(lambda: _all_processed(db, ids))
        await db.execute(
            "UPDATE job_outbox SET processed_at = now(), last_error = 'Manually flushed during incident'"
            " WHERE processed_at IS NULL AND retry_count >= max_retries"
        )
        await asyncio.sleep(0.3)
    counted = await Counters(db).read()

    assert await processed(db, dead) == 1
    assert (counted.count("outbox_jobs", "created"), counted.count("outbox_jobs", "failed")) == (3, 0)
    assert counted.count("outbox_batches") >= 1
    assert counted.durations("outbox_batch_duration").p95 > 0


async def test_a_large_body_travels_in_a_batch_of_its_own(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """The byte cap cuts a batch off, and one row always passes."""
    ids = await add_rows(db, course, 6, job_data={"text": "x" * 3000})

    async with relaying(batch_bytes=4096):
        await eventually(lambda: _all_processed(db, ids))

    assert await waiting(redis) == [str(each) for each in ids]
