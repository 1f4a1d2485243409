"""Whose a database of Redis is: the first installation's that uses it, by a name that PostgreSQL keeps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database
from services.kernel.errors import RedisOccupied
from services.kernel.installation import KEY, QUEUES, STREAM, Claim
from services.kernel.redis_connection import open_redis
from services.kernel.schema import installation_of
from services.kernel.settings import CommonSettings, Secret
from services.migrate.runner import apply_all
from tests.support.servers import PrivateRedis, database_number

if TYPE_CHECKING:
    from redis.asyncio import Redis

OURS, THEIRS = "2025-11-28T17:13:20.000001Z", "2025-11-28T17:13:20.000002Z"


async def test_the_first_has_it_and_the_second_is_told_what_to_set(redis: Redis, redis_url: str) -> None:
    """A client that uses a number in REDIS_URL hears of that one; the first goes on."""
    await Claim(redis, OURS, STREAM).hold()

    with pytest.raises(RedisOccupied) as refused:
        await Claim(redis, THEIRS, STREAM).hold()

    number = database_number(redis_url)
    assert f"database {number} of Redis belongs to another installation" in refused.value.message
    assert OURS in refused.value.message
    assert "REDIS_STREAM_DB" in refused.value.message
    assert refused.value.message.endswith(f"`redis-cli -n {number} DEL {KEY}`")
    assert await redis.get(KEY) == OURS.encode()
    await Claim(redis, OURS, STREAM).hold()


async def test_what_was_emptied_or_freed_is_the_next_one_s(redis: Redis) -> None:
    """As the command in the message says."""
    await Claim(redis, OURS, QUEUES).hold()
    await redis.delete(KEY)

    await Claim(redis, THEIRS, QUEUES).hold()

    with pytest.raises(RedisOccupied, match="REDIS_URL"):
        await Claim(redis, OURS, QUEUES).begin()


async def test_without_a_name_nothing_is_claimed_and_nobody_refused(redis: Redis) -> None:
    """As those who only look."""
    await Claim(redis, "", STREAM).hold()
    assert await redis.exists(KEY) == 0

    await Claim(redis, OURS, STREAM).hold()
    await Claim(redis, "", STREAM).hold()


async def test_a_redis_that_is_away_does_not_stop_a_start(private_redis: PrivateRedis) -> None:
    """Whose it is is asked again."""
    private_redis.stop()
    client = open_redis(Secret(private_redis.url()), name="test")
    await Claim(client, OURS, QUEUES).begin()
    await client.aclose()


async def test_a_full_redis_that_is_ours_is_still_ours(private_redis: PrivateRedis) -> None:
    """Who empties it must be ready: nothing is written when the name is there."""
    client = open_redis(Secret(private_redis.url()), name="test")
    await Claim(client, OURS, STREAM).hold()
    await client.config_set("maxmemory", "1")
    await Claim(client, OURS, STREAM).hold()
    await client.aclose()


async def test_a_database_has_a_name_that_migrations_leave_alone(db: Database, database_url: str) -> None:
    """The moment its list was begun; a release with more migrations finds the same."""
    before = await installation_of(db)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", before)

    await db.execute("DELETE FROM supabase_migrations.schema_migrations WHERE version > '20251122000000'")
    await apply_all(database_url)

    assert await installation_of(db) == before


async def test_the_application_may_ask(app_database_url: str, db: Database) -> None:
    """Row security and grants let its role read the name."""
    app = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    assert await installation_of(app) == await installation_of(db) != ""
    await app.close()
