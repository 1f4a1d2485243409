"""Streams are cut off behind what is persisted, never before; and divided in two under load."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database
from services.kernel.errors import InvalidInput
from services.kernel.messages import names
from services.kernel.messages.consuming import NEW, PENDING, Lease, StreamExit
from services.kernel.messages.upkeep import Upkeep
from tests.integration.persistence_worker.conftest import Persisting
from tests.support.streamed import PARTITIONS, Ledger, conversation_in, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

TALK = partition_of("talk")
STREAM = names.stream(TALK)


async def _ids(redis: Redis, stream: str = STREAM) -> list[str]:
    return [entry_id.decode() for entry_id, _ in await redis.xrange(stream)]


async def test_nothing_that_is_not_settled_is_cut_off(redis: Redis, ledger: Ledger) -> None:
    """With nothing to keep: what was not read, what is pending and what comes after it stay; settled ones before it go."""
    for number in range(30):
        await ledger.send(envelope("talk", f"m-{number}"))
    before = await _ids(redis)
    stream, lease, upkeep = StreamExit(redis, "one"), Lease(TALK, 1), Upkeep(redis)
    assert await upkeep.trim(TALK, keep_seconds=0, keep_entries=0) == 0
    await stream.take_over(lease)
    assert await upkeep.trim(TALK, keep_seconds=0, keep_entries=0) == 0
    (delivery,) = await stream.read([(lease, NEW)], 20)
    await stream.settle({lease: [each.entry_id for each in delivery.entries if each.entry_id != before[7]]})

    assert await upkeep.trim(TALK, keep_seconds=0, keep_entries=0) == 7
    assert await _ids(redis) == before[7:]
    await stream.settle({lease: [before[7]]})
    assert await upkeep.trim(TALK, keep_seconds=0, keep_entries=0) == 12
    assert await _ids(redis) == before[19:]
    (rest,) = await stream.read([(lease, NEW)], 20)
    assert [each.entry_id for each in rest.entries] == before[20:]


async def test_what_is_settled_is_kept_for_a_while(redis: Redis, ledger: Ledger) -> None:
    """An hour's worth, but not more entries than asked for, however often one looks."""
    for number in range(500):
        await ledger.send(envelope("talk", f"m-{number}"))
    stream, lease, upkeep = StreamExit(redis, "one"), Lease(TALK, 1), Upkeep(redis)
    await stream.take_over(lease)
    (delivery,) = await stream.read([(lease, NEW)], 480)
    await stream.settle({lease: [each.entry_id for each in delivery.entries]})

    assert await upkeep.trim(TALK, keep_seconds=3600, keep_entries=10_000) == 0
    assert await upkeep.trim(TALK, keep_seconds=3600, keep_entries=50) == 430
    assert len(await _ids(redis)) == 70
    assert await upkeep.trim(TALK, keep_seconds=3600, keep_entries=50) == 0


async def test_a_worker_cuts_off_what_it_has_persisted(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Under load, with little to keep: every message is a row all the same."""
    async with persisting(keep_entries=3, keep_seconds=1):
        for number in range(20):
            await ledger.talk(20, 10, first=number * 10)
        await ledger.persisted(db)
        await eventually(lambda: _short(redis), within=20)


async def _short(redis: Redis) -> bool:
    return sum([await redis.xlen(names.stream(n)) for n in range(PARTITIONS)]) <= 3 * PARTITIONS


async def test_twice_as_many_partitions_under_load(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """16 → 32 while messages come and two workers persist: each conversation keeps its order, the new ones are shared out."""
    ended = asyncio.Event()

    async def talk() -> None:
        number = 0
        while not ended.is_set():
            await ledger.talk(60, 2, first=number)
            number += 2
            await asyncio.sleep(0.01)

    task = asyncio.create_task(talk())
    async with persisting(), persisting():
        await eventually(lambda: _rows(db, 600), within=30)
        await Upkeep(redis).repartition(32, present=PARTITIONS)
        await eventually(lambda: _owned(db, 32), within=30)
        before = await db.fetchval("SELECT count(*) FROM messages")
        await eventually(lambda: _rows(db, before + 600), within=30)
        ended.set()
        await task
        await ledger.persisted(db)
        await eventually(lambda: settled(redis, 32))

    assert await redis.keys(f"{names.BARRIER_PREFIX}*") == []
    assert any([await redis.xlen(names.stream(n)) for n in range(16, 32)])


async def _rows(db: Database, count: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages") >= count)


async def _owned(db: Database, count: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM message_partitions WHERE owner IS NOT NULL") == count)


async def test_a_new_partition_waits_for_the_one_it_comes_from(redis: Redis, ledger: Ledger) -> None:
    """Not before the last entry from before the change is settled: neither while it is unread, nor while it is pending."""
    mover = conversation_in(20, 32)
    await ledger.send(envelope(mover, "m-1"), envelope(mover, "m-2"))
    await Upkeep(redis).repartition(32, present=PARTITIONS)
    await ledger.send(envelope(mover, "m-3"))
    stream, parent, child = StreamExit(redis, "one"), Lease(4, 1), Lease(20, 1)
    for lease in (parent, child):
        await stream.take_over(lease)

    assert (await stream.read([(child, NEW)], 10))[0].waits
    (first,) = await stream.read([(parent, NEW)], 10)
    assert len(first.entries) == 2
    assert (await stream.read([(child, NEW)], 10))[0].waits
    await stream.settle({parent: [first.entries[0].entry_id]})
    assert (await stream.read([(child, NEW)], 10))[0].waits
    await stream.settle({parent: [first.entries[1].entry_id]})
    (moved,) = await stream.read([(child, NEW)], 10)

    assert [each.body and each.body.count(b'"m-3"') for each in moved.entries] == [1]


async def test_partitions_are_not_divided_again_while_some_wait(redis: Redis, ledger: Ledger) -> None:
    """An order over two changes: 16 → 32 → 64 with everything unread would let the newest go first; so the second is refused."""
    mover = conversation_in(52, 64)
    await ledger.send(envelope(mover, "m-1"))
    upkeep, stream, parent = Upkeep(redis), StreamExit(redis, "one"), Lease(52 % 16, 1)
    await upkeep.repartition(32, present=PARTITIONS)
    with pytest.raises(InvalidInput, match="1 of the 32 partitions still wait"):
        await upkeep.repartition(64, present=PARTITIONS)
    assert await redis.get(names.PARTITIONS) == b"32"
    await stream.take_over(parent)
    (delivery,) = await stream.read([(parent, NEW)], 10)
    await stream.settle({parent: [each.entry_id for each in delivery.entries]})
    await upkeep.repartition(64, present=PARTITIONS)

    assert await redis.get(names.PARTITIONS) == b"64"


async def test_partitions_are_doubled_or_left_alone(redis: Redis) -> None:
    """Asked again, nothing happens; anything else is refused, and says what can be done."""
    upkeep = Upkeep(redis)
    with pytest.raises(InvalidInput, match="32 at a time, not 48"):
        await upkeep.repartition(48, present=PARTITIONS)
    with pytest.raises(InvalidInput, match="not 8"):
        await upkeep.repartition(8, present=PARTITIONS)
    await upkeep.repartition(32, present=PARTITIONS)
    await upkeep.repartition(32, present=PARTITIONS)
    await upkeep.repartition(64, present=PARTITIONS)

    assert await redis.get(names.PARTITIONS) == b"64"
    assert await StreamExit(redis, "one").partitions(PARTITIONS) == 64


async def test_long_entries_are_read_few_at_a_time_and_all_in_the_end(redis: Redis, ledger: Ledger) -> None:
    """Contents of 1 MiB in two partitions: each read brings some 4 MiB, whether they are new or pending."""
    talks = ["talk", conversation_in((TALK + 1) % PARTITIONS)]
    for talk in talks:
        await ledger.send(*(envelope(talk, f"m-{number}", "x" * 2**20) for number in range(6)))
        await ledger.send(*(envelope(talk, f"s-{number}") for number in range(50)))
    stream, leases = StreamExit(redis, "one"), [Lease(partition_of(talk), 1) for talk in talks]
    for lease in leases:
        await stream.take_over(lease)
    for cursor in (NEW, PENDING):
        found: dict[Lease, list[str]] = {lease: [] for lease in leases}
        reads = []
        while True:
            wanted = [(lease, cursor if cursor == NEW else (found[lease] or [PENDING])[-1]) for lease in leases]
            deliveries = await stream.read(wanted, 500)
            if not any(each.entries for each in deliveries):
                break
            reads.append(sum(len(entry.body or b"") for each in deliveries for entry in each.entries))
            for lease, each in zip(leases, deliveries, strict=True):
                found[lease] += [entry.entry_id for entry in each.entries]
        assert [found[lease] for lease in leases] == [
            await _ids(redis, names.stream(each.partition)) for each in leases
        ]
        assert max(reads) < 4.5 * 2**20
        assert len(reads) <= 7


async def test_entries_that_somebody_deleted_are_buried_as_missing(redis: Redis, ledger: Ledger) -> None:
    """Deleted while they were in hand: they are named, not waited for."""
    await ledger.send(envelope("talk", "m-1"), envelope("talk", "m-2"))
    stream, lease = StreamExit(redis, "one"), Lease(TALK, 1)
    await stream.take_over(lease)
    (delivery,) = await stream.read([(lease, NEW)], 10)
    await redis.xdel(STREAM, delivery.entries[0].entry_id)
    (again,) = await stream.read([(lease, PENDING)], 10)

    assert [(each.is_missing, each.body is None) for each in again.entries] == [(True, True), (False, False)]


async def test_entries_deleted_before_anybody_read_them_wait_no_longer(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Nobody settles them: once nothing else of the partition waits, they do not either, nor do entries added by hand."""
    await ledger.send(envelope("talk", "m-1"))
    await ledger.send(envelope("talk", "gone"), counts=False)
    await redis.xdel(STREAM, (await _ids(redis))[-1])
    stream, upkeep = StreamExit(redis, "somebody"), Upkeep(redis)
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
        assert await stream.lags([TALK]) == {TALK: 1}
        await eventually(lambda: _none_waits(stream), within=20)
        await redis.xadd(STREAM, {"hello": "world"})
        await eventually(lambda: _dead(redis))
    await upkeep.trim(TALK, keep_seconds=3600, keep_entries=10)
    await ledger.send(envelope("talk", "m-2"))
    await upkeep.trim(TALK, keep_seconds=3600, keep_entries=10)

    assert await stream.lags([TALK]) == {TALK: 1}


async def _none_waits(stream: StreamExit) -> bool:
    return await stream.lags([TALK]) == {TALK: 0}


async def _dead(redis: Redis) -> bool:
    return bool(await redis.xlen(names.DEAD_LETTERS))
