"""The api is killed while an administrator replays: before the commit, after it, and before the queue has heard.

Whoever asks again gets what he wanted, once: one new run, one record more for each call that came through.
"""

from __future__ import annotations

import signal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.kernel.database import Database
from tests.support.courses import add_course
from tests.support.stack import Process, Stack
from tests.support.tokens import ORGANIZATION, USER, admin_bearer
from tests.support.waiting import eventually

ANALYSIS = "course-generation:analysis"
POINTS = ("dead_letters.before_commit", "dead_letters.after_commit", "dead_letters.before_forgetting")
_INITIATE = "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, 'API_INITIATE', 'stage_4_init', $5::jsonb)"


@pytest.mark.parametrize("point", POINTS)
async def test_a_replay_that_broke_off_can_be_repeated(stack: Stack, db: Database, redis: Any, point: str) -> None:
    """A course whose job has failed for good, and a row beside the pipeline, replayed by one call that died on the way."""
    course, job = await failed_course(db, redis)
    row = await dead_row(db)
    api = await stack.start("api", faults=f"{point}=kill@1")
    with pytest.raises(httpx.TransportError):
        await replay_all(api)
    assert await api.ended(within=30) == -signal.SIGKILL
    half_way = await db.fetchval("SELECT count(*) FROM admin_actions")

    api = await stack.start("api")
    again = await replay_all(api)
    await stack.start_all("outbox_relay", "stage_worker")
    await eventually(lambda: _is(db, course, "completed"), within=60, every=0.1)
    last = await replay_all(api)

    assert half_way == (0 if point == POINTS[0] else 1)
    assert again["refused"] == 0
    assert {each["outcome"] for each in again["results"]} == {"replayed"}
    assert last["matched"] == 0
    assert await db.fetchval("SELECT count(DISTINCT run_number) FROM job_outbox WHERE entity_id = $1", course) == 2
    assert await db.fetchval("SELECT count(*) FROM course_results WHERE course_id = $1", course) == 1
    assert await db.fetchval("SELECT processed_at IS NOT NULL FROM job_outbox WHERE outbox_id = $1", row)
    assert await db.fetchval("SELECT outcome FROM effect_ledger WHERE effect_id = $1", job) == "failed"
    assert stack.fired() == {f"{point} kill": 1}


async def replay_all(api: Process) -> dict[str, Any]:
    """Replay every dead letter."""
    async with httpx.AsyncClient(headers=admin_bearer(), timeout=30) as client:
        answer = await client.post(f"{api.url}/api/admin/dead-letters/replay", json={"filter": {}})
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()
    return outcome


async def failed_course(db: Database, redis: Any) -> tuple[UUID, UUID]:
    """A course in error, and the job it failed with as its queue has set it aside."""
    course = await add_course(db)
    jobs = [{"queue": "course-generation", "job_type": "STRUCTURE_ANALYSIS", "data": {}}]
    result = await db.fetchval(_INITIATE, course, USER, ORGANIZATION, f"test:{uuid4()}", jobs)
    job = UUID(result["outboxEntries"][0]["outbox_id"])
    body = await db.fetchval("UPDATE job_outbox SET processed_at = now() WHERE outbox_id = $1 RETURNING job_body", job)
    await db.execute(
        "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome)"
        " VALUES ($1, $2, 'STRUCTURE_ANALYSIS', 1, 'failed')",
        job, course,
    )  # fmt: skip
    await db.execute("UPDATE courses SET generation_status = 'error' WHERE id = $1", course)
    job_id = f"saq:job:{ANALYSIS}:{job}"
    await redis.hset(f"saq:{ANALYSIS}:poison", job_id, '{"reason":"exhausted","detail":"it failed","at":1790000000}')
    await redis.hset(f"saq:{ANALYSIS}:poison:bodies", job_id, body)
    return course, job


async def dead_row(db: Database) -> UUID:
    """A row for a queue that nobody of ours serves."""
    course = await add_course(db, state="completed")
    found: UUID = await db.fetchval(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, retry_count, max_retries)"
        " VALUES ($1, 'elsewhere', 'ELSE', 5, 5) RETURNING outbox_id",
        course,
    )
    return found


async def _is(db: Database, course: UUID, state: str) -> bool:
    return bool(await db.fetchval("SELECT generation_status::text FROM courses WHERE id = $1", course) == state)
