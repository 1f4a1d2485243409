"""Dead outbox rows, for people: look at them, have them tried again, or flush them.

A row is dead when Redis refused it, or when it failed as often as it may: `processed_at` is NULL and `retry_count` has
reached `max_retries`. It stays, and is counted in the queue's depth, until someone acts (contract.md f).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.kernel.database import Database
from services.kernel.queries import Queries

_QUERIES = Queries.load("services.kernel", "outbox.sql")


@dataclass(frozen=True, slots=True)
class DeadRow:
    """An outbox row that nothing will try again by itself."""

    outbox_id: UUID
    entity_id: UUID
    queue_name: str
    job_type: str | None
    retry_count: int
    max_retries: int
    last_error: str | None
    last_attempt_at: datetime | None
    created_at: datetime


async def dead_rows(db: Database, most: int = 100) -> list[DeadRow]:
    """Dead rows, the latest failure first."""
    return [DeadRow(**row) for row in await db.fetch(_QUERIES["dead_rows"], most)]


async def replay_rows(db: Database, outbox_ids: Sequence[UUID]) -> list[UUID]:
    """Have the relay try dead rows again; which ones were dead. Call `WakeUp.notify()` afterwards."""
    return [row["outbox_id"] for row in await db.fetch(_QUERIES["replay_rows"], list(outbox_ids))]


async def flush_rows(db: Database, outbox_ids: Sequence[UUID]) -> list[UUID]:
    """Give dead rows up for good; which ones were dead. They never count as jobs created (contract.md TRAP37)."""
    return [row["outbox_id"] for row in await db.fetch(_QUERIES["flush_rows"], list(outbox_ids))]
