"""The list of what was applied to a database, that of the backups used for it, and the lock under which they grow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from services.kernel.database import Connection
from services.kernel.queries import Queries
from services.migrate.errors import RunnerBusy
from services.migrate.files import MigrationFile

LOCK_KEY: Final = 0x636F_7572_7365_6D
"""The advisory lock of all runners on one database ("coursem" in ASCII)."""

_POLL_SECONDS: Final = 0.2
_COLUMNS: Final = frozenset({"version", "name", "executed_at", "checksum", "plan_hash", "backup_id", "is_due_again"})
_QUERIES = Queries.load("services.migrate", "history.sql")


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """One line of the list."""

    version: str
    name: str | None
    executed_at: datetime | None
    checksum: str | None
    """None when it was applied by something that keeps no checksums."""
    plan_hash: str | None = None
    """The plan that it was applied under."""
    backup_id: str | None = None
    """The backup that was named when it was applied."""
    is_due_again: bool = False
    """A file that it amends has been applied after it."""


@dataclass(frozen=True, slots=True)
class BackupUse:
    """A plan that a backup was used for. It is known for ever, whatever becomes of the lines that were written under it."""

    backup_id: str
    plan_hash: str
    version: str | None
    """The newest file that was applied under it; None: none to its end."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is written down with a file besides its name: the plan that it belongs to, and the backup that was named."""

    plan_hash: str | None = None
    backup_id: str | None = None
    amending: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Which versions amend which one."""


class History:
    """Reads and writes the list, through one session."""

    def __init__(self, session: Connection) -> None:
        self._session = session

    @contextlib.asynccontextmanager
    async def locked(self, wait_seconds: float) -> AsyncIterator[None]:
        """Hold the runners' lock for the block; it falls with the session if the process dies.

        Raises:
            RunnerBusy: another runner did not finish in time.
        """
        try:
            async with asyncio.timeout(wait_seconds):
                while not await self._session.fetchval(_QUERIES["try_lock"], LOCK_KEY):  # noqa: ASYNC110 - no event reaches us
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise RunnerBusy(
                f"another runner was still at work after {wait_seconds:g} s; wait for it to end, then "
                "run `coursegen migrate` again"
            ) from None
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # a session that broke has given it back
                await self._session.execute(_QUERIES["unlock"], LOCK_KEY)

    async def notice_lost_client(self) -> None:
        """Have the server end this session, and what it is doing, soon after the process is gone."""
        with contextlib.suppress(
            Exception
        ):  # a server on a system that cannot tell notices at the end of the statement
            await self._session.execute(_QUERIES["notice_lost_client"])

    async def prepare(self) -> None:
        """Make both lists, or give Supabase's own the columns it lacks. Call it under the lock."""
        if not await self._columns():
            await self._session.execute(_QUERIES["create_schema"])
            await self._session.execute(_QUERIES["create_table"])
        elif not await self._complete():
            await self._session.execute(_QUERIES["extend_table"])
        if not await self._session.fetchval(_QUERIES["keeps_used_backups"]):
            async with self._session.transaction():
                await self._session.execute(_QUERIES["create_used_backups"])
                await self._session.execute(_QUERIES["fill_used_backups"])

    async def applied(self) -> dict[str, AppliedMigration]:
        """What was applied, by version; nothing when there is no list. An older list may lack columns."""
        if "version" not in await self._columns():
            return {}
        rows = await self._session.fetch(_QUERIES["applied"])
        return {row["version"]: AppliedMigration(*row.values()) for row in rows}

    async def used_backups(self) -> list[BackupUse]:
        """What backups were used for. Prepare the list first."""
        return [BackupUse(*row.values()) for row in await self._session.fetch(_QUERIES["used_backups"])]

    async def use_backup(self, circumstances: Circumstances) -> None:
        """Write down that the backup is used for the plan, before anything is taken away: it is so also if that breaks off."""
        await self._session.execute(_QUERIES["use_backup"], circumstances.backup_id, circumstances.plan_hash)

    async def sign(self, file: MigrationFile) -> None:
        """Write down that what is applied of `file` is its text as it is now."""
        await self._session.execute(_QUERIES["sign"], file.version, file.name, file.checksum)

    async def record(self, file: MigrationFile, circumstances: Circumstances) -> None:
        """Write down that `file` was applied, and that those that amend it have to follow again."""
        written = circumstances.plan_hash, circumstances.backup_id
        outdated = sorted(circumstances.amending.get(file.version, ()))
        await self._session.execute(_QUERIES["record"], file.version, file.name, file.checksum, *written, outdated)

    async def missing_tables(self, names: Collection[str]) -> list[str]:
        """Those of `names` that are no relations."""
        return [row["name"] for row in await self._session.fetch(_QUERIES["missing_tables"], sorted(names))]

    async def limit(self, lock_seconds: float, statement_seconds: float, *, transaction_only: bool) -> None:
        """Bound the waits of what follows; 0 is no limit."""
        lock, statement = (f"{int(seconds * 1000)}ms" for seconds in (lock_seconds, statement_seconds))
        await self._session.execute(_QUERIES["set_timeouts"], lock, statement, transaction_only)

    async def _complete(self) -> bool:
        return _COLUMNS.issubset(await self._columns())

    async def _columns(self) -> set[str]:
        return {row["name"] for row in await self._session.fetch(_QUERIES["table_columns"])}
