"""Messages at the api: accepted once, read back, receipted (contract.md t)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from services.kernel import metrics
from services.kernel.database import Database
from services.kernel.messages import names
from services.kernel.messages.envelope import accepted_at, encode
from services.kernel.messages.identity import idempotency_key, message_id
from tests.support.api import RunningApi, running_api
from tests.support.conversations import entries, message, send, send_at_once

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ID = message_id(idempotency_key("alice", "course-1", "m-1"))


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api that takes messages from anybody, as the local stack's does, and a client without a token."""
    changes = {"messages_require_token": False, "messages_lookup_seconds": 5.0}  # on a busy machine rows are found, too
    async with running_api(app_database_url, redis_url, **changes) as running:
        del running.client.headers["authorization"]
        yield running


@pytest.fixture
async def postgres_first(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """The same with `MESSAGES_DURABILITY=postgres`."""
    changes = {"messages_require_token": False, "messages_durability": "postgres"}
    async with running_api(app_database_url, redis_url, **changes) as running:
        del running.client.headers["authorization"]
        yield running


async def persist(db: Database, redis: Redis) -> int:
    """Write what lies in the streams, as a consumer would."""
    found = [envelope for _, _, envelope in await entries(redis)]
    text = b"[%b]" % b",".join(encode(each) for each in found)
    await db.fetch("SELECT * FROM accept_messages('{}', $1)", text.decode())
    return len(found)


async def bury(redis: Redis) -> None:
    """Put the one message of the streams among the dead letters, as a consumer would."""
    [(partition, entry_id, envelope)] = await entries(redis)
    letter: dict[Any, Any] = {
        "entry": entry_id,
        "partition": partition,
        "reason": "refused by the table",
        "envelope": encode(envelope),
    }
    await redis.hset(names.FAILED, envelope.id, await redis.xadd(names.DEAD_LETTERS, letter))  # type: ignore[misc]


async def test_a_message_is_accepted(api: RunningApi, redis: Redis) -> None:
    """It lies in its conversation's stream, and the answer says when it was accepted, by the clock of Redis."""
    before = datetime.now(UTC)
    reply = await send(api.client)

    assert (reply["messageId"], reply["state"], reply["idempotentHit"]) == (_ID, "pending", False)
    assert "contentMismatch" not in reply
    [(partition, entry_id, envelope)] = await entries(redis)
    assert partition == names.partition_hash("course-1") % 16
    assert datetime.fromisoformat(reply["acceptedAt"]) == accepted_at(entry_id)
    assert timedelta(seconds=-1) < accepted_at(entry_id) - before < timedelta(seconds=10)
    assert (envelope.id, envelope.content, envelope.recipient_ids) == (_ID, "Hello", ("bob",))
    assert await redis.hgetall(names.count(partition)) == {b"enqueued": b"1"}  # type: ignore[misc]


async def test_the_request_id_goes_along(api: RunningApi, redis: Redis) -> None:
    """So that a row can be followed back to its request."""
    await api.client.post("/api/messages", json=message(), headers={"X-Request-ID": "follow-me"})

    [(_, _, envelope)] = await entries(redis)
    assert envelope.correlation_id == "follow-me"


async def test_a_repeat_before_it_is_persisted(api: RunningApi, redis: Redis) -> None:
    """The same id and time, flagged, and no second entry (TRAP24)."""
    first = await send(api.client)
    second = await send(api.client)

    assert second == first | {"idempotentHit": True}
    assert len(await entries(redis)) == 1


async def test_new_messages_and_repeats_are_counted(api: RunningApi) -> None:
    """Under the contract's names."""
    before = _counted("stream_enqueue_total"), _counted('idempotency_hit_total{operation="ingress"}')
    for client_id in ("a", "a", "b", "a"):
        await send(api.client, clientMessageId=client_id)

    assert _counted("stream_enqueue_total") == before[0] + 2
    assert _counted('idempotency_hit_total{operation="ingress"}') == before[1] + 2


def _counted(series: str) -> float:
    lines = metrics.render().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} "))


async def test_a_repeat_after_it_is_persisted(api: RunningApi, redis: Redis, db: Database) -> None:
    """The row answers, also when Redis was emptied meanwhile."""
    first = await send(api.client)
    await persist(db, redis)
    known = await send(api.client)
    await redis.flushdb()
    again = await send(api.client)

    assert (known["messageId"], known["state"], known["idempotentHit"]) == (first["messageId"], "persisted", True)
    assert again == known
    assert await entries(redis) == []


async def test_a_repeat_that_says_something_else(api: RunningApi, redis: Redis, db: Database) -> None:
    """The first stands, and the sender is told, in the stream and in the table."""
    await send(api.client)
    changes: list[dict[str, Any]] = [{"content": "Bye"}, {"contentType": "markdown"}, {"recipientIds": ["eve"]}]
    for change in changes:
        reply = await send(api.client, **change)
        assert (reply["messageId"], reply["idempotentHit"], reply["contentMismatch"]) == (_ID, True, True)

    await persist(db, redis)
    reply = await send(api.client, content="Bye")

    assert (reply["messageId"], reply["contentMismatch"], reply["state"]) == (_ID, True, "persisted")
    assert [each.content for _, _, each in await entries(redis)] == ["Hello"]
    assert await db.fetchval("SELECT string_agg(content, '|') FROM messages") == "Hello"


async def test_the_key_is_sender_conversation_and_client_id(api: RunningApi, redis: Redis) -> None:
    """Another of the three is another message (GAP18); the order of the recipients is not."""
    replies = [
        await send(api.client),
        await send(api.client, senderId="bob"),
        await send(api.client, conversationId="course-2"),
        await send(api.client, clientMessageId="m-2"),
    ]
    await send(api.client, clientMessageId="m-3", recipientIds=["a", "b"])
    repeat = await send(api.client, clientMessageId="m-3", recipientIds=["b", "a"])

    assert len({each["messageId"] for each in replies}) == 4
    assert not any(each["idempotentHit"] for each in replies)
    assert repeat["idempotentHit"]
    assert "contentMismatch" not in repeat
    assert len(await entries(redis)) == 5


async def test_twenty_rounds_of_a_hundred_at_once(api: RunningApi, redis: Redis, db: Database) -> None:
    """One entry, a hundred equal ids, one of them new; then one row (R9)."""
    for number in range(20):
        replies = await send_at_once(api.url, 100, clientMessageId=f"r-{number}")
        assert len({each["messageId"] for each in replies}) == 1
        assert len({each["acceptedAt"] for each in replies}) == 1
        assert sum(not each["idempotentHit"] for each in replies) == 1

    assert len(await entries(redis)) == 20
    await persist(db, redis)
    assert await db.fetchval("SELECT count(*) FROM messages") == 20


async def test_twenty_rounds_of_a_hundred_at_once_in_postgres(
    postgres_first: RunningApi, redis: Redis, db: Database
) -> None:
    """One row, a hundred equal ids, one of them new; nothing in Redis."""
    for number in range(20):
        replies = await send_at_once(postgres_first.url, 100, clientMessageId=f"r-{number}")
        assert len({each["messageId"] for each in replies}) == 1
        assert sum(not each["idempotentHit"] for each in replies) == 1
        assert {each["state"] for each in replies} == {"persisted"}

    assert await db.fetchval("SELECT count(*) FROM messages") == 20
    assert await redis.keys("msg:*") == []


async def test_order_is_kept_in_a_conversation(api: RunningApi, redis: Redis) -> None:
    """Who waits for each answer finds his messages in that order."""
    for number in range(30):
        await send(api.client, clientMessageId=f"m-{number}", content=str(number))

    assert [each.content for _, _, each in await entries(redis)] == [str(number) for number in range(30)]


async def test_a_page_shows_the_conversation_in_order(postgres_first: RunningApi) -> None:
    """Twelve messages in pages of five; another conversation's are not among them."""
    for number in range(12):
        await send(postgres_first.client, clientMessageId=f"m-{number}", content=str(number))
    await send(postgres_first.client, conversationId="course-2")

    pages, cursor = [], None
    while True:
        query = {"limit": "5", **({"cursor": cursor} if cursor else {})}
        answer = await postgres_first.client.get("/api/conversations/course-1/messages", params=query)
        assert answer.status_code == 200
        pages.append([each["content"] for each in answer.json()["messages"]])
        cursor = answer.json()["nextCursor"]
        if cursor is None:
            break

    assert [len(page) for page in pages] == [5, 5, 2]
    assert list(chain.from_iterable(pages)) == [str(number) for number in range(12)]


async def test_a_conversation_may_have_any_name(postgres_first: RunningApi) -> None:
    """Slashes, spaces, per cents, other alphabets."""
    for name in ("a/b", "a b", "50%", "курс", "a/messages", "?x=1#y"):
        await send(postgres_first.client, conversationId=name, content=name)
        answer = await postgres_first.client.get(f"/api/conversations/{quote(name, safe='')}/messages")
        assert [each["content"] for each in answer.json()["messages"]] == [name]


async def test_a_message_is_shown_in_each_of_its_states(api: RunningApi, redis: Redis, db: Database) -> None:
    """Pending from its entry, persisted from its row, failed from its dead letter."""
    accepted = await send(api.client)
    url = f"/api/messages/{_ID}"
    pending = (await api.client.get(url)).json()
    await bury(redis)
    failed = (await api.client.get(url)).json()
    await persist(db, redis)
    persisted = (await api.client.get(url)).json()

    assert pending == {
        "messageId": _ID,
        "conversationId": "course-1",
        "senderId": "alice",
        "content": "Hello",
        "contentType": "text",
        "clientMessageId": "m-1",
        "recipientIds": ["bob"],
        "state": "pending",
        "acceptedAt": accepted["acceptedAt"],
        "persistedAt": None,
        "failureReason": None,
    }
    assert failed == pending | {"state": "failed", "failureReason": "refused by the table"}
    assert persisted["state"] == "persisted"
    assert persisted["persistedAt"] is not None


async def test_a_repeat_of_a_dead_letter_is_told_that_it_failed(
    api: RunningApi, postgres_first: RunningApi, redis: Redis, db: Database
) -> None:
    """Whichever way it comes, and it is not put anywhere again: somebody has to replay it."""
    accepted = await send(api.client)
    await bury(redis)
    repeats = [await send(each.client) for each in (api, postgres_first)]
    await send(api.client, clientMessageId="m-2")

    assert repeats == [accepted | {"idempotentHit": True, "state": "failed"}] * 2
    assert len(await entries(redis)) == 2
    assert await db.fetchval("SELECT count(*) FROM messages") == 0


@pytest.mark.parametrize("name", ["msg_x", "nothing", "msg_aaaaaaaaaaaaaaaaaaaaaaaaaa", "msg_%00", "MSG_" + _ID[4:]])
async def test_a_message_nobody_sent_is_not_found(api: RunningApi, name: str) -> None:
    """Whatever its id looks like; nor its receipts, and none can be added."""
    for url in (f"/api/messages/{name}", f"/api/messages/{name}/receipts"):
        assert (await api.client.get(url)).status_code == 404
    receipt = {"userId": "bob", "state": "read"}
    assert (await api.client.post(f"/api/messages/{name}/receipts", json=receipt)).status_code == 404


async def test_a_conversation_without_messages_is_not_found(api: RunningApi) -> None:
    """The answer says that a first message may still be on its way."""
    await send(api.client)
    answer = await api.client.get("/api/conversations/course-1/messages")

    assert answer.status_code == 404
    assert "persisted yet" in answer.json()["error"]["message"]


async def test_receipts_are_noted_once(api: RunningApi, redis: Redis, db: Database) -> None:
    """Of a message that waits for its row, too; who has read it has received it; the first time stands."""
    await send(api.client)
    url = f"/api/messages/{_ID}/receipts"
    first = await api.client.post(url, json={"userId": "bob", "state": "read"})
    again = await api.client.post(url, json={"userId": "bob", "state": "read"})
    implied = await api.client.post(url, json={"userId": "bob", "state": "delivered"})
    await persist(db, redis)
    other = await api.client.post(url, json={"userId": "amy", "state": "delivered"})
    listed = (await api.client.get(url)).json()

    assert [each.status_code for each in (first, again, implied, other)] == [201, 200, 200, 201]
    assert again.json() == first.json()
    assert [(each["userId"], each["readAt"] is not None) for each in listed["receipts"]] == [
        ("amy", False),
        ("bob", True),
    ]
    assert all(each["deliveredAt"] for each in listed["receipts"])
    assert await db.fetchval("SELECT count(*) FROM message_receipts") == 3


async def test_fifty_receipts_at_once_are_one(api: RunningApi, db: Database) -> None:
    """One is new, all say the same time."""
    await send(api.client)
    body = {"userId": "bob", "state": "read"}
    answers = await asyncio.gather(*(api.client.post(f"/api/messages/{_ID}/receipts", json=body) for _ in range(50)))

    assert sorted(each.status_code for each in answers) == [200] * 49 + [201]
    assert len({each.json()["createdAt"] for each in answers}) == 1


async def test_receipts_come_in_pages(postgres_first: RunningApi) -> None:
    """Five users in pages of two, in the order of their ids."""
    await send(postgres_first.client)
    url = f"/api/messages/{_ID}/receipts"
    for user in ("e", "a", "ж", "b", "c"):
        await postgres_first.client.post(url, json={"userId": user, "state": "delivered"})

    users, cursor = [], None
    while True:
        page = (
            await postgres_first.client.get(url, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        users.append([each["userId"] for each in page["receipts"]])
        cursor = page["nextCursor"]
        if cursor is None:
            break

    assert [len(each) for each in users] == [2, 2, 1]
    assert sorted(chain.from_iterable(users)) == sorted("eabcж")


async def test_a_long_content_goes_beside_the_stream(api: RunningApi, redis: Redis, db: Database) -> None:
    """Redis and the row keep its place; whoever reads gets it back, before and after it is persisted."""
    content = "длинно" * 20_000
    await send(api.client, content=content)
    [(_, _, envelope)] = await entries(redis)
    pending = (await api.client.get(f"/api/messages/{_ID}")).json()
    await persist(db, redis)
    persisted = (await api.client.get(f"/api/messages/{_ID}")).json()
    page = (await api.client.get("/api/conversations/course-1/messages")).json()

    assert (envelope.content, envelope.payload_key) == (None, f"{_ID}/{envelope.digest}")
    assert pending["content"] == persisted["content"] == page["messages"][0]["content"] == content
    assert await db.fetchval("SELECT content IS NULL FROM messages")


async def test_contents_go_beside_the_stream_while_they_are_long_on_the_average(
    app_database_url: str, redis_url: str, redis: Redis
) -> None:
    """Each that is longer than the limit for the average, and none of the short ones; what is said stays the same."""
    limits = {"messages_payload_average_bytes": 100, "messages_require_token": False}
    async with running_api(app_database_url, redis_url, **limits) as api:
        del api.client.headers["authorization"]
        for number in range(20):
            await send(api.client, clientMessageId=f"long-{number}", content="x" * 10_000)
        reply = await send(api.client, clientMessageId="last", content="y" * 101)
        await send(api.client, clientMessageId="short", content="z" * 100)
        shown = await api.client.get(f"/api/messages/{reply['messageId']}")
    envelopes = {each.client_message_id: each for _, _, each in await entries(redis)}

    assert envelopes["last"].content is None
    assert envelopes["last"].payload_key is not None
    assert envelopes["short"].content == "z" * 100
    assert envelopes["long-0"].content == "x" * 10_000
    assert shown.json()["content"] == "y" * 101


async def test_another_long_content_does_not_take_the_firsts_place(api: RunningApi, db: Database, redis: Redis) -> None:
    """Under the same client id."""
    first, other = "a" * 20_000, "b" * 20_000
    await send(api.client, content=first)
    reply = await send(api.client, content=other)
    await persist(db, redis)

    assert reply["contentMismatch"]
    assert (await api.client.get(f"/api/messages/{_ID}")).json()["content"] == first


async def test_long_contents_of_repeats_are_kept_nowhere(api: RunningApi, db: Database, redis: Redis) -> None:
    """Neither while the first is reserved, nor when only its row knows it."""
    for letter in "abcdef":
        reply = await send(api.client, content=letter * 20_000)
    await persist(db, redis)
    await redis.flushdb()
    late = await send(api.client, content="g" * 20_000)

    assert reply["contentMismatch"]
    assert (late["state"], late["contentMismatch"]) == ("persisted", True)
    assert await db.fetchval("SELECT string_agg(left(content, 1), '') FROM message_payloads") == "a"


async def test_a_content_that_is_sent_again_is_new_again(api: RunningApi, db: Database, redis: Redis) -> None:
    """One that stayed alone is as old as the message that needs it now: nobody removes it before the row is there."""
    content = "a" * 20_000
    await send(api.client, content=content)
    await redis.flushdb()  # Redis has lost the message, its content stayed
    await db.execute("UPDATE message_payloads SET createdat = now() - interval '1 year'")
    await send(api.client, content=content)

    assert await db.fetchval("SELECT now() - createdat < interval '1 minute' FROM message_payloads")


async def test_a_page_of_long_contents_ends_early(postgres_first: RunningApi) -> None:
    """At four megabytes and no message lost: seventeen that count a quarter of one each."""
    for number in range(20):
        await send(postgres_first.client, clientMessageId=f"m-{number}", content=f"{number:02}" + "x" * 16_400)
    page = (await postgres_first.client.get("/api/conversations/course-1/messages")).json()
    query = {"cursor": page["nextCursor"]}
    rest = (await postgres_first.client.get("/api/conversations/course-1/messages", params=query)).json()

    assert len(page["messages"]) == 17
    assert [each["content"][:2] for each in page["messages"] + rest["messages"]] == [f"{n:02}" for n in range(20)]
    assert rest["nextCursor"] is None


async def test_a_share_of_the_conversations_goes_through_the_stream(
    app_database_url: str, redis_url: str, redis: Redis, db: Database
) -> None:
    """At half, some are in the stream and the others have rows at once; each conversation keeps to its way."""
    changes = {"messages_require_token": False, "messages_stream_percent": 50}
    async with running_api(app_database_url, redis_url, **changes) as api:
        del api.client.headers["authorization"]
        for number in range(40):
            for again in range(2):
                reply = await send(api.client, conversationId=f"c-{number}", clientMessageId=str(again))
                way = names.goes_through_stream(names.partition_hash(f"c-{number}"), 50)
                assert reply["state"] == ("pending" if way else "persisted")
    streamed = {each.conversation_id for _, _, each in await entries(redis)}
    written = {row["conversationid"] for row in await db.fetch("SELECT DISTINCT conversationid FROM messages")}

    assert streamed | written == {f"c-{number}" for number in range(40)}
    assert not streamed & written
    assert min(len(streamed), len(written)) > 5


async def test_the_way_back_recognises_what_waits_in_the_stream(
    app_database_url: str, redis_url: str, redis: Redis, db: Database
) -> None:
    """Accepted through the stream, repeated when messages are written at once: the first becomes the row, in its place.

    Whatever the repeats say, and however they are told apart from new ones that travel with them.
    """
    changes = {"messages_require_token": False, "messages_lookup_seconds": 5.0}
    async with running_api(app_database_url, redis_url, **changes) as api:
        del api.client.headers["authorization"]
        first = await send(api.client)
    async with running_api(app_database_url, redis_url, **changes, messages_stream_percent=0) as api:
        del api.client.headers["authorization"]
        same, changed, *others = await asyncio.gather(
            send(api.client),
            send(api.client, content="Bye"),
            *(send(api.client, clientMessageId=f"m-{number}") for number in range(2, 6)),
        )
        assert await db.fetchval("SELECT count(*) FROM messages WHERE id = $1", _ID) == 0
        await persist(db, redis)
        known = await send(api.client, content="Bye")
    content = await db.fetchval("SELECT content FROM messages WHERE id = $1", _ID)

    assert same == first | {"idempotentHit": True}
    assert changed == same | {"contentMismatch": True}
    assert [(each["idempotentHit"], each["state"]) for each in others] == [(False, "persisted")] * 4
    assert (known["state"], known["contentMismatch"]) == ("persisted", True)
    assert content == "Hello"
    assert await db.fetchval("SELECT count(*) FROM messages") == 5


async def test_what_redis_says_about_partitions_counts(api: RunningApi, redis: Redis) -> None:
    """Once the streams were divided further, the setting is not asked any more."""
    await redis.set(names.PARTITIONS, 32)
    for number in range(64):
        await send(api.client, conversationId=f"c-{number}")

    found = await entries(redis, 32)
    assert len(found) == 64
    assert all(partition == names.partition_hash(each.conversation_id) % 32 for partition, _, each in found)
    assert any(partition >= 16 for partition, _, _ in found)


async def test_a_row_that_came_another_way_is_a_conflict_of_its_message_alone(
    postgres_first: RunningApi, db: Database
) -> None:
    """It has its key under another id. Those that travel with it are written."""
    await db.execute(
        "INSERT INTO messages (id, conversationid, senderid, content, idempotencykey)"
        " VALUES ('imported-1', 'course-1', 'alice', 'Hello', $1)",
        idempotency_key("alice", "course-1", "m-1"),
    )
    bodies = [message(clientMessageId=f"m-{number}") for number in range(5)]
    answers = await asyncio.gather(*(postgres_first.client.post("/api/messages", json=each) for each in bodies))

    assert [each.status_code for each in answers] == [202, 409, 202, 202, 202]
    assert "clientMessageId" in answers[1].json()["error"]["message"]
    assert await db.fetchval("SELECT count(*) FROM messages") == 5


@pytest.mark.parametrize(
    ("sqlstate", "status"), [("P0001", 500), ("22001", 400), ("XX000", 503), ("42P01", 500), ("38000", 500)]
)
async def test_a_message_that_postgresql_refuses_is_refused_alone(
    postgres_first: RunningApi, db: Database, sqlstate: str, status: int
) -> None:
    """Those that travel with it are written, also of its own conversation."""
    await db.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.content = 'poison' THEN"
        f" RAISE EXCEPTION 'refused by the table' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    bodies = [message(clientMessageId=f"m-{number}") for number in range(40)]
    bodies[25]["content"] = "poison"
    answers = await asyncio.gather(*(postgres_first.client.post("/api/messages", json=each) for each in bodies))

    assert [each.status_code for each in answers] == [202] * 25 + [status] + [202] * 14
    assert await db.fetchval("SELECT count(*) FROM messages") == 39


async def test_a_message_that_postgresql_takes_too_long_for_keeps_nobody_but_itself(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """It is told to come again, those that travelled with it are written; when it comes again nobody waits for it."""
    await db.execute(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.content = 'poison' THEN"
        " PERFORM pg_sleep(30); END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER linger BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION linger()"
    )
    options = {"messages_durability": "postgres", "messages_require_token": False, "statement_seconds": 1.2}
    async with running_api(app_database_url, redis_url, **options) as api:
        del api.client.headers["authorization"]
        bodies = [message(clientMessageId=f"m-{number}") for number in range(4)]
        bodies[1]["content"] = "poison"
        answers = await asyncio.gather(*(api.client.post("/api/messages", json=each) for each in bodies))
        slow = [asyncio.create_task(api.client.post("/api/messages", json=bodies[1])) for _ in range(2)]
        started = asyncio.get_running_loop().time()
        for number in range(20, 30):
            await send(api.client, clientMessageId=f"m-{number}")
        seconds = asyncio.get_running_loop().time() - started
        again = await asyncio.gather(*slow)

    assert [each.status_code for each in answers] == [202, 503, 202, 202]
    assert {each.status_code for each in again} == {503}
    assert seconds < 5  # ten, one after the other; each would wait 1.2 s
    assert await db.fetchval("SELECT count(*) FROM messages") == 13


async def test_only_the_first_message_brings_the_setting_to_redis(
    api: RunningApi, app_database_url: str, redis_url: str, redis: Redis
) -> None:
    """An api with another number of partitions keeps to what Redis says: a conversation stays where it is."""
    for number in range(32):
        await send(api.client, conversationId=f"c-{number}")
    async with running_api(app_database_url, redis_url, messages_require_token=False, stream_partitions=32) as other:
        del other.client.headers["authorization"]
        for number in range(32):
            await send(other.client, conversationId=f"c-{number}", clientMessageId="m-2")

    found = await entries(redis, 32)
    assert len(found) == 64
    assert all(partition == names.partition_hash(each.conversation_id) % 16 for partition, _, each in found)
    assert await redis.get(names.PARTITIONS) == b"16"


async def test_a_reservation_does_not_end_before_the_row_is_there(api: RunningApi, redis: Redis) -> None:
    """However long nobody persists: whoever settles the entry lets it end."""
    await send(api.client)

    assert await redis.ttl(names.seen(_ID)) == -1
