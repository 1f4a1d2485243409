"""Messages that cannot be persisted: each is a dead letter with its reason, and stops nobody else (R10)."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable
from services.kernel.messages import names
from services.kernel.messages.accepting import Acceptance, Found, StreamEntrance, Submission
from services.kernel.messages.consuming import Lease, StreamExit
from services.kernel.messages.dead_letters import DeadMessage, DeadMessages
from services.kernel.messages.envelope import accepted_at, encode
from services.persistence_worker import recovery
from services.persistence_worker.recovery import CRASHES
from tests.integration.persistence_worker.conftest import Persisting
from tests.support import crashing
from tests.support.stack import Stack
from tests.support.streamed import PARTITIONS, Ledger, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

POISON = envelope("talk", "bad", "poison")
_GOOD = msgspec.json.decode(encode(POISON))

UNREADABLE = {
    "no json": b"{",
    "no bytes": b"",
    "no utf-8": b'{"v":1,"id":"\xff"}',
    "an array": b"[1]",
    "fields missing": b'{"v":1,"id":"x"}',
    "wrong type": msgspec.json.encode(_GOOD | {"content": 5}),
    "no version of ours": msgspec.json.encode(_GOOD | {"v": 0}),
    "nul": msgspec.json.encode(_GOOD | {"content": "a\x00b"}),
    "lone surrogate": encode(POISON).replace(b'"poison"', b'"\\ud800"'),
    "too deep": b"[" * 100_000,
}

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.content LIKE 'poison%' THEN RAISE EXCEPTION 'poisonous'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def letters(redis: Redis) -> list[DeadMessage]:
    """What is dead."""
    return await DeadMessages(redis, partitions=PARTITIONS).page()


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_is_no_message_is_buried_at_once(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, kind: str
) -> None:
    """Between two messages of the same partition, which become rows."""
    await ledger.send(envelope("talk", "m-1"))
    await redis.xadd(names.stream(partition_of("talk")), {"envelope": UNREADABLE[kind]})
    await ledger.send(envelope("talk", "m-2"))
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    (letter,) = await letters(redis)
    ((_, fields),) = await redis.xrange(names.DEAD_LETTERS)

    assert (letter.reason, letter.partition) == ("undecodable", partition_of("talk"))
    assert letter.error
    assert fields[b"envelope"] == UNREADABLE[kind]


async def test_an_entry_without_an_envelope_is_buried(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """As somebody may write it by hand."""
    await redis.xadd(names.stream(partition_of("talk")), {"hello": "world"})
    await ledger.send(envelope("talk", "m-2"))
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert [letter.reason for letter in await letters(redis)] == ["undecodable"]


@pytest.mark.parametrize("accepted", ["a,b", "", "1-1,2-2", "-1", "9" * 5000 + "-1", "9999999999999999-1", "5-1"])
async def test_a_time_of_acceptance_that_is_none_is_not_believed(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, accepted: str
) -> None:
    """Written by hand beside a good envelope: the entry's own time stands, and the worker goes on."""
    fields: Any = {"envelope": encode(envelope("talk", "m-1")), "accepted": accepted}
    entry = await redis.xadd(names.stream(partition_of("talk")), fields)
    await ledger.send(envelope("talk", "m-2"))
    ledger.accepted["talk"].insert(0, envelope("talk", "m-1").id)
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    at = await db.fetchval("SELECT createdat FROM messages WHERE clientmessageid = 'm-1'")

    believed = accepted if accepted == "5-1" else entry.decode()
    assert int(at.timestamp() * 1000) == int(believed.partition("-")[0])


async def test_an_entry_that_was_deleted_before_its_row_was_there_is_a_dead_letter(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """In the hands of a worker that died, so that its successor finds a name and nothing behind it; a replay finds no more."""
    await ledger.send(envelope("talk", "gone"), counts=False)
    environment = {"STREAM_LEASE_SECONDS": "1"}
    doomed = stack.spawn("persistence_worker", faults="persistence.before_insert=kill@1", env=environment)
    assert await doomed.ended(within=30) == -signal.SIGKILL
    ((entry, _),) = await redis.xrange(names.stream(partition_of("talk")))
    await redis.xdel(names.stream(partition_of("talk")), entry)
    await ledger.send(envelope("talk", "m-2"))
    worker = await stack.start("persistence_worker", env=environment)
    await ledger.persisted(db)
    await eventually(lambda: settled(redis))
    (letter,) = await letters(redis)

    assert (letter.reason, letter.entry_id, letter.envelope) == ("missing", entry.decode(), None)
    assert letter.partition == partition_of("talk")
    assert [line["entry"] for line in worker.lines("Failed for good: the message is a dead letter in msg:dlq")] == [
        entry.decode()
    ]
    assert await DeadMessages(redis, partitions=PARTITIONS).replay([letter.letter_id]) == 0
    assert await letters(redis) == [letter]
    assert await settled(redis)


async def test_a_refused_message_is_buried_after_three_tries_and_holds_up_its_conversation_only(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """A trigger refuses one message in the middle of a full stream; later ones of its conversation wait, others do not."""
    await db.execute(REFUSE)
    for number in range(20):
        await ledger.send(*(envelope(f"talk-{n}", f"m-{number}") for n in range(40)))
        if number == 10:
            await ledger.send(envelope("talk-7", "bad", "poison"), counts=False)
    async with persisting(retry_seconds=0.5):
        await eventually(lambda: _others_are_through(db))
        waiting = await db.fetchval("SELECT count(*) FROM messages WHERE conversationid = 'talk-7'")
        assert await redis.xlen(names.DEAD_LETTERS) == 0
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    (letter,) = await letters(redis)

    assert waiting == 11
    assert (letter.reason, letter.attempts, letter.error) == ("refused", 3, "poisonous")
    assert letter.envelope == envelope("talk-7", "bad", "poison")
    assert await redis.hget(names.FAILED, letter.envelope.id) == letter.letter_id.encode()


async def _others_are_through(db: Database) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages WHERE conversationid <> 'talk-7'") == 39 * 20)


async def test_reservations_end_after_the_row_is_there_and_those_of_dead_letters_do_not(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """However long nobody persists, a repeat is recognised until PostgreSQL can recognise it."""
    await db.execute(REFUSE)
    good, bad = envelope("talk", "m-1"), envelope("talk-2", "bad", "poison")
    await ledger.send(good)
    await ledger.send(bad, counts=False)
    for each in (good, bad):
        await redis.persist(names.seen(each.id))
    async with persisting(reservation_seconds=100.0):
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert 90_000 < await redis.pttl(names.seen(good.id)) <= 100_000
    assert await redis.pttl(names.seen(bad.id)) == -1


async def test_reservations_end_when_a_successor_recognises_the_row(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """The first worker dies between the row and its settling."""
    await ledger.send(envelope("talk", "m-1"))
    await redis.persist(names.seen(envelope("talk", "m-1").id))
    environment = {"STREAM_LEASE_SECONDS": "1"}
    doomed = stack.spawn("persistence_worker", faults="persistence.after_insert=kill@1", env=environment)
    assert await doomed.ended(within=30) == -signal.SIGKILL
    await stack.start("persistence_worker", env={"STREAM_LEASE_SECONDS": "1"})
    await eventually(lambda: settled(redis))

    assert 3_000_000 < await redis.pttl(names.seen(envelope("talk", "m-1").id)) <= 3_600_000


async def test_many_refused_messages_are_all_buried(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """One in a hundred, some of them several in a conversation, one after the other."""
    await db.execute(REFUSE)
    for number in range(60):
        for n in range(10):
            is_bad = (number * 10 + n) % 37 == 0
            await ledger.send(envelope(f"talk-{n}", f"m-{number}", "poison" if is_bad else "x"), counts=not is_bad)
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))

    assert len(await letters(redis)) == 17


async def test_a_refusal_that_passes_is_no_death(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """Refused once, then taken: the row is there, in its place."""
    await db.execute(REFUSE)
    await ledger.send(envelope("talk", "m-1"), envelope("talk", "m-2", "poison"), envelope("talk", "m-3"))
    async with persisting(retry_seconds=0.5):
        await eventually(lambda: _count(db, 1))
        await db.execute("DROP TRIGGER refuse ON messages")
        await ledger.persisted(db)

    assert await letters(redis) == []


async def _count(db: Database, count: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages") == count)


async def test_a_database_that_refuses_everything_is_an_outage(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """A privilege that is missing says nothing about the messages: they wait, and none is charged."""
    await db.execute("REVOKE INSERT ON messages FROM service_role")
    await ledger.talk(5, 5)
    async with persisting():
        await asyncio.sleep(2)  # long enough for three tries of each
        assert await letters(redis) == []
        await db.execute("GRANT INSERT ON messages TO service_role")
        await ledger.persisted(db)


async def test_a_message_that_kills_its_worker_is_buried_after_three_deaths(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """R10: the three workers that touch it die, the fourth buries it; neighbours of its partition are rows, in order."""
    await ledger.send(envelope("talk", "m-1"))
    await ledger.send(envelope("talk", "bad", crashing.DEADLY), counts=False)
    for number in range(2, 6):
        await ledger.send(envelope("talk", f"m-{number}"))
    await ledger.talk(10, 3)
    environment = {"STREAM_LEASE_SECONDS": "1", **crashing.environment(stack.folder)}
    for _ in range(3):
        worker = stack.spawn("persistence_worker", env=environment)
        assert await worker.ended(within=30) == -signal.SIGKILL
        assert await letters(redis) == []
    fourth = await stack.start("persistence_worker", env=environment)
    await ledger.persisted(db)
    await eventually(lambda: settled(redis))
    (letter,) = await letters(redis)

    assert (letter.reason, letter.attempts) == ("crashes", 3)
    assert letter.envelope is not None
    assert letter.envelope.client_message_id == "bad"
    assert await redis.hget(names.FAILED, letter.envelope.id) == letter.letter_id.encode()
    assert await redis.keys(f"{names.TOUCHING_PREFIX}*") == []
    assert await fourth.stopped() == 0


@pytest.mark.parametrize("arrival", [1, 2])
async def test_workers_that_are_killed_while_they_recover_bury_nothing(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack, arrival: int
) -> None:
    """Five workers die soon after they have begun, each of something else: what was in hand is no dead letter."""
    await ledger.talk(40, 10)
    for _ in range(5):
        worker = stack.spawn(
            "persistence_worker", faults=f"persistence.after_insert=kill@{arrival}", env={"STREAM_LEASE_SECONDS": "1"}
        )
        assert await worker.ended(within=30) == -signal.SIGKILL
    await stack.start("persistence_worker", env={"STREAM_LEASE_SECONDS": "1"})
    await ledger.persisted(db)
    await eventually(lambda: settled(redis))

    assert await letters(redis) == []
    assert stack.fired() == {"persistence.after_insert kill": 5}


async def test_a_worker_that_recovers_a_refused_message_stops_at_once(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """It would try again in 30 s; told to stop it leaves the message to the next, unburied and not charged with a death."""
    await ledger.send(envelope("talk", "bad", "poison"))
    environment = {"STREAM_LEASE_SECONDS": "1", "STREAM_RETRY_SECONDS": "30"}
    doomed = stack.spawn("persistence_worker", faults="persistence.before_insert=kill@1", env=environment)
    assert await doomed.ended(within=30) == -signal.SIGKILL
    await db.execute(REFUSE)
    worker = await stack.start("persistence_worker", env=environment)
    await eventually(lambda: worker.lines("Failed to persist a message"), within=20)
    assert await asyncio.wait_for(worker.stopped(), 10) == 0
    assert await redis.keys(f"{names.TOUCHING_PREFIX}*") == []
    await db.execute("DROP TRIGGER refuse ON messages")
    await stack.start("persistence_worker", env=environment)
    await ledger.persisted(db)

    assert await letters(redis) == []


async def test_answers_that_are_lost_are_no_deaths(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis notes an entry of a dead worker, and its answer is lost, four times: one worker has it in hand, who lives."""
    touch, stream = StreamExit.touch, names.stream(partition_of("talk"))
    counted: list[int | None] = []

    async def touch_unheard(self: StreamExit, lease: Lease, entry_id: str) -> int | None:
        counted.append(await touch(self, lease, entry_id))
        if len(counted) <= CRASHES + 1:
            raise BrokerUnavailable("Connection reset")
        return counted[-1]

    await ledger.send(envelope("talk", "m-1"))
    await redis.xgroup_create(stream, names.GROUP, id="0")
    await redis.xreadgroup(names.GROUP, "dead", {stream: ">"})
    monkeypatch.setattr(StreamExit, "touch", touch_unheard)
    monkeypatch.setattr(recovery, "_AGAIN_SECONDS", 0.02)
    async with persisting():
        await ledger.persisted(db, within=5)
        await eventually(lambda: settled(redis))

    assert counted == [1] * (CRASHES + 2)
    assert await letters(redis) == []
    assert await redis.keys(f"{names.TOUCHING_PREFIX}*") == []


async def test_workers_that_are_killed_while_postgresql_is_away_bury_nothing(
    db: Database, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """An orchestrator may end them one after the other meanwhile; they have not died of what they had in hand."""
    await ledger.talk(40, 10)
    stack.environment |= {"STREAM_LEASE_SECONDS": "1"}
    doomed = stack.spawn("persistence_worker", faults="persistence.before_insert=kill@1")
    assert await doomed.ended(within=30) == -signal.SIGKILL
    await db.execute("REVOKE INSERT ON messages FROM service_role")
    for _ in range(3):
        worker = await stack.start("persistence_worker")
        await eventually(lambda worker=worker: worker.lines("recovery waits"), within=20)
        worker.kill()
    await db.execute("GRANT INSERT ON messages TO service_role")
    await stack.start("persistence_worker")
    await ledger.persisted(db)
    await eventually(lambda: settled(redis))

    assert await letters(redis) == []


async def test_replayed_dead_letters_become_rows(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """One of them, then all; each once, with the time at which it was accepted first."""
    await db.execute(REFUSE)
    poison = [envelope(f"talk-{n}", "bad", "poison") for n in range(5)]
    await ledger.send(*poison)
    accepted = {
        fields[b"envelope"]: entry.partition(b"-")[0]
        for n in range(PARTITIONS)
        for entry, fields in await redis.xrange(names.stream(n))
    }
    dead: Any = DeadMessages(redis, partitions=PARTITIONS)
    async with persisting():
        await eventually(lambda: _dead(redis, 5))
        await db.execute("DROP TRIGGER refuse ON messages")
        first = (await letters(redis))[0]
        assert await dead.replay([first.letter_id, first.letter_id, "1-1"]) == 1
        await eventually(lambda: _count(db, 1))
        assert await asyncio.gather(dead.replay_all(), dead.replay_all()) in ([4, 0], [0, 4], [1, 3], [3, 1], [2, 2])
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    rows = await db.fetch("SELECT id, createdat FROM messages")

    assert await dead.count() == 0
    assert await redis.exists(names.FAILED) == 0
    assert {row["id"]: int(row["createdat"].timestamp() * 1000) for row in rows} == {
        each.id: int(accepted[encode(each)]) for each in poison
    }


async def _dead(redis: Redis, count: int) -> bool:
    return bool(await redis.xlen(names.DEAD_LETTERS) == count)


async def test_a_replayed_message_is_found_and_its_repeat_waits_with_it(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """By its new entry, after the old one was cut off; with the time at which it was accepted first, until it has its row."""
    await db.execute(REFUSE)
    poison = Submission(POISON, names.partition_hash("talk"))
    await ledger.send(POISON)
    ((old, _),) = await redis.xrange(names.stream(partition_of("talk")))
    async with persisting():
        await eventually(lambda: _dead(redis, 1))
    await db.execute("DROP TRIGGER refuse ON messages")
    assert await DeadMessages(redis, partitions=PARTITIONS).replay_all() == 1
    await redis.xdel(names.stream(partition_of("talk")), old)
    entrance = StreamEntrance(redis, partitions=PARTITIONS)
    found, (repeat,) = await entrance.find(POISON.id), await entrance.accept([poison])
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: _ends(redis))

    assert found == Found(POISON, accepted_at(old.decode()), None)
    assert repeat == Acceptance(accepted_at(old.decode()), is_new=False, is_same=True, state="pending")


async def _ends(redis: Redis) -> bool:
    return bool(await redis.pttl(names.seen(POISON.id)) > 0)


@pytest.mark.parametrize("accepted", ["a,b", "9" * 30 + "-1"])
async def test_what_somebody_has_written_by_hand_is_shown_as_well_as_it_can_be(
    db: Database, redis: Redis, ledger: Ledger, persisting: Persisting, accepted: str
) -> None:
    """A dead letter that names no partition, no time and no number of tries: listed, found, and put back where it belongs."""
    fields: Any = {"partition": "x", "attempts": "many", "entry": "none", "accepted": accepted, "reason": b"\xff"}
    dead, odd = DeadMessages(redis, partitions=PARTITIONS), {"partition": "9999"}
    letter_id = await redis.xadd(names.DEAD_LETTERS, fields | {"envelope": encode(POISON)})
    await redis.xadd(names.DEAD_LETTERS, odd)
    await redis.hset(names.FAILED, POISON.id, letter_id)
    found = await StreamEntrance(redis, partitions=PARTITIONS).find(POISON.id)
    first, second = await dead.page()
    ledger.accepted["talk"] = [POISON.id]
    await dead.replay_all()
    async with persisting():
        await ledger.persisted(db)
        await eventually(lambda: settled(redis))
    at = await db.fetchval("SELECT createdat FROM messages")

    assert found is not None
    assert found.accepted_at == at == accepted_at(letter_id.decode())
    assert (first.partition, first.attempts, second.partition) == (0, 0, 9999)
    assert await redis.exists(names.stream(9999), f"{names.STREAM_PREFIX}x") == 0
