"""Jobs enter a queue in saq's own layout, each at most once, and in priority order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from saq import Job, Status
from saq import Worker as SaqWorker
from saq.queue.redis import RedisQueue

from services.kernel.queue import CourseQueue, DeadReason, Inspector, JobState, Producer
from services.kernel.queue.keys import QueueKeys, clamp_priority
from tests.integration.queue.conftest import QUEUE, row, working
from tests.integration.queue.test_worker import Ran
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = QueueKeys(QUEUE)


async def test_the_layout_is_the_one_of_the_pinned_saq(redis: Redis, producer: Producer) -> None:
    """What saq itself writes for the same job: the same keys (our priority list apart), the same body, field by field."""
    plain = RedisQueue(redis, name="plain")
    job = Job("WORK", kwargs={"payload": {"a": 1}}, key="k", timeout=600, heartbeat=20, retries=5, ttl=3600, priority=3)
    await plain.enqueue(job)
    by_saq = await _contents(redis, "plain")
    await redis.flushdb()
    body = orjson.dumps(orjson.loads(by_saq["saq:job:plain:k"])).decode()

    await producer.enqueue_batch("plain", [row("k", queue="plain", priority=3)._replace(body=body)], None)
    by_us = await _contents(redis, "plain")

    assert orjson.loads(by_us["saq:job:plain:k"]) == orjson.loads(by_saq["saq:job:plain:k"])
    assert by_us["saq:plain:incomplete"] == by_saq["saq:plain:incomplete"]
    assert by_us["saq:plain:queued:3"] == by_saq["saq:plain:queued"]
    assert set(by_us) - set(by_saq) == {"saq:plain:queued:3", "saq:plain:wake"}


async def _contents(redis: Redis, queue: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in [f"saq:job:{queue}:k", *[k.decode() async for k in redis.scan_iter(f"saq:{queue}:*")]]:
        kind = await redis.type(key)
        if kind == b"string":
            found[key] = await redis.get(key)
        elif kind == b"list":
            found[key] = await redis.lrange(key, 0, -1)
        elif kind == b"zset":
            found[key] = await redis.zrange(key, 0, -1, withscores=True)
    return found


async def test_saq_reads_the_body_that_the_outbox_writes(redis: Redis, producer: Producer) -> None:
    """Every field arrives in saq's Job: no retry or timeout falls back to saq's defaults, which lose work."""
    await producer.enqueue_batch(QUEUE, [row("k", priority=5)], 1)

    job = await RedisQueue(redis, name=QUEUE).job("k")

    assert job is not None
    assert (job.function, job.key, job.timeout, job.heartbeat, job.retries, job.ttl, job.priority, job.status) == (
        "WORK", "k", 600, 20, 5, 3600, 5, Status.QUEUED,
    )  # fmt: skip


async def test_jobs_of_a_plain_saq_producer_run_too(redis: Redis) -> None:
    """Its list is served after ours, and needs no wake-up of ours."""
    ran = Ran()
    async with working(redis, {"WORK": ran}):
        await RedisQueue(redis, name=QUEUE).enqueue("WORK", key="k", payload={"x": 1})
        await eventually(lambda: ran.calls)

    assert ran.payloads == [{"x": 1}]


async def test_a_stock_saq_worker_can_run_on_our_queue(redis: Redis, producer: Producer) -> None:
    """CourseQueue keeps saq's interface: priorities, ends and counts hold for saq's own Worker."""
    order: list[str] = []

    async def work(_: Any, *, payload: dict[str, Any]) -> None:
        order.append(payload["outboxId"])

    await producer.enqueue_batch(QUEUE, [row("low", priority=1), row("high", priority=10)], 1)
    queue = CourseQueue(redis, QUEUE)
    assert await queue.count("queued") == 2
    worker: SaqWorker[Any] = SaqWorker(queue, [("WORK", work)], concurrency=1, burst=True, dequeue_timeout=1)
    worker.SIGNALS = []
    await worker.start()

    assert order == ["high", "low"]
    assert await queue.count("incomplete") == 0


@pytest.mark.parametrize("number", [1, 499, 500, 501, 1203])
async def test_batches_of_any_size_are_taken_whole(redis: Redis, producer: Producer, number: int) -> None:
    """Chunks of 500 make one answer; the depth is the sum of all lists."""
    rows = [row(str(i), priority=i % 12) for i in range(number)]

    outcome = await producer.enqueue_batch(QUEUE, rows, 1)

    assert (outcome.accepted, outcome.duplicates, outcome.depth) == (number, 0, number)
    assert await redis.zcard(KEYS.incomplete) == number
    assert await Inspector(redis).depths([QUEUE, "other"]) == {QUEUE: number, "other": 0}


async def test_a_key_that_redis_knows_is_never_a_second_job(redis: Redis, producer: Producer) -> None:
    """While it waits, runs or has just finished; new keys of the same batch go in all the same."""
    await producer.enqueue_batch(QUEUE, [row("waits"), row("runs", priority=10)], 1)
    queue = CourseQueue(redis, QUEUE)
    await queue.take(1)

    outcome = await producer.enqueue_batch(QUEUE, [row("new"), row("waits"), row("runs")], 1)

    assert (outcome.accepted, outcome.duplicates) == (1, 2)
    assert [taken.job.key for taken in await queue.take(9) if taken.job] == ["waits", "new"]


async def test_a_key_that_is_twice_in_one_batch_is_one_job(redis: Redis, producer: Producer) -> None:
    """The last body of the two is the one that counts."""
    outcome = await producer.enqueue_batch(QUEUE, [row("a"), row("b"), row("a")], 1)

    assert (outcome.accepted, outcome.depth) == (2, 2)


async def test_scripts_are_loaded_again_when_redis_has_forgotten_them(redis: Redis, producer: Producer) -> None:
    """A restarted or flushed Redis knows no script; nobody notices."""
    await producer.enqueue_batch(QUEUE, [row()], 1)
    await redis.script_flush()

    assert (await producer.enqueue_batch(QUEUE, [row()], 1)).accepted == 1
    await redis.script_flush()
    assert len(await CourseQueue(redis, QUEUE).take(5)) == 2


async def test_the_most_urgent_job_is_the_next_to_start(redis: Redis, producer: Producer) -> None:
    """One worker slot, 100 FREE jobs already in Redis: a PREMIUM job is the next one (design.md)."""
    queue = CourseQueue(redis, QUEUE)
    await producer.enqueue_batch(QUEUE, [row(f"free-{i}", priority=1) for i in range(100)], 1)
    for _ in range(3):
        await queue.take(1)
    await producer.enqueue_batch(QUEUE, [row("premium", priority=10)], 1)

    (taken,) = await queue.take(1)

    assert taken.job is not None
    assert taken.job.key == "premium"


async def test_nothing_starves_behind_urgent_jobs(redis: Redis, producer: Producer) -> None:
    """With PREMIUM and STANDARD jobs always waiting, FREE and BASIC jobs are each served once in about a dozen."""
    for name, priority in (("premium", 10), ("standard", 5), ("basic", 3), ("free", 1)):
        await producer.enqueue_batch(QUEUE, [row(f"{name}-{i}", priority=priority) for i in range(60)], 1)
    queue = CourseQueue(redis, QUEUE)

    served = [taken.job.key.split("-")[0] for _ in range(52) for taken in await queue.take(1) if taken.job]

    assert served[:10] == ["premium"] * 10
    assert set(served[10:13]) == {"free", "basic", "standard"}
    assert [served.count(name) for name in ("premium", "standard", "basic", "free")] == [40, 4, 4, 4]


async def test_ageing_counts_across_calls_that_take_many(redis: Redis, producer: Producer) -> None:
    """Taking five at a time serves in the same order as taking one at a time."""
    rows = [row(f"p{i}", priority=10) for i in range(30)] + [row(f"f{i}", priority=1) for i in range(5)]
    await producer.enqueue_batch("one", [each._replace(body=each.body.replace(QUEUE, "one")) for each in rows], 1)
    await producer.enqueue_batch("five", [each._replace(body=each.body.replace(QUEUE, "five")) for each in rows], 1)
    one, five = CourseQueue(redis, "one"), CourseQueue(redis, "five")

    singly = [t.job.key for _ in range(35) for t in await one.take(1) if t.job]
    in_fives = [t.job.key for _ in range(7) for t in await five.take(5) if t.job]

    assert singly == in_fives
    assert singly[10] == "f0"


@pytest.mark.parametrize(("priority", "served_as"), [(-3, 0), (0, 0), (7, 7), (10, 10), (99, 10)])
def test_priorities_outside_the_scale_count_as_its_ends(priority: int, served_as: int) -> None:
    """0 to 10; nothing is lost for having an odd number."""
    assert clamp_priority(priority) == served_as


async def test_states_tell_alive_dead_and_missing(redis: Redis, producer: Producer) -> None:
    """Waiting, running and delayed jobs are alive; finished, vanished and half-vanished ones are missing."""
    names = ["waits", "runs", "delayed", "finished", "dead", "listless"]
    queue = CourseQueue(redis, QUEUE)
    for name in reversed(names[1:]):
        await producer.enqueue_batch(QUEUE, [row(name)], 1)
    jobs = {taken.job.key: taken.job for taken in await queue.take(9) if taken.job}
    await queue.finish(jobs["finished"], Status.COMPLETE)
    await queue.give_back(jobs["delayed"], delay=60)
    await queue.set_aside(jobs["dead"].id, DeadReason.CRASHED, "x")
    await redis.lrem(KEYS.active, 0, KEYS.job_id("listless"))
    await producer.enqueue_batch(QUEUE, [row("waits")], 1)

    states = await Inspector(redis).states(QUEUE, [*names, "unknown"])

    assert states == {
        "waits": JobState.ALIVE, "runs": JobState.ALIVE, "delayed": JobState.ALIVE, "finished": JobState.FINISHED,
        "dead": JobState.DEAD, "listless": JobState.MISSING, "unknown": JobState.MISSING,
    }  # fmt: skip


async def test_a_delayed_job_comes_back_into_its_priority_list(redis: Redis, producer: Producer) -> None:
    """When its time has come it is served by its priority, before jobs that waited all along."""
    queue = CourseQueue(redis, QUEUE)
    await producer.enqueue_batch(QUEUE, [row("urgent", priority=10)], 1)
    (taken,) = await queue.take(1)
    assert taken.job is not None
    await queue.give_back(taken.job, delay=0.05)
    await producer.enqueue_batch(QUEUE, [row("patient", priority=1)], 1)
    assert await queue.promote() == 0
    await eventually(queue.promote)

    assert [each.job.key for each in await queue.take(2) if each.job] == ["urgent", "patient"]


async def test_discard_forgets_a_deleted_courses_jobs_but_not_running_ones(redis: Redis, producer: Producer) -> None:
    """Waiting, delayed and finished jobs leave every key; a running one is left to its worker."""
    queue = CourseQueue(redis, QUEUE)
    await producer.enqueue_batch(QUEUE, [row("runs", priority=10), row("waits"), row("stays")], 1)
    await queue.take(1)

    assert await Inspector(redis).discard(QUEUE, ["runs", "waits", "unknown"]) == 1
    assert await redis.exists(KEYS.job_id("runs")) == 1
    assert [taken.job.key for taken in await queue.take(5) if taken.job] == ["stays"]
