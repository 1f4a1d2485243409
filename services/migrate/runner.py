"""Applies migrations: each once, in order, whole or not at all, however many runners start together.

Promises:

- One transaction per file, with its line in the list; a file that says `-- migrate: no-transaction` runs statement by
  statement and must be written so that it can run again.
- Runners exclude each other by an advisory lock of the session, which needs a connection without a pooler in between.
- A file that was applied and has changed since stops the run before anything is done.
- No lock is waited for longer than `lock_seconds`: everyone who comes later would wait behind the waiting one.
- A file older than one that is applied already is applied all the same: rollbacks take lines out of the list. Files that
  amend it (`-- Amends:`) are applied again after it, so that it does not bring back what they had replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from services.kernel.database import Connection, connect, translated
from services.kernel.errors import DatabaseDenied, DatabaseUnavailable, OperatorError
from services.kernel.reminders import Reminder
from services.kernel.settings import Secret
from services.migrate import errors
from services.migrate.files import MigrationFile, due, find_directory, read_directory
from services.migrate.history import AppliedMigration, History
from services.migrate.settings import MigrateSettings
from services.migrate.statements import Statement, split

_RETRY_SECONDS: Final = 1.0
_LOCK_NOT_AVAILABLE: Final = "55P03"

State = Literal["applied", "pending", "changed", "unknown"]


@dataclass(frozen=True, slots=True)
class Applied:
    """A file that this run applied."""

    version: str
    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one migration stands. `unknown`: applied, but not among the files, as after a return to an older release."""

    version: str
    name: str | None
    state: State
    executed_at: datetime | None


async def apply_all(database_url: str, directory: Path | None = None) -> list[Applied]:
    """Bring a database up to date with the default waits; returns what had to be applied, in order.

    Raises:
        MigrationFailed, ChecksumChanged, MigrationFilesInvalid: each says what to do next.
        RunnerBusy, DatabaseUnavailable: call it again later.
    """
    return await Runner(MigrateSettings(database_url=Secret(database_url), directory=directory)).apply()


class Runner:
    """Applies the files of one folder to one database."""

    def __init__(
        self,
        settings: MigrateSettings,
        *,
        report: Callable[[Applied], None] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        """Build a runner; nothing is opened yet.

        Args:
            settings: where, and how long to wait.
            report: called after each file that was applied.
            waiting: called with the reason while the server does not answer: at once, then twice a minute.
        """
        self._settings = settings
        self._report = report or (lambda _: None)
        self._waiting = waiting or (lambda _: None)

    async def apply(self, accept: Collection[str] = ()) -> list[Applied]:
        """Apply what is pending. `accept` names versions whose changed text is taken for the one that was applied.

        Raises:
            UnknownVersion: a version in `accept` is none of the files'; nothing was done.
            MigrationFailed, ChecksumChanged, MigrationFilesInvalid: each says what to do next.
            RunnerBusy, DatabaseUnavailable: call it again later.
        """
        files = self._files()
        strangers = sorted(set(accept) - {file.version for file in files})
        if strangers:
            raise errors.unknown(strangers)
        async with self._session() as session:
            history = History(session)
            async with history.locked(self._settings.wait_seconds):
                await self._prepare(history)
                known = await self._verified(history, files, accept)
                return [await self._apply(session, file) for file in due(files, known)]

    async def standings(self) -> list[Standing]:
        """Where every migration stands, by version; changes nothing and waits for nobody.

        Raises:
            MigrationFilesInvalid: the folder cannot be used.
            DatabaseUnavailable: call it again later.
        """
        files = self._files()
        async with self._session() as session:
            known = await History(session).applied()
        versions = {file.version for file in files}
        pending = {file.version for file in due(files, known)}
        strangers = [
            Standing(line.version, line.name, "unknown", line.executed_at)
            for line in known.values()
            if line.version not in versions
        ]
        ours = [_standing(file, known) for file in files]
        shown = [
            replace(each, state="pending") if each.version in pending and each.state == "applied" else each
            for each in ours
        ]
        return sorted([*shown, *strangers], key=lambda each: each.version)

    def _files(self) -> list[MigrationFile]:
        return read_directory(self._settings.directory or find_directory())

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        session = await self._connect()
        try:
            with translated():
                yield session
        finally:
            with contextlib.suppress(Exception):  # a session that broke cannot be closed in order
                await session.close(timeout=3.0)

    async def _connect(self) -> Connection:
        seconds = self._settings.connect_seconds
        deadline, reminder = time.monotonic() + seconds, Reminder()
        while True:
            try:
                return await connect(
                    self._settings.database_url, application="coursegen-migrate", statement_seconds=None
                )
            except DatabaseDenied as error:
                raise DatabaseDenied(f"{error.message}; look at DATABASE_URL, then {errors.AGAIN}") from error
            except DatabaseUnavailable as error:
                now = time.monotonic()
                if now + _RETRY_SECONDS > deadline:
                    raise DatabaseUnavailable(
                        f"PostgreSQL did not answer within {seconds:g} s; look at DATABASE_URL, then {errors.AGAIN}"
                    ) from error
                if reminder.is_due("no answer"):
                    self._waiting(f"{error.message}; waiting for it, {deadline - now:.0f} s more at most")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _prepare(self, history: History) -> None:
        try:
            await history.prepare()
        except Exception as error:
            if getattr(error, "sqlstate", None) != "42501":
                raise
            raise OperatorError(
                "this role may not create schemas in the database; let DATABASE_URL name the owner of the database, "
                f"not the application's role, and {errors.AGAIN}"
            ) from error

    async def _verified(
        self, history: History, files: list[MigrationFile], accept: Collection[str]
    ) -> dict[str, AppliedMigration]:
        known = await history.applied()
        differing = [file for file in files if _standing(file, known).state == "changed"]
        refused = [file for file in differing if file.version not in accept]
        if refused:
            raise errors.changed(refused)
        unsigned = [file for file in files if file.version in known and known[file.version].checksum is None]
        for file in [*differing, *unsigned]:
            await history.record(file)
        return known

    async def _apply(self, session: Connection, file: MigrationFile) -> Applied:
        started = time.monotonic()
        for left in reversed(range(self._settings.lock_tries)):
            try:
                await (self._run_whole if file.in_transaction else self._run_stepwise)(session, file)
                break
            except errors.MigrationFailed as error:
                if not left or error.details["sqlstate"] != _LOCK_NOT_AVAILABLE:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)  # let those pass who waited behind us
        applied = Applied(file.version, file.name, time.monotonic() - started)
        self._report(applied)
        return applied

    async def _run_whole(self, session: Connection, file: MigrationFile) -> None:
        history = History(session)
        try:
            async with session.transaction():
                await history.limit(
                    self._settings.lock_seconds, self._settings.statement_seconds, transaction_only=True
                )
                await session.execute(file.text)
                await history.record(file)
        except Exception as error:
            raise errors.failed(file, error) from error

    async def _run_stepwise(self, session: Connection, file: MigrationFile) -> None:
        history = History(session)
        # CONCURRENTLY waits for old transactions without keeping anybody from working: it may wait long.
        await history.limit(0, 0, transaction_only=False)
        for statement in split(file.text):
            await self._run_statement(session, file, statement)
        await history.record(file)

    async def _run_statement(self, session: Connection, file: MigrationFile, statement: Statement) -> None:
        try:
            await session.execute(statement.text)
        except Exception as error:
            raise errors.failed(file, error, line=statement.line) from error


def _standing(file: MigrationFile, known: dict[str, AppliedMigration]) -> Standing:
    line = known.get(file.version)
    if line is None:
        return Standing(file.version, file.name, "pending", None)
    state: State = "applied" if line.checksum in {None, file.checksum} else "changed"
    return Standing(file.version, file.name, state, line.executed_at)


def with_directory(settings: MigrateSettings, directory: Path | None) -> MigrateSettings:
    """`settings` with another folder, when one is named."""
    return settings if directory is None else replace(settings, directory=directory)
