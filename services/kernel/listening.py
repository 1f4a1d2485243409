"""Hears when rows have been committed: the other end of `wakeup`.

`Listener` keeps a session that listens for `outbox_wakeup`; when that session is lost, another is opened and whoever listens is
told to look at once, since notifications of the gap are lost. A wake-up is a hint and never the only way to learn of a row:
whoever listens looks by himself too.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.kernel.database import Connection, Database, translated
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.wakeup import CHANNEL

_log = get_logger(__name__)

RECONNECT_SECONDS: Final = 0.5
LONGEST_RECONNECT_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 15.0
"""How often the listening session is asked whether it is alive: a dead host says nothing."""


class Listener:
    """Sets `woken` whenever someone says that rows have been committed."""

    def __init__(self, db: Database, *, application: str = "coursegen relay wake-up") -> None:
        """Open nothing yet.

        Args:
            db: where to listen; the session is one of its own, outside the pool.
            application: name shown in `pg_stat_activity`.
        """
        self._db = db
        self._application = application
        self.woken = asyncio.Event()
        self.ended = asyncio.Event()
        """Set when the present session is lost."""

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = RECONNECT_SECONDS
        while True:
            try:
                await self._listen()
                pause = RECONNECT_SECONDS
            except CoursegenError as error:
                _log.warning("not listening for wake-ups, looking once a second", reason=error.message)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        session = await self._db.connect(application=self._application)
        try:
            self.ended.clear()
            session.add_termination_listener(self._on_end)
            with translated():
                await session.add_listener(CHANNEL, self._on_notification)
                self.woken.set()  # whatever was said before this moment was not heard
                await self._watch(session)
        finally:
            session.terminate()

    async def _watch(self, session: Connection) -> None:
        while not session.is_closed():
            try:
                async with asyncio.timeout(CHECK_SECONDS):  # unlike wait_for it never swallows a cancellation
                    await self.ended.wait()
            except TimeoutError:
                await session.fetchval("SELECT 1", timeout=5.0)

    def _on_notification(self, *_: object) -> None:
        self.woken.set()

    def _on_end(self, *_: object) -> None:
        self.ended.set()
