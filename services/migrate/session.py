"""The one session that a run works through: waited for while the server does not answer, and closed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from services.kernel.database import Connection, connect, translated
from services.kernel.errors import DatabaseDenied, DatabaseUnavailable
from services.kernel.reminders import Reminder
from services.migrate.errors import AGAIN
from services.migrate.settings import MigrateSettings

_RETRY_SECONDS: Final = 1.0


@contextlib.asynccontextmanager
async def opened(settings: MigrateSettings, waiting: Callable[[str], None]) -> AsyncIterator[Connection]:
    """A session for the block. `waiting` is told why while the server does not answer: at once, then twice a minute.

    Raises:
        DatabaseUnavailable: the server did not answer within `connect_seconds`, or went away.
        DatabaseDenied: it refuses the login.
    """
    session = await _connect(settings, waiting)
    try:
        with translated():
            yield session
    finally:
        with contextlib.suppress(Exception):  # a session that broke cannot be closed in order
            await session.close(timeout=3.0)


async def _connect(settings: MigrateSettings, waiting: Callable[[str], None]) -> Connection:
    seconds = settings.connect_seconds
    deadline, reminder = time.monotonic() + seconds, Reminder()
    while True:
        try:
            return await connect(settings.database_url, application="coursegen-migrate", statement_seconds=None)
        except DatabaseDenied as error:
            raise DatabaseDenied(f"{error.message}; look at DATABASE_URL, then {AGAIN}") from error
        except DatabaseUnavailable as error:
            now = time.monotonic()
            if now + _RETRY_SECONDS > deadline:
                raise DatabaseUnavailable(
                    f"PostgreSQL did not answer within {seconds:g} s; look at DATABASE_URL, then {AGAIN}"
                ) from error
            if reminder.is_due("no answer"):
                waiting(f"{error.message}; waiting for it, {deadline - now:.0f} s more at most")
            await asyncio.sleep(_RETRY_SECONDS)
