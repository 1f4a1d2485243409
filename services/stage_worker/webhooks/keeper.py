"""Keeps deliveries moving between attempts: writes the outbox rows of what is due, and clears away what is settled.

Every worker that serves the queue has one; they do not wait for each other and do nothing twice. All of it may stop at any
moment: what is due stays due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from services.kernel import metrics
from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Database
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.pauses import pause
from services.kernel.queries import Queries
from services.kernel.wakeup import WakeUp
from services.kernel.webhooks.deliveries import tally

LOOK_SECONDS: Final = 1.0
"""How late an attempt can be."""

TIDY_SECONDS: Final = 30.0
"""How often settled deliveries, retired secrets and lost rows are looked for."""

KEPT: Final = timedelta(days=30)
"""How long a settled delivery can be looked up."""

_MOST_AT_ONCE: Final = 500

_WAITING = metrics.gauge("webhook_deliveries_pending", "Webhooks that nobody has received yet")
_DEAD = metrics.gauge("webhook_deliveries_dead", "Webhooks given up, until somebody replays or discards them")

_log = get_logger(__name__)


class DeliveryKeeper:
    """Looks once a second."""

    def __init__(
        self, db: Database, wakeup: WakeUp, *, beat: Callable[[], None] = lambda: None, clock: Clock | None = None
    ) -> None:
        self._db = db
        self._wakeup = wakeup
        self._beat = beat
        self._clock = clock or SystemClock()
        self._sql = Queries.load("services.kernel", "webhooks.sql")

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set; an outage of PostgreSQL only interrupts it."""
        tidied = float("-inf")
        while not stopping.is_set():
            self._beat()
            try:
                await self.write_due()
                if self._clock.monotonic() - tidied >= TIDY_SECONDS:
                    await self.tidy()
                    tidied = self._clock.monotonic()
            except CoursegenError as error:
                _log.warning("webhooks that are due wait for PostgreSQL", error=error.message)
            await pause(stopping, LOOK_SECONDS)

    async def write_due(self) -> int:
        """Have every attempt made whose time has come; how many."""
        total = 0
        while True:
            written = int(await self._db.fetchval(self._sql["write_due"], _MOST_AT_ONCE))
            total += written
            if written:
                self._wakeup.notify()
                _log.debug("webhooks due", written=written)
            if written < _MOST_AT_ONCE:
                return total

    async def tidy(self) -> None:
        """Retention, recovery of attempts whose outbox row is gone, and the numbers for the metrics."""
        lost = await self._db.fetchval(self._sql["recover_lost"])
        if lost:
            _log.warning("attempts at webhooks had lost their outbox rows", recovered=lost)
        await self._db.fetchval(self._sql["remove_settled"], self._clock.now() - KEPT, _MOST_AT_ONCE)
        await self._db.execute(self._sql["remove_retired"])
        async with self._db.acquire() as session:
            counted = await tally(session)
        _WAITING.set(counted.pending)
        _DEAD.set(counted.dead)
