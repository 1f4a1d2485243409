"""One leader at a time; a leader that has been replaced can change nothing, in PostgreSQL or in Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from services.kernel.database import Database
from services.kernel.errors import StaleLeader
from services.kernel.queue import Producer, QueuedRow
from services.outbox_relay.leadership import AdvisoryLockElector, SoleElector, Term, begin_term
from services.outbox_relay.outbox import ClaimLimits, Failure, Outbox
from tests.integration.outbox_relay.conftest import QUEUE, StartRelay, add_rows, outbox, processed
from tests.support.stack import Stack, open_stack
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis

LIMITS = ClaimLimits(rows=500, total_bytes=10**6, body_bytes=10**6, default_room=500, rooms={})


@pytest.fixture
def stack(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Stack]:
    """Real relay processes."""
    with open_stack(tmp_path, database_url=database_url, redis_url=redis_url) as started:
        yield started


async def _leader(db: Database) -> tuple[int, str | None]:
    row = await db.fetchrow("SELECT epoch, holder FROM relay_leadership")
    assert row is not None
    return row["epoch"], row["holder"]


async def test_a_stale_leader_changes_nothing_in_postgresql(db: Database, course: UUID) -> None:
    """Mark, charge, bury and heartbeat of an older epoch raise and leave every row as it is."""
    ids = await add_rows(db, course, 2)
    rows = await Outbox(db).claim(LIMITS, [])
    old = Term(db, await begin_term(db, "old"))
    await begin_term(db, "new")
    before = await outbox(db, ids)

    for act in (
        Outbox(db).mark(rows, old.epoch),
        Outbox(db).charge([Failure(rows[0], "x", is_transient=True)], old.epoch, 1.0),
        Outbox(db).bury([Failure(rows[0], "x", is_transient=False)], old.epoch),
        old.beat(0.0, 1000),
        old.overtake(99),
    ):
        with pytest.raises(StaleLeader):
            await act

    assert await outbox(db, ids) == before
    assert await _leader(db) == (2, "new")


async def test_a_term_whose_commit_is_lost_counts_for_nothing(db: Database) -> None:
    """As after a failover to a standby that was behind: the epoch before counts again, and the lost number is given once more."""
    before = Term(db, await begin_term(db, "before"))
    lost = Term(db, await begin_term(db, "lost"))
    await db.execute("UPDATE relay_leadership SET epoch = $1, holder = 'before'", before.epoch)

    await before.beat(0.0, 1000)
    with pytest.raises(StaleLeader):
        await lost.beat(0.0, 1000)
    assert await begin_term(db, "again") == lost.epoch
    with pytest.raises(StaleLeader):
        await before.beat(0.0, 1000)
    await lost.beat(0.0, 1000)  # of a relay that was paused meanwhile: by its number it is the leader


async def test_a_stale_leader_puts_nothing_into_redis(redis: Redis) -> None:
    """The queue remembers the highest epoch it has seen and refuses a lower one, whole batch and all."""
    producer = Producer(redis)
    await producer.enqueue_batch(QUEUE, [QueuedRow("a", "{}", 1)], 2)

    with pytest.raises(StaleLeader):
        await producer.enqueue_batch(QUEUE, [QueuedRow("b", "{}", 1)], 1)
    with pytest.raises(StaleLeader):
        await producer.revive(QUEUE, [QueuedRow("c", "{}", 1)], 1)

    assert await redis.exists(f"saq:job:{QUEUE}:b", f"saq:job:{QUEUE}:c") == 0


async def test_a_leader_waits_for_the_transactions_of_the_one_before(db: Database, course: UUID) -> None:
    """A mark under way when the term ends is finished first, or changes nothing: never half of each."""
    ids = await add_rows(db, course, 1)
    epoch = await begin_term(db, "old")
    async with db.transaction() as session:
        await session.fetchval("SELECT epoch FROM relay_leadership WHERE epoch = $1 FOR KEY SHARE", epoch)
        succession = asyncio.create_task(begin_term(db, "new"))
        await asyncio.sleep(0.2)
        assert not succession.done()
        await session.execute("UPDATE job_outbox SET processed_at = now() WHERE outbox_id = ANY($1)", ids)
    assert await asyncio.wait_for(succession, 5) == epoch + 1

    assert await processed(db, ids) == 1


async def test_the_second_elector_waits_until_the_first_is_through(db: Database) -> None:
    """The lock is one session's; epochs rise with each term; the heartbeat ends with it (TRAP36)."""
    stopping = asyncio.Event()
    first, second = (AdvisoryLockElector(db, name, 15.0) for name in ("first", "second"))
    entered = asyncio.Event()

    async def follow() -> int:
        async with second.term(stopping) as term:
            entered.set()
            assert term is not None
            return term.epoch

    async with first.term(stopping) as term:
        assert term is not None
        follower = asyncio.create_task(follow())
        await asyncio.sleep(1.2)
        assert not entered.is_set()
        assert await _leader(db) == (term.epoch, "first")
    epoch = await asyncio.wait_for(follower, 5)

    assert epoch == term.epoch + 1
    assert await db.fetchrow("SELECT holder, heartbeat_at FROM relay_leadership") == (None, None)


async def test_an_elector_told_to_stop_leads_no_more(db: Database) -> None:
    """A standby that is stopped gives up its wait at once."""
    stopping = asyncio.Event()
    async with (
        SoleElector(db, "sole").term(stopping) as sole,
        AdvisoryLockElector(db, "a", 15.0).term(stopping) as term,
    ):
        assert sole is not None
        assert term is not None
        waiting = asyncio.create_task(_enter(AdvisoryLockElector(db, "b", 15.0), stopping))
        await asyncio.sleep(0.1)
        stopping.set()

        assert await asyncio.wait_for(waiting, 3) is None


async def _enter(elector: AdvisoryLockElector, stopping: asyncio.Event) -> Term | None:
    async with elector.term(stopping) as term:
        return term


async def test_a_leader_whose_lock_session_is_ended_steps_down_and_may_lead_again(
    db: Database, course: UUID, relaying: StartRelay
) -> None:
    """The lost session ends the term; the relay campaigns again and goes on under a higher epoch."""
    async with relaying():
        await eventually(lambda: _led_by(db, "test"))
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%leader lock'"
        )
        await eventually(lambda: _epoch_is(db, 2), within=10)
        ids = await add_rows(db, course, 1)
        await eventually(lambda: processed(db, ids), within=5)


async def _led_by(db: Database, name: str) -> bool:
    return (await _leader(db))[1] == name


async def _epoch_is(db: Database, epoch: int) -> bool:
    return (await _leader(db))[0] == epoch


async def test_a_relay_goes_on_when_redis_remembers_a_higher_epoch(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """After a restore of the database Redis may know epochs of its future: the leader passes them, for PostgreSQL decides."""
    await redis.set(f"saq:{QUEUE}:epoch", 41)
    ids = await add_rows(db, course, 1)

    async with relaying():
        await eventually(lambda: processed(db, ids))

        assert (await _leader(db))[0] == 42


async def test_a_killed_leader_is_succeeded_within_five_seconds(db: Database, course: UUID, stack: Stack) -> None:
    """Kill -9 of one of two relays: rows written from then on are in Redis within 5 s (R3)."""
    first = await stack.start("outbox_relay", env={"RELAY_NODE_ID": "first"})
    await eventually(lambda: _led_by(db, "first"))
    await stack.start("outbox_relay", env={"RELAY_NODE_ID": "second"})  # a standby is ready
    await eventually(lambda: db.fetchval("SELECT count(*) = 2 FROM relay_nodes"))

    first.kill()
    ids = await add_rows(db, course, 1)
    await eventually(lambda: processed(db, ids), within=5)

    assert await _leader(db) == (2, "second")


async def test_a_stopped_leader_hands_over_within_three_seconds(db: Database, course: UUID, stack: Stack) -> None:
    """SIGTERM: exit code 0, the standby leads and relays (R3)."""
    first = await stack.start("outbox_relay", env={"RELAY_NODE_ID": "first"})
    await eventually(lambda: _led_by(db, "first"))
    await stack.start("outbox_relay", env={"RELAY_NODE_ID": "second"})

    ids = await add_rows(db, course, 1)
    first.terminate()
    await eventually(lambda: processed(db, ids), within=3)
    await eventually(lambda: _led_by(db, "second"), within=3)

    assert await first.ended() == 0


async def test_a_leader_that_hangs_is_unseated_and_does_no_harm_when_it_wakes(
    db: Database, course: UUID, stack: Stack
) -> None:
    """SIGSTOP keeps the session open: the standby ends it; the woken one finds itself replaced and stands by."""
    env = {"RELAY_STALE_SECONDS": "2"}
    first = await stack.start("outbox_relay", env={"RELAY_NODE_ID": "first", **env})
    await eventually(lambda: _led_by(db, "first"))
    await stack.start("outbox_relay", env={"RELAY_NODE_ID": "second", **env})

    first.pause()
    ids = await add_rows(db, course, 1)
    await eventually(lambda: processed(db, ids), within=10)
    first.resume()
    await asyncio.sleep(1)
    more = await add_rows(db, course, 1)
    await eventually(lambda: processed(db, more), within=5)

    assert await _led_by(db, "second")
    assert first.exit_code is None
