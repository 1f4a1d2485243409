"""A message of which every statement fails with a code that may be everybody's: it alone becomes a dead letter.

And the same codes when they are everybody's: then nobody does.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database, connect
from services.kernel.messages import names
from services.persistence_worker import persister
from services.persistence_worker.items import Item, Outcome
from services.persistence_worker.persister import Persister
from tests.integration.persistence_worker.conftest import Persisting
from tests.integration.persistence_worker.test_poison import letters
from tests.support import crashing
from tests.support.stack import Stack
from tests.support.streamed import PARTITIONS, Ledger, conversation_in, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

SLOW = "57014"
FAILING = {
    SLOW: "PERFORM pg_sleep(30)",
    "XX000": "RAISE EXCEPTION 'broken' USING ERRCODE = 'XX000'",
    "42P01": "PERFORM 1 FROM nowhere",
    "38000": "RAISE EXCEPTION 'broken' USING ERRCODE = '38000'",
    "55P03": "RAISE EXCEPTION 'broken' USING ERRCODE = '55P03'",
}
"""What a trigger does of one content, by the code that comes of it."""
NO_ROOM = "RAISE EXCEPTION 'no room' USING ERRCODE = '53100'"


def trigger(what: str) -> str:
    """A trigger that does this of a poison."""
    return f"""
CREATE FUNCTION fail_of_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.content = 'poison' THEN {what}; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail_of_it BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION fail_of_it();
"""


async def talk_with_poison(ledger: Ledger) -> None:
    """Forty conversations in all partitions; in the middle of one of them the message that nobody can write."""
    await ledger.talk(40, 8)
    await ledger.send(envelope("talk-7", "bad", "poison"), counts=False)
    await ledger.talk(40, 8, first=8)


async def was_alone(redis: Redis, sqlstate: str) -> None:
    """It is the one dead letter, with what PostgreSQL says, after as many tries as there are at least."""
    (letter,) = await letters(redis)
    ((_, fields),) = await redis.xrange(names.DEAD_LETTERS)
    assert (letter.reason, letter.attempts, letter.envelope) == ("refused", 3, envelope("talk-7", "bad", "poison"))
    assert fields[b"sqlstate"].decode() == sqlstate


@pytest.mark.parametrize("sqlstate", FAILING)
async def test_it_stops_nobody(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, sqlstate: str
) -> None:
    """Those of its conversation come after it, in order; the others before it is given up, and while the worker reads on."""
    await db.execute(trigger(FAILING[sqlstate]))
    await talk_with_poison(ledger)
    async with persisting(statement_seconds=1.0, retry_seconds=1.0, max_retries=1):
        await eventually(lambda: _others_are_through(db, 39 * 16), within=20)
        assert await letters(redis) == []
        await ledger.persisted(db, within=40)
        await ledger.talk(40, 2, first=16)
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    await was_alone(redis, sqlstate)


async def _others_are_through(db: Database, count: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages WHERE conversationid <> 'talk-7'") == count)


@pytest.mark.parametrize("sqlstate", [SLOW, "XX000"])
async def test_it_stops_no_recovery(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, sqlstate: str
) -> None:
    """Where a dead worker had everything in hand, also while it waits for its next try."""
    await db.execute(trigger(FAILING[sqlstate]))
    await talk_with_poison(ledger)
    for partition in range(PARTITIONS):
        await redis.xgroup_create(names.stream(partition), names.GROUP, id="0", mkstream=True)
        await redis.xreadgroup(names.GROUP, "dead", {names.stream(partition): ">"})
    async with persisting(statement_seconds=1.0, retry_seconds=4.0):
        await eventually(lambda: _other_partitions_are_through(db, ledger), within=20)
        assert await letters(redis) == []
        await ledger.persisted(db, within=60)
        await eventually(lambda: settled(redis))

    await was_alone(redis, sqlstate)
    assert await redis.keys(f"{names.TOUCHING_PREFIX}*") == []


async def _other_partitions_are_through(db: Database, ledger: Ledger) -> bool:
    partition = names.partition_hash("talk-7") % PARTITIONS
    others = [each for each in ledger.accepted if names.partition_hash(each) % PARTITIONS != partition]
    count = await db.fetchval("SELECT count(*) FROM messages WHERE conversationid = ANY ($1::text[])", others)
    return bool(count == 16 * len(others))


async def test_many_are_all_found(db: Database, redis: Redis, ledger: Ledger, persisting: Persisting) -> None:
    """One in twenty, beside each other and one after the other in a conversation."""
    await db.execute(trigger(FAILING["XX000"]))
    for number in range(20):
        for n in range(10):
            is_bad = (number * 10 + n) % 20 in {3, 4}
            await ledger.send(envelope(f"talk-{n}", f"m-{number}", "poison" if is_bad else "x"), counts=not is_bad)
    async with persisting():
        await ledger.persisted(db, within=60)
        await eventually(lambda: settled(redis))

    assert len(await letters(redis)) == 20


@pytest.mark.parametrize("lock", ["messages", "message_partitions"])
async def test_a_lock_that_everybody_waits_for_condemns_nobody(
    db: Database,
    app_database_url: str,
    database_url: str,
    redis: Redis,
    ledger: Ledger,
    persisting: Persisting,
    lock: str,
) -> None:
    """As a migration takes it, for as long as twenty tries."""
    await ledger.talk(2, 3)
    session = await connect(database_url)
    async with persisting(statement_seconds=0.3, lease_seconds=60.0):
        await eventually(lambda: settled(redis))
        await session.execute(f"BEGIN; LOCK TABLE {lock} IN ACCESS EXCLUSIVE MODE")
        await ledger.talk(2, 3, first=3)
        await asyncio.sleep(20 * 0.3)
        await session.execute("ROLLBACK")
        await ledger.persisted(db, within=60)
        await eventually(lambda: settled(redis))
    await session.close()

    assert await letters(redis) == []


async def test_what_passes_by_itself_condemns_nobody(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """A long message may find no room where short ones do: others get through, and it when there is room again."""
    await db.execute(trigger(NO_ROOM))
    await ledger.talk(20, 4)
    await ledger.send(envelope("talk-7", "long", "poison"))
    await ledger.talk(20, 4, first=4)
    async with persisting():
        await eventually(lambda: _others_are_through(db, 19 * 8), within=20)
        await asyncio.sleep(2)  # long enough for more tries than others have
        assert await letters(redis) == []
        await db.execute("DROP TRIGGER fail_of_it ON messages")
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert await letters(redis) == []


async def test_what_passes_by_itself_stops_its_conversation_alone_after_a_restart(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others of its partition get through, and are read on; it and those behind it when there is room again, in order.

    What was behind it in a dead worker's hands is not tried together with it, nor noted as in hand.
    """
    put, with_it = Persister.put, list[int]()

    async def put_and_note(self: Persister, items: Sequence[Item]) -> Outcome:
        if any(each.envelope.content == "poison" for each in items):
            with_it.append(sum(each.conversation == "talk-7" for each in items))
        return await put(self, items)

    stream, other = names.stream(partition_of("talk-7")), conversation_in(partition_of("talk-7"), but=["talk-7"])

    async def talk(first: int) -> None:
        for number in range(first, first + 4):
            await ledger.send(envelope("talk-7", f"m-{number}"), envelope(other, f"m-{number}"))

    async def has_rows(conversation: str, count: int) -> bool:
        found = await db.fetchval("SELECT count(*) FROM messages WHERE conversationid = $1", conversation)
        return bool(found == count)

    await db.execute(trigger(NO_ROOM))
    await talk(0)
    await ledger.send(envelope("talk-7", "long", "poison"))
    await talk(4)
    async with persisting():
        await eventually(lambda: has_rows(other, 8))
    await talk(8)
    await redis.xreadgroup(names.GROUP, "dead", {stream: ">"})
    monkeypatch.setattr(Persister, "put", put_and_note)
    async with persisting():
        await eventually(lambda: has_rows(other, 12))
        await talk(12)
        await eventually(lambda: has_rows(other, 16))
        await eventually(lambda: len(with_it) > 2)
        assert (set(with_it), await has_rows("talk-7", 4)) == ({1}, True)
        assert (await letters(redis), await redis.keys(f"{names.TOUCHING_PREFIX}*")) == ([], [])
        await db.execute("DROP TRIGGER fail_of_it ON messages")
        await ledger.persisted(db, within=40)
        await eventually(lambda: settled(redis))

    assert await letters(redis) == []
    assert await redis.keys(f"{names.TOUCHING_PREFIX}*") == []


async def test_what_kills_its_worker_is_found_behind_what_passes_by_itself(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """Later in the conversation that is kept back: three workers die of it, the fourth buries it and goes on."""
    await db.execute(trigger(NO_ROOM))
    await ledger.send(envelope("talk-3", "long", "poison"))
    await ledger.send(envelope("talk-3", "bad", crashing.DEADLY), counts=False)
    await ledger.talk(10, 3)
    environment = {"STREAM_LEASE_SECONDS": "1", **crashing.environment(stack.folder)}
    for _ in range(3):
        worker = stack.spawn("persistence_worker", env=environment)
        assert await worker.ended(within=30) == -signal.SIGKILL
    await stack.start("persistence_worker", env=environment)
    await eventually(lambda: letters(redis), within=20)
    await db.execute("DROP TRIGGER fail_of_it ON messages")
    await ledger.persisted(db, within=40)
    await eventually(lambda: settled(redis))

    assert [(each.reason, each.attempts) for each in await letters(redis)] == [("crashes", 3)]
    assert await redis.keys(f"{names.TOUCHING_PREFIX}*") == []


async def test_an_entry_for_which_recovery_had_no_time_is_tried_again(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was neither written nor refused; settled without a row it would be lost."""
    put, waited = Persister.put, list[Item]()

    async def put_and_note(self: Persister, items: Sequence[Item]) -> Outcome:
        outcome = await put(self, items)
        waited.extend(outcome.waiting)
        return outcome

    monkeypatch.setattr(Persister, "put", put_and_note)
    monkeypatch.setattr(persister, "_ALONE_SECONDS", -1.0)
    await db.execute(trigger(FAILING["XX000"]))
    await ledger.send(envelope("talk", "m-1", "poison"))
    stream = names.stream(partition_of("talk"))
    await redis.xgroup_create(stream, names.GROUP, id="0")
    await redis.xreadgroup(names.GROUP, "dead", {stream: ">"})
    async with persisting():
        await eventually(lambda: len(waited) > 2)
        await db.execute("DROP TRIGGER fail_of_it ON messages")
        monkeypatch.setattr(persister, "_ALONE_SECONDS", 15.0)
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert await letters(redis) == []
    assert await redis.keys(f"{names.TOUCHING_PREFIX}*") == []
