"""Told to stop while PostgreSQL or Redis hangs: a server that says nothing must not make a shutdown outlast its grace."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from services.kernel import lifecycle
from tests.faults.conftest import OpenDriver
from tests.support.servers import PrivatePostgres
from tests.support.stack import Kind, Stack
from tests.support.streamed import Ledger
from tests.support.waiting import eventually

KINDS: tuple[Kind, ...] = ("api", "outbox_relay", "stage_worker", "persistence_worker")
DRAIN_SECONDS = 4.0


@pytest.fixture
def stack(fragile_stack: Stack) -> Stack:
    """Processes on servers that this test may freeze."""
    fragile_stack.environment |= {"INSTANT_SECONDS": "1", "DRAIN_SECONDS": str(DRAIN_SECONDS)}
    return fragile_stack


@pytest.mark.parametrize("frozen", ["postgresql", "redis"])
async def test_a_server_that_hangs_does_not_outlast_the_grace(
    stack: Stack, private_postgres: PrivatePostgres, private_redis: Any, drive: OpenDriver, frozen: str
) -> None:
    """With work in hand and the server frozen, every process ends with 0, at most closing after the drain."""
    api, *_ = running = await stack.start_all(*KINDS)
    driver = drive(api)
    await driver.load([driver.order() for _ in range(4)], per_second=100)
    await eventually(stack.sink.exists, within=20)
    async with Redis.from_url(private_redis.url()) as client:
        await Ledger(client).talk(20, 50)  # in hand of the persistence-worker, most of them
    server = private_postgres if frozen == "postgresql" else private_redis
    server.pause()
    try:
        begun = time.monotonic()
        exits = await asyncio.gather(*(each.stopped() for each in running))
        took = time.monotonic() - begun
    finally:
        server.resume()
    print(f"{frozen} frozen: {took:.1f} s")

    assert exits == [0] * len(KINDS), stack.logs()
    assert took < DRAIN_SECONDS + lifecycle.CLOSE_SECONDS + 1
