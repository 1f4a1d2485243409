"""Slots of courses at once when processes die: each is given back, none is given away (contract.md e, GAP9).

The limits are the product's own: one course for a FREE user, three in all.
"""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.kernel.concurrency import Book
from services.kernel.database import Database
from tests.faults.conftest import Trials
from tests.support import tokens
from tests.support.limits import RAISED
from tests.support.pipeline import wait_for_state
from tests.support.stack import Process, Stack
from tests.support.waiting import eventually

FREED_SECONDS = 40.0
"""A reservation is verified when it is 15 s old, by a leader that looks every 5 s."""


@pytest.fixture
def stack(stack: Stack) -> Stack:
    """Processes with the product's own limits."""
    for name in RAISED:
        del stack.environment[name]
    return stack


async def initiate(api: Process, user: UUID, course: UUID | None = None, tier: str = "FREE") -> int:
    """Ask for a course; the status, 0 when no answer came."""
    body = {"courseId": str(course or uuid4()), "title": "Основы учёта"}
    async with httpx.AsyncClient(base_url=api.url, headers=tokens.bearer(user, tier=tier), timeout=20) as client:
        try:
            return (await client.post("/api/trpc/generation.initiate", json=body)).status_code
        except httpx.TransportError:
            return 0


async def expect_no_drift(db: Database, redis: Any, *, slots: int, within: float = FREED_SECONDS) -> None:
    """Every counter is what PostgreSQL says."""

    async def settled() -> bool:
        view = await Book(db, redis).snapshot()
        assert view.ready
        assert (view.global_counter, view.global_truth) == (slots, slots), view
        assert [user for user in view.users if user.drift] == []
        return True

    await eventually(settled, within=within, every=0.2)


async def test_an_api_killed_between_reservation_and_commit_leaves_no_slot_behind(
    stack: Stack, db: Database, redis: Any, trials: Trials
) -> None:
    """The user waits half a minute at most; a repeat of the very request is let in at once."""
    await stack.start("outbox_relay")
    for _ in range(trials(1, full=20)):
        doomed = await stack.start("api", faults="api.after_reserve=kill@2")
        repeating, abandoning = uuid4(), uuid4()
        course = uuid4()
        assert await initiate(doomed, uuid4()) == 200  # arms the second
        assert await initiate(doomed, abandoning) == 0
        assert await doomed.ended(within=30) == -signal.SIGKILL
        doomed = await stack.start("api", faults="api.after_reserve=kill@1")
        assert await initiate(doomed, repeating, course) == 0
        assert await doomed.ended(within=30) == -signal.SIGKILL
        api = await stack.start("api")

        assert await initiate(api, repeating, course) == 200
        assert await initiate(api, abandoning) == 429
        await eventually(partial(_let_in, api, abandoning), within=FREED_SECONDS, every=0.5)
        await expect_no_drift(db, redis, slots=3)
        await db.execute("UPDATE courses SET generation_status = 'cancelled'")
        await redis.delete("concurrency:ready")  # as if Redis had been emptied: counted anew at once
        await expect_no_drift(db, redis, slots=0)
        assert await api.stopped() == 0
    assert stack.fired()["api.after_reserve kill"] >= 2


async def _let_in(api: Process, user: UUID) -> bool:
    return await initiate(api, user) == 200


async def test_a_worker_killed_between_the_last_commit_and_the_release_frees_the_slot(
    stack: Stack, db: Database, redis: Any, trials: Trials
) -> None:
    """The course is finished, the slot was not given back: whoever gets the job again gives it back."""
    api, _ = await stack.start_all("api", "outbox_relay")
    for _ in range(trials(1, full=20)):
        user, course = uuid4(), uuid4()
        doomed = await stack.start("stage_worker", faults="worker.after_commit=kill@2")
        assert await initiate(api, user, course) == 200
        assert await doomed.ended(within=60) == -signal.SIGKILL
        await wait_for_state(db, course, "completed")
        assert await redis.hexists("concurrency:slots", str(course))
        rescuer = await stack.start("stage_worker")
        await expect_no_drift(db, redis, slots=0)

        assert await initiate(api, user) == 200
        await expect_no_drift(db, redis, slots=0)
        assert await rescuer.stopped() == 0
    assert stack.fired()["worker.after_commit kill"] >= 1


async def test_every_tier_under_kills_ends_with_every_counter_at_zero(
    stack: Stack, db: Database, redis: Any, trials: Trials
) -> None:
    """Users of all tiers, more than there is room for, while workers, the api and Redis' memory are lost."""
    users = {uuid4(): tier for tier in ("FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM")}
    api, _ = await stack.start_all("api", "outbox_relay")
    stopping = asyncio.Event()
    accepted: set[UUID] = set()
    most = 0

    async def insist(user: UUID, tier: str) -> None:
        while not stopping.is_set():
            course = uuid4()
            if await initiate(stack.running("api")[-1], user, course, tier) == 200:
                accepted.add(course)
            await asyncio.sleep(0.05)

    async def watch() -> None:
        nonlocal most
        while not stopping.is_set():
            running = await db.fetchval(
                "SELECT count(*) FROM courses"
                " WHERE generation_status >= 'stage_2_init' AND generation_status <= 'stage_5_complete'"
            )
            most = max(most, running)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for user, tier in users.items():
            group.create_task(insist(user, tier))
        group.create_task(watch())
        for round_ in range(trials(2, full=20)):
            worker = await stack.start("stage_worker")
            await asyncio.sleep(2)
            worker.kill()
            if round_ % 2:
                await redis.flushdb()
            else:
                api.kill()
                api = await stack.start("api")
        stopping.set()
    last = await stack.start("stage_worker")

    async def finished() -> bool:
        left = await db.fetch("SELECT generation_status::text, count(*) FROM courses GROUP BY 1")
        assert [row[0] for row in left] == ["completed"], left
        return True

    await eventually(finished, within=120, every=0.5)
    await expect_no_drift(db, redis, slots=0)
    assert await last.stopped() == 0
    assert len(accepted) >= 3
    assert 1 <= most <= 3
