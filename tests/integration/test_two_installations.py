"""Two installations on one database of Redis: the second is refused, and takes nothing of what the first has there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from services.api import stream_watch
from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, RedisOccupied
from services.kernel.health import HealthRegistry
from services.kernel.installation import KEY
from services.kernel.messages import names
from services.kernel.schema import installation_of
from services.kernel.settings import Secret
from services.outbox_relay.relay import Relay
from services.outbox_relay.settings import RelaySettings
from services.persistence_worker.settings import PersistenceSettings
from services.persistence_worker.worker import open_worker
from services.stage_worker import worker as stage_worker
from services.stage_worker.settings import WorkerSettings
from tests.support import tokens
from tests.support.api import RunningApi, running_api
from tests.support.conversations import entries, message, send
from tests.support.databases import opened
from tests.support.servers import APPLICATION_ROLE, Postgres, database_number, with_user
from tests.support.streamed import Ledger
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

OTHER = "2020-01-01T00:00:00.000000Z"
"""Who had the Redis first."""
UNKNOWN = "msg_" + 26 * "a"
"""A message that nobody has sent."""


@pytest.fixture
def other_url(postgres_server: Postgres) -> Iterator[str]:
    """The database of another installation, as its application: a copy of the template's would count as the same one."""
    url = postgres_server.create()
    postgres_server.run_sql(f"UPDATE supabase_migrations.schema_migrations SET executed_at = '{OTHER}'", url=url)
    yield with_user(url, APPLICATION_ROLE)
    postgres_server.drop(url)


@pytest.fixture
async def other(other_url: str) -> AsyncIterator[Database]:
    """The same, open."""
    async with opened(other_url) as database:
        yield database


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """The first installation's api, which takes messages from anybody."""
    async with running_api(app_database_url, redis_url, messages_require_token=False) as running:
        del running.client.headers["authorization"]
        yield running


@asynccontextmanager
async def persisting(database_url: str, redis_url: str) -> AsyncIterator[HealthRegistry]:
    """A persistence-worker during the block; its readiness."""
    settings = PersistenceSettings(
        database_url=Secret(database_url),
        redis_url=Secret(redis_url),
        redis_stream_db=database_number(redis_url),
        lease_seconds=2.0,
    )
    health, stopping = HealthRegistry(), asyncio.Event()
    async with open_worker(settings, health) as worker:
        health.started = True
        task = asyncio.create_task(worker.serve(stopping))
        try:
            yield health
        finally:
            stopping.set()
            await asyncio.wait_for(task, 20)


def relay_settings(database_url: str, redis_url: str) -> RelaySettings:
    """Of a relay with nothing special."""
    return RelaySettings(database_url=Secret(database_url), redis_url=Secret(redis_url), node_id="second")


async def test_the_second_persistence_worker_does_not_begin(
    api: RunningApi, redis: Redis, redis_url: str, other_url: str, other: Database
) -> None:
    """What the first installation was told is pending stays where it is, for its own worker."""
    await send(api.client)

    with pytest.raises(RedisOccupied, match="REDIS_STREAM_DB"):
        async with persisting(other_url, redis_url):
            pass

    assert len(await entries(redis)) == 1
    assert await other.fetchval("SELECT count(*) FROM messages") == 0


async def test_a_redis_that_becomes_somebody_else_s_is_taken_from_no_more(
    redis: Redis, redis_url: str, other_url: str, other: Database, ledger: Ledger
) -> None:
    """A worker that runs while Redis is emptied and the first installation is quicker with it: not ready, and takes nothing."""
    with capture_logs() as lines:
        async with persisting(other_url, redis_url) as health:
            await eventually(lambda: redis.hlen(names.EPOCHS), within=20)
            await redis.pipeline(transaction=True).flushdb().set(KEY, "2019-01-01T00:00:00.000000Z").execute()
            await ledger.talk(4, 5)

            async def complains() -> bool:
                return "another installation" in (await health.unready()).get("redis", "")

            await eventually(complains, within=20)
            await eventually(
                lambda: any(each["event"].startswith("the stream is another") for each in lines), within=30
            )
            assert await redis.exists(names.EPOCHS) == 0
            assert await other.fetchval("SELECT count(*) FROM messages") == 0
            await redis.delete(KEY)  # it is ours after all
            await ledger.persisted(other, within=30)
            assert await redis.get(KEY) == (await installation_of(other)).encode()


async def test_the_second_api_takes_no_messages_and_serves_courses(
    redis: Redis, redis_url: str, other_url: str, api: RunningApi
) -> None:
    """It would tell its senders that messages are pending which another installation writes; courses need nothing of the stream.

    Callers hear no more than that Redis is not to be had; what is to be set is on `/readyz` and in the log.
    """
    first = await redis.get(KEY)

    with capture_logs() as lines:
        async with running_api(other_url, redis_url, messages_require_token=False) as second:
            refused = await second.client.post("/api/messages", json=message(senderId=str(tokens.USER)))
            unknown = await second.client.get(f"/api/messages/{UNKNOWN}")
            courses = await second.client.get("/api/courses")
            faults, degraded = await second.health.standing()

    for answer in (refused, unknown):
        assert answer.status_code == 503
        assert answer.json()["error"] == {
            "code": "broker_unavailable",
            "message": BrokerUnavailable().message,
            "details": {},
        }
    assert courses.status_code == 200
    assert (faults, list(degraded)) == ({}, ["stream"])
    assert "REDIS_STREAM_DB" in degraded["stream"]
    assert [each["reason"] for each in lines if each["event"] == "messages are not accepted"] == [degraded["stream"]]
    assert await redis.get(KEY) == first
    assert await entries(redis) == []


async def test_the_second_api_is_well_once_the_stream_is_free(redis: Redis, redis_url: str, other_url: str) -> None:
    """Nobody has to start it anew."""
    await redis.set(KEY, "2019-01-01T00:00:00.000000Z")
    async with running_api(other_url, redis_url) as second:
        assert "stream" in (await second.health.standing()).degraded
        await redis.delete(KEY)

        async def is_well() -> bool:
            return await second.health.standing() == ({}, {})

        await eventually(is_well, within=4 * stream_watch.LOOK_SECONDS)
        assert await redis.get(KEY)


async def test_an_api_whose_list_was_begun_anew_leaves_the_new_name(
    api: RunningApi, redis: Redis, db: Database
) -> None:
    """Into an emptied Redis it writes no name that nobody has any more, and by the command of the page it goes on."""
    for number, is_emptied in enumerate((True, False)):
        await db.execute(
            "UPDATE supabase_migrations.schema_migrations SET executed_at = executed_at + interval '1 day'"
        )
        name = await installation_of(db)
        await (redis.delete(KEY) if is_emptied else redis.set(KEY, name))

        await send(api.client, clientMessageId=str(number))

        assert await redis.get(KEY) == name.encode()
    assert len(await entries(redis)) == 2


async def test_administrators_of_the_second_see_and_touch_nothing_of_the_first(
    api: RunningApi, redis: Redis, redis_url: str, other_url: str
) -> None:
    """Beside it on one number, with messages written at once: neither its dead letters, nor its partitions, nor what waits."""
    await send(api.client)
    await redis.xadd(names.DEAD_LETTERS, {"entry": "1-1", "partition": "1", "reason": "refused", "envelope": "{}"})
    partitions = await redis.get(names.PARTITIONS)

    async with running_api(other_url, redis_url, messages_durability="postgres") as second:
        second.client.headers.update(tokens.admin_bearer())
        overview = (await second.client.get("/api/admin/messages")).json()
        answers = [
            await second.client.get("/api/admin/messages/dead-letters"),
            await second.client.post("/api/admin/messages/dead-letters/replay", json={"all": True}),
            await second.client.post("/api/admin/messages/dead-letters/discard", json={"all": True}),
            await second.client.put("/api/admin/messages/partitions", json={"partitions": 32}),
        ]
        assert second.health.figures is not None
        figures = await second.health.figures()

    assert (overview["lag"], overview["deadLetters"]) == (None, None)
    assert "another installation" in overview["message"]
    assert [each.status_code for each in answers] == [503] * 4
    assert "stream_backlog_entries" not in figures
    assert "system_healthy" in figures
    assert await redis.xlen(names.DEAD_LETTERS) == 1
    assert await redis.get(names.PARTITIONS) == partitions


async def test_where_messages_are_written_at_once_what_has_no_row_is_unknown(
    api: RunningApi, redis_url: str, other_url: str
) -> None:
    """Also when the first installation has it: 404, not 503, and the second api is not degraded."""
    waiting = (await send(api.client))["messageId"]

    async with running_api(
        other_url, redis_url, messages_require_token=False, messages_durability="postgres"
    ) as second:
        del second.client.headers["authorization"]
        found = [(await second.client.get(f"/api/messages/{each}")).status_code for each in (waiting, UNKNOWN)]
        assert await second.health.standing() == ({}, {})

    assert found == [404, 404]
    assert (await api.client.get(f"/api/messages/{waiting}")).json()["state"] == "pending"


async def test_an_api_accepts_nothing_into_the_stream_of_another(api: RunningApi, redis: Redis) -> None:
    """Redis was emptied and taken meanwhile: 503, and nothing is written; freed, it accepts at once."""
    await redis.set(KEY, OTHER)

    answer = await api.client.post("/api/messages", json=message())

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker_unavailable")
    assert await entries(redis) == []
    await redis.delete(KEY)
    assert (await eventually(lambda: _accepted(api), within=10))["idempotentHit"] is False


async def _accepted(api: RunningApi) -> dict[str, Any]:
    answer = await api.client.post("/api/messages", json=message())
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_a_message_written_at_once_is_no_repeat_of_another_installation_s(
    api: RunningApi, redis: Redis, redis_url: str, other_url: str, other: Database
) -> None:
    """With MESSAGES_DURABILITY=postgres the stream is nobody's business: what waits there for another database is not asked."""
    await send(api.client)
    changes = {"messages_require_token": False, "messages_durability": "postgres"}

    async with running_api(other_url, redis_url, **changes) as second:
        del second.client.headers["authorization"]
        reply = await send(second.client)

    assert (reply["state"], reply["idempotentHit"]) == ("persisted", False)
    assert await other.fetchval("SELECT count(*) FROM messages") == 1
    assert len(await entries(redis)) == 1


async def test_the_second_relay_does_not_begin(redis: Redis, redis_url: str, database_url: str, other_url: str) -> None:
    """Its epochs are another database's: it would shut the first one's leader out, or be shut out."""
    async with Relay.open(relay_settings(database_url, redis_url), HealthRegistry()):
        assert await redis.get(KEY)

        with pytest.raises(RedisOccupied, match="REDIS_URL"):
            async with Relay.open(relay_settings(other_url, redis_url), HealthRegistry()):
                pass


async def test_a_leader_stops_when_redis_becomes_somebody_else_s(
    redis: Redis, redis_url: str, other_url: str, other: Database
) -> None:
    """Within seconds, and it asks for no term meanwhile; when it is free again it leads on, in a new one."""
    stopping = asyncio.Event()
    async with Relay.open(relay_settings(other_url, redis_url), HealthRegistry()) as relay:
        serving = asyncio.create_task(relay.serve(stopping))

        async def epoch() -> int:
            return int(await other.fetchval("SELECT coalesce(max(epoch), 0) FROM relay_leadership"))

        first = await eventually(epoch, within=20)
        with capture_logs() as lines:
            await redis.set(KEY, "2019-01-01T00:00:00.000000Z")
            await eventually(lambda: _has_no_leader(other), within=20)
            await eventually(lambda: any(each["event"] == "not asking to lead" for each in lines), within=20)
        assert await epoch() == first
        await redis.delete(KEY)
        await eventually(lambda: _has_a_leader(other), within=20)
        assert await epoch() == first + 1
        stopping.set()
        await asyncio.wait_for(serving, 15)


async def _has_a_leader(db: Database) -> bool:
    return bool(await db.fetchval("SELECT holder IS NOT NULL FROM relay_leadership"))


async def _has_no_leader(db: Database) -> bool:
    return not await _has_a_leader(db)


async def test_the_second_stage_worker_does_not_begin(redis: Redis, redis_url: str, other_url: str) -> None:
    """It would take the first one's jobs, for courses that its database does not have."""
    await redis.set(KEY, "2019-01-01T00:00:00.000000Z")
    settings = WorkerSettings(database_url=Secret(other_url), redis_url=Secret(redis_url))

    with pytest.raises(RedisOccupied, match="REDIS_URL"):
        async with stage_worker.open_worker(settings, HealthRegistry()):
            pass


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """What was accepted by somebody who does not ask whose Redis it is: an api of an earlier release."""
    return Ledger(redis)
