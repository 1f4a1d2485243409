"""How much room a message takes in Redis: what docs/MESSAGES.md tells whoever sizes it."""

from __future__ import annotations

import re
from pathlib import Path

from redis.asyncio import Redis

from services.kernel.messages import names
from tests.support import servers
from tests.support.streamed import Ledger, envelope

_PAGE = Path(__file__).parents[3] / "docs" / "MESSAGES.md"
_MESSAGES = 20_000


async def test_a_message_takes_no_more_room_than_the_page_says(private_redis: servers.PrivateRedis) -> None:
    """Of 200 characters, with its reservation, in streams as large as they are in use."""
    sentence = r"A message of 200 characters takes some (\d+) bytes of Redis, (\d+) of them its reservation"
    said = re.search(sentence, _PAGE.read_text())
    assert said is not None
    async with Redis.from_url(private_redis.url()) as redis:
        before = (await redis.info("memory"))["used_memory"]
        ledger = Ledger(redis)
        for first in range(0, _MESSAGES, 200):
            await ledger.send(*(envelope(f"talk-{n % 100}", f"m-{n}", "x" * 200) for n in range(first, first + 200)))
        used = (await redis.info("memory"))["used_memory"] - before
        reservation = await redis.memory_usage(names.seen(envelope("talk-0", "m-0").id))

    assert int(said[1]) * 0.7 < used / _MESSAGES < int(said[1]) * 1.1
    assert int(said[2]) * 0.7 < reservation < int(said[2]) * 1.1
