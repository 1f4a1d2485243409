"""What became of deliveries: the steps an attempt leads to, and the dead letters for those who look after them.

::

    pending ──attempt fails──▶ pending (next_attempt_at) ──due──▶ pending (outbox_id) ──▶ …
       │                                                      ▲
       ├──accepted──▶ delivered                               │ replay
       └──given up──▶ dead ───────────────────────────────────┘
                        └──discard──▶ discarded

Every step names the outbox row of the attempt that takes it, so an attempt that was overtaken (a replay, a deletion)
changes nothing. All functions take the caller's session, so that they can be part of a transaction of his, with the record
of who asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from services.kernel.database import Connection, Row
from services.kernel.queries import Queries

QUEUE: Final = "webhooks"
"""The queue in which attempts travel."""

JOB_TYPE: Final = "WEBHOOK_DELIVERY"
"""The `job_type` of an attempt."""

RELATIONS: Final = ("webhook_deliveries", "webhook_secrets")
"""What must exist before a process can do with webhooks (TRAP33)."""

_SQL = Queries.load("services.kernel", "webhooks.sql")


@dataclass(frozen=True, slots=True)
class DeadDelivery:
    """A webhook that nobody has received, and why."""

    delivery_id: UUID
    """The `webhook-id`: the same after a replay."""
    course_id: UUID | None
    """None when the course was deleted."""
    organization_id: UUID
    run_number: int
    event_type: str
    url: str
    attempts: int
    """Since the event, or since the last replay."""
    replays: int
    last_status: int | None
    """HTTP status of the last answer, None when there was none."""
    last_error: str | None
    created_at: datetime
    died_at: datetime

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again; what tells of a deleted course cannot."""
        return self.course_id is not None

    @classmethod
    def of(cls, row: Row) -> DeadDelivery:
        """The dead letter in a row of `dead_deliveries`."""
        fields = dict(row)
        return cls(died_at=fields.pop("settled_at"), **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead letters are meant; every condition that is given must hold, none means all."""

    ids: Sequence[UUID] | None = None
    course_id: UUID | None = None
    organization_id: UUID | None = None
    event_type: str | None = None
    reason: str | None = None
    """Part of `last_error`, in whatever case."""
    before: datetime | None = None
    """Dead since before then."""

    def arguments(self) -> tuple[object, ...]:
        """The conditions in the order of the statements."""
        ids = None if self.ids is None else list(self.ids)
        return (ids, self.course_id, self.organization_id, self.event_type, self.reason, self.before)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many deliveries are on their way, and how many are dead."""

    pending: int
    dead: int


async def dead_deliveries(
    session: Connection, which: DeadFilter | None = None, *, limit: int = 100, offset: int = 0
) -> list[DeadDelivery]:
    """The dead letters that are meant, those that died first before the others."""
    rows = await session.fetch(_SQL["dead_deliveries"], *(which or DeadFilter()).arguments(), offset, limit)
    return [DeadDelivery.of(row) for row in rows]


async def count_dead(session: Connection, which: DeadFilter | None = None) -> int:
    """How many dead letters are meant."""
    return int(await session.fetchval(_SQL["count_dead"], *(which or DeadFilter()).arguments()))


async def replay(session: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Make dead letters due again at once, with all attempts before them and under their old `webhook-id`.

    Returns those that were: not one that is not dead (any more), nor one whose course was deleted. A worker that serves
    the queue writes their outbox rows within a second or two of the commit.
    """
    return [row["delivery_id"] for row in await session.fetch(_SQL["replay_dead"], list(ids))]


async def discard(session: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Take dead letters out of sight, for good; returns those that were dead."""
    return [row["delivery_id"] for row in await session.fetch(_SQL["discard_dead"], list(ids))]


async def tally(session: Connection) -> Tally:
    """The numbers for a gauge."""
    (row,) = await session.fetch(_SQL["tally"])
    return Tally(**dict(row))
