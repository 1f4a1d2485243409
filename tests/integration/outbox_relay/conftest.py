"""What the relay's tests share: rows to relay, a relay in this process, and looks at what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from services.kernel.health import HealthRegistry
from services.kernel.queue import QueueKeys
from services.kernel.settings import Secret
from services.outbox_relay.relay import Relay
from services.outbox_relay.settings import RelaySettings
from tests.support.courses import add_course

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.kernel.database import Database

QUEUE = "course-generation:analysis"

StartRelay = Callable[..., AbstractAsyncContextManager[Relay]]


async def add_rows(
    db: Database, course: UUID, count: int = 1, *, queue: str = "course-generation", priority: int = 1, **columns: Any
) -> list[UUID]:
    """Pending rows as somebody would write them with psql: without a body, without a wake-up."""
    names = ["entity_id", "queue_name", "job_type", "priority", *columns]
    values = [course, queue, "STRUCTURE_ANALYSIS", priority, *columns.values()]
    marks = ", ".join(f"${i}" for i in range(1, len(values) + 1))
    rows = await db.fetch(
        f"INSERT INTO job_outbox ({', '.join(names)}) SELECT {marks.replace('$1,', '$1::uuid,')}"
        f" FROM generate_series(1, {count}) RETURNING outbox_id",
        *values,
    )
    return [row["outbox_id"] for row in rows]


async def outbox(db: Database, ids: Sequence[UUID]) -> list[Any]:
    """Those rows as they stand, in the order of `ids`."""
    rows = {
        row["outbox_id"]: row for row in await db.fetch("SELECT * FROM job_outbox WHERE outbox_id = ANY($1)", list(ids))
    }
    return [rows[each] for each in ids]


async def processed(db: Database, ids: Sequence[UUID]) -> int:
    """How many of those rows are processed."""
    return sum(row["processed_at"] is not None for row in await outbox(db, ids))


async def waiting(redis: Redis, queue: str = QUEUE) -> list[str]:
    """The keys of the jobs that wait in a queue, the next to be served first (ageing apart)."""
    keys = QueueKeys(queue)
    found: list[str] = []
    for name in keys.lists:
        found += [keys.job_key(each.decode()) for each in await redis.lrange(name, 0, -1)]
    return found


@pytest.fixture
def relaying(database_url: str, redis_url: str) -> StartRelay:
    """Runs a relay in this process during a block; keyword arguments are settings."""

    @asynccontextmanager
    async def run(**options: Any) -> AsyncIterator[Relay]:
        settings = RelaySettings(
            database_url=Secret(options.pop("database_url", database_url)),
            redis_url=Secret(options.pop("redis_url", redis_url)),
            **{"node_id": "test", "backoff_seconds": 0.05, "reconcile_seconds": 0.5} | options,
        )
        stopping = asyncio.Event()
        async with Relay.open(settings, HealthRegistry()) as relay:
            task = asyncio.create_task(relay.serve(stopping))
            try:
                yield relay
            finally:
                stopping.set()
                await asyncio.wait_for(task, 15)

    return run


@pytest.fixture
async def course(db: Database) -> UUID:
    """A course to hang rows on."""
    return await add_course(db)
