"""PostgreSQL: the one module that imports asyncpg.

Promises: every wait is bounded (for a connection, for a statement); every error of the driver leaves as one of ours; a
connection that finds itself on a read-only server is dropped, so a pool never stays pinned to a demoted primary; JSON
columns are Python objects on both sides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, cast

import asyncpg
import orjson
from asyncpg import exceptions as pg

from services.kernel.cancellation import cancellation_kept
from services.kernel.errors import (
    CoursegenError,
    DatabaseDenied,
    DatabaseUnavailable,
    InvalidInput,
    PermanentError,
    SchemaMissing,
    TransitionRefused,
)
from services.kernel.settings import Secret

Row = Any
"""A row: by name or by position, as `asyncpg.Record`."""


class Connection(Protocol):
    """One database session; the part of asyncpg's connection that the services use."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str: ...  # noqa: ASYNC109, D102
    async def executemany(self, command: str, args: Any, *, timeout: float | None = None) -> None: ...  # noqa: ASYNC109, D102
    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Row]: ...  # noqa: ASYNC109, D102
    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Row | None: ...  # noqa: ASYNC109, D102
    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any: ...  # noqa: ASYNC109, D102
    async def prepare(self, query: str) -> Any: ...  # noqa: D102
    async def copy_records_to_table(self, table_name: str, **options: Any) -> str: ...  # noqa: D102
    async def add_listener(self, channel: str, callback: Callable[..., Any]) -> None: ...  # noqa: D102
    async def remove_listener(self, channel: str, callback: Callable[..., Any]) -> None: ...  # noqa: D102
    def add_termination_listener(self, callback: Callable[..., Any]) -> None: ...  # noqa: D102
    def transaction(self, **options: Any) -> Any: ...  # noqa: D102
    def is_closed(self) -> bool: ...  # noqa: D102
    def terminate(self) -> None: ...  # noqa: D102
    async def close(self, *, timeout: float | None = None) -> None: ...  # noqa: ASYNC109, D102


class DatabaseSettings(Protocol):
    """The settings a pool needs; `CommonSettings` has them."""

    @property
    def database_url(self) -> Secret: ...  # noqa: D102
    @property
    def pool_min_size(self) -> int: ...  # noqa: D102
    @property
    def pool_max_size(self) -> int: ...  # noqa: D102
    @property
    def statement_seconds(self) -> float: ...  # noqa: D102
    @property
    def acquire_seconds(self) -> float: ...  # noqa: D102


_UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    pg.InterfaceError,
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,  # shutdown, crash recovery, and our own statement timeouts (57014)
    pg.InsufficientResourcesError,  # disk full, too many connections
    pg.PostgresSystemError,
    pg.InternalServerError,  # a cancelled recovery, a broken page: nothing was committed
    pg.LockNotAvailableError,
    pg.SerializationError,
    pg.DeadlockDetectedError,
    pg.ReadOnlySQLTransactionError,
    pg.InvalidTransactionStateError,
    pg.InternalClientError,
)
_DENIED = (pg.InvalidAuthorizationSpecificationError, pg.InvalidCatalogNameError)
_MISSING = (pg.UndefinedTableError, pg.UndefinedFunctionError, pg.UndefinedColumnError, pg.InvalidSchemaNameError)
_REFUSED = (
    pg.DataError,
    pg.IntegrityConstraintViolationError,
    pg.RaiseError,
    pg.ProgramLimitExceededError,
    pg.InsufficientPrivilegeError,
    pg.NoDataFoundError,
    pg.StatementTooComplexError,
)
_ILLEGAL_MOVE = "Invalid generation status transition"


class DatabaseRefused(PermanentError):
    """PostgreSQL refused the statement: a constraint, a privilege, or a function that raised.

    `details["sqlstate"]` has the five-letter code, `details["constraint"]` the constraint's name if there is one.
    """

    code = "database_refused"
    http_status = 500


class ConnectionLost(DatabaseUnavailable):
    """PostgreSQL broke off without a word: it has crashed, or was killed, or somebody between has cut the line."""


class UniqueViolation(DatabaseRefused):
    """The row exists already."""


class ForeignKeyViolation(DatabaseRefused):
    """The row this one points to does not exist."""


def translate(error: BaseException) -> CoursegenError | None:
    """The error of ours that stands for one of the driver's, or None when it is not the database's."""
    if isinstance(error, CoursegenError) or _is_misuse(error):
        return None
    if isinstance(error, _UNAVAILABLE):
        is_lost = isinstance(error, pg.ConnectionDoesNotExistError)
        return (ConnectionLost if is_lost else DatabaseUnavailable)(
            f"PostgreSQL does not answer ({type(error).__name__})"
        )
    if isinstance(error, _MISSING):
        return SchemaMissing(f"{error}; run `coursegen migrate`")
    if isinstance(error, (*_DENIED, *_REFUSED)):
        return _refusal(cast(Any, error))
    if isinstance(error, pg.PostgresError):
        return DatabaseRefused(str(error), sqlstate=error.sqlstate)
    return None


def _is_misuse(error: BaseException) -> bool:
    """A wrong number of arguments is a bug of ours, not an outage."""
    return isinstance(error, pg.InterfaceError) and "the server expects" in str(error)


def _refusal(error: Any) -> CoursegenError:
    text = str(error)
    if isinstance(error, _DENIED):
        return DatabaseDenied(f"PostgreSQL refuses the login: {text}")
    if _ILLEGAL_MOVE in text:
        return TransitionRefused(text)
    if isinstance(error, pg.DataError):
        return InvalidInput(f"The database cannot hold this value: {text}", sqlstate=error.sqlstate)
    facts = {"sqlstate": error.sqlstate, "constraint": getattr(error, "constraint_name", None)}
    if isinstance(error, pg.UniqueViolationError):
        return UniqueViolation(text, **facts)
    if isinstance(error, pg.ForeignKeyViolationError):
        return ForeignKeyViolation(text, **facts)
    return DatabaseRefused(text, **facts)


@contextmanager
def translated() -> Iterator[None]:
    """Let the driver's errors leave the block as ours, with the cause kept; a cancellation stays one."""
    try:
        with cancellation_kept():
            yield
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error


class Database:
    """A pool of sessions. Safe for concurrent use; close it when the process stops."""

    def __init__(self, pool: Any, settings: DatabaseSettings) -> None:
        self._pool = pool
        self._settings = settings

    @classmethod
    async def open(
        cls,
        settings: DatabaseSettings,
        *,
        application: str = "coursegen",
        parameters: Mapping[str, str] | None = None,
    ) -> Database:
        """Open the pool.

        Args:
            settings: where to, how many sessions, how long they may take.
            application: name shown in `pg_stat_activity`.
            parameters: further run-time parameters of each session.

        Raises:
            DatabaseUnavailable: when no session can be opened within `acquire_seconds`.
            DatabaseDenied: when the server refuses the login.
        """
        with translated():
            pool = await asyncio.wait_for(
                asyncpg.create_pool(
                    settings.database_url.reveal(),
                    min_size=settings.pool_min_size,
                    max_size=settings.pool_max_size,
                    max_inactive_connection_lifetime=300.0,
                    command_timeout=settings.statement_seconds + 5.0,
                    timeout=settings.acquire_seconds,
                    init=_prepare_session,
                    reset=_keep_session,
                    server_settings=_server_settings(settings.statement_seconds, application) | dict(parameters or {}),
                ),
                settings.acquire_seconds * 2,
            )
        return cls(pool, settings)

    async def close(self, grace_seconds: float = 3.0) -> None:
        """Close every session, those in use after `grace_seconds` by force."""
        try:
            await asyncio.wait_for(self._pool.close(), grace_seconds)
        except _UNAVAILABLE:
            self._pool.terminate()

    @asynccontextmanager
    async def acquire(self, wait_seconds: float | None = None) -> AsyncIterator[Connection]:
        """Borrow a session for the block.

        Raises:
            DatabaseUnavailable: when none is free in time, or the server does not answer.
        """
        with translated():
            async with self._pool.acquire(timeout=wait_seconds or self._settings.acquire_seconds) as session:
                try:
                    yield cast(Connection, session)
                except pg.ReadOnlySQLTransactionError:
                    await self._pool.expire_connections()  # this server was demoted; all sessions to it must go
                    raise

    @asynccontextmanager
    async def transaction(self, isolation: str | None = None) -> AsyncIterator[Connection]:
        """Borrow a session with a transaction around the block: committed at its end, undone on any error."""
        async with self.acquire() as session:
            options = {"isolation": isolation} if isolation else {}
            async with session.transaction(**options):
                yield session

    async def fetch(self, query: str, *args: Any) -> list[Row]:
        """All rows of one statement."""
        async with self.acquire() as session:
            return await session.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Row | None:
        """The first row of one statement, or None."""
        async with self.acquire() as session:
            return await session.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first value of the first row, or None."""
        async with self.acquire() as session:
            return await session.fetchval(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        """Run one statement; returns PostgreSQL's command tag."""
        async with self.acquire() as session:
            return await session.execute(query, *args)

    async def ping(self) -> None:
        """Return when the server answers; a readiness check.

        Raises:
            DatabaseUnavailable: when it does not.
        """
        async with self.acquire() as session:
            await session.fetchval("SELECT 1")

    async def connect(self, *, application: str = "coursegen") -> Connection:
        """A dedicated session outside the pool, for LISTEN and advisory locks. The caller closes it."""
        return await connect(
            self._settings.database_url,
            application=application,
            connect_seconds=self._settings.acquire_seconds,
            statement_seconds=self._settings.statement_seconds,
        )


async def connect(
    url: Secret | str,
    *,
    application: str = "coursegen",
    connect_seconds: float = 5.0,
    statement_seconds: float | None = 30.0,
) -> Connection:
    """Open one dedicated session.

    Args:
        url: where to.
        application: name shown in `pg_stat_activity`.
        connect_seconds: longest wait for the server.
        statement_seconds: longest statement; None for no limit (migrations set their own).

    Raises:
        DatabaseUnavailable: when the server does not answer.
        DatabaseDenied: when it refuses the login.
    """
    with translated():
        session = await asyncpg.connect(
            url.reveal() if isinstance(url, Secret) else url,
            timeout=connect_seconds,
            command_timeout=None if statement_seconds is None else statement_seconds + 5.0,
            server_settings=_server_settings(statement_seconds, application),
        )
        await _prepare_session(session)
    return cast(Connection, session)


def _server_settings(statement_seconds: float | None, application: str) -> dict[str, str]:
    settings = {"application_name": application, "timezone": "UTC"}
    if statement_seconds is not None:
        settings["statement_timeout"] = str(int(statement_seconds * 1000))
        settings["idle_in_transaction_session_timeout"] = str(int(statement_seconds * 2000))
    return settings


async def _prepare_session(session: Any) -> None:
    for kind in ("json", "jsonb"):
        await session.set_type_codec(kind, encoder=_encode, decoder=orjson.loads, schema="pg_catalog")


async def _keep_session(session: Any) -> None:
    """Instead of asyncpg's RESET ALL, UNLISTEN and so on, which would be a second round trip for every statement.

    There is nothing to reset: what changes a session (LISTEN, advisory locks, SET without LOCAL) is done on one of its
    own, from `connect`. A transaction left open by a bug is still rolled back by asyncpg before it calls this.
    """


def _encode(value: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def json_text(value: Any) -> str:
    """`value` as compact JSON text, the way jsonb parameters are written."""
    return _encode(value)


__all__: Sequence[str] = (
    "Connection",
    "ConnectionLost",
    "Database",
    "DatabaseRefused",
    "DatabaseSettings",
    "ForeignKeyViolation",
    "Row",
    "UniqueViolation",
    "connect",
    "json_text",
    "translate",
    "translated",
)
