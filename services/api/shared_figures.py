"""What all processes count together, in Prometheus' text format.

It is on the api's page of metrics, so that whoever scrapes the pods has it, and on `metrics.getAll` for who asks there (TRAP4).
The api has it, and not the relay alone: a relay that has stopped is just what these figures must tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, TypeVar

from services.api import metrics_view
from services.api.metrics_view import DEEPEST_QUEUE, OutboxState
from services.api.recent_figures import RecentFigures
from services.api.shared_look import SharedLook
from services.kernel.counters import Counters, Snapshot
from services.kernel.database import Database, Row
from services.kernel.errors import CoursegenError, DatabaseUnavailable
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

T = TypeVar("T")

LONGEST_SECONDS: Final = 1.5
"""A page of metrics waits no longer for PostgreSQL: the process's own figures are due, too."""

VERDICT_SECONDS: Final = 0.7
"""The health verdict waits no longer: load balancers give a check a second (contract.md u), the way there and back included."""

FRESH_SECONDS: Final = 1.0
"""How old numbers and verdict may be: ten load balancers that ask every second cost one look a second, not ten."""

STALE_SECONDS: Final = 10.0
"""How old they may be while a look takes long: the verdict because very many rows wait or PostgreSQL is busy, the numbers of the
outbox because very many rows wait."""

PATIENCE_SECONDS: Final = 10.0
"""Whoever asks for the numbers waits no longer."""

SCRAPED_SECONDS: Final = 5.0
"""Nor for the text longer than this: a scrape is given up after ten (docs/RUNBOOKS.md), and then nothing says what is wrong."""

_QUERIES = Queries.load("services.api", "metrics.sql")
_log = get_logger(__name__)


class SharedFigures:
    """Reads the shared counters and the state of the outbox."""

    def __init__(self, db: Database, counters: Counters, recent: RecentFigures) -> None:
        """Nothing is looked at before somebody asks."""
        self._db = db
        self._counters = counters
        self._recent = recent
        self._page = SharedLook(self._read_text, longest_seconds=LONGEST_SECONDS)
        self._text = _of_rows(self._read_text, lambda seen: seen[1], longest_seconds=SCRAPED_SECONDS)
        self._verdict = SharedLook(
            self._judge, longest_seconds=VERDICT_SECONDS, fresh_seconds=FRESH_SECONDS, stale_seconds=STALE_SECONDS
        )
        self._all = _of_rows(self._read_all, lambda numbers: numbers["outbox"]["pending"])
        self._outbox = _of_rows(self._read_outbox, lambda numbers: numbers["pending"])
        self._outbox_health = _of_rows(self._read_outbox_health, lambda health: health["queueDepth"])
        self._fsm = SharedLook(self._read_fsm, longest_seconds=PATIENCE_SECONDS, fresh_seconds=FRESH_SECONDS)
        self._fallbacks = SharedLook(
            self._read_fallbacks, longest_seconds=PATIENCE_SECONDS, fresh_seconds=FRESH_SECONDS
        )

    async def all(self) -> dict[str, Any]:
        """`getAll`, at most `FRESH_SECONDS` old, or `STALE_SECONDS` while more than `DEEPEST_QUEUE` rows wait; it says so itself.

        To count a hundred thousand rows takes 30 ms, which ten who ask every second must not each cost.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return await self._all.result()

    async def fsm(self) -> dict[str, Any]:
        """`getFSM`, at most `FRESH_SECONDS` old.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return await self._fsm.result()

    async def outbox(self) -> dict[str, Any]:
        """`getOutbox`, as old as `all` may be.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return await self._outbox.result()

    async def outbox_health(self) -> dict[str, Any]:
        """`/api/health/outbox`, as old as `all` may be.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return await self._outbox_health.result()

    async def fallbacks(self) -> dict[str, Any]:
        """`getFallbacks`, at most `FRESH_SECONDS` old.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        return await self._fallbacks.result()

    async def text(self) -> str:
        """Everything, in the text format, as old as `all` may be; without PostgreSQL that the system is not healthy, and no more.

        It may be all that a Prometheus has of this installation: an answer without a figure would silence its alerts.
        """
        return await _or_unhealthy(self._text)

    async def page(self) -> str:
        """The same for the page of metrics: those who ask at one time share one look, and nobody is shown an older one."""
        return await _or_unhealthy(self._page)

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
        for look in (
            self._page,
            self._text,
            self._verdict,
            self._all,
            self._fsm,
            self._outbox,
            self._outbox_health,
            self._fallbacks,
        ):
            look.close()

    async def _read_all(self) -> dict[str, Any]:
        counted, state = await self._counted_and_state()
        last_day, recent = await self._last_day(), self._recent.until(counted)
        return {
            "fsm": metrics_view.fsm(counted, recent),
            "outbox": metrics_view.outbox(counted, state, recent),
            "fallbacks": metrics_view.fallbacks(counted, last_day, recent),
            "healthCheck": metrics_view.health_check(recent.initiations, state),
            "readAt": state.shown_at,
        }

    async def _read_text(self) -> tuple[str, int]:
        """All of it as text, and how many rows wait."""
        counted, state = await self._counted_and_state()
        failures = await self._db.fetch(_QUERIES["recent_failures"])
        text = metrics_view.exposition(counted, self._recent.until(counted).initiations, state, failures)
        return text, state.queue_depth

    async def _read_fsm(self) -> dict[str, Any]:
        counted = await self._counters.read()
        return metrics_view.fsm(counted, self._recent.until(counted))

    async def _read_outbox(self) -> dict[str, Any]:
        counted, state = await self._counted_and_state()
        return metrics_view.outbox(counted, state, self._recent.until(counted))

    async def _read_outbox_health(self) -> dict[str, Any]:
        return (await self._state()).health()

    async def _read_fallbacks(self) -> dict[str, Any]:
        counted, last_day = await self._counters.read(), await self._last_day()
        return metrics_view.fallbacks(counted, last_day, self._recent.until(counted))

    async def _judge(self) -> dict[str, Any]:
        counted, state = await self._counted_and_state()
        return metrics_view.health_check(self._recent.until(counted).initiations, state)

    async def _counted_and_state(self) -> tuple[Snapshot, OutboxState]:
        """The counters, and then the outbox: dated by the first, both are as of then or later."""
        counted = await self._counters.read()
        return counted, await self._state(counted.read_at)

    async def _state(self, counted_at: datetime | None = None) -> OutboxState:
        row: Row = await self._db.fetchrow(_QUERIES["outbox_state"])
        return OutboxState(**dict(row.items()), counted_at=counted_at)

    async def _last_day(self) -> int:
        """How often Layers 2 and 3 had to step in within 24 hours."""
        found: int = await self._db.fetchval(_QUERIES["recent_activations"])
        return found


async def _or_unhealthy(look: SharedLook[tuple[str, int]]) -> str:
    """What is seen, or what says that nothing can be."""
    try:
        return (await look.result())[0]
    except CoursegenError as error:
        _log.warning("the shared figures are not shown", reason=error.message)
        return metrics_view.UNHEALTHY


def _of_rows(
    look: Callable[[], Awaitable[T]], rows: Callable[[T], int], *, longest_seconds: float = PATIENCE_SECONDS
) -> SharedLook[T]:
    """A look that counts the rows that wait, and is shared longer when there are very many."""
    return SharedLook(
        look,
        longest_seconds=longest_seconds,
        fresh_seconds=FRESH_SECONDS,
        stale_seconds=STALE_SECONDS,
        is_costly=lambda seen: rows(seen) > DEEPEST_QUEUE,
    )
