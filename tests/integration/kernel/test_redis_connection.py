"""What counts as an outage of Redis."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.kernel.errors import BrokerUnavailable
from services.kernel.redis_connection import open_redis, translated
from services.kernel.settings import Secret


async def _speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_somebody_else_at_the_address_is_an_outage() -> None:
    """A pod that is gone leaves its address to another one: its answers are no error of ours, and pass."""
    async with await asyncio.start_server(_speak_http, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        redis = open_redis(Secret(f"redis://:word@127.0.0.1:{port}/0"), name="test")

        with pytest.raises(BrokerUnavailable, match="InvalidResponse"), translated():
            await redis.ping()
        await redis.aclose()


async def test_who_finds_all_connections_in_use_waits_for_one(redis_url: str) -> None:
    """A server that answers is no outage, however many ask it at once."""
    redis = open_redis(Secret(redis_url), name="test", max_connections=2)
    answers = await asyncio.gather(*(redis.ping() for _ in range(100)))
    await redis.aclose()

    assert answers == [True] * 100


async def test_one_that_never_becomes_free_is_waited_for_briefly(redis_url: str) -> None:
    """As long as for a connection to the server."""
    redis = open_redis(Secret(redis_url), name="test", max_connections=1, connect_timeout=0.5)
    holding = asyncio.create_task(redis.blpop(["nothing"], timeout=3))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable), translated():
        await redis.ping()
    seconds = time.monotonic() - started
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    again = await redis.ping()
    await redis.aclose()

    assert 0.4 < seconds < 2.5
    assert again
