"""People see what is in a queue: its figures and its jobs, whatever a stranger has put there."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from services.kernel.errors import BrokerUnavailable, PermanentError, UpstreamUnavailable
from services.kernel.queue import PIPELINE_QUEUES, Inspector, JobContext, JobView, Place, Producer
from services.kernel.queue.course_queue import CourseQueue
from services.kernel.queue.keys import QueueKeys
from services.kernel.queue.views import MOST_LISTED
from tests.integration.queue.conftest import QUEUE, row, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = QueueKeys(QUEUE)
COURSE = UUID("11111111-2222-4333-8444-555555555555")


class Script:
    """A handler that does with each job what its payload says, and holds those that shall run."""

    def __init__(self) -> None:
        self.held = asyncio.Event()

    async def __call__(self, payload: dict[str, Any], job: JobContext) -> None:
        """Hold, refuse, or meet an outage."""
        match payload.get("do"):
            case "hold":
                await self.held.wait()
            case "refuse":
                raise PermanentError("no such thing")
            case "wait":
                raise UpstreamUnavailable(retry_after=60)


async def test_an_overview_counts_each_place_by_priority(redis: Redis, producer: Producer) -> None:
    """Waiting by priority, scheduled, running, dead, and the workers that serve the queue."""
    script = Script()
    rows = [row(payload={"do": each}, priority=10) for each in ("hold", "refuse", "wait")]
    await producer.enqueue_batch(QUEUE, rows, 1)
    async with working(redis, {"WORK": script}, concurrency=3):
        await eventually(lambda: _is(redis, scheduled=1, running=1, dead=1))
        await redis.set(KEYS.paused, "1")
        await producer.enqueue_batch(QUEUE, [row(priority=p) for p in (1, 1, 5, 10)], 1)
        await redis.rpush(KEYS.plain, "saq:job:x")
        await redis.rpush(KEYS.waiting(0), "saq:job:y")
        (seen,) = await Inspector(redis).overview([QUEUE])
        script.held.set()

    assert seen.waiting == {10: 1, 5: 1, 1: 2, 0: 2}
    assert list(seen.waiting) == [10, 5, 1, 0]
    assert (seen.depth, seen.scheduled, seen.running, seen.dead, seen.workers) == (6, 1, 1, 1, 1)
    assert seen.paused


async def _is(redis: Redis, **figures: int) -> bool:
    (seen,) = await Inspector(redis).overview([QUEUE])
    return all(getattr(seen, name) == value for name, value in figures.items())


async def test_an_overview_knows_how_long_the_oldest_job_has_waited(redis: Redis, producer: Producer) -> None:
    """Of the first in every list; what a stranger has put there, or what says nothing of its age, does not count."""
    moment = int(time.time() * 1000)
    rows = [row(priority=p, queued=moment - seconds * 1000) for p, seconds in ((10, 90), (1, 250), (1, 100), (0, 0))]
    await producer.enqueue_batch(QUEUE, rows, 1)
    await redis.lpush(KEYS.waiting(5), "saq:job:x")
    await redis.lpush(KEYS.plain, KEYS.job_id("odd"))
    await redis.set(KEYS.job_id("odd"), "no json")
    (seen,) = await Inspector(redis).overview([QUEUE])

    assert 249 < seen.oldest_seconds < 280


async def test_a_queue_that_nobody_knows_is_empty(redis: Redis) -> None:
    """Zeros, not an error."""
    (seen,) = await Inspector(redis).overview(["nobody:knows"])

    assert (seen.depth, seen.scheduled, seen.running, seen.dead, seen.paused, seen.workers) == (0, 0, 0, 0, False, 0)
    assert seen.oldest_seconds == 0


async def test_workers_are_counted_while_they_live(redis: Redis) -> None:
    """One that resigns is gone at once, one that was killed when its lease is over."""
    async with working(redis, {}), working(redis, {}):
        await eventually(lambda: _is(redis, workers=2))
    await redis.zadd(KEYS.workers, {"killed": 1.0})

    assert await _is(redis, workers=0)


async def test_queues_are_known_once_they_are_served_or_filled(redis: Redis, producer: Producer) -> None:
    """The pipeline's three always, then the others by name."""
    await producer.enqueue_batch("zoo", [row(queue="zoo")], 1)
    async with working(redis, {}, queues=["quiz"]):
        await eventually(lambda: _knows(redis, "quiz"))

    assert await Inspector(redis).known_queues() == [*PIPELINE_QUEUES, "quiz", "zoo"]


async def _knows(redis: Redis, queue: str) -> bool:
    return queue in await Inspector(redis).known_queues()


async def test_waiting_jobs_are_listed_in_the_order_of_service(redis: Redis, producer: Producer) -> None:
    """Across the priority lists, page by page."""
    rows = [row(f"{priority}-{n}", priority=priority) for priority in (1, 10, 5) for n in range(3)]
    await producer.enqueue_batch(QUEUE, rows, 1)
    inspector = Inspector(redis)

    pages = [await inspector.jobs(QUEUE, "waiting", limit=4, offset=start) for start in (0, 4, 8, 12)]

    assert [[job.key for job in page] for page in pages] == [
        ["10-0", "10-1", "10-2", "5-0"], ["5-1", "5-2", "1-0", "1-1"], ["1-2"], [],
    ]  # fmt: skip
    assert {job.priority for job in pages[0]} == {10, 5}


async def test_a_job_shows_what_it_is(redis: Redis, producer: Producer) -> None:
    """Type, course, run, priority, times; while it runs its worker and attempt."""
    script = Script()
    payload = {"do": "hold", "courseId": str(COURSE), "runNumber": 3}
    await producer.enqueue_batch(QUEUE, [row("a", priority=5, payload=payload, queued=1_700_000_000_000)], 1)
    (waiting,) = await Inspector(redis).jobs(QUEUE, Place.WAITING)
    async with working(redis, {"WORK": script}, worker_id="w1"):
        await eventually(lambda: _started(redis))
        (running,) = await Inspector(redis).jobs(QUEUE, Place.RUNNING)
        script.held.set()

    for job in (waiting, running):
        assert (job.key, job.queue, job.function, job.priority) == ("a", QUEUE, "WORK", 5)
        assert (job.course_id, job.run_number) == (COURSE, 3)
        assert job.queued_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (waiting.status, waiting.worker, waiting.started_at, waiting.attempts) == (Place.WAITING, None, None, 0)
    assert (running.status, running.worker, running.attempts) == (Place.RUNNING, "w1", 1)
    assert running.started_at is not None


async def _started(redis: Redis) -> bool:
    return any(job.started_at for job in await Inspector(redis).jobs(QUEUE, Place.RUNNING))


async def test_a_running_job_shows_its_start_from_the_first_moment(redis: Redis, producer: Producer) -> None:
    """When its handler begins, its start and its attempt are in Redis: nobody waits for the first heartbeat."""
    seen: list[JobView] = []

    async def work(payload: dict[str, Any], job: JobContext) -> None:
        seen.extend(await Inspector(redis).jobs(QUEUE, Place.RUNNING))
        if job.attempt == 1:
            raise ValueError("once more")

    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    async with working(redis, {"WORK": work}):
        await eventually(lambda: len(seen) == 2)

    assert [(job.key, job.attempts) for job in seen] == [("a", 1), ("a", 2)]
    assert all(job.started_at is not None for job in seen)


async def test_a_job_runs_although_its_start_cannot_be_shown(
    redis: Redis, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be seen is no condition for running."""
    ran = asyncio.Event()

    async def away(*_: object) -> bool:
        raise BrokerUnavailable

    async def work(*_: object) -> None:
        ran.set()

    monkeypatch.setattr(CourseQueue, "touch", away)
    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    async with working(redis, {"WORK": work}):
        await asyncio.wait_for(ran.wait(), 10)


async def test_scheduled_and_dead_jobs_say_why_and_when(redis: Redis, producer: Producer) -> None:
    """A scheduled job says when it is due, a dead one why it was set aside; the latest dead one first."""
    rows = [row("later", payload={"do": "wait"}), row("dead", payload={"do": "refuse"})]
    await producer.enqueue_batch(QUEUE, rows, 1)
    async with working(redis, {"WORK": Script()}):
        await eventually(lambda: _is(redis, scheduled=1, dead=1))
    await redis.hset(KEYS.poison, KEYS.job_id("older"), '{"reason": "crashed", "detail": "x", "at": 5}')
    await redis.hset(KEYS.poison, KEYS.job_id("strange"), "not json")

    (scheduled,) = await Inspector(redis).jobs(QUEUE, Place.SCHEDULED)
    dead = await Inspector(redis).jobs(QUEUE, Place.DEAD)

    assert scheduled.due_at is not None
    assert 30 < (scheduled.due_at - datetime.now(UTC)).total_seconds() < 61
    assert [job.key for job in dead] == ["dead", "older", "strange"]
    assert dead[0].reason == "refused"
    assert "no such thing" in (dead[0].detail or "")
    assert (dead[1].reason, dead[1].detail, dead[1].function) == ("crashed", "x", None)
    assert dead[1].died_at == datetime.fromtimestamp(5, UTC)
    assert (dead[2].reason, dead[2].died_at) == ("undecodable", None)
    assert [job.key for job in await Inspector(redis).jobs(QUEUE, Place.DEAD, limit=1, offset=1)] == ["older"]


async def test_what_cannot_be_read_is_listed_all_the_same(redis: Redis, producer: Producer) -> None:
    """Bodies that are missing, no JSON, no object, of odd types, too large or under a key of another type."""
    bodies = {
        "gone": None,
        "noise": b"\xff\x00{",
        "list": b"[1]",
        "odd": b'{"function": 7, "priority": "x", "queued": 1e300, "kwargs": [], "attempts": true}',
        "odder": b'{"kwargs": {"payload": {"courseId": "no", "runNumber": null}}, "queued": "soon"}',
        "large": b'{"function": "WORK", "x": "' + b"x" * 70_000 + b'"}',
    }
    for key, text in bodies.items():
        await redis.rpush(KEYS.waiting(1), KEYS.job_id(key))
        if text is not None:
            await redis.set(KEYS.job_id(key), text)
    await redis.hset(KEYS.job_id("hash"), "a", "b")
    await redis.rpush(KEYS.waiting(1), KEYS.job_id("hash"))
    await redis.rpush(KEYS.waiting(1), b"\xff\xfe")

    seen = await Inspector(redis).jobs(QUEUE, Place.WAITING)

    assert [job.key for job in seen][:-1] == [*bodies, "hash"]
    assert {(job.function, job.priority, job.course_id, job.queued_at, job.attempts) for job in seen} == {
        (None, None, None, None, 0)
    }


@pytest.mark.parametrize("name", ["queued:1", "active", "incomplete", "poison", "workers"])
async def test_a_damaged_key_hides_only_itself(redis: Redis, producer: Producer, name: str) -> None:
    """A key of the wrong type counts as empty."""
    await producer.enqueue_batch(QUEUE, [row("a", priority=5)], 1)
    await redis.delete(f"{KEYS.prefix}:{name}")
    await redis.set(f"{KEYS.prefix}:{name}", "damaged")
    inspector = Inspector(redis)

    (seen,) = await inspector.overview([QUEUE])
    jobs = {place: [job.key for job in await inspector.jobs(QUEUE, place)] for place in Place}

    assert seen.waiting == {5: 1}
    assert jobs == {Place.WAITING: ["a"], Place.SCHEDULED: [], Place.RUNNING: [], Place.DEAD: []}


@pytest.mark.parametrize("why", ["not json", "[]", '{"reason": "weird", "at": "soon"}', '{"reason": 7, "at": null}'])
async def test_a_strange_reason_hides_no_dead_job(redis: Redis, why: str) -> None:
    """A stranger's entry among the jobs set aside is listed as unreadable, beside the others."""
    await redis.hset(
        KEYS.poison, mapping={KEYS.job_id("odd"): why, KEYS.job_id("ours"): '{"reason": "crashed", "at": 5}'}
    )

    dead = {job.key: (job.reason, job.at) for job in await Inspector(redis).dead_jobs(QUEUE)}
    shown = {job.key: job.reason for job in await Inspector(redis).jobs(QUEUE, Place.DEAD)}

    assert dead == {"ours": ("crashed", 5.0), "odd": ("undecodable", 0.0)}
    assert shown == {"ours": "crashed", "odd": "undecodable"}


async def test_a_crowd_of_dead_jobs_is_listed_without_being_sorted(redis: Redis) -> None:
    """Every one of them on some page, none twice, and no page takes Redis long."""
    why = '{"reason": "crashed", "detail": "x", "at": 5}'
    await redis.hset(KEYS.poison, mapping={KEYS.job_id(str(n)): why for n in range(6000)})
    inspector = Inspector(redis)

    seen = [job.key for start in range(0, 6500, 500) for job in await inspector.jobs(QUEUE, Place.DEAD, 500, start)]

    assert sorted(seen, key=int) == [str(n) for n in range(6000)]


async def test_a_queue_not_used_for_a_month_is_forgotten(redis: Redis) -> None:
    """Names misspelt once do not stay for ever."""
    await redis.zadd("saq:queues", {"misspelt": 1.0, "quiz": 9e9})
    async with working(redis, {}):
        await eventually(lambda: _is(redis, workers=1))

    assert await Inspector(redis).known_queues() == [*PIPELINE_QUEUES, "quiz"]


async def test_a_page_is_bounded(redis: Redis, producer: Producer) -> None:
    """However much is asked for, Redis is held up for one page only; a place that does not exist is refused."""
    await producer.enqueue_batch(QUEUE, [row() for _ in range(MOST_LISTED + 5)], 1)

    assert len(await Inspector(redis).jobs(QUEUE, Place.WAITING, limit=10**9)) == MOST_LISTED
    assert await Inspector(redis).jobs(QUEUE, Place.WAITING, limit=-1, offset=-1) == []
    with pytest.raises(ValueError, match="nowhere"):
        await Inspector(redis).jobs(QUEUE, "nowhere")
