"""The worker as a service: real queues, real relay, real engine, real child processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from redis.asyncio import Redis

from services.kernel.database import Database
from services.kernel.errors import SchemaMissing, SettingsInvalid
from services.kernel.health import HealthRegistry
from services.kernel.queue import Producer, QueuedRow
from services.outbox_relay.relay import Relay
from services.outbox_relay.settings import RelaySettings
from services.stage_worker.settings import WorkerSettings
from services.stage_worker.worker import open_worker
from tests.integration.stage_worker.harness import Pipeline, moves, outcomes, stage_job, state
from tests.support.courses import add_course, add_documents
from tests.support.servers import PrivateRedis
from tests.support.versions import each_redis
from tests.support.waiting import eventually

CHAPTER = """# Chapter {n}: the boiler

Water boils at one hundred degrees at sea level. The boiler of chapter {n} keeps it there for a long time.
A valve opens when the pressure grows too high, and it closes again when the pressure has fallen far enough.

## The valve of chapter {n}

The valve is a spring and a disk. The spring presses the disk onto its seat until the steam is stronger than the spring.
An engineer tests each valve once a year, writes the result into a book, and seals the screw that sets the spring.
"""


@asynccontextmanager
async def running(environ: Mapping[str, str]) -> AsyncIterator[HealthRegistry]:
    """A worker that serves during the block."""
    health, stopping = HealthRegistry(), asyncio.Event()
    async with open_worker(WorkerSettings.from_environ(environ), health) as worker:
        serving = asyncio.create_task(worker.serve(stopping))
        try:
            yield health
        finally:
            stopping.set()
            await asyncio.wait_for(serving, 30)


@asynccontextmanager
async def relaying(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """A relay that leads during the block."""
    stopping = asyncio.Event()
    async with Relay.open(RelaySettings.from_environ(environ), HealthRegistry()) as relay:
        serving = asyncio.create_task(relay.serve(stopping))
        try:
            yield
        finally:
            stopping.set()
            await asyncio.wait_for(serving, 30)


@pytest.fixture
def environ(app_database_url: str, redis_url: str) -> dict[str, str]:
    """What a process of the local stack is told."""
    return {"DATABASE_URL": app_database_url, "REDIS_URL": redis_url, "DRAIN_SECONDS": "5", "RELAY_ELECTION": "none"}


async def completed(db: Database, course: UUID) -> bool:
    """Whether the course is finished; fails at once when it ended otherwise."""
    found = await db.fetchrow(
        "SELECT generation_status::text AS state, error_message FROM courses WHERE id = $1", course
    )
    assert found is not None
    if found["state"] in {"error", "cancelled"}:
        pytest.fail(f"the course ended in {found['state']}: {found['error_message']}")
    return bool(found["state"] == "completed")


async def test_documents_become_a_course_by_themselves(
    environ: dict[str, str], pipeline: Pipeline, db: Database
) -> None:
    """Initiated once; relay and worker do the rest, two courses side by side, one with documents and one without."""
    with_documents, from_title = await add_course(db), await add_course(db, title="The history of tea")
    documents = await add_documents(db, with_documents, [CHAPTER.format(n=n) for n in range(1, 4)])
    async with relaying(environ), running(environ):
        await pipeline.start(with_documents, documents)
        await pipeline.initiate(from_title, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
        await eventually(lambda: completed(db, with_documents), within=60, every=0.1)
        await eventually(lambda: completed(db, from_title), within=60, every=0.1)
    result = await db.fetchval("SELECT result FROM course_results WHERE course_id = $1", with_documents)
    drafts = await db.fetchval("SELECT draft FROM course_results WHERE course_id = $1", from_title)
    counted = await db.fetch("SELECT label, value FROM metric_values WHERE name = 'stage_jobs' ORDER BY label")

    assert len(await moves(db, with_documents)) == 10
    assert await outcomes(db, with_documents) == ["applied"] * 5
    assert result["sections"]
    assert all(lesson["citations"] for section in result["sections"] for lesson in section["lessons"])
    assert drafts is True
    assert {row["label"]: row["value"] for row in counted} == {
        "DOCUMENT_PROCESSING:success": 3,
        "STRUCTURE_ANALYSIS:success": 2,
        "STRUCTURE_GENERATION:success": 2,
    }


async def test_work_outlives_an_emptied_redis(
    environ: dict[str, str], pipeline: Pipeline, db: Database, redis: Redis
) -> None:
    """Redis emptied before each stage: the reconciler puts back what was lost, and each effect happens once."""
    course = await add_course(db)
    documents = await add_documents(db, course, [CHAPTER.format(n=n) for n in range(1, 3)])
    environ = {**environ, "RELAY_RECONCILE_SECONDS": "1"}
    async with relaying(environ):
        await pipeline.start(course, documents)
        for stage in ("documents", "analysis", "generation"):
            await eventually(lambda: _all_processed(db, course), within=20)
            await redis.flushdb()
            async with running({**environ, "STAGE_WORKER_QUEUES": stage}):
                await eventually(partial(_all_settled, pipeline, course, stage), within=60, every=0.1)

    assert await state(db, course) == "completed"
    assert len(await moves(db, course)) == 10


@each_redis
@pytest.mark.parametrize(
    ("refuse", "allow"),
    [
        pytest.param("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", id="full"),
        pytest.param("ACL SETUSER default -evalsha", "ACL SETUSER default +evalsha", id="without-the-right"),
    ],
)
async def test_a_redis_that_refuses_holds_work_up_and_costs_nothing(
    environ: dict[str, str], pipeline: Pipeline, db: Database, private_redis: PrivateRedis, refuse: str, allow: str
) -> None:
    """While courses are ordered, moved and worked on: no job is charged, and all end well (R12)."""
    environ = {**environ, "REDIS_URL": private_redis.url(), "RELAY_RECONCILE_SECONDS": "1"}
    courses = [await add_course(db) for _ in range(6)]
    chapters = [CHAPTER.format(n=n) for n in range(1, 3)]
    orders = [(course, await add_documents(db, course, chapters)) for course in courses]
    async with relaying(environ), running(environ), Redis.from_url(private_redis.url()) as redis:
        typed: Any = redis  # redis-py leaves this method without types
        for course, documents in orders[:4]:
            await pipeline.start(course, documents)
        await eventually(lambda: db.fetchval("SELECT count(*) > 0 FROM effect_ledger"), within=20, every=0.02)
        await typed.execute_command(*refuse.split())
        for course, documents in orders[4:]:
            await pipeline.start(course, documents)
        await asyncio.sleep(3)
        held_up = await db.fetchval("SELECT count(*) FROM job_outbox WHERE processed_at IS NULL")
        await typed.execute_command(*allow.split())
        for course in courses:
            await eventually(partial(completed, db, course), within=60, every=0.1)

    assert held_up > 0
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE retry_count > 0 OR last_error IS NOT NULL") == 0
    assert [await outcomes(db, each) for each in courses] == [["applied"] * 4] * 6


async def test_a_job_the_queue_gives_up_ends_its_course(
    environ: dict[str, str], pipeline: Pipeline, db: Database, redis: Redis
) -> None:
    """A job whose retries are used up is settled through the dead-letter function: no course hangs."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    await db.execute("ALTER TABLE course_structures RENAME COLUMN structure TO broken")
    await db.execute("ALTER TABLE course_structures ADD COLUMN structure jsonb CHECK (structure IS NULL)")
    body = row["job_body"].replace('"retries":5', '"retries":2').replace('"retry_backoff":30', '"retry_backoff":0.1')
    await Producer(redis).enqueue_batch(row["saq_queue"], [QueuedRow(str(row["outbox_id"]), body, 1)], None)
    async with running(environ):
        await eventually(lambda: _ended(db, course), within=30, every=0.1)

    assert await state(db, course) == "error"
    assert "Start the course again" in await db.fetchval("SELECT error_message FROM courses WHERE id = $1", course)


async def test_poison_stops_nobody(environ: dict[str, str], pipeline: Pipeline, db: Database, redis: Redis) -> None:
    """Bad JSON, unknown types, newer versions and missing courses beside a good job: the good one finishes."""
    course, newer = await add_course(db), await add_course(db)
    queue = "course-generation:analysis"
    await pipeline.initiate(newer, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [version] = await pipeline.rows(newer)
    unknown, nobodys = str(uuid4()), str(uuid4())
    payload = {"outboxId": nobodys, "courseId": str(uuid4())}
    poison = [
        QueuedRow(str(uuid4()), "{bad json", 10),
        QueuedRow(unknown, _body("NO_SUCH_TYPE", queue, unknown, {}), 10),
        QueuedRow(nobodys, _body("STRUCTURE_ANALYSIS", queue, nobodys, payload), 10),
    ]
    newer_body = version["job_body"].replace('"payload":{', '"payload":{"version":99,')
    poison.append(QueuedRow(str(version["outbox_id"]), newer_body, 10))
    await Producer(redis).enqueue_batch(queue, poison, None)
    async with relaying(environ), running({**environ, "STAGE_WORKER_CONCURRENCY": "1"}):
        await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
        await eventually(lambda: completed(db, course), within=60, every=0.1)

    assert await state(db, newer) == "error"


async def test_what_is_wrong_at_start_is_said(environ: dict[str, str], empty_database_url: str) -> None:
    """An unserved queue, an unknown engine, a missing schema: refused with what to change."""
    health = HealthRegistry()
    for change, fault in (
        ({"STAGE_WORKER_QUEUES": "nobodys"}, "nobodys"),
        ({"ENGINE": "magic"}, "magic"),
        ({"STAGE_WORKER_PLUGINS": "no.such:thing"}, "no.such:thing"),
    ):
        with pytest.raises(SettingsInvalid, match=fault):
            async with open_worker(WorkerSettings.from_environ({**environ, **change}), health):
                pass
    with pytest.raises(SchemaMissing, match="coursegen migrate"):
        async with open_worker(WorkerSettings.from_environ({**environ, "DATABASE_URL": empty_database_url}), health):
            pass


async def test_readiness_and_liveness(environ: dict[str, str]) -> None:
    """Ready when PostgreSQL and Redis answer; alive while every loop comes round."""
    async with running(environ) as health:
        health.started = True

        assert await health.unready() == {}
        assert health.late() == []


async def _all_processed(db: Database, course: UUID) -> bool:
    return not await db.fetchval(
        "SELECT count(*) FROM job_outbox WHERE entity_id = $1 AND processed_at IS NULL", course
    )


async def _all_settled(pipeline: Pipeline, course: UUID, stage: str) -> bool:
    return not [row for row in await pipeline.undecided(course) if row["saq_queue"].endswith(stage)]


async def _ended(db: Database, course: UUID) -> bool:
    return await state(db, course) in {"error", "completed"}


def _body(function: str, queue: str, key: str, payload: dict[str, Any]) -> bytes:
    job = {"function": function, "kwargs": {"payload": payload}, "queue": queue, "key": key, "status": "queued"}
    return orjson.dumps(job)
