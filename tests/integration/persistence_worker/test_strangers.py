"""Entries that somebody who is no worker has claimed: their owner takes them back, also when nothing else is to be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.messages.consuming import NEW, PENDING, Delivery, Lease, StreamExit
from services.kernel.messages.envelope import encode
from services.persistence_worker.items import Item, Outcome
from services.persistence_worker.persister import Persister
from services.persistence_worker.reading import LOOK_ROUND_SECONDS
from tests.integration.persistence_worker.conftest import Persisting
from tests.integration.persistence_worker.test_poison import REFUSE, letters
from tests.support.streamed import Ledger, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

_TALK = partition_of("talk")
_STREAM = names.stream(_TALK)
_TAKEN_BACK_SECONDS = 10.0
"""docs/MESSAGES.md says six; the machine has other things to do."""


async def test_what_is_claimed_in_an_idle_partition_is_taken_back(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, looks: list[float]
) -> None:
    """Two that have no row, and one that has: nothing comes after them that would lead the worker there."""
    await ledger.send(envelope("talk", "m-0"))
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
        await _passed_over(redis, ledger, "m-1", "m-2")
        entries = [entry_id for entry_id, _ in await redis.xrange(_STREAM)]
        assert await db.fetchval("SELECT count(*) FROM messages") == 1

        await redis.xclaim(_STREAM, names.GROUP, "stranger", 0, entries, force=True, justid=True)
        await ledger.persisted(db, within=_TAKEN_BACK_SECONDS)
        await eventually(lambda: settled(redis))

    assert len(entries) == 3
    assert await redis.xlen(names.DEAD_LETTERS) == 0
    assert await redis.exists(names.touching(_TALK)) == 0  # nobody is charged with a death
    assert len(looks) >= 2
    assert all(later - earlier > LOOK_ROUND_SECONDS - 0.5 for earlier, later in pairwise(looks))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When a worker has looked round."""
    found: list[float] = []
    read = StreamExit.read

    async def noted(
        self: StreamExit, wanted: Sequence[tuple[Lease, str]], count: int, *, looks_round: bool = False
    ) -> list[Delivery]:
        if looks_round:
            found.append(time.monotonic())
        return await read(self, wanted, count, looks_round=looks_round)

    monkeypatch.setattr(StreamExit, "read", noted)
    return found


async def test_what_is_refused_and_claimed_is_a_dead_letter_all_the_same(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Its tries are counted anew once it is back; what waits behind it comes after."""
    await db.execute(REFUSE)
    await ledger.send(envelope("talk", "bad", "poison"), counts=False)
    await ledger.send(envelope("talk", "m-1"))
    async with persisting(retry_seconds=2.0):
        await eventually(lambda: _pending(redis, 2))
        await redis.xautoclaim(_STREAM, names.GROUP, "stranger", 0)
        await ledger.persisted(db, within=_TAKEN_BACK_SECONDS + 6)
        await eventually(lambda: settled(redis))
    (letter,) = await letters(redis)

    assert (letter.reason, letter.attempts) == ("refused", 3)


async def test_what_is_claimed_while_a_dead_worker_s_entries_are_recovered_is_still_handled_alone(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than recovery reads at a time, and a stranger claims all of it: one of them may have killed its worker."""
    written: list[int] = []
    put = Persister.put

    async def noted(self: Persister, items: Sequence[Item]) -> Outcome:
        written.append(len(items))
        return await put(self, items)

    monkeypatch.setattr(Persister, "put", noted)
    for number in range(70):
        await ledger.send(envelope("talk", f"m-{number}"))
    await redis.xgroup_create(_STREAM, names.GROUP, id="0")
    await redis.xreadgroup(names.GROUP, "dead", {_STREAM: NEW}, count=100)
    async with persisting():
        async with db.transaction() as blocker:
            await blocker.execute("LOCK messages IN ACCESS EXCLUSIVE MODE")
            await eventually(lambda: _waiting(db))
            _, claimed, *_ = await redis.xautoclaim(_STREAM, names.GROUP, "stranger", 0, count=100)
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert len(claimed) == 70
    assert max(written) == 1


async def test_nothing_is_read_past_what_a_stranger_has(redis: Redis, ledger: Ledger) -> None:
    """Neither what this consumer was given before nor what is new; once it has taken all over, it is given all, in order."""
    stream, lease = StreamExit(redis, "worker"), Lease(_TALK, 1)
    await stream.take_over(lease)
    await ledger.send(*(envelope("talk", f"m-{number}") for number in range(3)))
    (given,) = await stream.read([(lease, NEW)], 2)
    ids = [each.entry_id for each in given.entries]
    await redis.xclaim(_STREAM, names.GROUP, "stranger", 0, ids[:1])
    (pending,) = await stream.read([(lease, PENDING)], 10)
    (new,) = await stream.read([(lease, NEW)], 10)
    (nothing,) = await stream.read([(lease, NEW)], 10)
    (seen,) = await stream.read([(lease, NEW)], 10, looks_round=True)
    taken = await stream.take_over(lease)
    (again,) = await stream.read([(lease, PENDING)], 10, looks_round=True)

    assert len(ids) == 2
    assert [each.has_strangers for each in (pending, new, nothing, seen)] == [True, True, False, True]
    assert [*pending.entries, *new.entries] == []
    assert taken.taken == 3
    assert [each.entry_id for each in again.entries][:2] == ids
    assert len(again.entries) == 3


async def _passed_over(redis: Redis, ledger: Ledger, *client_ids: str) -> None:
    """Put entries there that a stranger is given and lets go at once, and wait until the worker has noticed."""
    messages = {
        f"{round(time.time() * 1000)}-{number}": envelope("talk", each) for number, each in enumerate(client_ids, 1)
    }
    ledger.accepted["talk"] += [each.id for each in messages.values()]
    async with redis.pipeline(transaction=True) as all_of_it:
        for entry_id, each in messages.items():
            all_of_it.xadd(_STREAM, {"envelope": encode(each)}, id=entry_id)
        all_of_it.xreadgroup(names.GROUP, "stranger", {_STREAM: NEW})
        all_of_it.xack(_STREAM, names.GROUP, *messages)
        await all_of_it.execute()
    await eventually(lambda: _is_alone(redis))


async def _is_alone(redis: Redis) -> bool:
    return len(await redis.xinfo_consumers(_STREAM, names.GROUP)) == 1


async def _pending(redis: Redis, count: int) -> bool:
    return [each["pending"] for each in await redis.xinfo_groups(_STREAM)] == [count]


async def _waiting(db: Database) -> Any:
    """A statement that waits for the table."""
    return await db.fetchval("""
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%messages%'
    """)
