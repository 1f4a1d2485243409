"""What becomes of messages when PostgreSQL or Redis is away: what was acknowledged is never lost, and never twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from redis.asyncio import Redis as RedisClient

from services.api.conversations.reading import LOOKING_AT_ONCE
from services.api.conversations.writing import LONGEST_WRITE_SECONDS
from services.kernel import metrics
from services.kernel.database import connect
from services.kernel.settings import Secret
from tests.support import servers
from tests.support.api import RunningApi, running_api
from tests.support.conversations import entries, message, send, send_at_once
from tests.support.versions import each_redis
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

_TOKENLESS: dict[str, Any] = {"messages_require_token": False}


@pytest.fixture
def durable_redis() -> Iterator[servers.PrivateRedis]:
    """A Redis that answers when the disk has what it was told (`appendfsync always`)."""
    with servers.server_folder() as folder:
        server = servers.PrivateRedis(folder, options={"appendonly": "yes", "appendfsync": "always"})
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def without_postgres(
    private_postgres: servers.PrivatePostgres, private_database_url: str, redis_url: str
) -> AsyncIterator[RunningApi]:
    """An api whose PostgreSQL the test may take away."""
    async with running_api(private_database_url, redis_url, **_TOKENLESS) as running:
        del running.client.headers["authorization"]
        yield running


async def test_twenty_rounds_of_a_hundred_while_postgres_is_down(
    without_postgres: RunningApi, private_postgres: servers.PrivatePostgres, redis: Redis
) -> None:
    """Accepted all the same, once each, and a repeat is recognised (TRAP24)."""
    private_postgres.kill()
    for number in range(20):
        replies = await send_at_once(without_postgres.url, 100, clientMessageId=f"r-{number}")
        assert len({each["messageId"] for each in replies}) == 1
        assert sum(not each["idempotentHit"] for each in replies) == 1

    assert len(await entries(redis)) == 20


async def test_a_frozen_postgres_is_waited_for_briefly(
    without_postgres: RunningApi, private_postgres: servers.PrivatePostgres, redis: Redis
) -> None:
    """Fifty messages, one after the other, in less than three seconds: it is asked once a second at most."""
    await send(without_postgres.client, clientMessageId="before")
    private_postgres.pause()
    try:
        started = time.monotonic()
        for number in range(50):
            await send(without_postgres.client, clientMessageId=str(number))
        seconds = time.monotonic() - started
    finally:
        private_postgres.resume()

    assert seconds < 3
    assert len(await entries(redis)) == 51


async def test_one_late_answer_does_not_hide_the_rows(
    app_database_url: str, database_url: str, redis_url: str, redis: Redis
) -> None:
    """A look-up that waits too long once costs nobody after it the answer from the row; two in a row do."""
    async with running_api(app_database_url, redis_url, messages_lookup_seconds=0.5, **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        session = await connect(database_url)
        await session.execute(
            "INSERT INTO messages (id, conversationid, senderid, content) SELECT $1, 'course-1', 'alice', 'Hello'",
            (await send(api.client))["messageId"],
        )
        await redis.flushdb()
        states = []
        for late in (1, 2):
            await session.execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
            for number in range(late):
                await send(api.client, clientMessageId=f"late-{late}-{number}")
            await session.execute("ROLLBACK")
            states.append((await send(api.client))["state"])
        await session.close()

    assert states == ["persisted", "pending"]


async def test_a_long_content_is_accepted_while_the_document_store_is_away(
    without_postgres: RunningApi, private_postgres: servers.PrivatePostgres, redis: Redis
) -> None:
    """It travels in its envelope then."""
    private_postgres.kill()
    content = "x" * 50_000
    await send(without_postgres.client, content=content)

    [(_, _, envelope)] = await entries(redis)
    assert (envelope.content, envelope.payload_key) == (content, None)


async def test_without_postgres_nothing_can_be_written_at_once(
    private_postgres: servers.PrivatePostgres, private_database_url: str, redis_url: str, redis: Redis
) -> None:
    """`MESSAGES_DURABILITY=postgres`: 503 in the shape of every error, nothing in Redis; it works again afterwards."""
    async with running_api(private_database_url, redis_url, messages_durability="postgres", **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        private_postgres.kill()
        refused = await api.client.post("/api/messages", json=message())
        private_postgres.start()
        reply = await eventually(lambda: _accepted(api.client), within=20, every=0.1)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "database_unavailable")
    assert refused.headers["retry-after"] == "1"
    assert not reply["idempotentHit"]
    assert await redis.keys("msg:*") == []


async def test_a_frozen_postgres_holds_writers_up_for_a_bounded_time(
    private_postgres: servers.PrivatePostgres, private_database_url: str, redis_url: str
) -> None:
    """`MESSAGES_DURABILITY=postgres`: some wait, those behind them no longer, whoever comes later not at all; then it goes on."""
    async with running_api(private_database_url, redis_url, messages_durability="postgres", **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        private_postgres.pause()
        try:
            answers, seconds = await _posted(api.client, "early", 20, pause=0.1)
            later, later_seconds = await _posted(api.client, "later", 20, pause=0)
        finally:
            private_postgres.resume()
        reply = await eventually(lambda: _accepted(api.client), within=20, every=0.1)

    assert {(each.status_code, each.json()["error"]["code"]) for each in answers} == {(503, "database_unavailable")}
    assert {each.status_code for each in later} == {503}
    assert LONGEST_WRITE_SECONDS <= seconds < LONGEST_WRITE_SECONDS + 2 + 20 * 0.1
    assert later_seconds < 2
    assert reply["messageId"]


async def _posted(
    client: httpx.AsyncClient, name: str, count: int, *, pause: float
) -> tuple[list[httpx.Response], float]:
    """Posts that follow each other without waiting for answers; the answers, and how long they took."""
    started = time.monotonic()
    posts = []
    for number in range(count):
        posts.append(
            asyncio.create_task(client.post("/api/messages", json=message(clientMessageId=f"{name}-{number}")))
        )
        await asyncio.sleep(pause)
    return await asyncio.gather(*posts), time.monotonic() - started


async def _accepted(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any] | None:
    answer = await client.post("/api/messages", json=message(**changes))
    assert answer.status_code in {202, 503}, answer.text
    return answer.json() if answer.status_code == 202 else None


async def test_without_redis_nothing_is_accepted(private_redis: servers.PrivateRedis, app_database_url: str) -> None:
    """503 in the shape of every error, and soon; what has a row is still recognised; it works again afterwards."""
    async with running_api(app_database_url, private_redis.url(), **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        await send(api.client, clientMessageId="row")
        session = await connect(app_database_url)
        await session.execute(
            "INSERT INTO messages (id, conversationid, senderid, content) SELECT $1, 'course-1', 'alice', 'Hello'",
            (await send(api.client, clientMessageId="row"))["messageId"],
        )
        await session.close()
        private_redis.kill()
        started = time.monotonic()
        refused = [await api.client.post("/api/messages", json=message(clientMessageId=str(n))) for n in range(20)]
        seconds = time.monotonic() - started
        known = await send(api.client, clientMessageId="row")
        private_redis.start()
        reply = await eventually(lambda: _accepted(api.client), within=20, every=0.1)

    assert {(each.status_code, each.json()["error"]["code"]) for each in refused} == {(503, "broker_unavailable")}
    assert seconds < 5
    assert (known["state"], known["idempotentHit"]) == ("persisted", True)
    assert not reply["idempotentHit"]


async def test_a_frozen_redis_is_waited_for_briefly(private_redis: servers.PrivateRedis, app_database_url: str) -> None:
    """The first callers wait as long as the setting says, the later ones are told at once."""
    async with running_api(app_database_url, private_redis.url(), messages_accept_seconds=0.5, **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        await send(api.client)
        private_redis.pause()
        try:
            started = time.monotonic()
            answers = [await api.client.post("/api/messages", json=message(clientMessageId=str(n))) for n in range(30)]
            seconds = time.monotonic() - started
        finally:
            private_redis.resume()

    assert {each.status_code for each in answers} == {503}
    assert seconds < 30 * 0.5 / 2


async def test_a_frozen_redis_holds_no_writer_up_again(
    private_redis: servers.PrivateRedis, app_database_url: str
) -> None:
    """`MESSAGES_DURABILITY=postgres`: whoever finds out waits for it; while it is tried again and again, nobody does."""
    waited: list[float] = []

    async def post(client: httpx.AsyncClient, number: int) -> None:
        started = time.monotonic()
        await send(client, clientMessageId=f"m-{number}", conversationId=f"c-{number % 20}")
        waited.append(time.monotonic() - started)

    durability = {"messages_durability": "postgres", "messages_accept_seconds": 2.0}
    async with running_api(app_database_url, private_redis.url(), **durability, **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        await send(api.client)
        private_redis.pause()
        try:
            await asyncio.gather(*(post(api.client, number) for number in range(4)))
            found_out, posts = list(waited), []
            waited.clear()
            for number in range(200):
                posts.append(asyncio.create_task(post(api.client, number)))
                await asyncio.sleep(0.05)
            await asyncio.gather(*posts)
        finally:
            private_redis.resume()
        slow = [each for each in waited if each > 0.5]
        before = unasked("redis")
        await eventually(lambda: _asked_again(api.client, before), within=20, every=0.3)

    assert max(found_out) < 5
    assert len(slow) <= 5, slow  # of 200 in ten seconds; some forty where every trial keeps a batch


async def _asked_again(client: httpx.AsyncClient, before: float) -> bool:
    """Whether Redis is asked of a new message, after at most so many of which it was not."""
    count = unasked("redis")
    await send(client, clientMessageId=f"again-{time.monotonic()}")
    return count >= before and unasked("redis") == count


async def test_look_ups_that_were_skipped_are_counted(
    without_postgres: RunningApi, private_postgres: servers.PrivatePostgres, private_database_url: str, redis: Redis
) -> None:
    """A repeat whose reservation is over is told that it is new while PostgreSQL is away; that can be seen."""
    reply = await send(without_postgres.client)
    session = await connect(private_database_url)
    await session.execute(
        "INSERT INTO messages (id, conversationid, senderid, content) SELECT $1, 'course-1', 'alice', 'Hello'",
        reply["messageId"],
    )
    await session.close()
    known, before = await send(without_postgres.client), unasked("postgresql")
    await redis.flushdb()
    private_postgres.kill()
    again = [await send(without_postgres.client) for _ in range(3)]

    assert (known["state"], known["idempotentHit"]) == ("persisted", True)
    assert [each["idempotentHit"] for each in again] == [False, True, True]
    assert unasked("postgresql") - before == 1


async def test_look_ups_in_redis_that_were_skipped_are_counted(
    private_redis: servers.PrivateRedis, app_database_url: str
) -> None:
    """Where messages are written at once: one that waits in the stream may be overtaken by its repeat."""
    async with running_api(app_database_url, private_redis.url(), messages_durability="postgres", **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        before = unasked("redis")
        await send(api.client)
        asked = unasked("redis")
        private_redis.kill()
        for number in range(3):
            await send(api.client, clientMessageId=f"late-{number}")

    assert asked == before
    assert unasked("redis") - before == 3


def unasked(server: str) -> float:
    """How many messages were accepted without an answer of this server."""
    series = f'idempotency_lookup_skipped_total{{server="{server}"}} '
    lines = metrics.render().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))


async def test_readers_wait_for_a_frozen_redis_briefly(
    private_redis: servers.PrivateRedis, app_database_url: str
) -> None:
    """All at the same time, however many there are: 503, and afterwards the message is shown again."""
    async with running_api(app_database_url, private_redis.url(), messages_accept_seconds=2.0, **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        url = f"/api/messages/{(await send(api.client))['messageId']}"
        private_redis.pause()
        try:
            started = time.monotonic()
            answers = await asyncio.gather(*(api.client.get(url) for _ in range(80)))
            seconds = time.monotonic() - started
        finally:
            private_redis.resume()
        shown = await api.client.get(url)

    assert {(each.status_code, each.json()["error"]["code"]) for each in answers} == {(503, "broker_unavailable")}
    assert (
        seconds < 80 / LOOKING_AT_ONCE * 2.0 / 2
    )  # one group after the other would take twice as long, whatever else the machine does
    assert shown.json()["state"] == "pending"


@each_redis
async def test_redis_without_room_accepts_nothing(private_redis: servers.PrivateRedis, app_database_url: str) -> None:
    """No 2xx for what was not written (R12), and a 503 that asks to come again."""
    async with running_api(app_database_url, private_redis.url(), **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        await send(api.client)
        async with RedisClient.from_url(private_redis.url()) as redis:
            await redis.config_set("maxmemory", "1mb")
            await redis.config_set("maxmemory-policy", "noeviction")
            refused = await api.client.post("/api/messages", json=message(clientMessageId="late"))
            waiting = len(await entries(redis))

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "broker_unavailable")
    assert waiting == 1


async def test_ten_kills_of_redis_lose_nothing_that_was_accepted(
    durable_redis: servers.PrivateRedis, app_database_url: str
) -> None:
    """With `appendfsync always`: every 202 is in the stream, once, after ten kills under load (R1, R7)."""
    acked: dict[str, str] = {}
    stopping = asyncio.Event()

    async def write(client: httpx.AsyncClient, name: int) -> None:
        number = 0
        while not stopping.is_set():
            reply = await _accepted(client, conversationId=f"c-{name}", clientMessageId=f"{name}-{number}")
            if reply is None:
                await asyncio.sleep(0.02)  # the same one again: it may have been stored without our knowing
                continue
            acked[f"{name}-{number}"] = reply["messageId"]
            number += 1

    async with running_api(app_database_url, durable_redis.url(), **_TOKENLESS) as api:
        del api.client.headers["authorization"]
        writers = [asyncio.create_task(write(api.client, name)) for name in range(8)]
        for _ in range(10):
            before = len(acked)
            await eventually(lambda before=before: len(acked) > before + 20, within=20)  # type: ignore[misc]
            durable_redis.kill()
            durable_redis.start()
        stopping.set()
        await asyncio.gather(*writers)
        async with RedisClient.from_url(durable_redis.url()) as redis:
            found = [envelope.id for _, _, envelope in await entries(redis)]

    assert set(acked.values()) - set(found) == set()
    assert len(found) == len(set(found))
    assert len(acked) > 200


async def test_a_document_store_that_never_answers_holds_nobody_up(
    app_database_url: str, redis_url: str, redis: Redis
) -> None:
    """Ten long messages: one waits as long as the setting says, the others not at all."""
    held: list[Any] = []
    silent = await asyncio.start_server(lambda *streams: held.append(streams), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    outside = {
        "object_store": "s3://nowhere",
        "object_store_endpoint": f"http://127.0.0.1:{port}",
        "object_store_access_key": Secret("key"),
        "object_store_secret_key": Secret("secret"),
    }
    async with (
        silent,
        running_api(app_database_url, redis_url, messages_accept_seconds=1.0, **outside, **_TOKENLESS) as api,
    ):
        del api.client.headers["authorization"]
        started = time.monotonic()
        for number in range(10):
            await send(api.client, content="x" * 50_000, clientMessageId=str(number))
        seconds = time.monotonic() - started

    for _, writer in held:
        writer.close()
    assert held
    assert 1 <= seconds < 8
    assert {envelope.payload_key for _, _, envelope in await entries(redis)} == {None}
