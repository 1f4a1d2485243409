"""The steps of docs/KAFKA_MIGRATION_GUIDE.md under load, forth and back, with a real Redis and a real Kafka."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable
from services.kernel.messages import names
from services.kernel.messages.accepting import StreamEntrance
from services.kernel.messages.kafka.broker import GROUP, Broker, header, place
from services.kernel.messages.kafka.comparing import compare
from services.kernel.messages.kafka.copying import Copier
from services.kernel.messages.kafka.opening import topics
from tests.integration.transport.moving import BY_HAND, LEAKS, TALKS, copying, grown, load, start_worker, step
from tests.support.kafka import PrivateKafka
from tests.support.stack import Stack
from tests.support.streamed import PARTITIONS, Ledger, envelope, partition_of, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

pytestmark = [pytest.mark.kafka, BY_HAND, LEAKS]

ALL = [str(each) for each in range(PARTITIONS)]
GOOD = r"missing 0, lost 0, differing 0, out of order 0"


@pytest.fixture
def stack(stack: Stack, kafka: PrivateKafka) -> Stack:
    """Workers that are missed soon."""
    stack.environment |= {"STREAM_LEASE_SECONDS": "2", "KAFKA_SERVERS": kafka.servers, "KAFKA_COPIES": "1"}
    return stack


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """What was accepted; by Redis at first."""
    return Ledger(redis)


async def test_there_and_back_again(
    stack: Stack, db: Database, redis: Redis, kafka: PrivateKafka, ledger: Ledger
) -> None:
    """Both written, compared, readers moved by partition, apis moved, and all of it back: lost, double, out of order 0."""
    workers = [await start_worker(stack), await start_worker(stack)]
    broker, streams = Broker(kafka.servers), StreamEntrance(redis, partitions=PARTITIONS)
    async with topics(kafka.servers, redis, patience_seconds=20) as opened:

        def both(number: int) -> None:  # as while apis are restarted one after the other
            ledger.entrance = opened.entrance if number % 2 else streams

        async with load(ledger):
            await grown(db, TALKS)
            await step(stack, "topics")
            with copying(stack):
                await eventually(lambda: _is_copied(redis), within=60)
                assert len(re.findall(GOOD, await step(stack, "compare"))) == PARTITIONS
                await step(stack, "cut-over", *ALL[:8])
                await grown(db, 3 * TALKS)
                assert "partition 3: read from Kafka" in await step(stack, "status")
                workers.pop().kill()
                workers.append(await start_worker(stack))
                await grown(db, 2 * TALKS)
                await step(stack, "back", *ALL[:4])
                await step(stack, "cut-over", *ALL[8:])
                await grown(db, 3 * TALKS)
                await step(stack, "cut-over", *ALL[:4])
                await grown(db, 2 * TALKS)
        with copying(stack):
            async with load(ledger, both):
                await grown(db, 4 * TALKS)
        await ledger.persisted(db, within=60)
        ledger.entrance = opened.entrance
        with copying(stack):
            async with load(ledger):
                await grown(db, 2 * TALKS)
            await ledger.persisted(db, within=60)
            assert len(re.findall(GOOD, await step(stack, "compare"))) == PARTITIONS
            async with load(ledger, both):
                await grown(db, 2 * TALKS)
            ledger.entrance = streams
            async with load(ledger):
                await grown(db, 2 * TALKS)
                await eventually(lambda: _no_direct(broker), within=60)
                await step(stack, "back", *ALL)
                await grown(db, 3 * TALKS)
        await ledger.persisted(db, within=60)
        await eventually(lambda: settled(redis), within=30)
        assert await opened.letters.count() == 0
    assert not await redis.exists(names.DEAD_LETTERS) or await redis.xlen(names.DEAD_LETTERS) == 0


async def _is_copied(redis: Redis) -> bool:
    for each in range(PARTITIONS):
        assert not await redis.xlen(names.stream(each)) or await redis.exists(f"msg:copied:{each}"), each
    return True


async def _no_direct(broker: Broker) -> bool:
    notes = await broker.notes(GROUP)
    for each in range(PARTITIONS):
        waiting = await broker.records(place(each), first=notes.get(each, (0, ""))[0])
        assert all(header(record, "copied") for record in waiting), each
    return True


async def test_copies_are_made_once(redis: Redis, db: Database, kafka: PrivateKafka, ledger: Ledger) -> None:
    """In the stream's order, by copiers that take turns, one of which has forgotten to say how far it was."""
    talk = partition_of("talk")
    broker = Broker(kafka.servers)
    one, other = Copier(broker, redis), Copier(broker, redis)
    for number in range(0, 30, 3):
        await ledger.send(*(envelope("talk", f"m-{each}") for each in range(number, number + 3)))
        copier = (one, other)[number // 3 % 2]
        await eventually(lambda copier=copier: _copied(copier, talk))
        await redis.delete(f"msg:copied:{talk}")
    found = await compare(broker, redis, db, talk)
    records = await broker.records(place(talk))
    await one.close()
    await other.close()

    entries = await redis.xrange(names.stream(talk))
    assert [header(each, "copied") for each in records] == [entry.decode() for entry, _ in entries]
    assert [each.value for each in records] == [fields[b"envelope"] for _, fields in entries]
    assert (found.entries, found.records, found.rows) == (30, 30, 0)


async def _copied(copier: Copier, partition: int) -> bool:
    try:
        await copier.copy(partition)
    except BrokerUnavailable:  # the other one has copied meanwhile
        return False
    return True


async def test_differences_are_found(redis: Redis, db: Database, kafka: PrivateKafka, ledger: Ledger) -> None:
    """What is missing in Kafka, what has another content and what has another order; readers stay where they are then."""
    talk = partition_of("talk")
    broker = Broker(kafka.servers)
    await ledger.send(*(envelope("talk", f"m-{number}") for number in range(4)))
    copier = Copier(broker, redis)
    await copier.copy(talk)
    await copier.close()
    good = await compare(broker, redis, db, talk)
    for number in (2, 1):
        each = envelope("talk", f"m-{number}", "Other words" if number == 2 else "Hello")
        await db.execute(
            "INSERT INTO messages (id, conversationid, senderid, content, contenttype, clientmessageid, idempotencykey, "
            "contentdigest) VALUES ($1, 'talk', 'alice', $2, 'text', $3, $4, $5)",
            each.id,
            each.content,
            each.client_message_id,
            each.key,
            each.digest,
        )
    await ledger.send(envelope("talk", "m-9"))
    (last, _), *_ = await redis.xrevrange(names.stream(talk), count=1)
    await redis.set(f"msg:copied:{talk}", last)
    found = await compare(broker, redis, db, talk)

    assert good.is_good
    assert found.missing == [envelope("talk", "m-9").id]
    assert found.differing == [envelope("talk", "m-2").id]
    assert found.disordered == ["talk"]
    assert not found.is_good
