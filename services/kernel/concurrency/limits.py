"""The limits in force: what an operator has changed, else what is configured (contract.md e)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol
from uuid import UUID

from services.kernel.concurrency.settings import FEWEST, MOST, ConcurrencySettings, TierLimits
from services.kernel.database import Connection, Database
from services.kernel.errors import InvalidInput
from services.kernel.logs import get_logger
from services.kernel.queries import Queries
from services.kernel.tiers import DEFAULT_TIER

GLOBAL: Final = "global"
"""The scope of all users together; the others are the tiers."""

_QUERIES = Queries.load("services.kernel", "concurrency.sql")
_log = get_logger(__name__)


class LimitSettings(Protocol):
    """`ConcurrencySettings`, or whatever has the same two."""

    @property
    def concurrency_global_limit(self) -> int: ...  # noqa: D102
    @property
    def concurrency_tier_limits(self) -> TierLimits: ...  # noqa: D102


class Limits:
    """The limits in force, as of the last look into the database."""

    def __init__(self, db: Database, settings: LimitSettings | None = None) -> None:
        """The configured limits; `refresh` looks for changed ones."""
        settings = settings or ConcurrencySettings()
        self._db = db
        self._configured: Mapping[str, int] = {
            GLOBAL: settings.concurrency_global_limit,
            **dict(settings.concurrency_tier_limits.pairs),
        }
        self._in_force = self._configured

    @property
    def in_force(self) -> Mapping[str, int]:
        """Courses at once, by scope: `global` and every tier."""
        return self._in_force

    @property
    def configured(self) -> Mapping[str, int]:
        """The same as the settings have it."""
        return self._configured

    @property
    def of_all(self) -> int:
        """Courses of all users together."""
        return self._in_force[GLOBAL]

    def of_tier(self, tier: str) -> int:
        """Courses of one user of this tier; an unknown one counts as FREE."""
        return self._in_force.get(tier, self._in_force[DEFAULT_TIER])

    async def refresh(self) -> None:
        """Look at what has been changed.

        Raises:
            DatabaseUnavailable: the limits stay as they were.
        """
        changed = {row["scope"]: row["slots"] for row in await self._db.fetch(_QUERIES["changed_limits"])}
        in_force = {scope: changed.get(scope, slots) for scope, slots in self._configured.items()}
        if in_force != self._in_force:
            _log.info("concurrency limits changed", **in_force)
        self._in_force = in_force

    async def set(self, scope: str, slots: int | None, by: UUID, session: Connection | None = None) -> None:
        """Change a limit while everything runs; every api follows within about a second.

        Args:
            scope: `global` or a tier, in any case.
            slots: courses at once; None for what is configured.
            by: who decided it.
            session: the caller's own transaction to write it in; without one it is written at once.

        Raises:
            InvalidInput: there is no such scope, or the number is out of bounds.
        """
        scope = self.scope(scope)
        if slots is not None and not FEWEST <= slots <= MOST:
            raise InvalidInput(f"`slots` is a whole number from {FEWEST} to {MOST:,}.", field="slots")
        arguments: tuple[Any, ...] = (scope,) if slots is None else (scope, slots, by)
        query = _QUERIES["restore_limit" if slots is None else "change_limit"]
        if session is not None:
            await session.execute(query, *arguments)
            return
        await self._db.execute(query, *arguments)
        await self.refresh()

    def scope(self, name: str) -> str:
        """The scope that `name` means.

        Raises:
            InvalidInput: naming those there are.
        """
        for scope in self._configured:
            if scope.upper() == name.upper():
                return scope
        raise InvalidInput(f"There is no limit {name[:50]!r}; there are {', '.join(self._configured)}.", field="scope")
