"""Messages for tests: sent, and looked for where they may be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from services.kernel.messages import names
from services.kernel.messages.envelope import Envelope, decode

if TYPE_CHECKING:
    from redis.asyncio import Redis

PARTITIONS = 16
"""As the setting's default."""


def message(**changes: Any) -> dict[str, Any]:
    """The body of a post; fields that are `...` are left out."""
    body = {
        "conversationId": "course-1",
        "senderId": "alice",
        "content": "Hello",
        "contentType": "text",
        "clientMessageId": "m-1",
        "recipientIds": ["bob"],
    } | changes
    return {name: value for name, value in body.items() if value is not ...}


async def send(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Post a message that must be accepted; the answer's document."""
    answer = await client.post("/api/messages", json=message(**changes))
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def send_at_once(url: str, number: int, **changes: Any) -> list[dict[str, Any]]:
    """Post the same message `number` times at once, by a client that does not compare each answer with the description."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
        return await asyncio.gather(*(send(client, **changes) for _ in range(number)))


async def entries(redis: Redis, partitions: int = PARTITIONS) -> list[tuple[int, str, Envelope]]:
    """What lies in the streams: partition, entry id, message; in the order of each partition."""
    found = []
    for partition in range(partitions):
        for entry_id, fields in await redis.xrange(names.stream(partition)):
            found.append((partition, entry_id.decode(), decode(fields[b"envelope"])))
    return found
