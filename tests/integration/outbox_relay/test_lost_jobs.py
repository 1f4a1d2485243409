"""A job that Redis has lost runs all the same, once, whatever its course is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from services.kernel.database import Database
from services.kernel.queries import Queries
from services.kernel.queue import Inspector, JobContext, Producer, QueueControls, QueuedRow
from services.outbox_relay import reconciler
from tests.integration.outbox_relay.conftest import QUEUE, StartRelay, add_rows, outbox, processed, waiting
from tests.integration.queue.conftest import working
from tests.support.courses import add_course
from tests.support.tokens import ORGANIZATION, USER
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

_BEGIN = "SELECT initialize_fsm_with_outbox($1, $2, $3, 'k', 'API_INITIATE', 'stage_4_init', $4)"
_RECORD = (
    "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome)"
    " VALUES ($1::uuid, $2::uuid, 'X', 1, 'applied')"
)

_COPY = Queries.load("services.kernel", "dead_letters.sql")["copy_rows"]


class Handler:
    """A worker's handler that leaves a ledger row, as ours do, or none, as a stranger's may."""

    def __init__(self, db: Database, *, leaves_row: bool = True) -> None:
        self._db = db
        self._leaves_row = leaves_row
        self.ran: list[str] = []

    async def __call__(self, payload: dict[str, Any], job: JobContext) -> None:
        """Remember the call."""
        self.ran.append(job.key)
        if self._leaves_row:
            await self._db.execute(_RECORD, payload["outboxId"], payload["courseId"])


async def open_jobs(db: Database) -> set[UUID]:
    """What stands in the table."""
    return {row["outbox_id"] for row in await db.fetch("SELECT outbox_id FROM open_jobs")}


async def _all_processed(db: Database, ids: list[UUID]) -> bool:
    return await processed(db, ids) == len(ids)


@pytest.mark.parametrize(
    ("state", "queue"),
    [
        ("completed", "quiz"),
        ("error", "quiz"),
        ("pending", "quiz"),
        ("stage_4_init", "quiz"),
        ("pending", "course-generation"),
    ],
)
async def test_a_lost_job_of_a_course_in_any_state_runs_once(
    db: Database, redis: Redis, relaying: StartRelay, state: str, queue: str
) -> None:
    """Redis is emptied between relay and worker; the job comes back, runs, and does not come back again."""
    course = await add_course(db, state=state)
    served = QUEUE if queue == "course-generation" else queue
    handler = Handler(db)
    controls = QueueControls(db, Inspector(redis))
    await controls.set(served, paused=True, by=None)
    async with relaying(), working(redis, {"STRUCTURE_ANALYSIS": handler}, queues=[served]):
        ids = await add_rows(db, course, 2, queue=queue)
        await eventually(lambda: _all_processed(db, ids))
        assert await open_jobs(db) == set(ids)
        await redis.flushdb()
        await controls.set(served, paused=False, by=None)
        await eventually(lambda: len(handler.ran) == 2, within=20)
        await eventually(lambda: _none_open(db))
        await redis.flushdb()
        await asyncio.sleep(4)  # several looks, all rows settled

    assert sorted(handler.ran) == sorted(map(str, ids))


async def _none_open(db: Database) -> bool:
    return not await open_jobs(db)


async def test_a_job_that_leaves_no_ledger_row_is_not_repeated(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """That its worker has finished it is enough; from then on it is not open."""
    handler = Handler(db, leaves_row=False)
    async with relaying(), working(redis, {"STRUCTURE_ANALYSIS": handler}, queues=["quiz"]):
        ids = await add_rows(db, course, 3, queue="quiz")
        await eventually(lambda: len(handler.ran) == 3)
        await eventually(lambda: _none_open(db), within=15)
        await redis.flushdb()
        await asyncio.sleep(4)

    assert sorted(handler.ran) == sorted(map(str, ids))


@pytest.mark.parametrize("is_served", [True, False], ids=["served", "without a worker"])
async def test_a_job_noted_anew_after_its_end_is_closed(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay, is_served: bool
) -> None:
    """A row that is there already is skipped, but its trigger has fired: what has its ledger row neither stays nor runs again."""
    handler = Handler(db)
    ids = await add_rows(db, course, 2, queue="quiz")
    async with relaying():
        async with working(redis, {"STRUCTURE_ANALYSIS": handler}, queues=["quiz"]):
            await eventually(lambda: len(handler.ran) == 2)
            await eventually(lambda: _none_open(db))
            await redis.flushdb()
            if is_served:
                await _write_again(db, ids)
                await eventually(lambda: _none_open(db))
        if not is_served:
            await redis.flushdb()
            await _write_again(db, ids)
            await eventually(lambda: _none_open(db))

    assert sorted(handler.ran) == sorted(map(str, ids))


async def _write_again(db: Database, ids: list[UUID]) -> None:
    """As replaying the same jobs twice does."""
    written = await db.execute(_COPY, ids, ids)
    assert written == "INSERT 0 0"
    assert await open_jobs(db) == set(ids)


@pytest.mark.parametrize("state", ["pending", "stage_4_init"])
async def test_what_a_foreign_consumer_has_taken_is_not_given_to_it_twice(
    db: Database, redis: Redis, relaying: StartRelay, state: str
) -> None:
    """No worker of ours serves the queue, so nobody can tell its done jobs from its lost ones."""
    course = await add_course(db, state=state)
    async with relaying():
        ids = await add_rows(db, course, 2, queue="theirs")
        await eventually(lambda: _all_processed(db, ids))
        await redis.flushdb()
        await asyncio.sleep(5)

    assert await waiting(redis, "theirs") == []
    assert await open_jobs(db) == set(ids)


async def test_a_lost_job_waits_for_the_first_worker_of_its_queue(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """Lost while no worker ran, put back when one does."""
    handler = Handler(db)
    async with relaying():
        ids = await add_rows(db, course, 1, queue="quiz")
        await eventually(lambda: _all_processed(db, ids))
        await redis.flushdb()
        async with working(redis, {"STRUCTURE_ANALYSIS": handler}, queues=["quiz"]):
            await eventually(lambda: handler.ran, within=20)

    assert handler.ran == [str(ids[0])]


async def test_what_is_over_stays_over(db: Database, redis: Redis, course: UUID, relaying: StartRelay) -> None:
    """Neither a job flushed by hand nor one that is dead in the outbox is put back."""
    ids = await add_rows(db, course, 2, queue="quiz", retry_count=5)
    await db.execute("UPDATE job_outbox SET processed_at = now() WHERE outbox_id = $1", ids[0])
    handler = Handler(db)
    async with relaying(), working(redis, {"STRUCTURE_ANALYSIS": handler}, queues=["quiz"]):
        await asyncio.sleep(5)

    assert handler.ran == []


async def test_a_job_nobody_can_run_becomes_a_dead_row(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """The course is not running, and still the job shows in the outbox with its reason."""
    async with relaying(), working(redis, {"OTHER": Handler(db)}, queues=["quiz"]):
        (only,) = await add_rows(db, course, 1, queue="quiz")
        await eventually(lambda: _is_dead(db, only), within=20)
    (row,) = await outbox(db, [only])

    assert "no handler is named 'STRUCTURE_ANALYSIS'" in row["last_error"]


async def _is_dead(db: Database, outbox_id: UUID) -> bool:
    (row,) = await outbox(db, [outbox_id])
    return row["processed_at"] is None and row["retry_count"] >= row["max_retries"]


async def test_only_what_no_running_course_leads_to_is_noted(db: Database) -> None:
    """The command handler's jobs of the pipeline are not; jobs beside it, untyped ones and those written by hand are."""
    course = await add_course(db)
    kinds = {"STRUCTURE_ANALYSIS": "course-generation", "QUIZ": "quiz", None: "course-generation"}
    jobs = [{"queue": queue, "job_type": kind} for kind, queue in kinds.items()]
    await db.fetchval(_BEGIN, course, USER, ORGANIZATION, jobs)
    by_hand = await add_rows(db, course, 1)
    rows = {row["outbox_id"]: row["job_type"] for row in await db.fetch("SELECT outbox_id, job_type FROM job_outbox")}

    assert {rows[each] for each in await open_jobs(db)} == {"QUIZ", None, "STRUCTURE_ANALYSIS"}
    assert len(rows) == 4
    assert len(await open_jobs(db)) == 3
    assert set(by_hand) < await open_jobs(db)


@pytest.mark.parametrize(
    "end",
    [
        "DELETE FROM courses",
        "DELETE FROM job_outbox",
        "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome)"
        " SELECT outbox_id, entity_id, 'X', 1, 'skipped' FROM job_outbox",
        "WITH aged AS (UPDATE job_outbox SET processed_at = now() - interval '99 days', created_at = now() - interval '99 days')"
        " SELECT 1",
    ],
    ids=["course deleted", "row deleted", "effect decided", "retention"],
)
async def test_a_job_is_open_until_its_effect_or_its_row_goes(db: Database, course: UUID, end: str) -> None:
    """Nothing is left behind, so that the table stays as small as the work in hand."""
    await add_rows(db, course, 3, queue="quiz")
    before = await open_jobs(db)
    await db.execute(end)
    await db.fetchval("SELECT cleanup_processed_outbox_entries()")

    assert len(before) == 3
    assert await open_jobs(db) == set()


async def test_a_transaction_that_fails_leaves_nothing_open(db: Database, course: UUID) -> None:
    """A job is open if and only if its row was committed."""
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as connection:
            await connection.execute(
                "INSERT INTO job_outbox (entity_id, queue_name, job_type) VALUES ($1, 'quiz', 'QUIZ')", course
            )
            raise ZeroDivisionError

    assert await open_jobs(db) == set()


@pytest.mark.parametrize("key", ["incomplete", "poison", "active", "queued:1", "wake", "owners"])
async def test_a_damaged_queue_does_not_keep_others_from_their_lost_jobs(
    db: Database, redis: Redis, relaying: StartRelay, key: str
) -> None:
    """Keys of the wrong type in place of the queue's own: its jobs wait for their repair, relay and other queues go on."""
    course = await add_course(db, state="stage_4_init")
    damaged = await add_rows(db, course, 1)
    sound = await db.fetch(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type)"
        " VALUES ($1, 'course-generation', 'STRUCTURE_GENERATION') RETURNING outbox_id",
        course,
    )
    ids = [*damaged, *(row["outbox_id"] for row in sound)]
    async with relaying():
        await eventually(lambda: _all_processed(db, ids))
        await redis.flushdb()
        await redis.set(f"saq:{QUEUE}:{key}", "not what it should be")
        await eventually(lambda: _has(redis, "course-generation:generation"), within=20)
        await asyncio.sleep(2)
        await redis.delete(f"saq:{QUEUE}:{key}")
        await eventually(lambda: _has(redis, QUEUE), within=20)


async def test_lost_jobs_come_back_a_few_bodies_at_a_time(
    db: Database, redis: Redis, relaying: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many jobs are lost, the bodies in hand are bounded; one that is larger than the bound goes by itself."""
    monkeypatch.setattr(reconciler, "PAGE_BYTES", 20_000)
    monkeypatch.setattr(reconciler, "PAGE", 7)
    course = await add_course(db, state="stage_4_init")
    small = await add_rows(db, course, 40, job_data='{"x": "' + "s" * 4_000 + '"}')
    large = await add_rows(db, course, 2, job_data='{"x": "' + "l" * 30_000 + '"}')
    at_once: list[list[int]] = []
    revive = Producer.revive

    async def noted(self: Producer, queue: str, rows: Sequence[QueuedRow], epoch: int) -> list[str]:
        at_once.append([len(row.body) for row in rows])
        return await revive(self, queue, rows, epoch)

    monkeypatch.setattr(Producer, "revive", noted)
    async with relaying():
        await eventually(lambda: _all_processed(db, [*small, *large]))
        await redis.flushdb()
        await eventually(lambda: _waiting(redis, 42), within=20)

    assert sorted(await waiting(redis)) == sorted(map(str, [*small, *large]))
    assert all(len(sizes) <= 7 and (len(sizes) == 1 or sum(sizes) <= 20_000) for sizes in at_once)
    assert sum(map(len, at_once)) == 42
    assert len(at_once) >= 12


async def _waiting(redis: Redis, jobs: int) -> bool:
    return len(await waiting(redis)) == jobs


async def _has(redis: Redis, queue: str) -> bool:
    return len(await waiting(redis, queue)) == 1
