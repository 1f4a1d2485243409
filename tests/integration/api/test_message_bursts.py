"""Many messages at the same moment, long and short ones: nobody is refused by servers that are well."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from services.kernel.database import Database
from tests.integration.api.test_message_outages import unasked
from tests.support.api import running_api
from tests.support.conversations import entries, message, send
from tests.support.servers import PrivateRedis

_LONG = "x" * 20_000


@pytest.mark.parametrize("durability", ["redis", "postgres"])
async def test_long_contents_at_once_leave_short_ones_alone(
    durability: str, app_database_url: str, private_redis: PrivateRedis, db: Database
) -> None:
    """A hundred, while Redis is slow for a moment, and a hundred short ones behind them: both servers were asked for repeats."""
    changes = {"messages_require_token": False, "messages_durability": durability, "messages_lookup_seconds": 5.0}
    async with running_api(app_database_url, private_redis.url(), messages_accept_seconds=10.0, **changes) as api:
        del api.client.headers["authorization"]
        await send(api.client)
        before = unasked("redis"), unasked("postgresql")
        posts = []
        private_redis.pause()
        try:
            for kind, content in (("long", _LONG), ("short", "Hello")):
                bodies = [message(clientMessageId=f"{kind}-{number}", content=content) for number in range(100)]
                posts += [asyncio.create_task(api.client.post("/api/messages", json=each)) for each in bodies]
                await asyncio.sleep(0.5)
        finally:
            private_redis.resume()
        answers = await asyncio.gather(*posts)
        async with Redis.from_url(private_redis.url()) as redis:
            waiting = len(await entries(redis))

    assert [each.text for each in answers if each.status_code != 202] == []
    assert (unasked("redis"), unasked("postgresql")) == before
    assert waiting + await db.fetchval("SELECT count(*) FROM messages") == 201
    assert await db.fetchval("SELECT count(*) FROM message_payloads") == 100
