"""Processes wait for what is not there yet, alive and not ready, and begin when it is there: none ends, none is restarted."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.kernel.database import Database
from services.kernel.schema import LOOK_SECONDS, REVISION
from services.kernel.settings import CommonSettings, Secret
from services.migrate.runner import apply_all
from tests.support import tokens
from tests.support.courses import add_course, add_documents
from tests.support.pipeline import DOCUMENTS, wait_for_state
from tests.support.servers import APPLICATION_ROLE, Postgres, PrivatePostgres, PrivateRedis, with_user
from tests.support.stack import Kind, Process, Stack, open_stack
from tests.support.waiting import eventually

KINDS: tuple[Kind, ...] = ("api", "outbox_relay", "stage_worker")


async def _obstacle(process: Process) -> str:
    """What the process waits for, once it says so; it must be alive."""

    async def look() -> str:
        assert process.exit_code is None, process.tail()
        try:
            assert (await process.ask("/livez"))[0] == 200
            status, document = await process.ask("/readyz")
        except httpx.TransportError:  # it has not got so far
            return ""
        assert status == 503
        reason: str = document["faults"]["process"]
        return reason if reason != "starting" else ""

    return await eventually(look, within=30, every=0.1)


def _moment(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["timestamp"])


def _said(process: Process) -> list[str]:
    return [line["reason"] for line in process.lines("waiting to start")]


async def _make_course(stack: Stack, owner_url: str) -> None:
    """Have the running processes make a course of four documents."""
    [api] = stack.running("api")
    db = await Database.open(CommonSettings(database_url=Secret(owner_url)))
    try:
        course_id: UUID = await add_course(db, title="Accounting")
        await add_documents(db, course_id, DOCUMENTS)
        async with httpx.AsyncClient(base_url=api.url, headers=tokens.bearer(), timeout=15) as client:
            answer = await client.post("/api/coursegen/generate", json={"courseId": str(course_id)})
        assert answer.status_code == 200, answer.text
        await wait_for_state(db, course_id, "completed")
    finally:
        await db.close()


async def test_all_wait_for_the_schema_and_then_make_a_course(
    tmp_path: Path, private_postgres: PrivatePostgres, redis_url: str
) -> None:
    """First the role is missing, then the relations, then the last migration; each is said once, with the next command."""
    server = Postgres(private_postgres.url())
    owner_url = server.create(migrated=False)
    with open_stack(tmp_path, database_url=with_user(owner_url, APPLICATION_ROLE), redis_url=redis_url) as stack:
        started = [stack.spawn(kind) for kind in KINDS]
        for process in started:
            reason = await _obstacle(process)
            assert f'PostgreSQL refuses the login: role "{APPLICATION_ROLE}" does not exist' in reason
            assert "`coursegen migrate` makes the role" in reason
            assert [line["level"] for line in process.lines("waiting to start")] == ["error"]

        server.run_sql(f"CREATE ROLE {APPLICATION_ROLE} LOGIN", url=owner_url)
        for process in started:
            reason = await eventually(lambda: _said(process)[1:], within=10)  # noqa: B023 - called before the next turn
            assert "courses" in reason[0]
            assert "does not exist; run `coursegen migrate`" in reason[0]
            assert "kubectl get jobs -l app.kubernetes.io/component=migrate" in await _obstacle(process)

        await apply_all(owner_url)
        for process in started:
            await process.ready()
            assert process.exit_code is None
            assert len(process.lines("what was waited for is there")) == 1
            assert len(_said(process)) == len(set(_said(process)))
        await _make_course(stack, owner_url)


async def test_a_schema_that_is_too_old_is_waited_for(
    stack: Stack, postgres_server: Postgres, database_url: str
) -> None:
    """All relations are there, and the newest migration of this release is not: old code would do, this would not."""
    postgres_server.run_sql(
        f"DELETE FROM supabase_migrations.schema_migrations WHERE version = '{REVISION}'", url=database_url
    )
    started = [stack.spawn(kind) for kind in KINDS]
    for process in started:
        assert f"this release needs {REVISION}; run `coursegen migrate`" in await _obstacle(process)

    await apply_all(database_url)
    for process in started:
        await process.ready()


async def test_a_database_that_is_not_there_is_waited_for(
    tmp_path: Path, private_postgres: PrivatePostgres, private_database_url: str, redis_url: str
) -> None:
    """It is said which server to look at; each is ready when the server is, and they make a course."""
    private_postgres.stop()
    with open_stack(
        tmp_path, database_url=with_user(private_database_url, APPLICATION_ROLE), redis_url=redis_url
    ) as stack:
        started = [stack.spawn(kind) for kind in KINDS]
        for process in started:
            reason = await _obstacle(process)
            assert "PostgreSQL does not answer" in reason
            assert 'pg_isready -d "$DATABASE_URL"' in reason
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(f"http://127.0.0.1:{process.metrics_port}/metrics")).text
            assert 'start_waiting{reason="database_unavailable"} 1.0' in metrics

        private_postgres.start()
        for process in started:
            await process.ready()
        await _make_course(stack, private_database_url)


async def test_without_redis_the_api_serves_and_the_others_are_not_ready(
    tmp_path: Path, private_redis: PrivateRedis, app_database_url: str, database_url: str
) -> None:
    """The api takes courses without it; relay and worker live, say what is missing, and work when it is there."""
    private_redis.stop()
    with open_stack(tmp_path, database_url=app_database_url, redis_url=private_redis.url()) as stack:
        started = [stack.spawn(kind) for kind in KINDS]
        await started[0].ready()
        for process in started[1:]:

            async def look(process: Process = process) -> Any:
                try:
                    return (await process.ask("/readyz"))[1]["faults"].get("redis")
                except httpx.TransportError:
                    return None

            assert "Redis does not answer" in await eventually(look, within=30, every=0.1)
            assert (await process.ask("/livez"))[0] == 200

        await eventually(lambda: started[1].lines("the queue cannot be used yet"), within=10)
        await eventually(lambda: len(started[2].lines("the queue is unreachable")) == 4, within=10)  # queues
        private_redis.start()
        for process in started:
            await process.ready()
        await _make_course(stack, database_url)
        assert len(started[1].lines("the queue cannot be used yet")) <= 2  # and not one a second
        assert len(started[2].lines("the queue is unreachable")) <= 8


@pytest.mark.parametrize("kind", KINDS)
async def test_sigterm_ends_the_waiting_at_once(
    stack: Stack, private_postgres: PrivatePostgres, private_database_url: str, kind: Kind
) -> None:
    """Also in the middle of an attempt, which a frozen server keeps hanging; the exit code is 0."""
    private_postgres.pause()
    try:
        process = stack.spawn(kind, env={"DATABASE_URL": private_database_url, "DATABASE_ACQUIRE_SECONDS": "60"})
        await eventually(lambda: process.lines("probes listening"), within=30)
        assert await process.stopped(within=20) == 0, process.tail()  # an attempt would take 120 s
        [told], [stopped] = process.lines("stopping"), process.lines("stopped before it could start")
        assert _moment(stopped) - _moment(told) < timedelta(seconds=1)
    finally:
        private_postgres.resume()


async def test_a_wait_that_is_over_ends_the_process(stack: Stack, empty_database_url: str) -> None:
    """With exit code 1, and the same reason in one line, without a traceback."""
    process = stack.spawn("api", env={"DATABASE_URL": empty_database_url, "START_WAIT_SECONDS": "2"})

    assert await process.ended(within=30) == 1
    [line] = process.lines("cannot start")
    assert "does not exist; run `coursegen migrate`" in line["error"]
    assert line["waited_seconds"] >= 2
    assert "Traceback" not in process.tail()


async def test_settings_that_are_wrong_are_not_waited_for(stack: Stack, empty_database_url: str) -> None:
    """Exit code 78, also when they are found out while opening, and the database is not there."""
    process = stack.spawn("stage_worker", env={"DATABASE_URL": empty_database_url, "ENGINE": "magic"})

    assert await process.ended(within=30) == 78
    assert not process.lines("waiting to start")


async def test_a_running_process_refuses_an_older_schema(
    stack: Stack, postgres_server: Postgres, database_url: str
) -> None:
    """As after a restored backup: not ready within seconds, and ready again after `coursegen migrate`; it is not restarted."""
    started = await stack.start_all(*KINDS)
    postgres_server.run_sql(
        f"DELETE FROM supabase_migrations.schema_migrations WHERE version = '{REVISION}'", url=database_url
    )

    async def refused(process: Process) -> str:
        document: dict[str, str] = (await process.ask("/readyz"))[1]["faults"]
        return document.get("schema", "")

    for process in started:
        reason = await eventually(lambda: refused(process), within=LOOK_SECONDS + 5, every=0.2)  # noqa: B023
        assert f"this release needs {REVISION}; run `coursegen migrate`" in reason
    await apply_all(database_url)
    await asyncio.gather(*(process.ready(within=LOOK_SECONDS + 5) for process in started))


async def test_a_schema_that_is_ahead_is_right(stack: Stack, postgres_server: Postgres, database_url: str) -> None:
    """A return to an older release finds migrations that it does not know."""
    postgres_server.run_sql(
        "INSERT INTO supabase_migrations.schema_migrations (version, name) VALUES ('29990101000000', 'from_the_future')",
        url=database_url,
    )

    await stack.start_all(*KINDS)
