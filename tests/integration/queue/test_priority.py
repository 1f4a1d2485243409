"""The order of starts: the most urgent job first, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from services.kernel.queue import PIPELINE_QUEUES, JobContext, Producer, QueuedRow
from tests.integration.queue.conftest import row, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

FREE, BASIC, STANDARD, PREMIUM = 1, 3, 5, 10


class Starts:
    """A handler that remembers the order of starts and lets one job end at a time."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.go = asyncio.Semaphore(0)

    async def __call__(self, _: dict[str, Any], job: JobContext) -> None:
        """Start, and wait to be let go."""
        self.order.append(job.key)
        await self.go.acquire()


def _rows(queue: str, name: str, priority: int, count: int) -> list[QueuedRow]:
    return [row(f"{name}-{n}", priority=priority, queue=queue) for n in range(count)]


@pytest.mark.parametrize("queue", PIPELINE_QUEUES)
async def test_premium_is_the_next_to_start_before_a_hundred_free_jobs(
    redis: Redis, producer: Producer, queue: str
) -> None:
    """One slot, and it is busy; a hundred FREE jobs wait, then comes a PREMIUM one: when the slot is free, it is the next."""
    starts = Starts()
    await producer.enqueue_batch(queue, _rows(queue, "free", FREE, 101), 1)
    async with working(redis, {"WORK": starts}, queues=[queue], concurrency=1, drain_seconds=0.5):
        for n in range(5):
            await eventually(lambda n=n: len(starts.order) == n + 1)
            starts.go.release()
        await eventually(lambda: len(starts.order) == 6)
        await producer.enqueue_batch(queue, _rows(queue, "premium", PREMIUM, 1), 1)
        starts.go.release()
        await eventually(lambda: len(starts.order) == 7)

    assert starts.order == [*(f"free-{n}" for n in range(6)), "premium-0"]


async def test_tiers_start_in_their_order(redis: Redis, producer: Producer) -> None:
    """Whatever came first; within a tier who came first (TRAP12)."""
    starts = Starts()
    queue = PIPELINE_QUEUES[0]
    for name, priority in (("free", FREE), ("standard", STANDARD), ("premium", PREMIUM), ("basic", BASIC)):
        await producer.enqueue_batch(queue, _rows(queue, name, priority, 2), 1)
    async with working(redis, {"WORK": starts}, queues=[queue], concurrency=1):
        for n in range(8):
            await eventually(lambda n=n: len(starts.order) == n + 1)
            starts.go.release()

    assert starts.order == [f"{name}-{n}" for name in ("premium", "standard", "basic", "free") for n in (0, 1)]


async def test_free_advances_under_an_endless_stream_of_premium(redis: Redis, producer: Producer) -> None:
    """Each PREMIUM job brings the next two, so that there are always some waiting; a FREE job starts at least every 11th time."""
    queue, order = PIPELINE_QUEUES[2], list[str]()

    async def work(_: dict[str, Any], job: JobContext) -> None:
        order.append(job.key)
        if job.priority == PREMIUM:
            await producer.enqueue_batch(queue, _rows(queue, f"{job.key[:7]}-{len(order)}", PREMIUM, 2), 1)

    await producer.enqueue_batch(queue, _rows(queue, "free", FREE, 10), 1)
    await producer.enqueue_batch(queue, _rows(queue, "premium", PREMIUM, 2), 1)
    async with working(redis, {"WORK": work}, queues=[queue], concurrency=1):
        await eventually(lambda: "free-9" in order, within=60)
    starts = [at for at, key in enumerate(order) if key.startswith("free")]

    assert [order[at] for at in starts] == [f"free-{n}" for n in range(10)]
    assert starts == list(range(10, 111, 11))[:10]
