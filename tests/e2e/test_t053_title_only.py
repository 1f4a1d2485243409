"""T053, scenario 1: a course from its title alone, begun once, at stage 5 (contract.md l.5)."""

from __future__ import annotations

from typing import Any

from services.kernel.commands import InitializeFSMCommand
from services.kernel.database import Database
from services.kernel.initiation import CommandHandler
from tests.support.courses import add_course, footprint
from tests.support.pipeline import (
    expect_no_direct_enqueue,
    expect_no_illegal_move,
    states_of,
    validate_fsm_event,
    wait_for_outbox,
    wait_for_state,
)
from tests.support.stack import Stack
from tests.support.tokens import ORGANIZATION, USER


async def test_t053_title_only(handler: CommandHandler, db: Database, redis: Any, stack: Stack) -> None:
    """One call puts a pending course to stage 5; its row leaves within 10 s, and its outline is written once."""
    await stack.start("outbox_relay")
    course_id = await add_course(db, title="Double-entry bookkeeping")

    result = await handler.initialize(
        InitializeFSMCommand(
            entity_id=course_id,
            user_id=USER,
            organization_id=ORGANIZATION,
            idempotency_key=f"t053-title-only-{course_id}",
            initiated_by="API_INITIATE",
            initial_state="stage_5_init",
            job_data=[{"queue": "course-generation", "job_type": "STRUCTURE_GENERATION", "data": {}}],
        )
    )

    # Seen by another connection as soon as the call has returned; no worker is there to hurry it on.
    left = await footprint(db, course_id)
    assert (left.state, left.size) == ("stage_5_init", (1, 1, 1))
    assert left.rows[0]["outbox_id"] == result.job_id
    await validate_fsm_event(db, course_id, "stage_5_init", by="API_INITIATE", old_states=(None, "pending"))

    rows = await wait_for_outbox(db, course_id)
    assert [row["saq_queue"] for row in rows] == ["course-generation:generation"]
    assert await expect_no_direct_enqueue(db, redis) == 1

    await stack.start("stage_worker")
    await wait_for_state(db, course_id, "completed")
    assert await states_of(db, course_id) == ["stage_5_init", "stage_5_generating", "stage_5_complete", "completed"]
    assert await db.fetchval("SELECT draft FROM course_results WHERE course_id = $1", course_id) is True
    await expect_no_illegal_move(db, stack)
