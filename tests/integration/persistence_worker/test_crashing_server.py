"""A message that PostgreSQL itself crashes of: it is found and becomes a dead letter, and all others become rows."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database
from services.kernel.errors import DatabaseUnavailable
from services.kernel.settings import CommonSettings, Secret
from tests.integration.persistence_worker.conftest import Persisting
from tests.integration.persistence_worker.test_poison import letters
from tests.support.servers import APPLICATION_ROLE, PrivatePostgres, with_user
from tests.support.stack import Stack
from tests.support.streamed import Ledger, envelope, settled
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CRASH = """
CREATE FUNCTION crash(bigint) RETURNS text LANGUAGE internal STRICT AS 'byteaout';
CREATE FUNCTION crash_of_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.content LIKE 'deadly%' THEN PERFORM crash(8); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER crash_of_it BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION crash_of_it();
"""
"""A number taken for an address: the backend dies of it as of a fault in an extension."""


@pytest.fixture
async def own_db(private_database_url: str) -> AsyncIterator[Database]:
    """The database of a server that may crash, as its owner."""
    database = await Database.open(CommonSettings(database_url=Secret(private_database_url)))
    yield database
    await database.close()


async def _has_rows(db: Database, ledger: Ledger) -> bool:
    try:
        return (await ledger.rows(db)) == dict(ledger.accepted)
    except DatabaseUnavailable:
        return False


async def test_a_message_that_crashes_postgresql_is_found_and_buried(
    own_db: Database, private_database_url: str, redis: Redis, ledger: Ledger, persisting: Persisting
) -> None:
    """In the middle of many, with later ones of its conversation behind it."""
    await own_db.execute(_CRASH)
    await ledger.talk(10, 3)
    await ledger.send(envelope("talk-3", "bad", "deadly"), counts=False)
    await ledger.talk(10, 3, first=3)
    async with persisting(database_url=with_user(private_database_url, APPLICATION_ROLE)):
        await eventually(lambda: _has_rows(own_db, ledger), within=90, every=0.5)
        await eventually(lambda: settled(redis), within=20)
    (letter,) = await letters(redis)

    assert (letter.reason, letter.attempts, letter.envelope) == ("crashes", 3, envelope("talk-3", "bad", "deadly"))
    assert letter.error == "PostgreSQL has crashed 3 times when it was given this message alone."


async def test_what_a_dead_worker_had_in_hand_is_judged_likewise(
    own_db: Database, private_database_url: str, redis: Redis, ledger: Ledger, stack: Stack
) -> None:
    """One by one, by its successor."""
    await own_db.execute(_CRASH)
    await ledger.send(envelope("talk", "m-1"))
    await ledger.send(envelope("talk", "bad", "deadly"), counts=False)
    await ledger.send(envelope("talk", "m-2"))
    environment = {
        "STREAM_LEASE_SECONDS": "1",
        "DATABASE_URL": with_user(private_database_url, APPLICATION_ROLE),
    }
    doomed = stack.spawn("persistence_worker", faults="persistence.before_insert=kill@1", env=environment)
    assert await doomed.ended(within=30) == -signal.SIGKILL
    await stack.start("persistence_worker", env=environment)
    await eventually(lambda: _has_rows(own_db, ledger), within=90, every=0.5)
    await eventually(lambda: settled(redis), within=20)

    assert [each.reason for each in await letters(redis)] == ["crashes"]


async def test_a_server_that_is_killed_again_and_again_condemns_nobody(
    own_db: Database,
    private_postgres: PrivatePostgres,
    private_database_url: str,
    redis: Redis,
    ledger: Ledger,
    persisting: Persisting,
) -> None:
    """Five times, under load."""
    async with persisting(database_url=with_user(private_database_url, APPLICATION_ROLE)):
        for number in range(5):
            await ledger.talk(20, 5, first=number * 5)
            private_postgres.kill()
            await ledger.talk(20, 1, first=100 + number)
            private_postgres.start()
        await eventually(lambda: _has_rows(own_db, ledger), within=60, every=0.5)

    assert await letters(redis) == []
