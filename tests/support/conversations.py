"""Messages for tests: sent, and looked for where they may be."""

from __future__ import annotations

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


async def entries(redis: Redis, partitions: int = PARTITIONS) -> list[tuple[int, str, Envelope]]:
    """What lies in the streams: partition, entry id, message; in the order of each partition."""
    found = []
    for partition in range(partitions):
        for entry_id, fields in await redis.xrange(names.stream(partition)):
            found.append((partition, entry_id.decode(), decode(fields[b"envelope"])))
    return found
