"""A worker whose every slot has long work to do is alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from services.kernel.queue import JobContext, Producer, worker
from tests.integration.queue.conftest import QUEUE, row, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_busy_worker_beats(redis: Redis, producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop comes round while it waits for a free slot: else the probe would kill a generation of ten minutes."""
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.05)
    running, release = asyncio.Event(), asyncio.Event()
    beats: list[bool] = []

    async def long_work(_: dict[str, Any], __: JobContext) -> None:
        running.set()
        await release.wait()

    await producer.enqueue_batch(QUEUE, [row()], 1)
    async with working(redis, {"WORK": long_work}, concurrency=1, beat=lambda: beats.append(running.is_set())):
        await asyncio.wait_for(running.wait(), 10)
        await eventually(lambda: sum(beats) >= 5)
        release.set()

    assert sum(beats) >= 5
