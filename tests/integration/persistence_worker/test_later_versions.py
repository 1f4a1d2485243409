"""Entries that a later release has written: an old worker leaves them, and what comes after them, to a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.messages.envelope import encode
from services.kernel.metrics import REGISTRY
from services.persistence_worker import consumer
from tests.integration.persistence_worker.conftest import Persisting
from tests.support.streamed import Ledger, conversation_in, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

TALK = partition_of("talk")
LATER = msgspec.json.encode(
    msgspec.json.decode(encode(envelope("talk", "later"))) | {"v": 2, "content": {"text": "Hello"}}
)
_LOOKS = 30
"""It is looked at every ten seconds."""


async def test_a_partition_waits_for_workers_that_can_read_it(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came before it, and all other partitions, become rows; nothing is a dead letter. The next owner waits likewise."""
    await ledger.send(envelope("talk", "before"))
    entry = await redis.xadd(names.stream(TALK), {"envelope": LATER})
    other = conversation_in((TALK + 1) % 16)
    for owner in range(2):
        async with persisting():
            await ledger.send(envelope(other, f"m-{owner}"))
            await ledger.persisted(db)
            await eventually(_is_paused)
            if not owner:
                await ledger.send(envelope("talk", "after"), counts=False)
            await ledger.send(envelope(other, f"n-{owner}"))
            await ledger.persisted(db)
            if owner:
                await redis.xdel(names.stream(TALK), entry)  # as somebody may who has no newer workers
                ledger.accepted["talk"].append(envelope("talk", "after").id)
                await ledger.persisted(db, within=_LOOKS)
                await eventually(lambda: settled(redis))
                await eventually(lambda: not _is_paused())
            else:
                assert await redis.xlen(names.DEAD_LETTERS) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "A partition stands still" in line]

    assert len(said) >= 2
    assert all(entry.decode() in line and "version 2" in line for line in said)
    ((_, letter),) = await redis.xrange(names.DEAD_LETTERS)
    assert (letter[b"reason"], letter[b"entry"]) == (b"missing", entry)


def _is_paused() -> bool:
    return REGISTRY.get_sample_value("stream_partitions_paused") == 1


async def test_a_partition_that_waited_goes_on_by_itself(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """With the same owner, once the entry is gone."""
    entry = await redis.xadd(names.stream(TALK), {"envelope": LATER})
    async with persisting():
        await eventually(_is_paused)
        await ledger.talk(1, 3)
        await ledger.send(*(envelope("talk", f"m-{n}") for n in range(3)))
        await redis.xdel(names.stream(TALK), entry)
        await ledger.persisted(db, within=_LOOKS)
        await eventually(lambda: settled(redis))


async def test_a_pause_that_ends_while_the_next_read_is_under_way_passes_nothing_over(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when writing a batch takes longer than the pause: the entry is looked at again and again."""
    looks: list[str] = []
    monkeypatch.setattr(consumer, "LATER_SECONDS", 0.0)
    monkeypatch.setattr(consumer, "say_later", lambda entry, _: looks.append(entry.entry_id))
    entry = await redis.xadd(names.stream(TALK), {"envelope": LATER})
    await ledger.send(envelope("talk", "after"))
    other = conversation_in((TALK + 1) % 16)
    await ledger.send(*(envelope(other, f"m-{n}") for n in range(100)))  # so that there is something to write meanwhile
    async with persisting(batch_size=1):
        await eventually(lambda: len(looks) > 3, within=5)
        assert await db.fetchval("SELECT count(*) FROM messages WHERE conversationid = 'talk'") == 0
        await redis.xdel(names.stream(TALK), entry)
        await ledger.persisted(db)

    assert set(looks) == {entry.decode()}
