"""Senders of messages who write down everything: each message before it is sent, each answer after it has come.

A conversation has one sender. He says the next thing when the last one is accepted, so its order is known; he sends until he is
told 202, to whichever api answers; now and then he sends twice at once, or something of before once more. What is written down
here, and not the memory of the code under test, says what was promised (reliability.md section 3).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from tests.support.thrifty import ThriftyTransport

TRY_AGAIN = frozenset({503})
"""What a sender may be told instead of 202 while something is away."""


@dataclass(slots=True)
class Said:
    """What was asked and what was answered."""

    asked: dict[str, str] = field(default_factory=dict)
    """The conversation of each message, by the sender's own id for it."""
    accepted: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The messages of each conversation that were acknowledged, in order."""
    at: dict[str, float] = field(default_factory=dict)
    """When each was acknowledged, by the monotonic clock."""
    told: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Under which `messageId` each was acknowledged."""
    new: Counter[str] = field(default_factory=Counter)
    """How often each was said to be new."""
    refused: Counter[int] = field(default_factory=Counter)
    """Answers by which nothing was promised, by status."""
    surprises: list[str] = field(default_factory=list)
    """Answers that no fault excuses."""
    broken: int = 0
    """Posts whose connection broke, or whose answer did not come in time."""
    posts: int = 0
    longest: float = 0.0
    """Seconds of the slowest post that was answered."""

    @property
    def count(self) -> int:
        """How many messages were acknowledged."""
        return sum(map(len, self.accepted.values()))

    def __str__(self) -> str:
        refused = sum(self.refused.values())
        return f"{self.posts} posts, {self.count} messages acknowledged, {refused} refused, {self.broken} without an answer"


class Senders:
    """Send to one or more apis."""

    def __init__(
        self,
        urls: Sequence[str],
        said: Said,
        chance: random.Random,
        *,
        pause: float = 0.0,
        beat: float = 0.0,
        repeats: float = 0.05,
        timeout: float = 10.0,
        patience: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Point senders at apis.

        Args:
            urls: where they are; a sender whose api does not answer turns to another.
            said: what they write down.
            chance: decides who sends what twice.
            pause: between two messages of a conversation.
            beat: all conversations speak at once, so often, and not each in its own time: then batches are large. Who was kept
                waiting says what he has missed without a pause, so that after a fault more is offered and not less.
            repeats: share of the messages that are sent twice at once, and of those after which one of before is sent.
            timeout: longest wait for an answer.
            patience: how long a message of a conversation is sent again and again before its sender gives up.
            transport: stands in for the network.
        """
        self.said = said
        self._chance = chance
        self._pause = pause
        self._beat = beat
        self._repeats = repeats
        self._patience = patience
        self._clients = [
            httpx.AsyncClient(base_url=url, timeout=timeout, transport=transport or ThriftyTransport()) for url in urls
        ]

    async def __aenter__(self) -> Self:
        """Open the connections."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await asyncio.gather(*(client.aclose() for client in self._clients))

    async def talk(self, conversations: int, until: asyncio.Event, *, name: str = "talk") -> None:
        """Have so many conversations go on until the event is set; returns when everything begun is accepted."""
        async with asyncio.TaskGroup() as group:
            for number in range(conversations):
                group.create_task(self._converse(f"{name}-{number}", until))

    async def say(self, conversation: str, messages: int, *, within: float = 60.0) -> None:
        """So many more messages of one conversation."""
        for _ in range(messages):
            client_id = f"{conversation}/{len(self.said.accepted[conversation])}"
            await self._insist(conversation, client_id, within)

    async def once_more(self, client_id: str) -> None:
        """Send something of before again, and take whatever is answered."""
        await self._post(self.said.asked[client_id], client_id)

    async def _converse(self, conversation: str, until: asyncio.Event) -> None:
        due = time.monotonic() // self._beat * self._beat if self._beat else 0.0
        while not until.is_set():
            await self.say(conversation, 1, within=self._patience)
            if self._chance.random() < self._repeats:
                await self.once_more(self._chance.choice(self.said.accepted[conversation]))
            due += self._beat
            await asyncio.sleep(due - time.monotonic() if self._beat else self._pause)

    async def _insist(self, conversation: str, client_id: str, within: float) -> None:
        """Send until it is accepted.

        Raises:
            AssertionError: it was not, in time.
        """
        deadline = time.monotonic() + within
        self.said.asked[client_id] = conversation
        while True:
            copies = 2 if self._chance.random() < self._repeats else 1
            if any(await asyncio.gather(*(self._post(conversation, client_id) for _ in range(copies)))):
                break
            assert time.monotonic() < deadline, f"{client_id} was not accepted within {within:g} s; {self.said}"
            await asyncio.sleep(self._chance.uniform(0.02, 0.2))
        self.said.at[client_id] = time.monotonic()
        self.said.accepted[conversation].append(client_id)

    async def _post(self, conversation: str, client_id: str) -> bool:
        """Send it once; whether it was accepted."""
        self.said.posts += 1
        started = time.monotonic()
        try:
            answer = await self._chance.choice(self._clients).post("/api/messages", json=body(conversation, client_id))
        except httpx.TransportError:
            self.said.broken += 1
            return False
        self.said.longest = max(self.said.longest, time.monotonic() - started)
        return self._hear(client_id, answer)

    def _hear(self, client_id: str, answer: httpx.Response) -> bool:
        said = self.said
        if answer.status_code != 202:
            said.refused[answer.status_code] += 1
            if answer.status_code not in TRY_AGAIN:
                said.surprises.append(f"{client_id}: {answer.status_code} {answer.text[:200]}")
            return False
        document = answer.json()
        said.told[client_id].add(document["messageId"])
        said.new[client_id] += not document["idempotentHit"]
        if document.get("contentMismatch"):
            said.surprises.append(f"{client_id}: contentMismatch")
        return True


def content(client_id: str) -> str:
    """What a message says: it tells it from every other. One of sixteen is so long that it lies in the document store."""
    text = f"This is {client_id}. "
    return text * (20_000 // len(text)) if zlib.crc32(client_id.encode()) % 16 == 0 else text


def fingerprint(text: str) -> str:
    """What stands for a long content in a table that is compared with many messages."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def body(conversation: str, client_id: str) -> dict[str, Any]:
    """The JSON to send."""
    return {
        "conversationId": conversation,
        "senderId": "alice",
        "content": content(client_id),
        "clientMessageId": client_id,
        "recipientIds": ["bob"],
    }
