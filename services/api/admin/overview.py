"""What PostgreSQL knows of the machine: the outbox, who relays, and critical events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from services.api.admin.models import LeaderReply, OutboxQueue, OutboxReply, RelayNode
from services.api.metrics_view import ALIVE_WITHIN
from services.kernel.database import Database, Row
from services.kernel.queries import Queries

LATEST: Final = (datetime.max.replace(tzinfo=UTC), 2**63 - 1)
"""The place before the latest event."""

_NODE_ALIVE_SECONDS: Final = 15.0
"""Relays write their heartbeat every second; one that has not for so long is gone or cut off."""

_QUERIES = Queries.load("services.api", "admin.sql")


class Overview:
    """Reads; changes nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def outbox(self) -> OutboxReply:
        """What lies in the outbox."""
        rows = await self._db.fetch(_QUERIES["outbox_queues"])
        queues = [OutboxQueue(**dict(row.items())) for row in rows]
        waiting, dead = sum(each.waiting for each in queues), sum(each.dead for each in queues)
        ages = [each.oldest_seconds for each in queues if each.oldest_seconds is not None]
        return OutboxReply(
            depth=waiting + dead,
            waiting=waiting,
            dead=dead,
            oldest_seconds=max(ages, default=None),
            queues=queues,
            read_at=datetime.now(UTC),
        )

    async def leader(self) -> LeaderReply:
        """Who relays, and who stands by."""
        row: Row = await self._db.fetchrow(_QUERIES["leader"])
        age = row["heartbeat_age_seconds"]
        return LeaderReply(
            alive=row["holder"] is not None and age is not None and age <= ALIVE_WITHIN.total_seconds(),
            nodes=[_node(each) for each in await self._db.fetch(_QUERIES["relay_nodes"])],
            **dict(row.items()),
        )

    async def events(
        self, event_type: str | None, severity: str | None, after: tuple[datetime, int], size: int
    ) -> Sequence[Row]:
        """Up to `size` critical events after a place in their list, the latest first; each way of asking has its index."""
        if event_type is not None:
            return await self._db.fetch(_QUERIES["events_of_type"], event_type, severity, *after, size)
        if severity is not None:
            return await self._db.fetch(_QUERIES["events_of_severity"], severity, *after, size)
        return await self._db.fetch(_QUERIES["events"], after[1], size)


def _node(row: Row) -> RelayNode:
    return RelayNode(alive=row["heartbeat_age_seconds"] <= _NODE_ALIVE_SECONDS, **dict(row.items()))
