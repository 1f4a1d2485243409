"""A course's slot comes back when its run has ended, however it ended, and not before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from services.kernel.concurrency import Book, Claim, Releases, Slots
from services.kernel.database import Database
from services.kernel.errors import PermanentError, UpstreamUnavailable
from services.stage_worker.runner import CourseMissing
from tests.integration.stage_worker.harness import Pipeline, stage_job, state
from tests.support.courses import add_course, add_documents
from tests.support.tokens import USER

TEXTS = ("# One\n\nA first document about one subject.\n", "# Two\n\nA second document about it.\n")


@pytest.fixture
async def slots(db: Database, redis: Any, pipeline: Pipeline) -> AsyncIterator[Slots]:
    """Slots that the pipeline's runner gives back."""
    await Book(db, redis).rebuild()
    opened = Slots(redis, wait_seconds=5)
    pipeline.runner._releases = Releases(opened)
    yield opened
    await opened.drain()


async def begin(pipeline: Pipeline, slots: Slots, course: UUID, run: int = 1) -> None:
    """As the api begins a run: a slot, then stage 4."""
    await slots.reserve(Claim(course, USER, run, 10, "api"), 10)
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])


async def taken(redis: Any) -> int:
    """How many slots are counted."""
    return int(await redis.get("concurrency:global"))


async def test_a_slot_spans_all_jobs_of_a_course(pipeline: Pipeline, slots: Slots, db: Database, redis: Any) -> None:
    """A fan-out over two documents, analysis, generation: one slot, free with the last job and not earlier."""
    course = await add_course(db)
    documents = await add_documents(db, course, TEXTS)
    await slots.reserve(Claim(course, USER, 1, 10, "api"), 10)
    await pipeline.start(course, documents)
    seen = []
    while undecided := await pipeline.undecided(course):
        seen.append(await taken(redis))
        await pipeline.deliver(undecided[0])

    assert await state(db, course) == "completed"
    assert seen == [1] * len(seen)
    assert len(seen) >= 4
    assert await taken(redis) == 0


async def test_a_failed_run_gives_its_slot_back_and_a_passing_failure_does_not(
    pipeline: Pipeline, slots: Slots, db: Database, redis: Any
) -> None:
    """While it may still succeed the course takes room."""
    course = await add_course(db)
    await begin(pipeline, slots, course)
    [row] = await pipeline.rows(course)
    pipeline.engine.failures = [UpstreamUnavailable(), PermanentError("No.")]
    with pytest.raises(Exception, match="depends on"):
        await pipeline.deliver(row)
    before = await taken(redis)
    await pipeline.deliver(row)

    assert (before, await taken(redis)) == (1, 0)


@pytest.mark.parametrize("end", ["completed", "error", "cancelled"])
async def test_a_repeated_delivery_gives_back_what_a_dead_worker_did_not(
    pipeline: Pipeline, slots: Slots, db: Database, redis: Any, end: str
) -> None:
    """Killed between the commit and the release; or the api was, after a cancellation."""
    course = await add_course(db)
    await begin(pipeline, slots, course)
    releases, pipeline.runner._releases = pipeline.runner._releases, None
    if end == "error":
        pipeline.engine.failures = [PermanentError("No.")]
    if end == "cancelled":
        await db.execute("UPDATE courses SET generation_status = 'cancelled' WHERE id = $1", course)
    else:
        await pipeline.finish(course)
    before = await taken(redis)
    pipeline.runner._releases = releases
    again = await pipeline.deliver((await pipeline.rows(course))[-1])

    assert await state(db, course) == end
    assert again in {"repeated", "skipped"}
    assert (before, await taken(redis)) == (1, 0)


async def test_a_late_delivery_of_an_earlier_run_leaves_the_next_ones_slot(
    pipeline: Pipeline, slots: Slots, db: Database, redis: Any
) -> None:
    """Run 1 was cancelled, run 2 is under way, or only reserved: run 1's job comes again and frees nothing."""
    course = await add_course(db)
    await begin(pipeline, slots, course)
    [old] = await pipeline.rows(course)
    await db.execute("UPDATE courses SET generation_status = 'cancelled' WHERE id = $1", course)
    await slots.reserve(Claim(course, USER, 2, 10, "api"), 10)
    await pipeline.deliver(old)
    while_reserved = await taken(redis)
    await begin(pipeline, slots, course, run=2)
    await pipeline.deliver(old)
    while_running = await taken(redis)
    await pipeline.finish(course)

    assert (while_reserved, while_running) == (1, 1)
    assert await taken(redis) == 0


async def test_a_deleted_courses_job_gives_its_slot_back(
    pipeline: Pipeline, slots: Slots, db: Database, redis: Any
) -> None:
    """Should the api have died between the deletion and the release."""
    course = await add_course(db)
    await begin(pipeline, slots, course)
    [row] = await pipeline.rows(course)
    await db.execute("DELETE FROM courses WHERE id = $1", course)
    with pytest.raises(CourseMissing):
        await pipeline.deliver(row)

    assert await taken(redis) == 0


async def test_redis_away_while_a_run_ends(pipeline: Pipeline, db: Database) -> None:
    """The run ends all the same; the slot is owed."""
    from redis.asyncio import Redis

    async with Redis.from_url("redis://127.0.0.1:1/0") as nowhere:
        releases = Releases(Slots(nowhere))
        pipeline.runner._releases = releases
        course = await add_course(db)
        await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
        await pipeline.finish(course)

    assert await state(db, course) == "completed"
    assert releases.owed == 1
