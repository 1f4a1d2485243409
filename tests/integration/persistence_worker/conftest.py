"""What the persistence-worker's tests share: a worker in this process, and the messages for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from services.kernel.health import HealthRegistry
from services.kernel.settings import Secret
from services.persistence_worker.settings import PersistenceSettings
from services.persistence_worker.worker import PersistenceWorker, open_worker
from tests.support.streamed import Ledger

if TYPE_CHECKING:
    from redis.asyncio import Redis

Persisting = Callable[..., AbstractAsyncContextManager[PersistenceWorker]]


def settings_for(database_url: str, redis_url: str, **options: Any) -> PersistenceSettings:
    """Settings of a worker that is quick to retry and to take over."""
    return PersistenceSettings(
        database_url=Secret(database_url),
        redis_url=Secret(redis_url),
        redis_stream_db=int(urlsplit(redis_url).path.strip("/") or 0),
        **{"retry_seconds": 0.02, "lease_seconds": 2.0} | options,
    )


@pytest.fixture
def persisting(app_database_url: str, redis_url: str) -> Persisting:
    """Runs a worker in this process during a block; keyword arguments are settings."""

    @asynccontextmanager
    async def run(**options: Any) -> AsyncIterator[PersistenceWorker]:
        urls = options.pop("database_url", app_database_url), options.pop("redis_url", redis_url)
        stopping = asyncio.Event()
        async with open_worker(settings_for(*urls, **options), HealthRegistry()) as worker:
            task = asyncio.create_task(worker.serve(stopping))
            try:
                yield worker
            finally:
                stopping.set()
                await asyncio.wait_for(task, 20)

    return run


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    """What the test has had accepted."""
    return Ledger(redis)
