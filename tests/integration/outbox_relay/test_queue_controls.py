"""The leader sees to it that paused queues stay paused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.kernel.database import Database
from services.kernel.metrics import render
from services.kernel.queue import Inspector, QueueControls
from tests.integration.outbox_relay.conftest import QUEUE, StartRelay
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
        await eventually(lambda: f'queue_paused{{queue="{QUEUE}"}} 1.0' in render().decode())
        await redis.flushdb()
        await inspector.pause("quiz")
        await eventually(lambda: _paused(inspector, {QUEUE}), within=5)
        shown = render().decode()
        await controls.set(QUEUE, paused=False, by=None)
        await eventually(lambda: f'queue_paused{{queue="{QUEUE}"}} 0.0' in render().decode())

    assert 'queue_paused{queue="quiz"} 0.0' in shown


async def _paused(inspector: Inspector, expected: set[str]) -> bool:
    return await inspector.paused([QUEUE, "quiz"]) == expected
