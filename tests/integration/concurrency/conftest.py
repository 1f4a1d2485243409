"""What the tests of courses at once share: slots and books on real servers, and looks at the keys."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.kernel.concurrency import Book, Claim, Slots
from services.kernel.database import Database


def claim(user: UUID, *, course: UUID | None = None, run: int = 1, limit: int = 10, holder: str = "me") -> Claim:
    """A request for a slot."""
    return Claim(course or uuid4(), user, run, limit, holder)


async def counters(redis: Any, *users: UUID) -> list[int | None]:
    """The global counter and those of the users, as they are shown."""
    names = ["concurrency:global", *(f"concurrency:user:{user}" for user in users)]
    return [None if value is None else int(value) for value in await redis.mget(names)]


@pytest.fixture
async def slots(redis: Any) -> Slots:
    """Slots with a patient client."""
    return Slots(redis, wait_seconds=5)


@pytest.fixture
async def book(db: Database, redis: Any) -> Book:
    """A book whose counters are believed already."""
    opened = Book(db, redis)
    await opened.rebuild()
    return opened
