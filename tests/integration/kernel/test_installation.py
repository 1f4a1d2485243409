"""Whose a database of Redis is: the first installation's that uses it, by a name that PostgreSQL keeps."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from services.kernel.database import Database
from services.kernel.errors import DatabaseUnavailable, RedisOccupied
from services.kernel.installation import KEY, QUEUES, READ_SECONDS, STREAM, Claim
from services.kernel.redis_connection import open_redis
from services.kernel.schema import REVISION, installation_of
from services.kernel.settings import CommonSettings, Secret
from services.migrate.request import Request
from services.migrate.runner import Runner, apply_all
from services.migrate.settings import MigrateSettings
from tests.support.servers import PrivateRedis, database_number
from tests.support.versions import each_redis

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
    assert refused.value.message.endswith(f"`redis-cli -n {number} SET {KEY} {THEIRS}`")
    assert await redis.get(KEY) == OURS.encode()
    await Claim(redis, OURS, STREAM).hold()


async def test_what_was_emptied_is_the_next_one_s(redis: Redis) -> None:
    """Whoever uses it first."""
    await Claim(redis, OURS, QUEUES).hold()
    await redis.delete(KEY)

    await Claim(redis, THEIRS, QUEUES).hold()

    with pytest.raises(RedisOccupied, match="REDIS_URL"):
        await Claim(redis, OURS, QUEUES).begin()


async def _type(redis: Any, refused: RedisOccupied) -> None:
    """The command at the end of the message."""
    await redis.execute_command(*refused.message.rpartition("redis-cli -n ")[2].rstrip("`").split()[1:])


async def test_the_command_in_the_message_gives_it_away(redis: Redis) -> None:
    """Also while others use it, who are refused from then on."""
    await Claim(redis, OURS, QUEUES).hold()
    with pytest.raises(RedisOccupied) as refused:
        await Claim(redis, THEIRS, QUEUES).hold()

    await _type(redis, refused.value)

    await Claim(redis, THEIRS, QUEUES).hold()
    with pytest.raises(RedisOccupied):
        await Claim(redis, OURS, QUEUES).hold()


async def test_who_only_looks_writes_nothing(redis: Redis) -> None:
    """What is nobody's stays so, and what is another's is not looked at."""
    await Claim(redis, OURS, STREAM).respect()
    assert await redis.exists(KEY) == 0

    await Claim(redis, OURS, STREAM).hold()
    await Claim(redis, OURS, STREAM).respect()
    with pytest.raises(RedisOccupied):
        await Claim(redis, THEIRS, STREAM).respect()


async def _now_theirs() -> str:
    return THEIRS


async def test_a_name_that_has_changed_is_read_again(redis: Redis) -> None:
    """Before an empty place is written, and before anybody is refused: a process need not be started anew for it."""
    first, second = (Claim(redis, OURS, QUEUES, read=_now_theirs) for _ in range(2))

    await first.hold()
    assert await redis.get(KEY) == THEIRS.encode()
    await second.respect()

    assert first.installation == second.installation == THEIRS


async def _fails() -> str:
    raise DatabaseUnavailable


async def _hangs() -> str:
    await asyncio.Event().wait()
    return THEIRS


@pytest.mark.parametrize("read", [_fails, _hangs])
async def test_without_an_answer_what_was_known_counts(redis: Redis, read: Callable[[], Awaitable[str]]) -> None:
    """PostgreSQL may be away, or hang; messages are accepted all the same."""
    claim = Claim(redis, OURS, STREAM, read=read)

    async with asyncio.timeout(4 * READ_SECONDS):
        await claim.hold()
        assert await redis.get(KEY) == OURS.encode()
        await redis.set(KEY, THEIRS)
        with pytest.raises(RedisOccupied):
            await claim.hold()


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


@each_redis
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


async def test_lines_of_others_in_the_list_do_not_count(db: Database) -> None:
    """Supabase's commands add lines of their own, older ones too, and squash them: the name stays."""
    before = await installation_of(db)
    await db.execute(
        "INSERT INTO supabase_migrations.schema_migrations (version, name, executed_at)"
        " VALUES ('20240101000000', 'theirs', '2024-01-01'), ('20990101000000', 'theirs', '2023-01-01')"
    )
    assert await installation_of(db) == before

    await db.execute("DELETE FROM supabase_migrations.schema_migrations WHERE name = 'theirs'")
    assert await installation_of(db) == before


async def test_a_list_that_was_begun_anew_is_another_name(db: Database, database_url: str, redis: Redis) -> None:
    """Lost, and taken over with `--baseline`: whoever runs goes on, and after the command of the message whoever starts, too."""
    running = await Claim.of(db, redis, QUEUES)
    await running.hold()
    await db.execute("TRUNCATE supabase_migrations.schema_migrations")
    await Runner(MigrateSettings(database_url=Secret(database_url))).apply(Request(baseline=REVISION))
    await running.hold()

    starting = await Claim.of(db, redis, QUEUES)
    with pytest.raises(RedisOccupied, match="begun anew") as refused:
        await starting.hold()
    await _type(redis, refused.value)

    await starting.hold()
    await running.hold()
    assert running.installation == starting.installation == await installation_of(db)


async def test_the_application_may_ask(app_database_url: str, db: Database) -> None:
    """Row security and grants let its role read the name."""
    app = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    assert await installation_of(app) == await installation_of(db) != ""
    await app.close()
