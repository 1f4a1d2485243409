"""What may pass never ends a course; what will not pass ends it once, with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from services.kernel.database import Database
from services.kernel.envelopes import MalformedMessage
from services.kernel.errors import (
    DatabaseUnavailable,
    PermanentError,
    RetryableError,
    SchemaMissing,
    UpstreamUnavailable,
)
from services.kernel.owner_errors import UNFORESEEN, told
from services.kernel.queue.jobs import DeadJob, DeadReason
from services.kernel.settings import CommonSettings, Secret
from services.stage_worker.deliveries import Deliveries
from services.stage_worker.runner import CourseMissing
from tests.integration.stage_worker.harness import (
    Pipeline,
    footprint_of,
    open_pipeline,
    outcomes,
    payload_of,
    stage_job,
    state,
)
from tests.support.courses import add_course, add_documents
from tests.support.servers import Postgres, PrivatePostgres, server_folder


@pytest.mark.parametrize("error", [UpstreamUnavailable(retry_after=7.0), DatabaseUnavailable(), SchemaMissing()])
async def test_a_passing_failure_decides_nothing(pipeline: Pipeline, db: Database, error: Exception) -> None:
    """A rate limit, an outage, a missing migration: the delivery ends retryable, and the next one succeeds."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    pipeline.engine.failures = [error]
    with pytest.raises(RetryableError):
        await pipeline.deliver(row)

    assert await outcomes(db, course) == []
    assert await state(db, course) == "stage_4_analyzing"
    assert await pipeline.deliver(row) == "applied"


@pytest.mark.parametrize(
    ("job_type", "begin", "step"),
    [("STRUCTURE_ANALYSIS", "stage_4_init", 2), ("STRUCTURE_GENERATION", "stage_5_init", 3)],
)
async def test_a_final_failure_ends_the_course(
    pipeline: Pipeline, db: Database, job_type: str, begin: str, step: int
) -> None:
    """A refusal by the engine: error state, failure event, failed step, reason; and a retry is a new run that succeeds."""
    course = await add_course(db)
    await pipeline.initiate(course, begin, [stage_job(job_type)])
    [row] = await pipeline.rows(course)
    pipeline.engine.failures = [PermanentError("The engine refuses this subject.")]
    ending = await pipeline.deliver(row)
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    error = await db.fetchval("SELECT error_message FROM courses WHERE id = $1", course)
    failure = await db.fetchrow("SELECT * FROM fsm_events WHERE entity_id = $1 AND metadata ? 'error'", course)
    detail = await db.fetchval("SELECT detail FROM effect_ledger WHERE effect_id = $1", row["outbox_id"])

    assert ending == "failed"
    assert await state(db, course) == "error"
    assert error == "The engine refuses this subject."
    assert progress["steps"][step]["status"] == "failed"
    assert progress["steps"][step]["error"] == told("rejected", "The engine refuses this subject.")
    assert progress["message"] == progress["steps"][step]["message"] == UNFORESEEN
    assert failure is not None
    assert (failure["event_type"], failure["new_state"]) == ("FSM_FAILED", "error")
    assert detail == {"code": "rejected", "message": error}
    assert await pipeline.deliver(row) in {"repeated", "skipped"}
    await pipeline.initiate(course, begin, [stage_job(job_type)])
    await pipeline.finish(course)
    assert await state(db, course) == "completed"


async def test_an_unforeseen_error_leaves_the_job_to_the_queue(pipeline: Pipeline, db: Database) -> None:
    """A bug decides nothing by itself; when the queue gives the job up, the course ends with a reason."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    pipeline.engine.failures = [KeyError("bug")]
    with pytest.raises(KeyError):
        await pipeline.deliver(row)
    undecided = await outcomes(db, course)
    deliveries = _deliveries(pipeline)
    dead = _dead(row["saq_queue"], row["job_type"], payload_of(row), DeadReason.EXHAUSTED)
    await deliveries.bury(dead)
    before = await footprint_of(db, course)
    await deliveries.bury(dead)

    assert undecided == []
    assert await state(db, course) == "error"
    assert "Start the course again" in await db.fetchval("SELECT error_message FROM courses WHERE id = $1", course)
    after = await footprint_of(db, course)
    assert after["fsm_events"] == before["fsm_events"]


async def test_a_crashing_document_is_given_up_alone(pipeline: Pipeline, db: Database) -> None:
    """A document that kills its workers is set aside by the queue; the course goes on with the others."""
    course = await add_course(db)
    documents = await add_documents(db, course, ["# One\n\nText.\n", "# Two\n\nText.\n"])
    rows = await pipeline.start(course, documents)
    await pipeline.deliver(rows[0])
    await _deliveries(pipeline).bury(
        _dead(rows[1]["saq_queue"], rows[1]["job_type"], payload_of(rows[1]), DeadReason.CRASHED)
    )
    reason = await db.fetchval("SELECT failure_reason FROM documents WHERE id = $1", documents[1])

    assert "too large or damaged" in reason
    assert await state(db, course) == "stage_4_init"


async def test_dead_jobs_that_belong_to_nobody_are_left_alone(pipeline: Pipeline, db: Database) -> None:
    """A type this worker does not know may be known to another; a payload without a course concerns none."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    before = await footprint_of(db, course)
    deliveries = _deliveries(pipeline)
    queue = "course-generation:analysis"
    await deliveries.bury(_dead(queue, "TOMORROWS_TYPE", {"courseId": str(course)}, DeadReason.UNKNOWN_FUNCTION))
    await deliveries.bury(_dead(queue, "STRUCTURE_ANALYSIS", {"courseId": "?"}, DeadReason.EXHAUSTED))
    await deliveries.bury(_dead(queue, "STRUCTURE_ANALYSIS", None, DeadReason.CRASHED))

    assert await footprint_of(db, course) == before


async def test_a_newer_message_ends_its_course_with_advice(pipeline: Pipeline, db: Database) -> None:
    """A version this worker does not know is settled as failed, not retried for ever (reliability.md case 7)."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    ending = await pipeline.deliver_payload("STRUCTURE_ANALYSIS", {**payload_of(row), "version": 2})

    assert ending == "failed"
    assert await state(db, course) == "error"
    assert "upgrade" in await db.fetchval("SELECT error_message FROM courses WHERE id = $1", course)


async def test_a_payload_that_names_no_job_is_refused(pipeline: Pipeline) -> None:
    """It is for the queue to set aside: there is nothing to settle."""
    with pytest.raises(MalformedMessage):
        await pipeline.deliver_payload("STRUCTURE_ANALYSIS", {"courseId": "not a uuid", "outboxId": str(uuid4())})


async def test_a_job_without_a_course_is_refused(pipeline: Pipeline) -> None:
    """It has nobody to tell, so it is for the queue to set it aside, where it can be seen (reliability.md R10)."""
    payload = {"courseId": str(uuid4()), "outboxId": str(uuid4()), "jobType": "STRUCTURE_ANALYSIS"}

    with pytest.raises(CourseMissing):
        await pipeline.deliver_payload("STRUCTURE_ANALYSIS", payload)


async def test_a_lying_citation_is_never_kept(pipeline: Pipeline, db: Database) -> None:
    """A course whose citations are off by one is refused as a whole."""
    course = await add_course(db)
    await pipeline.start(course, await add_documents(db, course, ["# One\n\nText of one.\n"]))
    pipeline.engine.lies = True
    await pipeline.finish(course)

    assert await state(db, course) == "error"
    assert await db.fetchval("SELECT count(*) FROM course_results") == 0


async def test_a_text_that_the_database_cannot_hold(pipeline: Pipeline, db: Database) -> None:
    """A value refused at the very end settles the job as failed instead of coming back for ever."""
    course = await add_course(db, title="Plain")
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    stage = pipeline.stages["STRUCTURE_ANALYSIS"]
    original = stage.compute

    async def with_nul(*args: object) -> object:
        plan = await original(*args)  # type: ignore[arg-type]
        return type(plan)(**{**{f: getattr(plan, f) for f in plan.__struct_fields__}, "title": "a\x00b"})

    stage.compute = with_nul  # type: ignore[method-assign, assignment]

    assert await pipeline.deliver(row) == "failed"
    assert await state(db, course) == "error"


@pytest.fixture
def durable_postgres() -> Iterator[PrivatePostgres]:
    """A PostgreSQL of the test's own that keeps what it has committed when it is killed."""
    with server_folder() as folder:
        server = PrivatePostgres(folder, durable=True)
        server.start()
        yield server
        server.kill()


async def test_an_outage_of_postgresql_in_the_middle(durable_postgres: PrivatePostgres) -> None:
    """PostgreSQL dies while a job computes and comes back: the computation is committed once, no course is harmed."""
    url = Postgres(durable_postgres.url()).create()
    db = await Database.open(CommonSettings(database_url=Secret(url)))
    try:
        async with open_pipeline(db) as pipeline:
            course = await add_course(db)
            await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
            [row] = await pipeline.rows(course)
            pipeline.engine.gate = asyncio.Event()
            delivery = asyncio.create_task(pipeline.deliver(row))
            await asyncio.wait_for(pipeline.engine.called.wait(), 10)
            await asyncio.to_thread(durable_postgres.kill)
            pipeline.engine.gate.set()
            await asyncio.to_thread(durable_postgres.start)
            try:
                ending = await delivery
            except RetryableError:  # the outage outlasted the worker's own patience; the queue brings the job back
                ending = await pipeline.deliver(row)

            assert ending == "applied"
            assert await state(db, course) == "stage_5_init"
            assert pipeline.engine.calls.count("analyse") <= 2
            assert len(await pipeline.rows(course, "STRUCTURE_GENERATION")) == 1
    finally:
        await db.close()


def _deliveries(pipeline: Pipeline) -> Deliveries:
    by_queue: dict[str, dict[str, object]] = {}
    for stage in pipeline.stages.values():
        by_queue.setdefault(stage.queue, {})[stage.job_type] = stage
    return Deliveries(pipeline.runner, pipeline.registry, by_queue, pipeline.counters)  # type: ignore[arg-type]


def _dead(queue: str, function: str, payload: dict[str, object] | None, reason: DeadReason) -> DeadJob:
    return DeadJob(queue=queue, key="key", reason=reason, detail="why", at=0.0, function=function, payload=payload)
