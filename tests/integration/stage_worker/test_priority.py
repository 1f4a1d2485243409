"""A tier's priority holds in all three stages of the real worker, from the outbox row to the start of the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from services.kernel.database import Database
from services.kernel.queue import Inspector, QueueControls
from services.kernel.wakeup import WakeUp
from tests.integration.stage_worker.harness import Pipeline, document_job, stage_job
from tests.integration.stage_worker.test_worker import environ, relaying, running
from tests.support.courses import add_course, add_documents
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ("environ",)

STAGES = [
    ("DOCUMENT_PROCESSING", "documents", "stage_2_init", "stage_2_processing"),
    ("STRUCTURE_ANALYSIS", "analysis", "stage_4_init", "stage_4_analyzing"),
    ("STRUCTURE_GENERATION", "generation", "stage_5_init", "stage_5_generating"),
]
FREE_JOBS = 100


@pytest.mark.parametrize(("job_type", "queue", "first", "busy"), STAGES, ids=[stage[1] for stage in STAGES])
async def test_premium_starts_before_a_hundred_free_jobs(
    environ: dict[str, str],
    pipeline: Pipeline,
    db: Database,
    redis: Redis,
    job_type: str,
    queue: str,
    first: str,
    busy: str,
) -> None:
    """A hundred FREE jobs wait in Redis, then comes a PREMIUM one; a worker with one slot begins with that one."""
    controls = QueueControls(db, Inspector(redis))
    saq_queue = f"course-generation:{queue}"
    await controls.set(saq_queue, paused=True, by=None)
    one_slot = environ | {"STAGE_WORKER_CONCURRENCY": "1", "STAGE_WORKER_QUEUES": queue, "DRAIN_SECONDS": "1"}
    async with relaying(environ), running(one_slot):
        free = [await _initiate(pipeline, db, job_type, first, priority=1) for _ in range(FREE_JOBS)]
        WakeUp(db).notify()
        await eventually(lambda: _waits(redis, saq_queue, {1: FREE_JOBS}), within=30)
        premium = await _initiate(pipeline, db, job_type, first, priority=10)
        await eventually(lambda: _waits(redis, saq_queue, {10: 1, 1: FREE_JOBS}), within=30)
        await controls.set(saq_queue, paused=False, by=None)
        started = await eventually(lambda: _started(db, busy, at_least=4), within=60)

    assert list(started[:4]) == [premium, *free[:3]]


async def _initiate(pipeline: Pipeline, db: Database, job_type: str, first: str, *, priority: int) -> UUID:
    course = await add_course(db, title="The history of tea")
    await db.execute("UPDATE courses SET priority = $2 WHERE id = $1", course, priority)
    job = stage_job(job_type)
    if job_type == "DOCUMENT_PROCESSING":
        [document] = await add_documents(db, course, ["# Tea\n\nTea is a drink made of leaves."])
        job = document_job(document)
    await pipeline.initiate(course, first, [job])
    return course


async def _waits(redis: Redis, queue: str, expected: dict[int, int]) -> bool:
    (seen,) = await Inspector(redis).overview([queue])
    return seen.waiting == expected


async def _started(db: Database, busy: str, *, at_least: int) -> Sequence[UUID]:
    """Courses in the order in which their work began; none while fewer have begun."""
    rows = await db.fetch("SELECT entity_id FROM fsm_events WHERE new_state = $1 ORDER BY position", busy)
    return [row["entity_id"] for row in rows] if len(rows) >= at_least else []
