"""T053, scenario 3: the same pipeline in each of the four styles (contract.md l.5, GAP29)."""

from __future__ import annotations

from typing import Any

import httpx

from services.kernel.database import Database
from tests.support import tokens
from tests.support.courses import add_course, add_documents, footprint
from tests.support.pipeline import (
    DOCUMENTS,
    expect_no_direct_enqueue,
    expect_no_illegal_move,
    validate_fsm_event,
    wait_for_outbox,
    wait_for_state,
)
from tests.support.stack import Stack

STYLES = ("academic", "practical", "conversational", "concise")


async def test_t053_four_styles(db: Database, redis: Any, stack: Stack) -> None:
    """Each style is kept from the request to every job and to the finished course."""
    api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
    courses = {style: await add_course(db, title="Accounting") for style in STYLES}
    async with httpx.AsyncClient(base_url=api.url, headers=tokens.bearer(), timeout=15) as client:
        for style, course_id in courses.items():
            await add_documents(db, course_id, DOCUMENTS[:1])
            body = {"courseId": str(course_id), "style": style}
            answer = await client.post("/api/trpc/generation.initiate", json=body)

            assert answer.status_code == 200, answer.text
            left = await footprint(db, course_id)
            assert left.rows
            await validate_fsm_event(db, course_id, "stage_2_init", by="API_INITIATE", old_states=(None, "pending"))
            await wait_for_outbox(db, course_id)

        for style, course_id in courses.items():
            await wait_for_state(db, course_id, "completed")
            rows = await wait_for_outbox(db, course_id)
            assert [row["job_data"].get("style") for row in rows] == [style] * 3
            result = (await client.get(f"/api/courses/{course_id}/result")).json()
            assert result["style"] == style

    await expect_no_direct_enqueue(db, redis)
    await expect_no_illegal_move(db, stack)
