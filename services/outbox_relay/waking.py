"""When the relay looks for rows: at once when told, and by itself however it was told nothing.

`Listener` keeps a session that listens for `outbox_wakeup`; when that session is lost, another is opened and the relay looks at
once, since notifications of the gap are lost. Behind it `Pacer` counts the adaptive polling: 1, 2, 4, 8, 16, 30 s while nothing
comes, back to 1 s with the first row (contract.md f, GAP20).
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.kernel.database import Connection, Database, translated
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.wakeup import CHANNEL

_log = get_logger(__name__)

INTERVALS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between two full looks while nothing comes."""
RECONNECT_SECONDS: Final = 0.5
LONGEST_RECONNECT_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 15.0
"""How often the listening session is asked whether it is alive: a dead host says nothing."""


class Pacer:
    """How long an idle relay waits before its next full look."""

    def __init__(self) -> None:
        self._step = 0

    @property
    def seconds(self) -> float:
        """The present interval."""
        return INTERVALS[self._step]

    @property
    def milliseconds(self) -> int:
        """The present interval as `health.pollInterval` reports it."""
        return int(self.seconds * 1000)

    def found_nothing(self) -> None:
        """The last look was in vain."""
        self._step = min(self._step + 1, len(INTERVALS) - 1)

    def found_rows(self) -> None:
        """There is work: look often."""
        self._step = 0


class Listener:
    """Sets `woken` whenever someone says that rows have been committed."""

    def __init__(self, db: Database) -> None:
        self._db = db
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
        session = await self._db.connect(application="coursegen relay wake-up")
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
