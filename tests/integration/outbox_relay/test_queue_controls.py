"""The leader sees to it that paused queues stay paused, and says what lies in each."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.kernel.database import Database
from services.kernel.metrics import render
from services.kernel.queue import Inspector, QueueControls
from tests.integration.outbox_relay.conftest import QUEUE, StartRelay, add_rows
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_an_emptied_redis_obeys_again_within_five_seconds(
    db: Database, redis: Redis, relaying: StartRelay
) -> None:
    """Paused stays paused, resumed stays resumed; both show as a metric."""
    controls, inspector = QueueControls(db, Inspector(redis)), Inspector(redis)
    await controls.set(QUEUE, paused=True, by=None)
    await controls.set("quiz", paused=False, by=None)
    async with relaying():
        await eventually(lambda: _shows(f'queue_paused{{queue="{QUEUE}"}} 1.0'))
        await redis.flushdb()
        await inspector.pause("quiz")
        await eventually(lambda: _paused(inspector, {QUEUE}), within=5)
        shown = render().decode()
        await controls.set(QUEUE, paused=False, by=None)
        await eventually(lambda: _shows(f'queue_paused{{queue="{QUEUE}"}} 0.0'))

    assert 'queue_paused{queue="quiz"} 0.0' in shown


async def test_the_leader_says_what_lies_in_each_queue(
    db: Database, redis: Redis, course: UUID, relaying: StartRelay
) -> None:
    """By priority, and what is set aside; what has gone shows nought, not its last number."""
    await add_rows(db, course, 2, queue="shown", priority=10)
    await redis.hset("saq:shown:poison", "saq:job:shown:x", "{}")
    async with relaying():
        await eventually(lambda: _shows('queue_waiting_jobs{priority="10",queue="shown"} 2.0'))
        await eventually(lambda: _shows('queue_jobs{place="dead",queue="shown"} 1.0'))
        await redis.delete("saq:shown:queued:10", "saq:shown:poison")
        await eventually(lambda: _shows('queue_waiting_jobs{priority="10",queue="shown"} 0.0'))
        await eventually(lambda: _shows('queue_jobs{place="dead",queue="shown"} 0.0'))
        assert _shows('queue_workers{queue="shown"} 0.0')
        assert _shows('queue_oldest_waiting_seconds{queue="shown"} 0.0')

    assert not _shows('{queue="shown"}')  # the next leader says it


def _shows(line: str) -> bool:
    return line in render().decode()


async def _paused(inspector: Inspector, expected: set[str]) -> bool:
    return await inspector.paused([QUEUE, "quiz"]) == expected
