"""Jobs of dead workers run again soon; jobs that kill workers, and values that are no jobs, stop nobody."""

from __future__ import annotations

import asyncio
import os
import resource
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from saq.job import Status
from saq.queue.redis import RedisQueue

from services.kernel.queue import CourseQueue, DeadReason, Inspector, JobState, Producer
from services.kernel.queue.course_queue import LEASE_SECONDS
from services.kernel.queue.keys import QueueKeys
from services.kernel.redis_connection import open_redis
from services.kernel.settings import Secret
from tests.integration.queue.conftest import QUEUE, body, row, working
from tests.integration.queue.test_worker import Ran
from tests.support.servers import PrivateRedis
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = QueueKeys(QUEUE)


async def _orphan(redis: Redis, producer: Producer, number: int, **fields: Any) -> list[str]:
    """Jobs that a worker took before it died; its lease has run out."""
    names = [f"job-{i:03}" for i in range(number)]
    await producer.enqueue_batch(QUEUE, [row(name, **fields) for name in names], 1)
    dead = CourseQueue(redis, QUEUE)
    assert len(await dead.take(number)) == number
    await redis.delete(KEYS.lease(dead.worker_id))
    return names


@pytest.mark.parametrize("number", [1, 100])
async def test_orphans_come_back_in_one_pass(redis: Redis, producer: Producer, number: int) -> None:
    """One sweep puts all of them at the head of their lists, in their old order, however many there are (M2)."""
    names = await _orphan(redis, producer, number, priority=5)
    await producer.enqueue_batch(QUEUE, [row("later", priority=5)], 1)
    queue = CourseQueue(redis, QUEUE)

    swept = await queue.rescue()

    assert swept is not None
    assert sorted(swept.put_back) == sorted(KEYS.job_id(name) for name in names)
    assert [taken.job.key for taken in await queue.take(200) if taken.job] == [*names, "later"]


async def test_a_living_workers_jobs_are_not_touched(redis: Redis, producer: Producer) -> None:
    """A job just taken is never swept, marked active or not (M7)."""
    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    await CourseQueue(redis, QUEUE).take(1)

    swept = await CourseQueue(redis, QUEUE).rescue()

    assert swept is not None
    assert (swept.put_back, swept.set_aside, swept.dropped) == ([], [], [])


async def test_a_plain_saqs_sweep_finds_nothing_to_do(redis: Redis, producer: Producer) -> None:
    """Its sweep would abort a job that is taken but not yet marked active, or past its heartbeat (M3, M7)."""
    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    queue = CourseQueue(redis, QUEUE)
    await queue.take(1)
    await queue.rescue()

    assert await RedisQueue(redis, name=QUEUE).sweep() == []
    assert await Inspector(redis).states(QUEUE, ["a"]) == {"a": JobState.ALIVE}


async def test_work_of_a_killed_worker_runs_again_within_thirty_seconds(redis: Redis, producer: Producer) -> None:
    """From its last sign of life: the lease runs out after 10 s, a sweep follows within 3 s (R2)."""
    await producer.enqueue_batch(QUEUE, [row(str(i)) for i in range(5)], 1)
    await CourseQueue(redis, QUEUE).take(5)
    ran = Ran()

    async with working(redis, {"WORK": ran}, concurrency=5):
        await eventually(lambda: len(ran.calls) == 5, within=LEASE_SECONDS + 5)

    assert {call.attempt for call in ran.calls} == {1}


async def test_a_job_that_kills_its_workers_is_set_aside_after_three(redis: Redis, producer: Producer) -> None:
    """Two deaths put it back, the third sets it aside with its reason; it is reported; its neighbours go on (R10)."""
    await producer.enqueue_batch(QUEUE, [row("killer"), row("neighbour")], 1)
    found = []
    for _ in range(3):
        dead = CourseQueue(redis, QUEUE)
        await dead.take(1)
        await redis.delete(KEYS.lease(dead.worker_id), f"{KEYS.prefix}:rescue")
        swept = await CourseQueue(redis, QUEUE).rescue()
        assert swept is not None
        found.append((swept.put_back, swept.set_aside))
    told: list[Any] = []

    async def dead_letter(job: Any) -> None:
        told.append(job)

    ran = Ran()
    async with working(redis, {"WORK": ran}, dead_letter=dead_letter):
        await eventually(lambda: told and ran.calls)

    killer = KEYS.job_id("killer")
    assert found == [([killer], []), ([killer], []), ([], [killer])]
    assert [(job.key, job.reason) for job in told] == [("killer", DeadReason.CRASHED)]
    assert [call.key for call in ran.calls] == ["neighbour"]


async def test_a_worker_that_lost_its_job_cannot_end_it(redis: Redis, producer: Producer) -> None:
    """After a sweep has given the job to another, the first one's finish, retry and touch change nothing."""
    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    slow, quick = CourseQueue(redis, QUEUE), CourseQueue(redis, QUEUE)
    (mine,) = await slow.take(1)
    await redis.delete(KEYS.lease(slow.worker_id))
    await quick.rescue()
    await quick.take(1)
    assert mine.job is not None

    await slow.touch(mine.job)
    await slow.finish(mine.job, Status.COMPLETE)
    given_back = await slow.give_back(mine.job)

    assert not given_back
    assert await Inspector(redis).states(QUEUE, ["a"]) == {"a": JobState.ALIVE}
    assert await redis.lrange(KEYS.active, 0, -1) == [KEYS.job_id("a").encode()]


POISON: dict[str, bytes] = {
    "bad json": b"{not json",
    "wrong utf-8": b'{"function":"\xff\xfe"}',
    "not an object": b"[1,2,3]",
    "empty": b"",
    "unknown field": body("k", surprise=1).encode(),
    "wrong type": body("k", retries="many").encode(),
    "no payload": body("k", kwargs={}).encode(),
    "wrong queue": body("k", queue="somewhere-else").encode(),
    "wrong key": body("other").encode(),
    "deeply nested": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "not a number": body("k").encode().replace(b'"timeout":600', b'"timeout":NaN'),
}


@pytest.mark.parametrize("kind", POISON)
async def test_a_value_that_is_no_job_is_set_aside_with_its_reason(redis: Redis, producer: Producer, kind: str) -> None:
    """The worker goes on to the next job; the value is kept byte for byte where a person can see it."""
    await producer.enqueue_batch(QUEUE, [row("k", priority=10), row("good")], 1)
    await redis.set(KEYS.job_id("k"), POISON[kind])
    ran = Ran()

    async with working(redis, {"WORK": ran}):
        await eventually(lambda: ran.calls)
        (dead,) = await eventually(lambda: Inspector(redis).dead_jobs(QUEUE))

    assert [call.key for call in ran.calls] == ["good"]
    assert (dead.key, dead.body) == ("k", POISON[kind])
    assert dead.detail
    assert await Inspector(redis).states(QUEUE, ["k"]) == {"k": JobState.DEAD}


async def test_values_of_wrong_type_or_from_nowhere_do_not_stop_the_worker(redis: Redis, producer: Producer) -> None:
    """A body that is a list, an id of another queue, bytes that are no id, an id without a body."""
    await redis.rpush(KEYS.waiting(10), KEYS.job_id("list"), "saq:job:elsewhere:k", b"\xff\x00", KEYS.job_id("gone"))
    await redis.rpush(KEYS.job_id("list"), "x")
    await redis.set("saq:job:elsewhere:k", body("k", queue="elsewhere"))
    await producer.enqueue_batch(QUEUE, [row("good")], 1)
    ran = Ran()

    async with working(redis, {"WORK": ran}, concurrency=1):
        await eventually(lambda: ran.calls)
        await eventually(lambda: _count_dead(redis, 3))
        await eventually(lambda: _is_empty(redis, KEYS.active))

    assert await redis.exists("saq:job:elsewhere:k") == 1


async def _count_dead(redis: Redis, number: int) -> bool:
    return len(await Inspector(redis).dead_jobs(QUEUE)) == number


async def _is_empty(redis: Redis, name: str) -> bool:
    return await redis.llen(name) == 0


async def test_one_unreadable_orphan_does_not_keep_the_others_from_their_rescue(
    redis: Redis, producer: Producer
) -> None:
    """Unlike saq's sweep, which raises at the first such value and rescues nobody (M4)."""
    names = await _orphan(redis, producer, 3)
    await redis.set(KEYS.job_id(names[1]), b"\xff")
    await redis.lpush(KEYS.active, b"\xfe garbage")
    ran = Ran()

    async with working(redis, {"WORK": ran}):
        await eventually(lambda: len(ran.calls) == 2, within=10)

    assert {call.key for call in ran.calls} == {names[0], names[2]}


async def test_a_list_of_the_wrong_type_blocks_only_its_own_queue(redis: Redis, producer: Producer) -> None:
    """The other queues of the same worker are served."""
    await producer.enqueue_batch(QUEUE, [row("stuck")], 1)
    await redis.set(KEYS.active, "not a list")
    await producer.enqueue_batch("other", [row("free", queue="other")], 1)
    ran = Ran()

    async with working(redis, {"WORK": ran}, queues=[QUEUE, "other"]):
        await eventually(lambda: ran.calls)
        await redis.delete(KEYS.active)
        await eventually(lambda: len(ran.calls) == 2)

    assert {call.key for call in ran.calls} == {"free", "stuck"}


async def test_a_worker_without_redis_waits_quietly_and_goes_on(private_redis: PrivateRedis) -> None:
    """No spinning while Redis is away (R6: 0.1 core; M5: saq takes 0.44), and jobs run soon after its return."""
    client = open_redis(Secret(private_redis.url()), name="test")
    ran = Ran()
    async with working(client, {"WORK": ran}, concurrency=10, queues=[QUEUE, "a", "b"]):
        private_redis.stop()
        await asyncio.sleep(1)
        before = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.sleep(4)
        after = resource.getrusage(resource.RUSAGE_SELF)
        private_redis.start()
        producer = Producer(client)
        await eventually(lambda: _put(producer), within=5)
        await eventually(lambda: ran.calls, within=5)
    await client.aclose()

    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used / 4 < 0.1


async def _put(producer: Producer) -> bool:
    from services.kernel.errors import BrokerUnavailable

    try:
        await producer.enqueue_batch(QUEUE, [row(str(uuid4()))], 1)
    except BrokerUnavailable:
        return False
    return True


async def test_a_job_finished_while_redis_is_away_is_finished_when_it_is_back(private_redis: PrivateRedis) -> None:
    """The end of a job is told to Redis as soon as Redis listens; a pause of the server is not an end."""
    client = open_redis(Secret(private_redis.url()), name="test", socket_timeout=1.0)
    started, go = asyncio.Event(), asyncio.Event()

    async def wait(_: Any, __: Any) -> None:
        started.set()
        await go.wait()

    await Producer(client).enqueue_batch(QUEUE, [row("a")], 1)
    async with working(client, {"WORK": wait}):
        await started.wait()
        private_redis.pause()
        go.set()
        await asyncio.sleep(1.5)
        private_redis.resume()
        await eventually(lambda: _none_incomplete(client), within=10)
    await client.aclose()


async def _none_incomplete(client: Redis) -> bool:
    return not await client.zcard(KEYS.incomplete)


def test_worker_ids_are_new_for_each_process() -> None:
    """Two workers of one process are two workers; the id says nothing about the host."""
    from unittest.mock import Mock

    first, second = CourseQueue(Mock(), "q"), CourseQueue(Mock(), "q")

    assert first.worker_id != second.worker_id
    assert str(os.getpid()) not in {first.worker_id, second.worker_id}
