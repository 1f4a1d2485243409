"""A paused queue gives nothing, loses nothing, and goes on at once when it is resumed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis as Client

from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, InvalidInput
from services.kernel.queue import Inspector, JobContext, Producer, QueueControls
from tests.integration.queue.conftest import QUEUE, row, working
from tests.support.servers import PrivateRedis
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


@pytest.fixture
def controls(db: Database, redis: Redis) -> QueueControls:
    """What administrators use."""
    return QueueControls(db, Inspector(redis))


async def test_a_pause_is_written_down_and_obeyed(db: Database, redis: Redis, controls: QueueControls) -> None:
    """Who, when and why stand in PostgreSQL, the last word only; Redis says the same."""
    by = uuid4()
    paused = await controls.set(QUEUE, paused=True, by=by, reason="a bad document")
    there = await Inspector(redis).paused([QUEUE, OTHER])
    resumed = await controls.set(QUEUE, paused=False, by=None)

    assert (paused.queue, paused.paused, paused.reason, paused.changed_by) == (QUEUE, True, "a bad document", by)
    assert there == {QUEUE}
    assert await controls.all() == [resumed]
    assert (resumed.paused, resumed.reason, resumed.changed_by) == (False, None, None)
    assert resumed.changed_at > paused.changed_at
    assert await Inspector(redis).paused([QUEUE]) == set()


async def test_a_pause_outlives_an_outage_and_an_emptied_redis(
    db: Database, private_redis: PrivateRedis, controls: QueueControls
) -> None:
    """Given while Redis is away it is written all the same, and applied with the next comparison; so again after FLUSHALL."""
    async with Client.from_url(private_redis.url(), retry=None) as redis:
        inspector = Inspector(redis)
        controls = QueueControls(db, inspector)
        private_redis.stop()
        await controls.set(QUEUE, paused=True, by=None)
        with pytest.raises(BrokerUnavailable):
            await controls.enforce()
        private_redis.start()
        await controls.enforce()
        after_the_outage = await inspector.paused([QUEUE])
        await redis.flushall()
        await controls.enforce()

        assert after_the_outage == {QUEUE}
        assert await inspector.paused([QUEUE]) == {QUEUE}


async def test_what_redis_says_without_being_told_is_undone(redis: Redis, controls: QueueControls) -> None:
    """A queue nobody has paused, or that was resumed, is not paused, whatever an old Redis remembers."""
    await controls.set(QUEUE, paused=False, by=None)
    for queue in (QUEUE, OTHER, "quiz"):
        await Inspector(redis).pause(queue)

    await controls.enforce()

    assert await Inspector(redis).paused([QUEUE, OTHER, "quiz"]) == set()


async def test_a_change_of_mind_during_the_comparison_holds(
    redis: Redis, controls: QueueControls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody pauses the queue just as the leader, who has read that it is not, has Redis resume it."""
    await controls.set(QUEUE, paused=False, by=None)
    await Inspector(redis).pause(QUEUE)
    resume = controls._inspector.resume

    async def pause_then_resume(queue: str) -> bool:
        monkeypatch.undo()
        await controls.set(QUEUE, paused=True, by=None)
        return await resume(queue)

    monkeypatch.setattr(controls._inspector, "resume", pause_then_resume)
    seen = await controls.enforce()

    assert await Inspector(redis).paused([QUEUE]) == {QUEUE}
    assert [control.paused for control in seen] == [True]


@pytest.mark.parametrize(
    ("queue", "reason"),
    [("", None), ("x" * 201, None), ("a\x00b", None), ("a\nb", None), (QUEUE, "x" * 501), (QUEUE, "\x00")],
)
async def test_what_cannot_be_meant_is_refused(controls: QueueControls, queue: str, reason: str | None) -> None:
    """Nothing is written."""
    with pytest.raises(InvalidInput):
        await controls.set(queue, paused=True, by=None, reason=reason)

    assert await controls.all() == []


async def test_damaged_keys_do_not_stop_the_comparison(redis: Redis, controls: QueueControls) -> None:
    """Keys of the wrong type: the list of queues, the pause itself, the queue's own."""
    await redis.set("saq:queues", "x")
    await redis.hset(f"saq:{QUEUE}:paused", "a", "b")
    await redis.set(f"saq:{QUEUE}:wake", "x")
    await controls.set(OTHER, paused=True, by=None)
    await controls.set(QUEUE, paused=True, by=None)
    both = await Inspector(redis).paused([QUEUE, OTHER])
    await controls.set(QUEUE, paused=False, by=None)
    await controls.enforce()

    assert both == {QUEUE, OTHER}
    assert await Inspector(redis).paused([QUEUE, OTHER]) == {OTHER}
