"""Fixtures for every test: a migrated database and a Redis of its own, on real servers."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support import servers, trust
from tests.support.stack import Stack, open_stack

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.kernel.database import Database

_SCRUBBED = (
    "API_URL", "API_TOKEN", "DATABASE_URL", "REDIS_URL", "JWT_SECRET", "PORT", "METRICS_PORT", "LOG_LEVEL",
    "LOG_FORMAT", "COURSEGEN_HOME", "COURSEGEN_FAULTS", "COURSEGEN_FAULTS_LOG", "SUPABASE_URL", "SUPABASE_ANON_KEY",
)  # fmt: skip
for _name in _SCRUBBED:  # what the caller's shell says about a running stack is not for the tests
    os.environ.pop(_name, None)

# jsonschema would let it make a grammar, for two seconds of each process, to check IRIs: no schema here has any.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


settings.register_profile("coursegen", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("coursegen")  # a busy machine is no fault of the code's

_FOR_GOOD = ("rolling", "disruptive")
"""What these tests say is that nothing is ever lost: a second try that loses nothing proves nothing."""


_ALONE = ("rolling", "disruptive", "scaling")
"""What these tests measure, or take away, is everybody's."""

_LONGEST = (
    "faults/test_storm.py", "api/test_schemathesis.py", "acceptance/test_messages_rollout.py", "api/test_ownership.py",
    "faults/test_slots.py", "acceptance/test_up.py",
)  # fmt: skip
"""A minute or more each: begun last, one of them would be waited for by processes that have nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What must not fail even once is marked so, and what must be alone (see scripts/test.sh); what takes longest comes first."""
    for item in items:
        if item.get_closest_marker("drains"):
            item.add_marker("disruptive")
        if any(item.get_closest_marker(each) for each in _FOR_GOOD):
            item.add_marker("no_second_try")
        if any(item.get_closest_marker(each) for each in _ALONE):
            item.add_marker("alone")
    items.sort(key=lambda item: not item.path.as_posix().endswith(_LONGEST))


_FEWEST_JOBS, _MOST_JOBS = 4, 8
"""Tests of faults wait most of their time, so that two cores are not enough for two; each has a PostgreSQL and a Redis."""


def pytest_xdist_auto_num_workers() -> int:
    """How many `-n auto` means."""
    return max(_FEWEST_JOBS, min(_MOST_JOBS, os.cpu_count() or 1))


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """By the clients of all tests that do not say whom they trust."""
    with trust.read_once():
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Postgres]:
    """The session's PostgreSQL."""
    with servers.session_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.Redis]:
    """The session's Redis."""
    with servers.session_redis() as server:
        yield server


@pytest.fixture
def database_url(postgres_server: servers.Postgres) -> Iterator[str]:
    """A fresh migrated database, as its owner (a superuser: row security does not bind it)."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def empty_database_url(postgres_server: servers.Postgres) -> Iterator[str]:
    """A fresh database without any of our objects."""
    url = postgres_server.create(migrated=False)
    yield url
    postgres_server.drop(url)


@pytest.fixture
def app_database_url(database_url: str) -> str:
    """The test's migrated database as the application's login role, which row security binds."""
    return servers.with_user(database_url, servers.APPLICATION_ROLE)


@pytest.fixture
async def redis_url(redis_server: servers.Redis) -> str:
    """An empty numbered database of the session's Redis."""
    from redis.asyncio import Redis

    url = redis_server.next_url()
    async with Redis.from_url(url) as client:
        await client.flushdb()
    return url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The kernel's Database on the test's own database, as the owner."""
    from tests.support.databases import opened

    async with opened(database_url) as database:
        yield database


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client on the test's own Redis database."""
    from redis.asyncio import Redis

    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def private_postgres() -> Iterator[servers.PrivatePostgres]:
    """A PostgreSQL that this test may stop, kill and start again; running, without our schema."""
    with servers.server_folder() as folder:
        server = servers.PrivatePostgres(folder, options={"synchronous_commit": "on"})  # a kill must lose nothing
        server.start()
        yield server
        server.kill()


@pytest.fixture
def private_redis(request: pytest.FixtureRequest) -> Iterator[servers.PrivateRedis]:
    """A Redis that this test may stop, kill and start again; running and empty. `each_redis` tries every version there is."""
    program = servers.other_redis() if getattr(request, "param", None) == "other" else None
    with servers.server_folder() as folder:
        server = servers.PrivateRedis(folder, program=program)
        server.start()
        yield server
        server.kill()


@pytest.fixture
def private_database_url(private_postgres: servers.PrivatePostgres) -> str:
    """A migrated database on the test's own PostgreSQL."""
    return servers.Postgres(private_postgres.url()).create()


@pytest.fixture
def stack(tmp_path: Path, app_database_url: str, redis_url: str) -> Iterator[Stack]:
    """Real processes on the test's own database and Redis; none is started yet."""
    with open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as opened:
        yield opened
