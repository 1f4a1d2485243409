"""Ten people of all tiers who order courses at once, in spite of everything, and write down what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID, uuid4

import httpx

from tests.support import tokens
from tests.support.driver import Journal

TIERS = ("FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM")
LIMITS = {"FREE": 1, "BASIC": 2, "STANDARD": 3, "TRIAL": 5, "PREMIUM": 5}
PRIORITIES = {"FREE": 1, "BASIC": 3, "STANDARD": 5, "TRIAL": 5, "PREMIUM": 10}
_AWAY = {500, 502, 503}


@dataclass(slots=True, eq=False)
class Person:
    """One user: what they own, and what they have seen."""

    name: str
    tier: str
    id: UUID = field(default_factory=uuid4)
    organization: UUID = field(default_factory=uuid4)
    courses: dict[UUID, str] = field(default_factory=dict)
    """Accepted courses and their titles."""
    refused: list[dict[str, object]] = field(default_factory=list)
    """The details of every 429."""
    peeks: Counter[int] = field(default_factory=Counter)
    """What was answered when they asked for courses of others, by status."""
    leaks: list[str] = field(default_factory=list)
    """Answers that held something of a course of somebody else's."""
    surprises: list[str] = field(default_factory=list)
    """Answers that nobody should ever get."""

    @property
    def headers(self) -> dict[str, str]:
        """Their token."""
        return tokens.bearer(self.id, self.organization, tier=self.tier)


def ten_people() -> list[Person]:
    """Two of each tier."""
    return [Person(f"{tier.lower()}-{number}", tier) for number in (1, 2) for tier in TIERS]


class Crowd:
    """Ten people and the api they talk to."""

    def __init__(self, url: str, journal: Journal, *, hook: str, chance: random.Random) -> None:
        self.people = ten_people()
        self.answered: Counter[int] = Counter()
        self._journal = journal
        self._hook = hook
        self._chance = chance
        self._numbers = itertools.count(1)
        self._client = httpx.AsyncClient(base_url=url, timeout=15, limits=httpx.Limits(max_connections=40))

    async def __aenter__(self) -> Self:
        """Open the connections."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._client.aclose()

    @property
    def client(self) -> httpx.AsyncClient:
        """For requests that are nobody's order."""
        return self._client

    @property
    def owners(self) -> Iterator[tuple[Person, UUID, str]]:
        """Every accepted course with its owner and title."""
        return ((person, course, title) for person in self.people for course, title in person.courses.items())

    async def live(self, person: Person, until: asyncio.Event) -> None:
        """Order one course after the other and be curious about those of others."""
        while not until.is_set():
            await self.order(person, until=until)
            await self.peek(person)
            await asyncio.sleep(self._chance.uniform(0.05, 0.3))

    async def order(self, person: Person, *, until: asyncio.Event | None = None) -> UUID | None:
        """Ask for a course until the answer is a 200; None when `until` came first."""
        course_id, title = uuid4(), f"{person.name} secret plan {next(self._numbers)} {uuid4().hex[:6]}"
        headers = {**person.headers, "Idempotency-Key": uuid4().hex}
        body = {"courseId": str(course_id), "title": title, "hasFiles": False, "webhookUrl": self._hook}
        while True:
            attempt = self._journal.ask(str(course_id), course_id)
            try:
                answer = await self._client.post("/api/trpc/generation.initiate", json=body, headers=headers)
            except httpx.HTTPError as error:
                self._journal.miss(attempt, error)
                await asyncio.sleep(0.3)
                continue  # nobody knows whether it arrived: the same request again, whatever happens
            self.answered[answer.status_code] += 1
            job = answer.json().get("jobId") if answer.is_success else None
            self._journal.hear(attempt, answer.status_code, job, answer.elapsed.total_seconds())
            if answer.is_success:
                person.courses[course_id] = title
                return course_id
            if answer.status_code == 429:
                self._note_refusal(person, answer)
                if until is not None and until.is_set():
                    return None
            elif answer.status_code not in _AWAY:
                person.surprises.append(f"{answer.status_code}: {answer.text[:200]}")
                return None
            await asyncio.sleep(self._chance.uniform(0.2, 0.6))

    async def peek(self, person: Person) -> None:
        """Ask for somebody else's course, its events and its result."""
        strangers = [(course, title) for owner, course, title in self.owners if owner is not person]
        if not strangers:
            return
        course, title = self._chance.choice(strangers)
        path = self._chance.choice(("", "/check-status", "/history", "/result", "/events", "/documents"))
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._client.get(f"/api/courses/{course}{path}", headers=person.headers)
            self.answered[answer.status_code] += 1
            person.peeks[answer.status_code] += 1
            if title in answer.text or answer.is_success:
                person.leaks.append(f"{path}: {answer.status_code} {answer.text[:200]}")

    @staticmethod
    def _note_refusal(person: Person, answer: httpx.Response) -> None:
        details = answer.json()["error"]["details"]
        person.refused.append(details)
        if "retry-after" not in answer.headers:
            person.surprises.append("429 without Retry-After")
