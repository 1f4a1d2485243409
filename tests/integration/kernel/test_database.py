"""The database door: bounded waits, our errors, no pinning to a read-only server."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from services.kernel.database import Database, DatabaseRefused, ForeignKeyViolation, UniqueViolation, connect
from services.kernel.errors import DatabaseUnavailable, InvalidInput, SchemaMissing, TransitionRefused
from services.kernel.schema import require_relations
from services.kernel.settings import CommonSettings, Secret
from tests.support.waiting import eventually


async def test_json_columns_are_python_objects_on_both_sides(db: Database) -> None:
    """What goes in as a dict comes out as one."""
    assert {"a": [1, None]} == await db.fetchval("SELECT $1::jsonb", {"a": [1, None]})


async def test_a_statement_that_takes_too_long_is_an_outage_not_a_hang(database_url: str) -> None:
    """PostgreSQL ends it; the caller sees DatabaseUnavailable; the pool works on."""
    settings = CommonSettings(database_url=Secret(database_url), statement_seconds=0.2)
    db = await Database.open(settings)
    with pytest.raises(DatabaseUnavailable):
        await db.execute("SELECT pg_sleep(5)")

    assert await db.fetchval("SELECT 1") == 1
    await db.close()


async def test_waiting_for_a_free_session_is_bounded(database_url: str) -> None:
    """A pool that is used up says so within acquire_seconds."""
    settings = CommonSettings(database_url=Secret(database_url), pool_max_size=1, acquire_seconds=0.2)
    db = await Database.open(settings)
    async with db.acquire():
        with pytest.raises(DatabaseUnavailable):
            await db.ping()
    await db.ping()
    await db.close()


@pytest.mark.parametrize(
    ("statement", "args", "expected"),
    [
        ("SELECT * FROM no_such_table", (), SchemaMissing),
        ("SELECT $1::text", ("a\x00b",), InvalidInput),
        ("SELECT $1::int", (2**70,), InvalidInput),
        ("SELECT 'x'::uuid", (), InvalidInput),
        ("DO $$ BEGIN RAISE EXCEPTION 'no'; END $$", (), DatabaseRefused),
        ("DO $$ BEGIN RAISE EXCEPTION 'Invalid generation status transition: x'; END $$", (), TransitionRefused),
        ("INSERT INTO auth.users (id) VALUES (gen_random_uuid()), (NULL)", (), DatabaseRefused),
    ],
)
async def test_errors_of_the_server_become_ours(
    db: Database, statement: str, args: tuple[object, ...], expected: type[Exception]
) -> None:
    """The most specific class, whatever the driver calls it."""
    with pytest.raises(expected):
        await db.execute(statement, *args)


async def test_violated_keys_are_told_apart(db: Database) -> None:
    """Doubled rows and dangling references have their own classes, with the constraint's name."""
    user = uuid.uuid4()
    await db.execute("INSERT INTO auth.users (id) VALUES ($1)", user)
    with pytest.raises(UniqueViolation) as caught:
        await db.execute("INSERT INTO auth.users (id) VALUES ($1)", user)
    with pytest.raises(ForeignKeyViolation):
        await db.execute(
            "INSERT INTO courses (title, slug, user_id, organization_id) VALUES ('t', 's', $1, $1)", uuid.uuid4()
        )

    assert caught.value.details["sqlstate"] == "23505"


async def test_sessions_killed_by_the_server_are_replaced(db: Database) -> None:
    """After pg_terminate_backend the pool serves again."""
    await db.ping()
    with pytest.raises(DatabaseUnavailable):
        await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def works() -> bool:
        try:
            await db.ping()
        except DatabaseUnavailable:
            return False
        return True

    await eventually(works, within=5)


async def test_a_session_that_turns_read_only_is_dropped(db: Database) -> None:
    """After 25006 the pool holds no session from before (R5)."""
    async with db.acquire() as session:
        old = await session.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(Exception, match="read-only"):
            await session.execute("SET default_transaction_read_only = on")
            await session.execute("CREATE TABLE refused (id int)")
    with pytest.raises(DatabaseUnavailable):
        async with db.acquire() as session:
            await session.execute("SET default_transaction_read_only = on")
            await session.execute("CREATE TABLE refused (id int)")

    assert await db.fetchval("SELECT pg_backend_pid()") != old


async def test_a_statement_costs_one_round_trip(db: Database) -> None:
    """Nothing is sent behind a statement when its session goes back to the pool."""
    pid = await db.fetchval("SELECT pg_backend_pid()")

    seen_from_outside = await connect(db._settings.database_url)
    last = await seen_from_outside.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)
    await seen_from_outside.close()
    assert last == "SELECT pg_backend_pid()"


async def test_a_transaction_left_open_does_not_reach_the_next_borrower(database_url: str) -> None:
    """It is rolled back when its session goes back to the pool."""
    settings = CommonSettings(database_url=Secret(database_url), pool_max_size=1)
    db = await Database.open(settings)
    async with db.acquire() as session:
        await session.execute("BEGIN")
        await session.execute("CREATE TABLE half_done (id int)")

    assert await db.fetchval("SELECT to_regclass('half_done') IS NULL")
    await db.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    """Opening a pool or a session fails in bounded time with our error."""
    nowhere = Secret("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(Database.open(CommonSettings(database_url=nowhere)), 15)
    with pytest.raises(DatabaseUnavailable):
        await connect(nowhere)


async def test_missing_relations_are_named(db: Database) -> None:
    """With the next command (TRAP33); a complete schema passes."""
    await require_relations(db)
    with pytest.raises(SchemaMissing, match="relation not_there does not exist; run `coursegen migrate`"):
        await require_relations(db, ["courses", "not_there"])
