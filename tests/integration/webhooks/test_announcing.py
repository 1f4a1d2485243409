"""When a run ends, its end is written down with it: what, to whom, and exactly once."""

from __future__ import annotations

import pytest

from services.kernel.database import Database
from services.kernel.errors import PermanentError
from services.kernel.faults import InjectedFault, arm
from services.kernel.webhooks.deliveries import JOB_TYPE, QUEUE
from tests.integration.stage_worker.harness import Pipeline, stage_job, state
from tests.integration.webhooks import scenes
from tests.support.receiver import Receiver
from tests.support.tokens import ORGANIZATION, USER
from tests.support.webhook_rows import only_delivery


async def test_a_completed_run_is_written_down_with_its_first_job(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """One delivery, one outbox row in the queue of webhooks, in the transaction that completes the course."""
    course = await scenes.completed(pipeline, db, receiver.url)
    delivery = await only_delivery(db, course)
    (job,) = await scenes.jobs_of(pipeline, course)
    alike = await db.fetchval(
        "SELECT count(DISTINCT t) FROM (SELECT xmin::text AS t FROM webhook_deliveries UNION ALL"
        " SELECT xmin::text FROM job_outbox WHERE job_type = $1 UNION ALL"
        " SELECT xmin::text FROM fsm_events WHERE new_state = 'completed') AS x",
        JOB_TYPE,
    )

    assert await state(db, course) == "completed"
    assert (delivery["event_type"], delivery["status"], delivery["url"]) == (
        "course.completed",
        "pending",
        receiver.url,
    )
    assert (delivery["organization_id"], delivery["run_number"]) == (ORGANIZATION, 1)
    assert (job["saq_queue"], job["outbox_id"]) == (QUEUE, delivery["outbox_id"])
    assert job["job_data"]["deliveryId"] == str(delivery["delivery_id"])
    assert job["job_data"]["userId"] == str(USER)
    assert alike == 1
    assert receiver.received == []


async def test_a_failed_run_is_too_with_its_reason(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """Although the course's run number has gone on by then."""
    course = await scenes.ordered(db, receiver.url)
    pipeline.engine.failures = [PermanentError("The material is about nothing.")]
    await scenes.run_stages(pipeline, course)
    row = await scenes.attempt(pipeline, course)
    (received,) = receiver.received
    data = received.event["data"]

    assert await state(db, course) == "error"
    assert (row["event_type"], row["status"], row["run_number"]) == ("course.failed", "delivered", 1)
    assert received.event["type"] == "course.failed"
    assert (data["status"], data["runNumber"]) == ("error", 1)
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    (shown,) = [step["error"] for step in progress["steps"] if step.get("error")]
    assert data["error"] == {name: shown[name] for name in ("code", "message", "detail")}
    assert data["error"]["message"].startswith("Не удалось")
    assert data["error"]["detail"] == "The material is about nothing."
    assert "resultPath" not in data


async def test_nobody_is_told_who_did_not_ask(pipeline: Pipeline, db: Database) -> None:
    """Without an address there is no delivery and no job."""
    course = await scenes.ordered(db, None)
    await scenes.run_stages(pipeline, course)

    assert await state(db, course) == "completed"
    assert await db.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
    assert await scenes.jobs_of(pipeline, course) == []


async def test_a_cancelled_run_is_not_told(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """Whoever cancelled it knows."""
    course = await scenes.ordered(db, receiver.url)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    await db.execute("UPDATE courses SET generation_status = 'cancelled' WHERE id = $1", course)
    await scenes.run_stages_left(pipeline, course)

    assert await db.fetchval("SELECT count(*) FROM webhook_deliveries") == 0


async def test_every_run_is_told_about_under_its_own_identifier(
    pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """And the first one's webhook is not dropped because a second run has begun meanwhile."""
    course = await scenes.completed(pipeline, db, receiver.url)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    assert await state(db, course) == "stage_4_init"
    for row in await scenes.jobs_of(pipeline, course):
        assert await pipeline.deliver(row) == "applied"
    assert await state(db, course) == "stage_4_init"
    await scenes.run_stages_left(pipeline, course)
    for row in (await scenes.jobs_of(pipeline, course))[1:]:
        assert await pipeline.deliver(row) == "applied"

    assert [each.event["data"]["runNumber"] for each in receiver.received] == [1, 2]
    assert len(receiver.by_id()) == 2


async def test_an_end_that_is_undone_is_not_told(pipeline: Pipeline, db: Database, receiver: Receiver) -> None:
    """The delivery is part of the transaction: no end, no word of it."""
    course = await scenes.ordered(db, receiver.url)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    (analysis,) = await pipeline.undecided(course)
    await pipeline.deliver(analysis)
    (generation,) = await pipeline.undecided(course)
    arm("worker.inside_transaction=raise@1")
    try:
        with pytest.raises(InjectedFault):
            await pipeline.deliver(generation)
        assert await db.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
    finally:
        arm("")
    await pipeline.deliver(generation)
    assert await pipeline.deliver(generation) == "repeated"

    assert await db.fetchval("SELECT count(*) FROM webhook_deliveries") == 1
    assert len(await scenes.jobs_of(pipeline, course)) == 1
