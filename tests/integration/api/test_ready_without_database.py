"""Whether an api is ready while PostgreSQL is away: by READY_WITHOUT_DATABASE, so that messages are taken behind a Service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.kernel.schema import REVISION
from tests.support import tokens
from tests.support.conversations import message
from tests.support.servers import APPLICATION_ROLE, Postgres, PrivatePostgres, PrivateRedis, with_user
from tests.support.stack import Process, Stack, open_stack
from tests.support.waiting import eventually

_SET = {"READY_WITHOUT_DATABASE": "true"}
_LOOKS = 15.0
"""The schema is looked at every five seconds."""


@pytest.fixture
def stack(tmp_path: Path, private_database_url: str, private_redis: PrivateRedis) -> Iterator[Stack]:
    """Processes on servers that the test may take away."""
    url = with_user(private_database_url, APPLICATION_ROLE)
    with open_stack(tmp_path, database_url=url, redis_url=private_redis.url()) as opened:
        opened.environment["MESSAGES_REQUIRE_TOKEN"] = "false"
        yield opened


async def _readiness(api: Process, status: int) -> dict[str, Any]:
    """What `/readyz` says once it answers so."""

    async def asked() -> dict[str, Any] | None:
        found, document = await api.ask("/readyz")
        return document if found == status else None

    document = await eventually(asked, within=_LOOKS, every=0.2)
    assert document is not None
    return document


async def _post(api: Process, client_id: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        return await client.post("/api/messages", json=message(clientMessageId=client_id))


@pytest.mark.parametrize("how", ["stop", "pause"])
async def test_messages_are_taken_and_the_api_is_ready(
    stack: Stack, private_postgres: PrivatePostgres, how: str
) -> None:
    """Degraded while PostgreSQL is stopped, or hangs; courses are 503 with a time to come back; well again afterwards."""
    api = await stack.start("api", env=_SET)
    assert (await _readiness(api, 200))["degraded"] == {}
    getattr(private_postgres, how)()
    try:
        taken = await _post(api, "m-1")
        async with httpx.AsyncClient(base_url=api.url, timeout=20, headers=tokens.bearer()) as client:
            refused = await client.get("/api/courses")
        status, document = await api.ask("/readyz")
    finally:
        private_postgres.resume() if how == "pause" else private_postgres.start()

    assert (taken.status_code, taken.json()["idempotentHit"]) == (202, False)
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    assert (status, document["ready"], document["faults"]) == (200, True, {})
    assert "database" in document["degraded"]
    assert await eventually(lambda: _is_well(api), within=_LOOKS)


async def _is_well(api: Process) -> bool:
    return (await api.ask("/readyz"))[1] == {"ready": True, "faults": {}, "degraded": {}}


async def test_without_redis_as_well_it_is_not_ready(
    stack: Stack, private_postgres: PrivatePostgres, private_redis: PrivateRedis
) -> None:
    """Nobody could take anything."""
    api = await stack.start("api", env=_SET)
    private_postgres.stop()
    private_redis.kill()

    assert "database" in (await _readiness(api, 503))["faults"]


@pytest.mark.parametrize(
    "environment",
    [{}, {**_SET, "MESSAGES_DURABILITY": "postgres"}, {**_SET, "MESSAGES_STREAM_PERCENT": "0"}],
    ids=["not set", "written at once", "nothing through the stream"],
)
async def test_else_it_is_not_ready(
    stack: Stack, private_postgres: PrivatePostgres, environment: dict[str, str]
) -> None:
    """As kubernetes.md has it."""
    api = await stack.start("api", env=environment)
    private_postgres.stop()

    assert "database" in (await _readiness(api, 503))["faults"]


async def test_a_schema_that_is_too_old_is_refused_all_the_same(
    stack: Stack, private_postgres: PrivatePostgres, private_database_url: str
) -> None:
    """While PostgreSQL answers, and when it no longer does; and a process that has never seen one that fits is not ready."""
    api = await stack.start("api", env=_SET)
    forget = f"DELETE FROM supabase_migrations.schema_migrations WHERE version = '{REVISION}'"
    Postgres(private_postgres.url()).run_sql(forget, url=private_database_url)
    old = await _readiness(api, 503)
    private_postgres.stop()
    away = await _readiness(api, 503)
    fresh = stack.spawn("api", env=_SET)
    await eventually(lambda: _answers(fresh), within=30)

    assert "coursegen migrate" in old["faults"]["schema"]
    assert "coursegen migrate" in away["faults"]["schema"]
    assert (await fresh.ask("/readyz"))[0] == 503


async def _answers(api: Process) -> bool:
    try:
        return bool(await api.ask("/livez"))
    except httpx.TransportError:
        return False
