"""Repeats of messages that PostgreSQL knows no more: it was brought back as it was before, or somebody has removed their entries.

A reservation alone is no promise then: the repeat is accepted as a new message with the same id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from services.kernel.database import Database, Row
from services.kernel.messages import names
from services.kernel.messages.identity import idempotency_key, message_id
from services.kernel.messages.store import MessageStore
from tests.integration.api.test_messages import bury, persist
from tests.support.api import RunningApi, running_api
from tests.support.conversations import entries, send, send_at_once

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ID = message_id(idempotency_key("alice", "course-1", "m-1"))
_LONG = "a" * 20_000
_OPTIONS: dict[str, Any] = {"messages_require_token": False, "messages_lookup_seconds": 5.0}


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api that takes messages from anybody."""
    async with running_api(app_database_url, redis_url, **_OPTIONS) as running:
        del running.client.headers["authorization"]
        yield running


@pytest.fixture
async def postgres_first(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """The same with `MESSAGES_DURABILITY=postgres`."""
    async with running_api(app_database_url, redis_url, messages_durability="postgres", **_OPTIONS) as running:
        del running.client.headers["authorization"]
        yield running


async def settle(redis: Redis) -> None:
    """As whoever persists does once the row is there."""
    await redis.pexpire(names.seen(_ID), 3_600_000)


async def restore(db: Database) -> None:
    """PostgreSQL as it was before the messages came."""
    await db.execute("DELETE FROM messages; DELETE FROM message_payloads")


async def test_a_repeat_of_what_a_restore_has_lost_is_accepted_anew(
    api: RunningApi, redis: Redis, db: Database
) -> None:
    """Once, however many repeats come at once; from then on it waits for its row as ever."""
    first = await send(api.client)
    await persist(db, redis)
    await settle(redis)
    await restore(db)
    replies = await send_at_once(api.url, 50)
    later = await send(api.client)

    assert {each["messageId"] for each in replies} == {first["messageId"]}
    assert [each["idempotentHit"] for each in replies].count(False) == 1
    assert {each["state"] for each in replies} == {"pending"}
    assert (later["idempotentHit"], later["state"]) == (True, "pending")
    assert len(await entries(redis)) == 2
    assert await redis.pttl(names.seen(_ID)) == -1
    await persist(db, redis)
    assert (await send(api.client))["state"] == "persisted"


async def test_a_repeat_of_an_entry_that_was_removed_by_hand_is_accepted_anew(api: RunningApi, redis: Redis) -> None:
    """Nobody has to remove the reservation as well."""
    await send(api.client)
    [(partition, entry_id, _)] = await entries(redis)
    waiting = await send(api.client)
    await redis.xdel(names.stream(partition), entry_id)
    reply = await send(api.client)

    assert waiting["idempotentHit"]
    assert (reply["idempotentHit"], reply["state"]) == (False, "pending")
    assert len(await entries(redis)) == 1


async def test_what_came_between_the_two_questions_is_no_loss(
    api: RunningApi, redis: Redis, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL is asked a moment before the row is there, and Redis a moment after it was settled."""
    first = await send(api.client)
    known, asked = MessageStore.known, 0

    async def at_first_unknown(self: MessageStore, message_ids: Sequence[str]) -> dict[str, Row]:
        nonlocal asked
        asked += 1
        return {} if asked == 1 else dict(await known(self, message_ids))

    monkeypatch.setattr(MessageStore, "known", at_first_unknown)
    await persist(db, redis)
    await settle(redis)
    reply = await send(api.client)

    assert (reply["messageId"], reply["idempotentHit"], reply["state"]) == (first["messageId"], True, "persisted")
    assert asked == 2
    assert len(await entries(redis)) == 1


async def test_a_dead_letter_is_no_loss(api: RunningApi, redis: Redis) -> None:
    """Its entry may be gone; it waits for somebody who replays it."""
    await send(api.client)
    [(partition, entry_id, _)] = await entries(redis)
    await bury(redis)
    await redis.xdel(names.stream(partition), entry_id)

    assert (await send(api.client))["state"] == "failed"
    assert await entries(redis) == []


@pytest.mark.parametrize("is_looked_for", [True, False])
async def test_a_repeat_of_a_dead_letter_that_was_removed_by_hand_is_accepted_anew(
    is_looked_for: bool, api: RunningApi, redis: Redis, db: Database
) -> None:
    """Nothing is left to be replayed, so nobody is told that it failed, or that it waits."""
    url = f"/api/messages/{_ID}"
    first = await send(api.client)
    await bury(redis)
    await redis.xtrim(names.DEAD_LETTERS, maxlen=0)
    gone = await api.client.get(url) if is_looked_for else None
    reply, again = await send(api.client), await send(api.client)
    waiting = (await api.client.get(url)).json()
    await persist(db, redis)
    shown = (await api.client.get(url)).json()

    assert gone is None or gone.status_code == 404
    assert (reply["messageId"], reply["idempotentHit"], reply["state"]) == (first["messageId"], False, "pending")
    assert (again["idempotentHit"], again["state"]) == (True, "pending")
    assert (waiting["state"], waiting["failureReason"], shown["state"]) == ("pending", None, "persisted")
    assert await redis.hlen(names.FAILED) == 0  # type: ignore[misc]


async def test_one_whose_dead_letter_was_removed_is_written_at_once(
    api: RunningApi, postgres_first: RunningApi, redis: Redis, db: Database
) -> None:
    """Where messages are; beside one that still lies there, which is told so."""
    await send(api.client)
    await bury(redis)
    waiting = await send(postgres_first.client)
    await redis.xtrim(names.DEAD_LETTERS, maxlen=0)
    replies = [await send(postgres_first.client) for _ in range(2)]

    assert (waiting["idempotentHit"], waiting["state"]) == (True, "failed")
    assert [(each["idempotentHit"], each["state"]) for each in replies] == [(False, "persisted"), (True, "persisted")]


async def test_a_dead_letter_in_kafka_is_not_looked_for_in_redis(api: RunningApi, redis: Redis) -> None:
    """It is none that somebody has removed."""
    await send(api.client)
    await redis.hset(names.FAILED, _ID, f"{names.KAFKA_LETTER}1-1")  # type: ignore[misc]

    assert (await send(api.client))["state"] == "failed"
    assert (await api.client.get(f"/api/messages/{_ID}")).status_code == 200


async def test_without_a_word_of_postgresql_a_reservation_counts(
    app_database_url: str, redis_url: str, redis: Redis, db: Database
) -> None:
    """Whoever is not asked says nothing: the repeat is one."""
    async with running_api(app_database_url, redis_url, **_OPTIONS | {"messages_lookup_seconds": 0}) as api:
        del api.client.headers["authorization"]
        await send(api.client)
        await settle(redis)
        reply = await send(api.client)

    assert (reply["idempotentHit"], reply["state"]) == (True, "pending")
    assert len(await entries(redis)) == 1


async def test_what_is_read_from_kafka_is_no_loss(api: RunningApi, redis: Redis) -> None:
    """Its entries are not in the streams."""
    await send(api.client)
    [(partition, entry_id, _)] = await entries(redis)
    await redis.xdel(names.stream(partition), entry_id)
    await redis.hset("msg:transport", str(partition), "kafka")  # type: ignore[misc]

    assert (await send(api.client))["idempotentHit"]


async def test_where_messages_are_written_at_once_it_is_written(
    api: RunningApi, postgres_first: RunningApi, redis: Redis, db: Database
) -> None:
    """What waits in the stream is not overtaken; what waits nowhere is written, and known from then on."""
    await send(api.client)
    waiting = await send(postgres_first.client)
    await settle(redis)
    replies = [await send(postgres_first.client) for _ in range(2)]

    assert (waiting["idempotentHit"], waiting["state"]) == (True, "pending")
    assert [(each["idempotentHit"], each["state"]) for each in replies] == [(False, "persisted"), (True, "persisted")]
    assert await db.fetchval("SELECT count(*) FROM messages") == 1


async def test_a_long_content_that_a_restore_has_lost_is_stored_again(
    api: RunningApi, redis: Redis, db: Database
) -> None:
    """Beside the stream, as at first; and also where the row came back and its content did not."""
    await send(api.client, content=_LONG)
    await persist(db, redis)
    await settle(redis)
    await restore(db)
    reply = await send(api.client, content=_LONG)
    found = await entries(redis)
    await persist(db, redis)
    await db.execute("DELETE FROM message_payloads")
    known = await send(api.client, content=_LONG)
    await redis.flushdb()
    await db.execute("DELETE FROM message_payloads")
    again = await send(api.client, content=_LONG)
    shown = (await api.client.get(f"/api/messages/{_ID}")).json()

    assert not reply["idempotentHit"]
    assert [each.payload_key for _, _, each in found] == [f"{_ID}/{found[0][2].digest}"] * 2
    assert (known["state"], again["state"], again["idempotentHit"]) == ("persisted", "persisted", True)
    assert shown["content"] == _LONG
