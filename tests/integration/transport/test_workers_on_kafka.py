"""Persistence-workers whose partitions are all read from a real Kafka: lost 0, double 0, out of order 0, whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx
import pytest

from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable
from services.kernel.messages.kafka.opening import topics
from services.kernel.messages.kafka.switching import Routes
from services.kernel.messages.transport import Transport
from tests.integration.transport.moving import BY_HAND, LEAKS, SCRIPT, TALKS, grown, load, start_worker
from tests.support.conversations import message
from tests.support.kafka import PrivateKafka
from tests.support.stack import Stack
from tests.support.streamed import PARTITIONS, Ledger, envelope, partition_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

pytestmark = [pytest.mark.kafka, BY_HAND, LEAKS]

LEASE_SECONDS = 2.0


@pytest.fixture
async def transport(redis: Redis, kafka: PrivateKafka) -> AsyncIterator[Transport]:
    """The topics, from which every partition is read."""
    for each in range(PARTITIONS):
        await Routes(redis).lead(each, to_kafka=True)
    async with topics(kafka.servers, redis) as opened:
        yield opened


@pytest.fixture
def stack(stack: Stack, kafka: PrivateKafka) -> Stack:
    """Workers that are missed soon."""
    stack.environment |= {"STREAM_LEASE_SECONDS": str(LEASE_SECONDS), "KAFKA_SERVERS": kafka.servers}
    return stack


@pytest.fixture
def ledger(redis: Redis, transport: Transport) -> Ledger:
    """What was accepted, by the topic's entrance."""
    ledger = Ledger(redis)
    ledger.entrance = transport.entrance
    return ledger


async def _through(transport: Transport) -> bool:
    lags = await transport.exit.lags(range(PARTITIONS))
    assert set(lags.values()) == {0}, lags
    return True


async def test_killed_workers_lose_nothing(stack: Stack, db: Database, ledger: Ledger, transport: Transport) -> None:
    """Kill -9 of one of two, in the middle of batches and at the worst moments; another one comes."""
    doomed = stack.spawn("persistence_worker", faults="persistence.before_settle=kill@4", program=(SCRIPT, "persist"))
    second = await start_worker(stack)
    async with load(ledger):
        assert await doomed.ended(within=60) == -9
        third = await start_worker(stack)
        await grown(db, 2 * TALKS)
        second.kill()
        await start_worker(stack)
        await grown(db, 2 * TALKS)
        third.kill()
        await grown(db, 2 * TALKS)
    await ledger.persisted(db, within=60)
    await eventually(lambda: _through(transport), within=30)

    assert [each.exit_code for each in stack.processes].count(-9) == 3
    assert await transport.letters.count() == 0


async def test_a_frozen_worker_changes_nothing_when_it_wakes(
    stack: Stack, db: Database, ledger: Ledger, transport: Transport
) -> None:
    """Longer than its lease; others have its partitions by then, and Kafka refuses its producers."""
    first = await start_worker(stack)
    async with load(ledger):
        await grown(db, TALKS)
        first.pause()
        await start_worker(stack)
        await grown(db, 4 * TALKS)
        first.resume()
        await grown(db, 2 * TALKS)
    await ledger.persisted(db, within=60)
    await eventually(lambda: _through(transport), within=30)

    assert first.exit_code is None
    assert await transport.letters.count() == 0


async def test_kafka_killed_and_started_again(
    stack: Stack, db: Database, ledger: Ledger, transport: Transport, kafka: PrivateKafka
) -> None:
    """Under load; senders send again what was not accepted, workers go on by themselves."""
    worker = await start_worker(stack)
    async with load(ledger):
        await grown(db, TALKS)
        await asyncio.to_thread(kafka.kill)
        with pytest.raises(BrokerUnavailable):
            await transport.entrance.ping()
        await asyncio.sleep(3)
        await asyncio.to_thread(kafka.start)
        await grown(db, 2 * TALKS, within=120)
    await ledger.persisted(db, within=60)
    await eventually(lambda: _through(transport), within=60)

    assert worker.exit_code is None
    assert await transport.letters.count() == 0


async def test_what_is_refused_is_a_dead_letter_and_comes_back(
    stack: Stack, db: Database, ledger: Ledger, transport: Transport
) -> None:
    """PostgreSQL refuses one message of many: the others are rows, in order; replayed when it is taken, it comes last."""
    await db.execute("ALTER TABLE messages ADD CONSTRAINT mood CHECK (content <> 'bad')")
    stack.environment |= {"STREAM_RETRY_SECONDS": "0.05"}
    await start_worker(stack)
    await ledger.send(*(envelope("talk", f"m-{number}") for number in range(5)))
    await ledger.send(envelope("talk", "bad", "bad"), counts=False)
    await ledger.send(*(envelope("talk", f"m-{number}") for number in range(5, 10)))
    await ledger.persisted(db)
    await eventually(lambda: _letter(transport))
    (letter,) = await transport.letters.page()
    await db.execute("ALTER TABLE messages DROP CONSTRAINT mood")

    assert (letter.reason, letter.partition) == ("refused", partition_of("talk"))
    assert await transport.letters.replay_all() == 1
    ledger.accepted["talk"].append(envelope("talk", "bad", "bad").id)
    await ledger.persisted(db)
    await eventually(lambda: _through(transport))
    assert await transport.letters.count() == 0


async def _letter(transport: Transport) -> bool:
    return await transport.letters.count() == 1


async def test_an_api_accepts_into_kafka(stack: Stack, transport: Transport, db: Database) -> None:
    """Posted, posted again, looked for before and after its row is there."""
    stack.environment |= {"MESSAGES_REQUIRE_TOKEN": "false"}
    api = await stack.spawn("api", program=(SCRIPT, "serve")).ready()
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        first = await client.post("/api/messages", json=message())
        again = await client.post("/api/messages", json=message())
        other = await client.post("/api/messages", json=message(content="Other words"))
        place = f"/api/messages/{first.json()['messageId']}"
        pending = await client.get(place)
        await start_worker(stack)

        async def persisted() -> bool:
            assert (await client.get(place)).json()["state"] == "persisted"
            return True

        await eventually(persisted, within=30)

    assert (first.status_code, again.status_code) == (202, 202), first.text
    assert (first.json()["idempotentHit"], again.json()["idempotentHit"]) == (False, True)
    assert again.json()["messageId"] == first.json()["messageId"]
    assert other.json()["contentMismatch"] is True
    assert (pending.json()["state"], pending.json()["content"]) == ("pending", "Hello")
    assert await db.fetchval("SELECT count(*) FROM messages") == 1
    assert (await transport.exit.lags([partition_of("course-1")]))[partition_of("course-1")] <= 1
