"""The record of what administrators change: who, when, what, on what.

Promises: a change in PostgreSQL is recorded in its own transaction, so that neither is there without the other; a change
elsewhere (Redis) is recorded before it is made, and what came of it is added afterwards. Nothing is ever removed. The log and
the metric follow the commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from services.api.auth import Principal
from services.kernel import metrics
from services.kernel.database import Connection, Database, Row
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

LATEST: Final = 2**63 - 1
"""The place before the latest action."""

_QUERIES = Queries.load("services.api", "admin.sql")
_ACTIONS = metrics.counter("admin_actions", "What administrators changed", ["action"])
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts, and in which request."""

    user_id: UUID
    request_id: str

    @classmethod
    def of(cls, caller: Principal, request_id: str) -> Author:
        """The caller of a request."""
        return cls(caller.user_id, request_id)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An action that is written down, perhaps in a transaction that may yet fail."""

    id: int
    author: Author
    action: str
    target: str


class Audit:
    """Writes and reads the record."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(self, author: Author, action: str, target: str, detail: Mapping[str, Any]) -> int:
        """Write down an action in a transaction of its own, and announce it; its number.

        Raises:
            DatabaseUnavailable: it is not written down, so it must not be done.
        """
        recorded = await self.note(author, action, target, detail)
        self.announce(recorded)
        return recorded.id

    async def note(self, author: Author, action: str, target: str, detail: Mapping[str, Any]) -> Recorded:
        """Write down an action that may yet be refused, in a transaction of its own; announce it once it is done.

        Raises as `record`.
        """
        return await self._write(self._db, author, action, target, detail)

    async def record_within(
        self, session: Connection, author: Author, action: str, target: str, detail: Mapping[str, Any]
    ) -> Recorded:
        """Write down an action in the transaction of `session`; announce it after the commit. Raises as `record`."""
        return await self._write(session, author, action, target, detail)

    def announce(self, recorded: Recorded) -> None:
        """Log and count an action that is committed."""
        _ACTIONS.labels(recorded.action).inc()
        _log.info(
            "admin action",
            action=recorded.action,
            target=recorded.target,
            actionId=recorded.id,
            by=str(recorded.author.user_id),
        )

    async def complete(self, action_id: int, result: Mapping[str, Any], *, session: Connection | None = None) -> None:
        """Add what came of an action."""
        source: Connection | Database = session or self._db
        await source.execute(_QUERIES["complete_action"], action_id, dict(result))

    async def page(self, before: int, action: str | None, user_id: UUID | None, size: int) -> Sequence[Row]:
        """Up to `size` actions before the one numbered `before`, the latest first."""
        return await self._db.fetch(_QUERIES["actions"], before, action, user_id, size)

    async def _write(
        self, source: Connection | Database, author: Author, action: str, target: str, detail: Mapping[str, Any]
    ) -> Recorded:
        arguments = (author.user_id, action, target, dict(detail), author.request_id)
        row: Row = await source.fetchrow(_QUERIES["record_action"], *arguments)
        return Recorded(int(row["id"]), author, action, target)
