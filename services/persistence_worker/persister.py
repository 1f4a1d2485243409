"""Into PostgreSQL: one insert for a whole batch, and the way to the one message that it is refused for.

Promises: rows come in the order of the items; nothing is written under a lease that is over; a message whose row is there is
not written again. A refusal of one message holds up none of another conversation, and those of its own stay behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.kernel.database import Database, DatabaseRefused
from services.kernel.errors import CoursegenError, InvalidInput
from services.kernel.faults import reach
from services.kernel.messages.envelope import encode
from services.kernel.queries import Queries
from services.persistence_worker.items import Item, Outcome, Refusal

_QUERIES = Queries.load("services.persistence_worker", "persist.sql")
_ROWS_FAULT: Final = frozenset({"22", "23", "54", "P0"})
"""Classes of SQLSTATE that speak of a value, a constraint, a size or what a trigger raised; others would refuse every message."""


class Persister:
    """Writes messages for one worker."""

    def __init__(self, db: Database, node: str) -> None:
        self._db = db
        self._node = node

    async def put(self, items: Sequence[Item]) -> Outcome:
        """Write the items, as many as PostgreSQL takes.

        Raises:
            CoursegenError: PostgreSQL does not answer, or refuses everything; some may be written.
        """
        if not items:
            return Outcome()
        try:
            return await self._insert(items)
        except CoursegenError as error:
            if not is_fault_of_row(error):
                raise
            if len(items) == 1:
                return Outcome(refused=[Refusal(items[0], error)])
        return await self._halves(items)

    async def has(self, message_id: str) -> bool:
        """Whether a message's row is there.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return bool(await self._db.fetchval(_QUERIES["has"], message_id))

    async def _halves(self, items: Sequence[Item]) -> Outcome:
        middle = len(items) // 2
        outcome = await self.put(items[:middle])
        blocked = outcome.blocked
        second = [each for each in items[middle:] if each.conversation not in blocked]
        outcome.waiting += [each for each in items[middle:] if each.conversation in blocked]
        outcome.add(await self.put(second))
        return outcome

    async def _insert(self, items: Sequence[Item]) -> Outcome:
        await reach("persistence.before_insert")
        leases = list({each.lease for each in items})
        row = await self._db.fetchrow(
            _QUERIES["persist"],
            self._node,
            [lease.partition for lease in leases],
            [lease.epoch for lease in leases],
            [each.entry.partition for each in items],
            [int(each.entry.accepted.partition("-")[0]) for each in items],
            (b"[%b]" % b",".join([encode(each.envelope) for each in items])).decode(),
        )
        assert row is not None  # noqa: S101 - a statement without FROM returns its row
        await reach("persistence.after_insert")
        held = set(row["held"])
        return Outcome(
            done=[each for each in items if each.lease.partition in held],
            new=set(row["new"]),
            lost={lease for lease in leases if lease.partition not in held},
        )


def is_fault_of_row(error: CoursegenError) -> bool:
    """Whether `error` speaks of what is in a message, and not of the database."""
    if isinstance(error, InvalidInput):
        return True
    return isinstance(error, DatabaseRefused) and str(error.details.get("sqlstate"))[:2] in _ROWS_FAULT
