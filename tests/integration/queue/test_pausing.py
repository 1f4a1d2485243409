"""A paused queue gives nothing, loses nothing, and goes on at once when it is resumed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from services.kernel.queue import Inspector, JobContext, Producer
from tests.integration.queue.conftest import QUEUE, row, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

OTHER = "course-generation:analysis"


async def test_what_runs_goes_on_and_what_waits_stays(redis: Redis, producer: Producer) -> None:
    """While the queue is paused its running job ends as usual; another queue is served meanwhile."""
    go, started, done = asyncio.Event(), asyncio.Event(), list[str]()

    async def work(_: dict[str, Any], job: JobContext) -> None:
        if job.key == "running":
            started.set()
            await go.wait()
        done.append(job.key)

    inspector = Inspector(redis)
    await producer.enqueue_batch(QUEUE, [row("running")], 1)
    async with working(redis, {"WORK": work}, queues=[QUEUE, OTHER], concurrency=2):
        await started.wait()
        assert await inspector.pause(QUEUE)
        await producer.enqueue_batch(QUEUE, [row(f"waiting-{n}") for n in range(3)], 1)
        go.set()
        await producer.enqueue_batch(OTHER, [row("other", queue=OTHER)], 1)
        await eventually(lambda: len(done) == 2)
        await asyncio.sleep(2.5)  # longer than an idle worker's look
        during = sorted(done)
        (seen,) = await inspector.overview([QUEUE])
        assert await inspector.resume(QUEUE)
        await eventually(lambda: len(done) == 5, within=1.5)  # sooner than an idle worker's look

    assert during == ["other", "running"]
    assert (seen.paused, seen.depth, seen.running) == (True, 3, 0)
    assert sorted(done) == ["other", "running", "waiting-0", "waiting-1", "waiting-2"]


async def test_pausing_twice_is_pausing_once(redis: Redis) -> None:
    """Both ways say whether anything has changed."""
    inspector = Inspector(redis)

    assert [await inspector.pause(QUEUE), await inspector.pause(QUEUE)] == [True, False]
    assert [await inspector.resume(QUEUE), await inspector.resume(QUEUE)] == [True, False]
