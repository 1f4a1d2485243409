"""What all processes count together, in Prometheus' text format.

It is on the api's page of metrics, so that whoever scrapes the pods has it, and on `metrics.getAll` for who asks there (TRAP4).
The api has it, and not the relay alone: a relay that has stopped is just what these figures must tell.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.api import metrics_view
from services.api.metrics_view import OutboxState
from services.api.recent_initiations import RecentInitiations
from services.kernel.counters import Counters
from services.kernel.database import Database, Row
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

LONGEST_SECONDS: Final = 1.5
"""A page of metrics waits no longer for PostgreSQL: the process's own figures are due, too."""

_QUERIES = Queries.load("services.api", "metrics.sql")
_log = get_logger(__name__)


class SharedFigures:
    """Reads the shared counters and the state of the outbox."""

    def __init__(self, db: Database, counters: Counters, initiations: RecentInitiations) -> None:
        self._db = db
        self._counters = counters
        self._initiations = initiations
        self._look: asyncio.Task[str] | None = None

    async def outbox(self) -> OutboxState:
        """The outbox and its relay.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        row: Row = await self._db.fetchrow(_QUERIES["outbox_state"])
        return OutboxState(**dict(row.items()))

    async def text(self) -> str:
        """Everything, in the text format.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        counted, state = await self._counters.read(), await self.outbox()
        failures = await self._db.fetch(_QUERIES["recent_failures"])
        return metrics_view.exposition(counted, self._initiations.until(counted), state, failures)

    async def page(self) -> str:
        """The same for a page that must not fail: without PostgreSQL it says that the system is not healthy, and no more.

        Those who ask at one time share one look. One that takes too long is left to itself: to break it off can take as long.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._try(), name="shared figures")
        done, _ = await asyncio.wait({self._look}, timeout=LONGEST_SECONDS)
        if done and not self._look.cancelled():
            return self._look.result()
        _log.warning("the shared figures are not shown", reason="PostgreSQL takes too long")
        return metrics_view.UNHEALTHY

    def close(self) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()

    async def _try(self) -> str:
        try:
            return await self.text()
        except CoursegenError as error:
            _log.warning("the shared figures are not shown", reason=error.message)
            return metrics_view.UNHEALTHY
