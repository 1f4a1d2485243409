"""What waits in the streams, on the api's page of metrics: that nobody persists must not be told by those who persist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from services.cli.stack import ports
from services.kernel.messages import names
from tests.integration.api.test_shared_figures import samples
from tests.support.servers import PrivateRedis
from tests.support.stack import Process, Stack, open_stack
from tests.support.streamed import PARTITIONS, Ledger, envelope, partition_of


@pytest.fixture
def stack(tmp_path: Path, app_database_url: str, private_redis: PrivateRedis) -> Iterator[Stack]:
    """Processes on a Redis that the test may take away."""
    with open_stack(tmp_path, database_url=app_database_url, redis_url=private_redis.url()) as opened:
        yield opened


async def page_of(api: Process) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every series that it shows."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{ports.LOOPBACK}:{api.metrics_port}/metrics")
    assert answer.status_code == 200
    return samples(answer.text)


async def test_an_api_tells_what_waits_while_nobody_persists(stack: Stack, private_redis: PrivateRedis) -> None:
    """Of each partition what waits and what was settled; nothing of it once Redis is away, and the rest all the same."""
    api = await stack.spawn("api").ready()
    async with Redis.from_url(private_redis.url()) as redis:
        await Ledger(redis).send(*(envelope("talk", f"m-{number}") for number in range(3)))
        await redis.hset(names.count(partition_of("talk")), names.SETTLED, 1)
    shown = await page_of(api)
    private_redis.kill()
    left = await page_of(api)

    series = "stream_backlog_entries", "stream_settled_entries_total"
    found = [shown[name, (("partition", str(partition_of("talk"))),)] for name in series]
    assert found == [2, 1]
    for name in series:
        assert len([each for each in shown if each[0] == name]) == PARTITIONS
        assert not [each for each in left if each[0] == name]
    assert ("system_healthy", ()) in left
