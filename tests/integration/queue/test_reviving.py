"""Lost jobs are put back by the hundred: none is ever in the lists twice, none is left out, and a long queue costs no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.kernel.errors import StaleLeader
from services.kernel.queue import DeadReason, Inspector, JobState, Producer
from services.kernel.queue.course_queue import CourseQueue
from services.kernel.queue.keys import QueueKeys
from tests.integration.queue.conftest import QUEUE, row

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = QueueKeys(QUEUE)
CROWD = 6000
"""More jobs than the scripts look through when nothing makes them."""


async def places(redis: Any) -> list[str]:
    """The keys in all lists, the taken ones included; one that is there twice stands here twice."""
    found: list[str] = []
    for name in (*KEYS.lists, KEYS.active):
        found += [KEYS.job_key(each.decode()) for each in await redis.lrange(name, 0, -1)]
    return sorted(found)


@pytest.fixture(params=[0, CROWD], ids=["short", "long"])
async def crowd(request: pytest.FixtureRequest, producer: Producer) -> list[str]:
    """Jobs that wait and that nobody has lost."""
    rows = [row(f"crowd-{number:05}") for number in range(request.param)]
    await producer.enqueue_batch(QUEUE, rows, 1)
    return [each.key for each in rows]


async def test_only_what_is_lost_is_put_back(redis: Any, producer: Producer, crowd: list[str]) -> None:
    """Waiting, taken and scheduled jobs are left alone, also when one call names a job twice."""
    there = [row("waiting", priority=0), row("taken", priority=10), row("later", priority=10)]
    await producer.enqueue_batch(QUEUE, there, 1)
    queue = CourseQueue(redis, QUEUE)
    await queue.take(2)
    await redis.lrem(KEYS.active, 0, KEYS.job_id("later"))
    await redis.zadd(KEYS.incomplete, {KEYS.job_id("later"): 9e9})
    lost = [row(f"lost-{number:04}", priority=number % 11) for number in range(1200)]

    assert await producer.revive(QUEUE, [*there, *lost, lost[-1]], 1) == [each.key for each in lost]
    assert await producer.revive(QUEUE, lost, 1) == []
    assert await places(redis) == sorted([*crowd, "waiting", "taken", *(each.key for each in lost)])
    assert set((await Inspector(redis).states(QUEUE, [each.key for each in lost])).values()) == {JobState.ALIVE}
    assert await redis.get(KEYS.job_id("lost-0007")) == str(lost[7].body).encode()


@pytest.mark.parametrize("gone", ["body", "score", "body and score", "list"])
async def test_a_job_half_lost_is_whole_again_and_in_one_place(
    redis: Redis, producer: Producer, crowd: list[str], gone: str
) -> None:
    """Redis may lose a key and keep another: what is still in a list is not put there twice, what is in none comes back."""
    rows = [row(f"half-{number}", priority=5) for number in range(20)]
    await producer.enqueue_batch(QUEUE, rows, 1)
    if "body" in gone:
        await redis.delete(*(KEYS.job_id(each.key) for each in rows))
    if "score" in gone:
        await redis.delete(KEYS.incomplete)
    if gone == "list":
        await redis.delete(KEYS.waiting(5))

    revived = await producer.revive(QUEUE, rows, 1)

    assert len(revived) == (20 if gone == "list" else 0)
    assert await places(redis) == sorted([*crowd, *(each.key for each in rows)])


async def test_a_job_set_aside_is_pardoned(redis: Redis, producer: Producer) -> None:
    """Nothing says any more that it was dead; others that are stay so."""
    await producer.enqueue_batch(QUEUE, [row("a"), row("b")], 1)
    queue = CourseQueue(redis, QUEUE)
    for taken in await queue.take(2):
        await queue.set_aside(taken.id, DeadReason.REFUSED, "no")

    assert set(await Inspector(redis).dead_among(QUEUE, ["a", "b", "c"])) == {"a", "b"}
    assert await producer.revive(QUEUE, [row("a"), row("c")], 1) == ["a", "c"]
    assert set(await Inspector(redis).dead_among(QUEUE, ["a", "b", "c"])) == {"b"}
    assert [dead.key for dead in await Inspector(redis).unreported(QUEUE, 10)] in ([], ["b"])


async def test_nothing_is_put_back_for_a_leader_that_was_replaced(redis: Redis, producer: Producer) -> None:
    """A higher epoch has been here."""
    await producer.enqueue_batch(QUEUE, [row("a")], 2)

    with pytest.raises(StaleLeader):
        await producer.revive(QUEUE, [row("b")], 1)

    assert await places(redis) == ["a"]


async def test_a_long_queue_is_not_read_for_every_job(redis: Redis, producer: Producer) -> None:
    """An emptied Redis gets its backlog back in time that grows with the jobs, not with their square."""
    rows: list[Any] = [row(f"lost-{number:05}") for number in range(20_000)]
    await redis.config_resetstat()

    assert len(await producer.revive(QUEUE, rows, 1)) == len(rows)

    calls = (await redis.info("commandstats")).items()
    read = sum(int(stats["calls"]) for name, stats in calls if name in {"cmdstat_lpos", "cmdstat_lrange"})
    assert read <= 100
    assert len(set(await places(redis))) == len(await places(redis)) == len(rows)
