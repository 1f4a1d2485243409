"""What the worker reads while something is wrong with one partition: all others, and that one in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.messages.consuming import Delivery, Lease, StreamExit
from services.kernel.messages.envelope import encode
from services.persistence_worker.reading import MOST_HELD
from tests.integration.persistence_worker.conftest import Persisting
from tests.integration.persistence_worker.test_poison import REFUSE
from tests.support.streamed import Ledger, conversation_in, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

_STREAM = names.stream(partition_of("talk"))


async def test_a_conversation_that_waits_for_long_stops_its_partition_alone(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Its first message is refused, and so many come behind it that no more are held."""
    await db.execute(REFUSE)
    await ledger.send(envelope("talk", "bad", "poison"))
    for number in range(MOST_HELD + 200):
        await ledger.send(envelope("talk", f"m-{number}"))
    async with persisting(retry_seconds=30.0, max_retries=20):
        await eventually(lambda: _pending(redis, MOST_HELD + 1))
        other = conversation_in((partition_of("talk") + 1) % 16)
        for number in range(20):
            await ledger.send(envelope(other, f"m-{number}"))
        await eventually(lambda: _rows(db, other, 20), within=10)

        assert await db.fetchval("SELECT count(*) FROM messages WHERE conversationid = 'talk'") == 0


async def _pending(redis: Redis, least: int) -> bool:
    groups = await redis.xinfo_groups(_STREAM)
    return bool(groups and groups[0]["pending"] >= least)


async def _rows(db: Database, conversation: str, count: int) -> bool:
    found = await db.fetchval("SELECT count(*) FROM messages WHERE conversationid = $1", conversation)
    return bool(found == count)


async def test_what_a_stranger_has_read_is_taken_back_in_order(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody types XREADGROUP: alone, before an entry that the worker gets, and twenty times; the worker does not spin."""
    reads = 0
    read = StreamExit.read

    async def counted(
        self: StreamExit, wanted: Sequence[tuple[Lease, str]], count: int, *, looks_round: bool = False
    ) -> list[Delivery]:
        nonlocal reads
        reads += 1
        return await read(self, wanted, count, looks_round=looks_round)

    monkeypatch.setattr(StreamExit, "read", counted)
    await ledger.send(envelope("talk", "m-0"))
    async with persisting(poll_interval_ms=1000):
        await ledger.persisted(db)
        await _stolen(redis, ledger, "alone")
        await ledger.persisted(db, within=5)
        await _stolen(redis, ledger, "first", then="second")
        await ledger.persisted(db, within=5)
        await eventually(lambda: settled(redis))
        reads = 0
        for number in range(20):
            await _stolen(redis, ledger, f"again-{number}", then=f"own-{number}" if number % 3 else None)
            await asyncio.sleep(0.1)
        await ledger.persisted(db, within=10)
        await eventually(lambda: settled(redis))

    assert reads < 200  # in two seconds; one that spins reads a thousand times and more in one


async def _stolen(redis: Redis, ledger: Ledger, client_id: str, *, then: str | None = None) -> None:
    """An entry that a stranger is given the moment it is there, and perhaps one after it that he is not."""
    messages = [envelope("talk", each) for each in (client_id, then) if each is not None]
    async with redis.pipeline(transaction=True) as both:
        both.xadd(_STREAM, {"envelope": encode(messages[0])})
        both.xreadgroup(names.GROUP, "stranger", {_STREAM: ">"}, count=10)
        for each in messages[1:]:
            both.xadd(_STREAM, {"envelope": encode(each)})
        await both.execute()
    ledger.accepted["talk"] += [each.id for each in messages]
