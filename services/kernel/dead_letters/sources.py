"""Where dead letters lie: in the outbox, in the queues, among the webhooks. One source each, with the same two questions.

A job that its queue has set aside and whose outbox row has not left (or is dead itself) is shown once, as the row: the queue
holds an older delivery of it, which is forgotten as soon as the row leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from services.kernel.database import Database, Row
from services.kernel.dead_letters.letters import Filter, Kind, Letter, Place
from services.kernel.queries import Queries
from services.kernel.queue import Inspector, JobView
from services.kernel.queue.views import MOST_LISTED

_SQL = Queries.load("services.kernel", "dead_letters.sql")
_NO_PLACE: tuple[None, None] = (None, None)


class Source(Protocol):
    """One place where dead letters lie. Every question may raise `DatabaseUnavailable` or `BrokerUnavailable`."""

    kind: Kind

    async def look(self, which: Filter, after: Place | None, size: int) -> tuple[list[Letter], int]:
        """Up to `size` letters that match, the latest first, after a place in the list; and how many match in all."""

    async def named(self, keys: Sequence[str]) -> list[Letter]:
        """Those among `keys` that are dead: for a queue `<queue>/<key>`, else the identifiers."""


class DeadRows:
    """Outbox rows with no tries left."""

    kind: Kind = "outbox"

    def __init__(self, db: Database) -> None:
        self._db = db

    async def look(self, which: Filter, after: Place | None, size: int) -> tuple[list[Letter], int]:
        """Read through the index of rows that have not left, and count the same way."""
        rows = await self._db.fetch(_SQL["dead_rows"], *_of_rows(which), *(after or _NO_PLACE), size)
        return [_row(row) for row in rows], int(await self._db.fetchval(_SQL["count_dead_rows"], *_of_rows(which)))

    async def named(self, keys: Sequence[str]) -> list[Letter]:
        """Read by identifier."""
        return [_row(row) for row in await self._db.fetch(_SQL["named_rows"], uuids(keys))]


class DeadWebhooks:
    """Webhooks that were given up."""

    kind: Kind = "webhook"

    def __init__(self, db: Database) -> None:
        self._db = db

    async def look(self, which: Filter, after: Place | None, size: int) -> tuple[list[Letter], int]:
        """Read through the index of dead webhooks, and count the same way."""
        if which.queue is not None:
            return [], 0
        rows = await self._db.fetch(_SQL["dead_webhooks"], *_of_webhooks(which), *(after or _NO_PLACE), size)
        matched = int(await self._db.fetchval(_SQL["count_dead_webhooks"], *_of_webhooks(which)))
        return [_webhook(row) for row in rows], matched

    async def named(self, keys: Sequence[str]) -> list[Letter]:
        """Read by identifier."""
        return [_webhook(row) for row in await self._db.fetch(_SQL["named_webhooks"], uuids(keys))]


class DeadJobs:
    """Jobs that a queue has set aside. Redis has no index for them: each question reads them all, a page at a time."""

    kind: Kind = "queue"

    def __init__(self, db: Database, inspector: Inspector) -> None:
        self._db = db
        self._inspector = inspector

    async def look(self, which: Filter, after: Place | None, size: int) -> tuple[list[Letter], int]:
        """Read all, once; keep what matches."""
        matching = await self._all(which)
        letters = [letter for letter in matching if after is None or letter.place < after]
        return sorted(letters, key=lambda letter: letter.place, reverse=True)[:size], len(matching)

    async def named(self, keys: Sequence[str]) -> list[Letter]:
        """Look in those queues that the names begin with."""
        wanted = set(keys)
        queues = [each for each in await self._inspector.known_queues() if any(k.startswith(f"{each}/") for k in keys)]
        found = [letter async for letter in self._letters(queues) if f"{letter.queue}/{letter.key}" in wanted]
        return await self._without_rows(found)

    async def _all(self, which: Filter) -> list[Letter]:
        queues = await self._inspector.known_queues()
        found = [letter async for letter in self._letters(queues) if which.matches(letter)]
        return await self._without_rows(found)

    async def _letters(self, queues: Iterable[str]) -> AsyncIterator[Letter]:
        for queue in queues:
            offset = 0
            while page := await self._inspector.jobs(queue, "dead", MOST_LISTED, offset):
                for job in page:
                    yield _job(job)
                offset += len(page)

    async def _without_rows(self, letters: Iterable[Letter]) -> list[Letter]:
        unique = {letter.id: letter for letter in letters}  # a job that moved between two pages was read twice
        names = [letter.uuid for letter in unique.values() if letter.uuid is not None]
        unsent = {row["outbox_id"] for row in await self._db.fetch(_SQL["unsent_rows"], names)} if names else set()
        return [letter for letter in unique.values() if letter.uuid not in unsent]


def uuids(keys: Iterable[str]) -> list[UUID]:
    """Those of `keys` that are identifiers at all."""
    found = []
    for key in keys:
        try:
            found.append(UUID(key))
        except ValueError:
            continue
    return found


def _of_rows(which: Filter) -> tuple[object, ...]:
    return which.queue, which.job_type, which.course_id, which.reason, which.before


def _of_webhooks(which: Filter) -> tuple[object, ...]:
    return which.course_id, which.job_type, which.reason, which.before


def _row(row: Row) -> Letter:
    return Letter(
        kind="outbox",
        key=str(row["outbox_id"]),
        queue=row["saq_queue"],
        job_type=row["job_type"],
        course_id=row["course_id"],
        run_number=row["run_number"],
        priority=row["priority"],
        attempts=row["retry_count"],
        reason=row["last_error"] or "no tries are left",
        detail=None,
        dead_since=row["dead_since"],
    )


def _webhook(row: Row) -> Letter:
    return Letter(
        kind="webhook",
        key=str(row["delivery_id"]),
        queue=None,
        job_type=row["event_type"],
        course_id=row["course_id"],
        run_number=row["run_number"],
        priority=row["priority"],
        attempts=row["attempts"],
        reason=row["reason"],
        detail=row["receiver"],
        dead_since=row["dead_since"],
    )


def _job(job: JobView) -> Letter:
    return Letter(
        kind="queue",
        key=job.key,
        queue=job.queue,
        job_type=job.function,
        course_id=job.course_id,
        run_number=job.run_number,
        priority=job.priority,
        attempts=job.attempts,
        reason=job.reason.value if job.reason is not None else "unknown",
        detail=job.detail,
        dead_since=job.died_at,
    )
