"""What is asked for: courses from titles and from documents, of several users, tiers and styles, at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID, uuid4

import httpx

from tests.support import tokens
from tests.support.driver import Driver, Journal, Order
from tests.support.ledger import SUCCESS
from tests.support.material import EXAMPLES, UNSEEN, chapters

STYLES: Final = ("academic", "practical", "conversational", "concise")
TIERS: Final = ("FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM")
"""A user of each, who asks for a fifth of the courses."""
MIX: Final[Sequence[Sequence[Path]]] = ((), EXAMPLES[2:3], (), UNSEEN[:2], (), EXAMPLES, (), (), UNSEEN[1:], ())
"""The documents of ten courses in a row; six are made from their title. Each course that has any gets one more of its own."""
_CHAPTERS, _WORDS = 4, 300
"""Of the document that no other course has."""
PATIENCE_SECONDS: Final = 120.0
"""How long a client asks again for what was not answered with a 2xx."""
_TITLED, _DOCUMENTED = "title", "documents"
KINDS: Final = (_TITLED, _DOCUMENTED)


@dataclass(frozen=True, slots=True)
class Wish:
    """One course that is to be asked for."""

    number: int
    documents: Sequence[Path]
    style: str
    tier: str

    @property
    def kind(self) -> str:
        """`title` or `documents`."""
        return _DOCUMENTED if self.documents else _TITLED

    @property
    def title(self) -> str:
        """No two have the same."""
        return f"Keeping bees, volume {self.number + 1}"


def wishes(count: int, *, titles_only: bool = False) -> Iterator[Wish]:
    """So many courses; every kind comes with every style and tier in the long run."""
    for number in range(count):
        documents = () if titles_only else MIX[number % len(MIX)]
        group = number // len(MIX)
        yield Wish(number, documents, STYLES[(number + group) % len(STYLES)], TIERS[(number + group) % len(TIERS)])


@dataclass(frozen=True, slots=True)
class Begun:
    """One course that was acknowledged."""

    course_id: UUID
    kind: str
    at: float
    """Seconds since the load began."""
    milliseconds: float
    """Of the initiation's answer."""


@dataclass(slots=True)
class Traffic:
    """The load, and what the clients saw of it."""

    journal: Journal = field(default_factory=Journal)
    asked: int = 0
    """Courses whose first request has been sent."""
    begun: list[Begun] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    """Answers that are no 2xx, and those that never came, by what they were."""
    _drivers: dict[str, Driver] = field(default_factory=dict)
    _started: float = 0.0
    _closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    @classmethod
    async def open(cls, api_url: str) -> Self:
        """A client for each tier, all with one journal."""
        made = cls()
        for number, tier in enumerate(TIERS):
            driver = await made._closing.enter_async_context(Driver(api_url, made.journal, timeout_seconds=30))
            driver.client.headers.update(tokens.bearer(UUID(int=0xBEE5 + number), tier=tier))
            made._drivers[tier] = driver
        return made

    async def close(self) -> None:
        """Close all connections."""
        await self._closing.aclose()

    async def send(self, wanted: Iterator[Wish], *, per_minute: float) -> None:
        """Ask for one after the other at this rate, whatever becomes of the earlier ones; done when all are answered."""
        self._started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for wish in wanted:
                await asyncio.sleep(max(0.0, self._started + wish.number * 60 / per_minute - time.monotonic()))
                self.asked += 1
                group.create_task(self._ask(wish))

    async def _ask(self, wish: Wish) -> None:
        driver = self._drivers[wish.tier]
        order = await self._with_documents(driver.client, wish) if wish.documents else _titled(wish)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            at = time.monotonic() - self._started
            answer = await driver.send(order)
            if answer is not None and answer.status in SUCCESS:
                self.begun.append(Begun(order.course_id, wish.kind, at, self.journal.seconds[answer.attempt] * 1000))
                return
            self.troubles[f"initiate: {'no answer' if answer is None else answer.status}"] += 1
            await asyncio.sleep(1)

    async def _with_documents(self, client: httpx.AsyncClient, wish: Wish) -> Order:
        made = await self._insist(client, "/api/courses", json={"title": wish.title, "style": wish.style})
        course = UUID(made.json()["id"])
        own = (f"chapters-{wish.number}.md", chapters(_CHAPTERS, _WORDS, wish.number).encode())
        for name, content in (*((each.name, each.read_bytes()) for each in wish.documents), own):
            await self._insist(client, f"/api/courses/{course}/documents", files={"file": (name, content)})
        return Order(course, title=None)

    async def _insist(self, client: httpx.AsyncClient, path: str, **content: Any) -> httpx.Response:
        """Post until the answer is a 2xx, as a client does that waits a moment and asks again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            what = path.rpartition("/")[2]
            try:
                answer = await client.post(path, **content)
            except httpx.TransportError as failed:
                self.troubles[f"{what}: {type(failed).__name__}"] += 1
            else:
                if answer.is_success:
                    return answer
                self.troubles[f"{what}: {answer.status_code}"] += 1
            assert time.monotonic() < deadline, f"{path} was refused for {PATIENCE_SECONDS:g} s"
            await asyncio.sleep(1)


def _titled(wish: Wish) -> Order:
    return Order(uuid4(), title=wish.title, has_files=False, style=wish.style)
