"""A job may be delivered any number of times, at any moment: it has one effect (reliability.md R8, cases 1 and 6)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.kernel import faults
from services.kernel.database import Database
from services.kernel.faults import InjectedFault
from services.stage_worker.runner import CourseMissing
from tests.integration.stage_worker.harness import (
    Pipeline,
    footprint_of,
    moves,
    outcomes,
    payload_of,
    stage_job,
    state,
)
from tests.support.courses import add_course, add_documents

TEXTS = ["# One\n\nAlpha is first.\n", "# Two\n\nBeta is second.\n"]
POINTS = ["worker.before_commit", "worker.inside_transaction", "worker.after_commit"]


async def test_every_job_delivered_three_times(pipeline: Pipeline, db: Database) -> None:
    """Two repetitions of every delivery leave rows, events, results and counters as one delivery does."""
    course = await add_course(db)
    await pipeline.start(course, await add_documents(db, course, TEXTS))
    while undecided := await pipeline.undecided(course):
        for row in undecided:
            endings = [await pipeline.deliver(row) for _ in range(3)]

            assert endings == ["applied", "repeated", "repeated"]
    before = await footprint_of(db, course)
    for row in await pipeline.rows(course):
        assert await pipeline.deliver(row) == "repeated"

    assert await footprint_of(db, course) == before
    assert await outcomes(db, course) == ["applied"] * 4
    assert len(await moves(db, course)) == 10


async def test_concurrent_deliveries_of_one_job(pipeline: Pipeline, db: Database) -> None:
    """Ten deliveries at the same moment: one applies, the others find the ledger's row."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    endings = await asyncio.gather(*(pipeline.deliver(row) for _ in range(10)))

    assert sorted(endings) == ["applied"] + ["repeated"] * 9
    assert len(await pipeline.rows(course, "STRUCTURE_GENERATION")) == 1


@pytest.mark.parametrize("point", POINTS)
async def test_a_delivery_cut_short_is_repeated_without_a_second_effect(
    pipeline: Pipeline, db: Database, point: str
) -> None:
    """Whether the worker dies before, inside or after its commit: the next delivery ends in exactly one effect."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    faults.arm(f"{point}=raise@1")
    try:
        with pytest.raises(InjectedFault):
            await pipeline.deliver(row)
        committed = await outcomes(db, course)
        again = await pipeline.deliver(row)
    finally:
        faults.arm("")

    assert committed == (["applied"] if point == "worker.after_commit" else [])
    assert again == ("repeated" if point == "worker.after_commit" else "applied")
    assert len(await pipeline.rows(course, "STRUCTURE_GENERATION")) == 1
    assert await state(db, course) == "stage_5_init"


async def test_nothing_is_half_written(pipeline: Pipeline, db: Database) -> None:
    """A fault inside the transaction leaves neither effect nor event nor row behind."""
    course = await add_course(db)
    [row, _] = await pipeline.start(course, await add_documents(db, course, TEXTS))
    faults.arm("worker.inside_transaction=raise@1")
    try:
        with pytest.raises(InjectedFault):
            await pipeline.deliver(row)
    finally:
        faults.arm("")

    assert await db.fetchval("SELECT count(*) FROM document_texts") == 0
    assert await db.fetchval("SELECT count(*) FROM document_sections") == 0
    assert await outcomes(db, course) == []
    assert await state(db, course) == "stage_2_processing"


async def test_the_sink_witnesses_each_call_under_its_effect(pipeline: Pipeline, db: Database, sink_file: Path) -> None:
    """One line per call; a call repeated after a fault has the same identifier, so nobody outside sees a new one."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    faults.arm("worker.inside_transaction=raise@1")
    try:
        with pytest.raises(InjectedFault):
            await pipeline.deliver(row)
    finally:
        faults.arm("")
    await pipeline.deliver(row)
    await pipeline.deliver(row)
    calls = [json.loads(line) for line in sink_file.read_text().splitlines()]

    assert [call["effectId"] for call in calls] == [str(row["outbox_id"])] * 2
    assert {call["courseId"] for call in calls} == {str(course)}


async def test_an_old_stage_4_job_changes_nothing_at_stage_5(pipeline: Pipeline, db: Database) -> None:
    """A course never steps back, even for a job that the ledger does not know (TRAP11)."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")] * 2)
    first, second = await pipeline.rows(course)
    await pipeline.deliver(first)
    before = await footprint_of(db, course)
    ending = await pipeline.deliver(second)
    after = await footprint_of(db, course)

    assert ending == "skipped"
    assert await state(db, course) == "stage_5_init"
    assert {name: rows for name, rows in after.items() if name != "effect_ledger"} == {
        name: rows for name, rows in before.items() if name != "effect_ledger"
    }
    await pipeline.finish(course)
    assert await pipeline.deliver(second) == "repeated"
    assert await state(db, course) == "completed"


async def test_a_job_of_an_earlier_run_is_skipped(pipeline: Pipeline, db: Database) -> None:
    """Cancelled and started again: the old run's late jobs change nothing of the new run."""
    course = await add_course(db)
    documents = await add_documents(db, course, TEXTS)
    old = await pipeline.start(course, documents)
    await _cancel(db, course)
    await pipeline.start(course, documents)
    endings = [await pipeline.deliver(row) for row in old]
    await pipeline.finish(course)

    assert endings == ["skipped", "skipped"]
    assert await state(db, course) == "completed"
    assert await db.fetchval("SELECT array_agg(run_number) FROM course_results WHERE course_id = $1", course) == [2]


async def test_cancelled_while_a_job_computes(pipeline: Pipeline, db: Database) -> None:
    """What was computed for a course that has been cancelled meanwhile is thrown away, and the job is settled."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    pipeline.engine.gate = asyncio.Event()
    delivery = asyncio.create_task(pipeline.deliver(row))
    await asyncio.wait_for(pipeline.engine.called.wait(), 10)
    await _cancel(db, course)
    pipeline.engine.gate.set()

    assert await delivery == "skipped"
    assert await state(db, course) == "cancelled"
    assert await outcomes(db, course) == ["skipped"]
    assert await db.fetchval("SELECT count(*) FROM course_structures") == 0


async def test_cancelled_between_deliveries(pipeline: Pipeline, db: Database) -> None:
    """Jobs of a cancelled course are settled as skipped without any computation."""
    course = await add_course(db)
    rows = await pipeline.start(course, await add_documents(db, course, TEXTS))
    await pipeline.deliver(rows[0])
    await _cancel(db, course)

    assert await pipeline.deliver(rows[1]) == "skipped"
    assert await state(db, course) == "cancelled"
    assert await outcomes(db, course) == ["applied", "skipped"]


async def test_deleted_while_a_job_computes(pipeline: Pipeline, db: Database) -> None:
    """A course deleted under a running job ends the job quietly."""
    course = await add_course(db)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    [row] = await pipeline.rows(course)
    pipeline.engine.gate = asyncio.Event()
    delivery = asyncio.create_task(pipeline.deliver(row))
    await asyncio.wait_for(pipeline.engine.called.wait(), 10)
    await db.execute("DELETE FROM courses WHERE id = $1", course)
    pipeline.engine.gate.set()

    assert await delivery == "course_deleted"
    with pytest.raises(CourseMissing):
        await pipeline.deliver(row)


async def test_decided_by_another_worker_while_this_one_computes(pipeline: Pipeline, db: Database) -> None:
    """Two deliveries side by side: the one that comes second to its commit finds the job decided, for one course or none."""
    course = await add_course(db)
    [first, other] = await pipeline.start(course, await add_documents(db, course, TEXTS))
    slow, begun, fast = pipeline.stages["DOCUMENT_PROCESSING"], asyncio.Event(), asyncio.Event()
    compute = slow.compute

    async def compute_late(*args: Any) -> Any:
        begun.set()
        prepared = await compute(*args)
        await fast.wait()
        return prepared

    slow.compute = compute_late  # type: ignore[method-assign]
    late = asyncio.create_task(pipeline.deliver(first))
    await asyncio.wait_for(begun.wait(), 30)
    slow.compute = compute  # type: ignore[method-assign]
    endings = [await pipeline.deliver(first)]
    fast.set()
    endings.append(await late)

    assert endings == ["applied", "repeated"]
    assert await pipeline.deliver(other) == "applied"
    assert await state(db, course) == "stage_4_init"


async def test_a_row_written_by_hand_needs_little(pipeline: Pipeline, db: Database) -> None:
    """A payload with nothing but its identifiers counts for the present run."""
    course = await add_course(db, state="stage_4_init")
    [row] = await db.fetch(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type) VALUES ($1, 'course-generation', 'STRUCTURE_ANALYSIS')"
        " RETURNING *",
        course,
    )
    payload = {key: payload_of(row)[key] for key in ("outboxId", "courseId", "jobType")}

    assert await pipeline.deliver_payload("STRUCTURE_ANALYSIS", payload) == "applied"


async def _cancel(db: Database, course: UUID) -> None:
    await db.execute("UPDATE courses SET generation_status = 'cancelled' WHERE id = $1", course)
