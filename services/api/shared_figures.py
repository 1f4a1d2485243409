"""What all processes count together, in Prometheus' text format.

It is on the api's page of metrics, so that whoever scrapes the pods has it, and on `metrics.getAll` for who asks there (TRAP4).
The api has it, and not the relay alone: a relay that has stopped is just what these figures must tell.
"""

from __future__ import annotations

from typing import Any, Final

from services.api import metrics_view
from services.api.metrics_view import OutboxState
from services.api.recent_figures import RecentFigures
from services.api.shared_look import SharedLook
from services.kernel.counters import Counters
from services.kernel.database import Database, Row
from services.kernel.errors import CoursegenError, DatabaseUnavailable
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

LONGEST_SECONDS: Final = 1.5
"""A page of metrics waits no longer for PostgreSQL: the process's own figures are due, too."""

VERDICT_SECONDS: Final = 0.7
"""The health verdict waits no longer: load balancers give a check a second (contract.md u), the way there and back included."""

FRESH_SECONDS: Final = 1.0
"""How old the health verdict may be: ten load balancers that ask every second cost one look a second, not ten."""

STALE_SECONDS: Final = 10.0
"""How old it may be while a look takes long, because very many rows wait or PostgreSQL is busy."""

_QUERIES = Queries.load("services.api", "metrics.sql")
_log = get_logger(__name__)


class SharedFigures:
    """Reads the shared counters and the state of the outbox."""

    def __init__(self, db: Database, counters: Counters, recent: RecentFigures) -> None:
        self._db = db
        self._counters = counters
        self._recent = recent
        self._page = SharedLook(self.text, longest_seconds=LONGEST_SECONDS)
        self._verdict = SharedLook(
            self._judge, longest_seconds=VERDICT_SECONDS, fresh_seconds=FRESH_SECONDS, stale_seconds=STALE_SECONDS
        )

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
        return metrics_view.exposition(counted, self._recent.until(counted).initiations, state, failures)

    async def page(self) -> str:
        """The same for a page that must not fail: without PostgreSQL it says that the system is not healthy, and no more.

        Those who ask at one time share one look.
        """
        try:
            return await self._page.result()
        except CoursegenError as error:
            _log.warning("the shared figures are not shown", reason=error.message)
            return metrics_view.UNHEALTHY

    async def verdict(self) -> dict[str, Any]:
        """`healthCheck`, at most `FRESH_SECONDS` or, in hard times, some `STALE_SECONDS` old, within `VERDICT_SECONDS`.

        Without PostgreSQL nothing can be said of three criteria: that is not healthy, in the same body.
        """
        try:
            return await self._verdict.result()
        except DatabaseUnavailable as error:
            return metrics_view.health_unknown(error)

    def close(self) -> None:
        """Look no more."""
        self._page.close()
        self._verdict.close()

    async def _judge(self) -> dict[str, Any]:
        counted = await self._counters.read()
        return metrics_view.health_check(self._recent.until(counted).initiations, await self.outbox())
