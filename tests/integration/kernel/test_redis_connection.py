"""What counts as an outage of Redis."""

from __future__ import annotations

import asyncio

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
