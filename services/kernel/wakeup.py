"""Tells the relay that rows have been committed: one NOTIFY for many commits, and never inside their transactions.

A NOTIFY in the writing transaction would take a lock that all commits of the database queue up for. So whoever has committed
calls `notify()`, which returns at once: the first call goes out immediately, further ones within `COALESCE_SECONDS` share
one more. A wake-up that is lost costs the rows a second at most, for the relay also looks by itself.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.kernel.database import Database
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

CHANNEL: Final = "outbox_wakeup"
"""The PostgreSQL notification channel; the payload is empty."""
COALESCE_SECONDS: Final = 0.01
"""Shortest time between two notifications of one process."""

_QUERIES = Queries.load("services.kernel", "wakeup.sql")
_log = get_logger(__name__)


class WakeUp:
    """Sends the notifications of one process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def notify(self) -> None:
        """Say that rows have been committed. Never waits, never raises."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send(), name="wake-up")

    async def drain(self) -> None:
        """Return when nothing is left to send; call before the database is closed."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    async def _send(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                await self._db.execute(_QUERIES["notify"], CHANNEL)
            except CoursegenError as error:
                _log.warning("wake-up not sent; the relay finds the rows by itself", error=error.message)
            await asyncio.sleep(COALESCE_SECONDS)
