"""A worker runs each job, and what becomes of it depends on how its handler ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from services.kernel.errors import BrokerUnavailable, PermanentError, UpstreamUnavailable
from services.kernel.queue import CourseQueue, DeadJob, DeadReason, Inspector, JobContext, JobState, Producer
from services.kernel.queue.course_queue import LEASE_SECONDS
from services.kernel.queue.keys import QueueKeys
from tests.integration.queue.conftest import QUEUE, row, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Ran:
    """A handler that remembers its calls and fails as told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls: list[JobContext] = []
        self.payloads: list[dict[str, Any]] = []

    async def __call__(self, payload: dict[str, Any], job: JobContext) -> None:
        """Remember the call; raise the next failure, if any is left."""
        self.calls.append(job)
        self.payloads.append(payload)
        if self.failures:
            raise self.failures.pop(0)


async def test_a_job_runs_once_and_is_remembered(redis: Redis, producer: Producer) -> None:
    """The handler gets the payload and the delivery's facts; the finished body refuses a second job of its key."""
    ran = Ran()
    await producer.enqueue_batch(QUEUE, [row("a", priority=5)], 1)

    async with working(redis, {"WORK": ran}):
        await eventually(lambda: _idle(redis))
    again = await producer.enqueue_batch(QUEUE, [row("a", priority=5)], 1)

    assert ran.payloads == [{"outboxId": "a"}]
    assert (
        ran.calls[0].key, ran.calls[0].queue, ran.calls[0].function,
        ran.calls[0].attempt, ran.calls[0].attempts_left, ran.calls[0].priority,
    ) == ("a", QUEUE, "WORK", 1, 4, 5)  # fmt: skip
    assert (again.accepted, again.duplicates) == (0, 1)


async def _idle(redis: Redis) -> bool:
    return not await redis.zcard(QueueKeys(QUEUE).incomplete)


async def test_an_outage_charges_no_attempt(redis: Redis, producer: Producer) -> None:
    """A retryable error sends the job back with a delay; however often, it is still the first attempt."""
    ran = Ran(*[UpstreamUnavailable(retry_after=0.01) for _ in range(3)])
    await producer.enqueue_batch(QUEUE, [row(retries=1)], 1)

    async with working(redis, {"WORK": ran}):
        await eventually(lambda: len(ran.calls) == 4, within=20)

    assert [call.attempt for call in ran.calls] == [1, 1, 1, 1]


async def test_a_failure_is_charged_until_the_job_is_dead(redis: Redis, producer: Producer) -> None:
    """After `retries` attempts the job is set aside, once, and the dead-letter function is told with its payload."""
    ran = Ran(*[ValueError("broken") for _ in range(9)])
    told: list[DeadJob] = []
    await producer.enqueue_batch(QUEUE, [row("a", retries=2)], 1)

    async with working(redis, {"WORK": ran}, dead_letter=_into(told)):
        await eventually(lambda: told, within=20)

    assert [call.attempt for call in ran.calls] == [1, 2]
    assert [(d.key, d.reason, d.payload) for d in told] == [("a", DeadReason.EXHAUSTED, {"outboxId": "a"})]
    assert "ValueError: broken" in told[0].detail
    assert await Inspector(redis).states(QUEUE, ["a"]) == {"a": JobState.DEAD}


def _into(told: list[DeadJob], fail_first: int = 0) -> Any:
    left = [fail_first]

    async def dead_letter(job: DeadJob) -> None:
        if left[0]:
            left[0] -= 1
            raise BrokerUnavailable
        told.append(job)

    return dead_letter


@pytest.mark.parametrize(
    ("function", "failure", "reason"),
    [
        ("WORK", PermanentError("no"), DeadReason.REFUSED),
        ("NOBODY", None, DeadReason.UNKNOWN_FUNCTION),
    ],
)
async def test_what_no_repeat_can_cure_is_set_aside_at_once(
    redis: Redis, producer: Producer, function: str, failure: Exception | None, reason: DeadReason
) -> None:
    """A permanent error or an unknown function uses no further attempt; a deaf dead-letter function is told again."""
    ran = Ran(*([failure] if failure else []))
    told: list[DeadJob] = []
    await producer.enqueue_batch(QUEUE, [row("a", function=function), row("b")], 1)

    async with working(
        redis, {"WORK": ran}, dead_letter=_into(told, fail_first=1), concurrency=1
    ):  # "a" meets the failure
        await eventually(lambda: told, within=15)

    assert [("a", reason)] == [(dead.key, dead.reason) for dead in told]
    assert "b" in {call.key for call in ran.calls}
    assert await Inspector(redis).unreported(QUEUE, 10) == []


async def test_a_dead_job_can_be_replayed(redis: Redis, producer: Producer) -> None:
    """Replay puts the job back as it was, and it runs."""
    ran = Ran(PermanentError("no"))
    await producer.enqueue_batch(QUEUE, [row("a")], 1)

    async with working(redis, {"WORK": ran}):
        await eventually(lambda: Inspector(redis).dead_jobs(QUEUE))
        replayed = await Inspector(redis).replay(QUEUE, "a")
        await eventually(lambda: len(ran.calls) == 2)

    assert replayed
    assert await Inspector(redis).dead_jobs(QUEUE) == []


async def test_a_handler_that_takes_too_long_is_cancelled_and_charged(redis: Redis, producer: Producer) -> None:
    """`timeout` seconds after its start the handler is cancelled; that is one attempt."""
    attempts: list[int] = []

    async def slow_once(_: dict[str, Any], job: JobContext) -> None:
        attempts.append(job.attempt)
        if job.attempt == 1:
            await asyncio.Event().wait()

    await producer.enqueue_batch(QUEUE, [row(timeout=0.2)], 1)

    async with working(redis, {"WORK": slow_once}):
        await eventually(lambda: len(attempts) == 2, within=20)

    assert attempts == [1, 2]


async def test_the_drain_waits_for_running_jobs_and_takes_no_new_one(redis: Redis, producer: Producer) -> None:
    """After `stopping`, what runs may end; what waits stays."""
    started, go = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def wait(_: dict[str, Any], job: JobContext) -> None:
        started.set()
        await go.wait()
        done.append(job.key)

    await producer.enqueue_batch(QUEUE, [row("a"), row("b")], 1)
    async with working(redis, {"WORK": wait}, concurrency=1):
        await started.wait()
        asyncio.get_running_loop().call_later(0.2, go.set)

    assert done == ["a"]
    assert await Inspector(redis).depths([QUEUE]) == {QUEUE: 1}


async def test_a_job_cut_off_by_the_drain_goes_back_to_the_head_uncharged(redis: Redis, producer: Producer) -> None:
    """At the drain's deadline the job is cancelled and is the next to be taken, as its first attempt."""
    started = asyncio.Event()

    async def forever(_: dict[str, Any], job: JobContext) -> None:
        started.set()
        await asyncio.Event().wait()

    await producer.enqueue_batch(QUEUE, [row("a"), row("b")], 1)
    async with working(redis, {"WORK": forever}, concurrency=1, drain_seconds=0.2):
        await started.wait()
    ran = Ran()
    async with working(redis, {"WORK": ran}, concurrency=1):
        await eventually(lambda: len(ran.calls) == 2)

    assert [(call.key, call.attempt) for call in ran.calls] == [("a", 1), ("b", 1)]


async def test_never_more_jobs_at_once_than_allowed(redis: Redis, producer: Producer) -> None:
    """Concurrency bounds the jobs of all queues together."""
    queues = [QUEUE, "course-generation:analysis"]
    now, most, done = 0, 0, 0

    async def count(_: dict[str, Any], __: JobContext) -> None:
        nonlocal now, most, done
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        done += 1

    for queue in queues:
        await producer.enqueue_batch(queue, [row(queue=queue) for _ in range(20)], 1)
    async with working(redis, {"WORK": count}, queues=queues, concurrency=3):
        await eventually(lambda: done == 40)

    assert most == 3


async def test_a_job_taken_without_the_workers_knowledge_goes_back(redis: Redis, producer: Producer) -> None:
    """When the answer to `take` is lost, the jobs it named are put back, though their worker lives."""
    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    queue = CourseQueue(redis, QUEUE, worker_id="w")
    await queue.take(1)
    queue._claims.clear()  # as if the answer had never arrived

    back = await queue.reclaim()

    assert [QueueKeys(QUEUE).job_id("a")] == back
    assert [taken.job.key for taken in await queue.take(1) if taken.job] == ["a"]


@pytest.mark.parametrize("key", ["wake", "active", "owners", "workers"])
async def test_a_damaged_key_stops_neither_the_worker_nor_its_other_queues(
    redis: Redis, producer: Producer, key: str
) -> None:
    """One of the queue's keys is of the wrong type: the worker lives, and serves this queue, too, once it is repaired."""
    ran, other = Ran(), "course-generation:analysis"
    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    await redis.delete(f"saq:{QUEUE}:{key}")
    await redis.set(f"saq:{QUEUE}:{key}", "not what it should be")
    async with working(redis, {"WORK": ran}, queues=[QUEUE, other]):
        await producer.enqueue_batch(other, [row("b", queue=other)], 1)
        await eventually(lambda: "b" in {call.key for call in ran.calls})
        await redis.delete(f"saq:{QUEUE}:{key}")
        await eventually(lambda: "a" in {call.key for call in ran.calls}, within=25)
        await eventually(lambda: _idle(redis))

    assert sorted(call.key for call in ran.calls) == ["a", "b"]


async def test_nothing_is_taken_or_reported_while_the_guard_refuses(redis: Redis, producer: Producer) -> None:
    """Redis may be somebody else's by now: asked before the first job and what is done for others, and after each refusal."""
    done: list[str] = []
    told: list[DeadJob] = []
    refuses = asyncio.Event()
    refuses.set()
    asked = 0

    async def guard() -> None:
        nonlocal asked
        asked += 1
        if refuses.is_set():
            raise BrokerUnavailable

    async def work(_payload: dict[str, Any], job: JobContext) -> None:
        done.append(job.key)

    await _set_aside(redis, producer, "dead")
    await producer.enqueue_batch(QUEUE, [row("one")], 1)
    async with working(redis, {"WORK": work}, guard=guard, dead_letter=_into(told), worker_id="second"):
        await eventually(lambda: asked >= 8)  # three side duties at once, and more than one look for jobs
        assert (done, told) == ([], [])
        refuses.clear()
        await eventually(lambda: done == ["one"] and [each.key for each in told] == ["dead"])


async def test_a_guard_that_does_not_answer_costs_no_lease(redis: Redis, producer: Producer) -> None:
    """It asks Redis and PostgreSQL, which may be slow: meanwhile the worker of a job that runs lives, and nobody repeats it."""
    begun, answers, ends = asyncio.Event(), asyncio.Event(), asyncio.Event()
    answers.set()
    lease = QueueKeys(QUEUE).lease("second")

    async def guard() -> None:
        await answers.wait()

    async def work(_payload: dict[str, Any], _job: JobContext) -> None:
        begun.set()
        await ends.wait()

    async def renewed() -> bool:
        return 0 < await redis.ttl(lease) <= LEASE_SECONDS

    await producer.enqueue_batch(QUEUE, [row("one")], 1)
    async with working(redis, {"WORK": work}, guard=guard, worker_id="second"):
        await asyncio.wait_for(begun.wait(), 10)
        answers.clear()
        try:
            for _ in range(2):  # the first may have been on its way
                await redis.expire(lease, 10 * LEASE_SECONDS)
                await eventually(renewed)
        finally:
            answers.set()
            ends.set()
        await eventually(lambda: _idle(redis))


async def _set_aside(redis: Redis, producer: Producer, key: str) -> None:
    """A job that another worker has put beside the queue, of which nobody was told yet."""
    await producer.enqueue_batch(QUEUE, [row(key)], 1)
    queue = CourseQueue(redis, QUEUE, worker_id="first")
    (taken,) = await queue.take(1)
    assert await queue.set_aside(taken.id, DeadReason.REFUSED, "no")
    await queue.resign()
