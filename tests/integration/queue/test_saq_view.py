"""saq's own page shows our queues as they are."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from services.kernel.queue import Inspector, JobContext, Producer
from services.kernel.queue.keys import QueueKeys
from services.kernel.queue.saq_view import SaqPage, SaqView
from tests.integration.queue.conftest import QUEUE, row, working
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = QueueKeys(QUEUE)


async def test_its_counts_are_the_sums_of_our_lists(redis: Redis, producer: Producer) -> None:
    """Waiting jobs of all priorities, the running one, and the worker with its figures."""
    go, course = asyncio.Event(), str(uuid4())

    async def hold(_: dict[str, Any], __: JobContext) -> None:
        await go.wait()

    payload = {"courseId": course, "runNumber": 2}
    await producer.enqueue_batch(QUEUE, [row("running", priority=10, payload=payload)], 1)
    async with working(redis, {"WORK": hold}, concurrency=1, worker_id="w1"):
        await eventually(lambda: _runs(redis))
        await producer.enqueue_batch(QUEUE, [row(f"p{n}", priority=n) for n in (1, 3, 5, 5)], 1)
        view = SaqView(redis, QUEUE)
        page = await SaqPage(redis).queue(QUEUE)
        counts = [await view.count(kind) for kind in ("queued", "active", "incomplete")]
        every = await SaqPage(redis).queues()
        one = await SaqPage(redis).job(QUEUE, "p3")
        go.set()
    assert page is not None
    queue = page["queue"]

    assert (queue["queued"], queue["active"], queue["scheduled"]) == (3, 1, 0)  # two rows of one key are one job
    assert counts == [3, 1, 4]
    assert [job["key"] for job in queue["jobs"]] == ["running", "p5", "p3", "p1"]
    assert [job["status"] for job in queue["jobs"]] == ["active", "queued", "queued", "queued"]
    assert f"courseId={course} runNumber=2 priority=10" in queue["jobs"][0]["kwargs"]
    assert queue["jobs"][0]["started"] > 1_700_000_000_000
    assert list(queue["workers"]) == ["w1"]
    assert queue["workers"]["w1"]["stats"].keys() >= {"complete", "failed", "retried", "uptime"}
    assert [each["queued"] for each in every["queues"] if each["name"] == QUEUE] == [3]
    assert one is not None
    assert (one["job"]["key"], one["job"]["function"], one["job"]["queue"]) == ("p3", "WORK", QUEUE)
    json.dumps([page, every, one])


async def _runs(redis: Redis) -> bool:
    (seen,) = await Inspector(redis).overview([QUEUE])
    return seen.running == 1 and bool(await redis.exists(f"saq:{QUEUE}:worker_info:w1"))


async def test_what_is_not_there_is_none(redis: Redis) -> None:
    """An unknown queue or job, a job that cannot be read, a key of another type."""
    await redis.set(KEYS.job_id("noise"), b"\xff")
    await redis.set(KEYS.job_id("list"), b"[]")
    await redis.set(KEYS.job_id("poor"), b'{"queue": "%b", "surprise": 1}' % QUEUE.encode())
    await redis.hset(KEYS.job_id("hash"), "a", "b")
    page = SaqPage(redis)

    assert await page.queue("nobody") is None
    assert [await page.job(QUEUE, key) for key in ("gone", "noise", "list", "poor", "hash")] == [None] * 5


@pytest.mark.parametrize("name", ["workers", "worker_info:w1"])
async def test_a_damaged_key_does_not_hide_the_queue(redis: Redis, producer: Producer, name: str) -> None:
    """Nor does a worker that says nothing of itself."""
    await producer.enqueue_batch(QUEUE, [row("a")], 1)
    await redis.zadd(KEYS.workers, {"w1": 1e12})
    await redis.delete(f"{KEYS.prefix}:{name}")
    await redis.set(f"{KEYS.prefix}:{name}", "damaged")

    page = await SaqPage(redis).queue(QUEUE)

    assert page is not None
    assert page["queue"]["queued"] == 1
    assert all(worker == {"stats": {}} for worker in page["queue"]["workers"].values())


def test_its_files_are_there(redis: Redis) -> None:
    """The document names its files below the mount point; each is there, some only compressed."""
    html = SaqPage(redis).html("/admin/saq")

    for name in ("pico.min.css", "snabbdom.js", "app.js"):
        assert f"/admin/saq/static/{name}" in html
        assert (SaqPage.static / name).exists() or (SaqPage.static / f"{name}.gz").exists()
