"""T053, scenario 2: from four documents to a course, 2 → 4 → 5 (contract.md l.5)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx

from services.kernel.commands import InitializeFSMCommand
from services.kernel.database import Database
from services.kernel.initiation import CommandHandler
from tests.support import tokens
from tests.support.courses import add_course, add_documents, footprint
from tests.support.pipeline import (
    DOCUMENTS,
    expect_no_direct_enqueue,
    expect_no_illegal_move,
    states_of,
    transactions_of,
    validate_fsm_event,
    wait_for_outbox,
    wait_for_state,
)
from tests.support.stack import Stack
from tests.support.tokens import ORGANIZATION, USER

ALL_STATES = [
    "stage_2_init", "stage_2_processing", "stage_2_complete",
    "stage_4_init", "stage_4_analyzing", "stage_4_complete",
    "stage_5_init", "stage_5_generating", "stage_5_complete",
    "completed",
]  # fmt: skip


async def begin(
    handler: CommandHandler, course_id: UUID, state: str, job_type: str, jobs: list[dict[str, Any]]
) -> None:
    """Call the command handler as a stage does, with a key of its own (TRAP29)."""
    await handler.initialize(
        InitializeFSMCommand(
            entity_id=course_id,
            user_id=USER,
            organization_id=ORGANIZATION,
            idempotency_key=f"t053-pipeline-{course_id}-{state}",
            initiated_by="API_INITIATE" if state == "stage_2_init" else "WORKER_STAGE_COMPLETE",
            initial_state=state,
            job_data=[{"queue": "course-generation", "job_type": job_type, "data": data} for data in jobs],
        )
    )


async def test_t053_the_command_handler_leads_through_every_stage(
    handler: CommandHandler, db: Database, redis: Any, stack: Stack
) -> None:
    """Three calls, three keys: after each the rows are there at once, by one transaction, and are drained within 10 s."""
    await stack.start("outbox_relay")
    course_id = await add_course(db, title="Accounting")
    documents = await add_documents(db, course_id, DOCUMENTS)
    stages: list[tuple[str, str, list[dict[str, Any]]]] = [
        ("stage_2_init", "DOCUMENT_PROCESSING", [{"documentId": str(each)} for each in documents]),
        ("stage_4_init", "STRUCTURE_ANALYSIS", [{}]),
        ("stage_5_init", "STRUCTURE_GENERATION", [{}]),
    ]

    for number, (state, job_type, jobs) in enumerate(stages, start=1):
        await begin(handler, course_id, state, job_type, jobs)

        left = await footprint(db, course_id)
        assert left.state == state
        assert left.job_types.count(job_type) == len(jobs)
        assert len(left.keys) == len(left.events) == number
        await validate_fsm_event(db, course_id, state, by="API_INITIATE" if number == 1 else "WORKER_STAGE_COMPLETE")
        await wait_for_outbox(db, course_id)

    assert await expect_no_direct_enqueue(db, redis) == 6
    await expect_no_illegal_move(db, stack)


async def test_t053_four_documents_become_a_course(db: Database, redis: Any, stack: Stack) -> None:
    """One request over HTTP: four document jobs in one transaction, then every stage in order, each entered once."""
    course_id = await add_course(db, title="Accounting")
    await add_documents(db, course_id, DOCUMENTS)
    [api] = await stack.start_all("api")
    async with httpx.AsyncClient(base_url=api.url, headers=tokens.bearer(), timeout=15) as client:
        answer = await client.post("/api/coursegen/generate", json={"courseId": str(course_id)})

        assert answer.status_code == 200, answer.text
        left = await footprint(db, course_id)
        assert left.state == "stage_2_init"
        assert left.job_types == ["DOCUMENT_PROCESSING"] * 4
        assert await transactions_of(db, course_id, "DOCUMENT_PROCESSING") == 1
        assert answer.json()["jobId"] == str(left.rows[0]["outbox_id"])
        await validate_fsm_event(db, course_id, "stage_2_init", by="API_INITIATE", old_states=(None, "pending"))

        await stack.start("outbox_relay")
        await wait_for_outbox(db, course_id)
        await stack.start("stage_worker")
        await wait_for_state(db, course_id, "completed")

        result = await client.get(f"/api/courses/{course_id}/result")
        assert result.status_code == 200
        assert not result.json()["draft"]
        lessons = [lesson for section in result.json()["sections"] for lesson in section["lessons"]]
        assert lessons
        assert all(lesson["citations"] for lesson in lessons)

    assert await states_of(db, course_id) == ALL_STATES
    await validate_fsm_event(
        db, course_id, "stage_4_init", by="WORKER_STAGE_COMPLETE", old_states=("stage_2_complete",)
    )
    await validate_fsm_event(
        db, course_id, "stage_5_init", by="WORKER_STAGE_COMPLETE", old_states=("stage_4_complete",)
    )
    assert [row["job_type"] for row in await wait_for_outbox(db, course_id)] == [
        *["DOCUMENT_PROCESSING"] * 4,
        "STRUCTURE_ANALYSIS",
        "STRUCTURE_GENERATION",
    ]
    await expect_no_direct_enqueue(db, redis)
    await expect_no_illegal_move(db, stack)
