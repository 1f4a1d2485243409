"""Applies migrations: each once, in order, whole or not at all, however many runners start together.

Promises:

- One transaction per file, with its line in the list; a file that says `-- migrate: no-transaction` runs statement by
  statement and must be written so that it can run again.
- Runners exclude each other by an advisory lock of the session, which needs a connection without a pooler in between.
- A file that was applied and has changed since stops the run before anything is done, and so does what the request does
  not allow.
- No lock is waited for longer than `lock_seconds`: everyone who comes later would wait behind the waiting one. Only a
  statement with CONCURRENTLY, which nobody waits behind, waits as long as it takes.
- A file older than one that is applied already is applied all the same: rollbacks take lines out of the list. Files that
  amend it (`-- Amends:`) are applied again after it, so that it does not bring back what they had replaced; the list says
  so from the moment on in which it is applied, so that they follow also when the run breaks off in between.
- Before the first file of a plan that takes something away, the backup is noted as used for that plan, for good.
- After a run that has applied something, the schema is noted, so that changes by hand can be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from services.kernel.database import Connection
from services.kernel.errors import CoursegenError, OperatorError
from services.kernel.settings import Secret
from services.migrate import errors
from services.migrate.baseline import adoptable, counted
from services.migrate.drift import Drift
from services.migrate.files import MigrationFile, amending, find_directory, read_directory
from services.migrate.history import AppliedMigration, Circumstances, History
from services.migrate.plan import Plan, Survey, survey, whole
from services.migrate.reading import contains
from services.migrate.reference import Reference, Watch
from services.migrate.request import Request, check_permission
from services.migrate.session import opened
from services.migrate.settings import MigrateSettings
from services.migrate.standing import Standing, differing, standings
from services.migrate.statements import Statement, split

_RETRY_SECONDS: Final = 1.0
_LOCK_NOT_AVAILABLE: Final = "55P03"

Known = dict[str, AppliedMigration]


@dataclass(frozen=True, slots=True)
class Applied:
    """A file that this run applied."""

    version: str
    name: str
    seconds: float


class Watcher:
    """Is told of a run while it goes on; this one keeps it to itself."""

    def waiting(self, reason: str) -> None:
        """The server does not answer yet: said at once, then twice a minute."""

    def surveyed(self, found: Survey) -> None:
        """Where the database stands, before anything is done."""

    def adopted(self, files: Sequence[MigrationFile]) -> None:
        """A baseline was noted: these files count as applied."""

    def applied(self, applied: Applied) -> None:
        """One file was applied."""

    def compared(self, drift: Drift) -> None:
        """How the schema compares with what it should be, after the run."""


async def apply_all(database_url: str, directory: Path | None = None) -> list[Applied]:
    """Bring a database up to date with the default waits; returns what had to be applied, in order.

    Raises:
        MigrationFailed, ChecksumChanged, MigrationFilesInvalid, Denied: each says what to do next.
        RunnerBusy, DatabaseUnavailable: call it again later.
    """
    return await Runner(MigrateSettings(database_url=Secret(database_url), directory=directory)).apply()


class Runner:
    """Applies the files of one folder to one database."""

    def __init__(self, settings: MigrateSettings, watcher: Watcher | None = None) -> None:
        """Build a runner; nothing is opened yet."""
        self._settings = settings
        self._watcher = watcher or Watcher()

    async def apply(self, request: Request | None = None) -> list[Applied]:
        """Apply what is pending.

        Raises:
            UnknownVersion: a version in the request is none of the files'; nothing was done.
            Denied: the request does not allow it; nothing was done.
            MigrationFailed, ChecksumChanged, MigrationFilesInvalid: each says what to do next.
            RunnerBusy, DatabaseUnavailable: call it again later.
        """
        request, files = request or Request(), self._files()
        strangers = sorted(set(request.accept) - {file.version for file in files})
        if strangers:
            raise errors.unknown(strangers)
        async with self._locked() as (session, history):
            await self._prepare(history)
            stood = await history.applied()
            known = await self._verified(history, files, request)
            adopted = await _adoptable(history, files, known, request)
            plan = await self._permitted(history, files, counted(known, adopted), request, adopted)
            watch = await self._watch(session, stood, request)
            backup = request.backup_id if plan.needs_backup else None
            circumstances = Circumstances(plan.hash, backup, amending(files))
            try:
                await self._adopt(session, adopted)
                applied = [await self._apply(session, plan, file, circumstances) for file in plan.files]
            except CoursegenError:
                await self._note(watch, history)
                raise
            await self._note(watch, history)
            return applied

    async def survey(self, request: Request | None = None) -> Survey:
        """Where the database stands and what would be done; changes nothing and waits for nobody.

        Raises:
            As `apply`, for what can be told without doing anything.
        """
        request, files = request or Request(), self._files()
        async with self._session() as session:
            history = History(session)
            known = await history.applied()
            _refuse_changed(files, known, request)
            adopted = await _adoptable(history, files, known, request)
            found = survey(files, counted(known, adopted), request.target, adopted)
        self._watcher.surveyed(found)
        return found

    async def drift(self, request: Request | None = None) -> Drift:
        """How the schema differs from what the migrations made of it; what is pending is told on the way.

        Raises:
            UnknownVersion, Denied: the target is none, or older than what is applied.
            RunnerBusy, DatabaseUnavailable: call it again later.
        """
        request, files = request or Request(), self._files()
        async with self._locked() as (session, history):
            await self._prepare(history)
            known, reference = await history.applied(), Reference(session)
            adopted: list[MigrationFile] = []
            with contextlib.suppress(errors.Denied):  # a baseline that this database has not: all is pending
                adopted = await _adoptable(history, files, known, request)
            self._watcher.surveyed(survey(files, counted(known, adopted), request.target, adopted))
            return await reference.drift(known, request.ignore, accept=request.accept_drift)

    async def standings(self) -> list[Standing]:
        """Where every migration stands, by version; changes nothing and waits for nobody.

        Raises:
            MigrationFilesInvalid: the folder cannot be used.
            DatabaseUnavailable: call it again later.
        """
        async with self._session() as session:
            return standings(self._files(), await History(session).applied())

    def _files(self) -> list[MigrationFile]:
        return read_directory(self._settings.directory or find_directory())

    def _session(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        return opened(self._settings, self._watcher.waiting)

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[tuple[Connection, History]]:
        async with self._session() as session:
            history = History(session)
            await history.notice_lost_client()
            async with history.locked(self._settings.wait_seconds):
                yield session, history

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

    async def _verified(self, history: History, files: Sequence[MigrationFile], request: Request) -> Known:
        """What is applied, with every text that was accepted signed."""
        known = await history.applied()
        _refuse_changed(files, known, request)
        unsigned = [file for file in files if file.version in known and known[file.version].checksum is None]
        for file in [*differing(files, known), *unsigned]:
            await history.sign(file)
        return await history.applied()

    async def _permitted(
        self,
        history: History,
        files: Sequence[MigrationFile],
        known: Known,
        request: Request,
        adopted: Sequence[MigrationFile],
    ) -> Plan:
        found = survey(files, known, request.target, adopted)
        self._watcher.surveyed(found)
        plan = whole(files, known, request.target, adopted) if request.phase == "both" else found.plan(request.phase)
        uses = await history.used_backups() if plan.needs_backup else ()
        check_permission(plan, found, known, uses, request)
        return plan

    async def _adopt(self, session: Connection, files: Sequence[MigrationFile]) -> None:
        """Note a baseline: all of it or nothing, since a list with a part of it would not be taken over once more."""
        if not files:
            return
        async with session.transaction():
            for file in files:
                await History(session).record(file, Circumstances())
        self._watcher.adopted(files)

    async def _watch(self, session: Connection, stood: Known, request: Request) -> Watch | None:
        with contextlib.suppress(Exception):  # noting the schema is no condition of changing it
            return await Watch.begin(session, stood, accept=request.accept_drift)
        return None

    async def _note(self, watch: Watch | None, history: History) -> None:
        """Note the schema. A run that did its work has done it, also when this fails: the next one makes up for it."""
        if watch is not None:
            with contextlib.suppress(Exception):
                self._watcher.compared(await watch.end(await history.applied()))

    async def _apply(
        self, session: Connection, plan: Plan, file: MigrationFile, circumstances: Circumstances
    ) -> Applied:
        started = time.monotonic()
        if plan.takes_away(file):
            await History(session).use_backup(circumstances)
        run = self._run_whole if file.in_transaction else self._run_stepwise
        for left in reversed(range(self._settings.lock_tries)):
            try:
                await run(session, file, circumstances)
                break
            except errors.MigrationFailed as error:
                if not left or error.details["sqlstate"] != _LOCK_NOT_AVAILABLE:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)  # let those pass who waited behind us
        applied = Applied(file.version, file.name, time.monotonic() - started)
        self._watcher.applied(applied)
        return applied

    async def _run_whole(self, session: Connection, file: MigrationFile, circumstances: Circumstances) -> None:
        history = History(session)
        try:
            async with session.transaction():
                await history.limit(
                    self._settings.lock_seconds, self._settings.statement_seconds, transaction_only=True
                )
                await session.execute(file.text)
                await history.record(file, circumstances)
        except Exception as error:
            raise errors.failed(file, error) from error

    async def _run_stepwise(self, session: Connection, file: MigrationFile, circumstances: Circumstances) -> None:
        history = History(session)
        for statement in split(file.text):
            # CONCURRENTLY waits for old transactions without keeping anybody from working: it may wait long.
            lock_seconds = 0 if contains(statement.tokens, "concurrently") else self._settings.lock_seconds
            await history.limit(lock_seconds, 0, transaction_only=False)
            await self._run_statement(session, file, statement)
        await history.limit(0, 0, transaction_only=False)
        await history.record(file, circumstances)

    async def _run_statement(self, session: Connection, file: MigrationFile, statement: Statement) -> None:
        try:
            await session.execute(statement.text)
        except Exception as error:
            raise errors.failed(file, error, line=statement.line) from error


def _refuse_changed(files: Sequence[MigrationFile], known: Known, request: Request) -> None:
    refused = [file for file in differing(files, known) if file.version not in request.accept]
    if refused:
        raise errors.changed(refused)


async def _adoptable(
    history: History, files: Sequence[MigrationFile], known: Known, request: Request
) -> list[MigrationFile]:
    return [] if request.baseline is None else await adoptable(history, files, known, request.baseline)


def with_directory(settings: MigrateSettings, directory: Path | None) -> MigrateSettings:
    """`settings` with another folder, when one is named."""
    return settings if directory is None else replace(settings, directory=directory)
