"""Messages at a steady rate beside the courses; what is not accepted is sent again, as a client does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import httpx

PATIENCE_SECONDS: Final = 120.0
"""How long a message is sent again that was not answered with 202."""
_CONVERSATIONS: Final = 200
_CONTENT: Final = "x" * 200


@dataclass(slots=True)
class Conversations:
    """The messages, and what their sender saw."""

    api_url: str
    milliseconds: list[float] = field(default_factory=list)
    """From the first try to 202, of each message that was accepted."""
    troubles: Counter[str] = field(default_factory=Counter)

    @property
    def accepted(self) -> int:
        """Messages that were answered with 202."""
        return len(self.milliseconds)

    async def send(self, count: int, *, per_second: float) -> None:
        """So many at this rate, whatever becomes of the earlier ones; done when all are answered."""
        started = time.monotonic()
        async with httpx.AsyncClient(base_url=self.api_url, timeout=15) as client, asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0.0, started + number / per_second - time.monotonic()))
                group.create_task(self._insist(client, number))

    async def _insist(self, client: httpx.AsyncClient, number: int) -> None:
        began = time.monotonic()
        body = {
            "conversationId": f"talk-{number % _CONVERSATIONS}",
            "senderId": f"user-{number % 97}",
            "content": _CONTENT,
            "clientMessageId": f"sustained-{number}",
        }
        while time.monotonic() < began + PATIENCE_SECONDS:
            try:
                status = (await client.post("/api/messages", json=body)).status_code
            except httpx.TransportError as failed:
                self.troubles[f"message: {type(failed).__name__}"] += 1
            else:
                if status == 202:
                    self.milliseconds.append((time.monotonic() - began) * 1000)
                    return
                self.troubles[f"message: {status}"] += 1
            await asyncio.sleep(1)
