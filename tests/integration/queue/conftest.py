"""What the queue's tests share: a queue name, bodies as the outbox writes them, a worker that stops with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import pytest

from services.kernel.queue import Producer, QueuedRow, QueueWorker

if TYPE_CHECKING:
    from redis.asyncio import Redis

QUEUE = "course-generation:documents"


def body(key: str, *, queue: str = QUEUE, function: str = "WORK", priority: int = 1, **fields: Any) -> str:
    """A saq body with the fields that the outbox writes."""
    job = {
        "function": function,
        "kwargs": {"payload": fields.pop("payload", {"outboxId": key})},
        "queue": queue,
        "key": key,
        "timeout": 600,
        "heartbeat": 20,
        "retries": 5,
        "ttl": 3600,
        "retry_delay": 0.01,
        "retry_backoff": 0.05,
        "queued": 1,
        "status": "queued",
        "priority": priority,
    } | fields
    return orjson.dumps(job).decode()


def row(key: str | None = None, *, priority: int = 1, **fields: Any) -> QueuedRow:
    """One row to put in."""
    key = key or str(uuid4())
    return QueuedRow(key, body(key, priority=priority, **fields), priority)


@pytest.fixture
def producer(redis: Redis) -> Producer:
    """Puts jobs into the test's Redis."""
    return Producer(redis)


@asynccontextmanager
async def working(redis: Redis, handlers: dict[str, Any], **options: Any) -> AsyncIterator[QueueWorker]:
    """A worker that runs during the block and drains at its end."""
    options.setdefault("queues", [QUEUE])
    worker = QueueWorker(redis, handlers=handlers, **options)
    stopping = asyncio.Event()
    task = asyncio.create_task(worker.run(stopping))
    try:
        yield worker
    finally:
        stopping.set()
        await asyncio.wait_for(task, 30)


Recorder = Callable[..., Any]
