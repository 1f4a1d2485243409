"""Courses at once, as administrators see them: counters beside the truth, limits, and the button that sets counters right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from services.api.admin.audit import Audit, Author
from services.api.admin.models import (
    ConcurrencyReply,
    GlobalCounter,
    LimitReply,
    ReconcileReply,
    Scope,
    UserCounter,
)
from services.kernel.concurrency import GLOBAL, Book, ConcurrencyView, Limits
from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, CoursegenError, RetryableError
from services.kernel.queries import Queries

SET: Final = "limit.set"
RECONCILE: Final = "concurrency.reconcile"
MOST_USERS: Final = 1000
"""Users shown at once."""

_NO_COUNTERS: Final = "Redis does not answer: its counters are not known, and PostgreSQL counts instead."
_QUERIES = Queries.load("services.api", "admin.sql")


class TooLate(RetryableError):
    """PostgreSQL took too long to be believed; try again."""

    code = "reconciliation_too_slow"


class ConcurrencyDesk:
    """Shows counters and limits, and changes limits."""

    def __init__(self, db: Database, book: Book, limits: Limits, audit: Audit) -> None:
        self._db = db
        self._book = book
        self._limits = limits
        self._audit = audit

    async def view(self) -> ConcurrencyReply:
        """Counters beside the truth; without Redis the truth alone."""
        await self._limits.refresh()
        message = None
        try:
            users, total, ready = self._counted(await self._book.snapshot())
        except BrokerUnavailable:
            users, total, ready, message = *await self._uncounted(), False, _NO_COUNTERS
        return ConcurrencyReply(
            ready=ready,
            total=total,
            users=users[:MOST_USERS],
            users_total=len(users),
            limits=await self._limit_replies(),
            message=message,
            read_at=datetime.now(UTC),
        )

    async def set_limit(self, author: Author, scope: str, slots: int | None) -> LimitReply:
        """Change a limit while everything runs, or go back to what is configured; every api follows within about a second.

        Raises:
            InvalidInput: there is no such limit, or the number is out of bounds.
            DatabaseUnavailable: nothing has changed.
        """
        scope = self._limits.scope(scope)
        async with self._db.transaction() as session:
            was = await session.fetchval(_QUERIES["lock_limit"], scope)
            await self._limits.set(scope, slots, author.user_id, session)
            recorded = await self._audit.record_within(session, author, SET, scope, {"slots": slots, "was": was})
        self._audit.announce(recorded)
        await self._limits.refresh()
        return next(limit for limit in await self._limit_replies() if limit.scope == scope)

    async def reconcile(self, author: Author) -> ReconcileReply:
        """Count everything anew from PostgreSQL, now.

        Raises:
            BrokerUnavailable, DatabaseUnavailable, TooLate: nothing was changed; try again.
        """
        action = await self._audit.record(author, RECONCILE, GLOBAL, {})
        try:
            rebuilt = await self._book.rebuild()
        except CoursegenError as error:
            await self._audit.complete(action, {"error": error.message})
            raise
        if rebuilt is None:
            await self._audit.complete(action, {"error": TooLate().message})
            raise TooLate
        reply = ReconcileReply(
            added=rebuilt.added, removed=rebuilt.removed, corrected=rebuilt.corrected, slots=rebuilt.slots
        )
        facts = {"added": reply.added, "removed": reply.removed, "corrected": reply.corrected, "slots": reply.slots}
        await self._audit.complete(action, facts)
        return reply

    def _counted(self, view: ConcurrencyView) -> tuple[list[UserCounter], GlobalCounter, bool]:
        users = [
            self._user(each.user_id, each.tier, counter=each.counter, truth=each.truth, drift=each.drift)
            for each in sorted(view.users, key=lambda each: -abs(each.drift))
        ]
        total = self._total(counter=view.global_counter, truth=view.global_truth, drift=view.drift)
        return users, total, view.ready

    async def _uncounted(self) -> tuple[list[UserCounter], GlobalCounter]:
        rows = await self._db.fetch(_QUERIES["running_by_user"])
        users = [
            self._user(row["user_id"], row["tier"], counter=None, truth=row["truth"], drift=None)
            for row in sorted(rows, key=lambda row: -row["truth"])
        ]
        return users, self._total(counter=None, truth=sum(user.truth for user in users), drift=None)

    def _user(self, user_id: Any, tier: str | None, **counts: Any) -> UserCounter:
        return UserCounter(
            user_id=user_id, tier=tier, limit=None if tier is None else self._limits.of_tier(tier), **counts
        )

    def _total(self, **counts: Any) -> GlobalCounter:
        return GlobalCounter(limit=self._limits.of_all, **counts)

    async def _limit_replies(self) -> list[LimitReply]:
        changed = {row["scope"]: row for row in await self._db.fetch(_QUERIES["changed_limits"])}
        return [_limit(scope, configured, changed.get(scope)) for scope, configured in self._limits.configured.items()]


def _limit(scope: str, configured: int, changed: Any | None) -> LimitReply:
    return LimitReply(
        scope=cast(Scope, scope),
        slots=configured if changed is None else changed["slots"],
        default=configured,
        overridden=changed is not None,
        changed_by=None if changed is None else changed["changed_by"],
        changed_at=None if changed is None else changed["changed_at"],
    )
