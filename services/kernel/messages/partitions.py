"""Who persists which partition: leases in PostgreSQL, by PostgreSQL's clock.

Promises: a partition has one owner at a time, under an epoch that rises with every owner, and whatever is written names it. A
lease only says when others may take a partition; it is the epoch that keeps out an owner who does not know that they have.
Partitions are shared out evenly among the workers that were seen of late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from services.kernel.database import Database, Row
from services.kernel.messages.consuming import Lease
from services.kernel.queries import Queries

_QUERIES = Queries.load("services.kernel.messages", "message_partitions.sql")


class Standing(NamedTuple):
    """How things stand after a renewal."""

    held: frozenset[Lease]
    """What this worker owns."""
    partitions: int
    workers: int
    has_free: bool

    @property
    def share(self) -> int:
        """How many partitions one worker owns at most."""
        return math.ceil(self.partitions / max(1, self.workers))

    @property
    def room(self) -> int:
        """How many partitions this worker may take now."""
        return max(0, self.share - len(self.held)) if self.has_free else 0

    @property
    def surplus(self) -> int:
        """How many of its partitions are for others."""
        return max(0, len(self.held) - self.share)


class PartitionBook:
    """The leases of one worker."""

    def __init__(self, db: Database, node: str, lease_seconds: float) -> None:
        """Keep the leases of the worker `node`, a name that no other worker has or had; without renewal they run out."""
        self._db = db
        self._node = node
        self._lease_seconds = lease_seconds

    async def renew(self, count: int) -> Standing:
        """Show that the worker lives, and keep what it owns; `count` partitions there are at least.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        await self._db.execute(_QUERIES["appear"], self._node)
        held = await self._db.fetch(_QUERIES["renew"], self._node, self._lease_seconds)
        standing = await self._db.fetchrow(_QUERIES["standing"], self._lease_seconds)
        if standing is not None and standing["partitions"] < count:
            await self._db.execute(_QUERIES["add_partitions"], count)
            standing = await self._db.fetchrow(_QUERIES["standing"], self._lease_seconds)
        assert standing is not None  # noqa: S101 - a statement without FROM returns its row
        return Standing(frozenset(_leases(held)), standing["partitions"], standing["workers"], standing["has_free"])

    async def take(self, most: int) -> list[Lease]:
        """Take at most so many partitions that are free.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer; they may have been taken all the same.
        """
        return list(_leases(await self._db.fetch(_QUERIES["take"], self._node, self._lease_seconds, most)))

    async def give_back(self, leases: Iterable[Lease]) -> None:
        """Leave partitions to others; those that they have taken already are theirs.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        if given := list(leases):
            partitions, epochs = [each.partition for each in given], [each.epoch for each in given]
            await self._db.execute(_QUERIES["give_back"], self._node, partitions, epochs)

    async def leave(self) -> None:
        """Say that this worker stops.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        await self._db.execute(_QUERIES["leave"], self._node)

    async def overtake(self, lease: Lease, seen: int) -> Lease | None:
        """Raise the epoch above the one that Redis knows; None when the partition is somebody else's.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        epoch = await self._db.fetchval(_QUERIES["overtake"], self._node, lease.partition, lease.epoch, seen)
        return None if epoch is None else Lease(lease.partition, epoch)


def _leases(rows: Iterable[Row]) -> Iterable[Lease]:
    return (Lease(row["partition"], row["epoch"]) for row in rows)
