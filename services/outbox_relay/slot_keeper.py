"""Keeps the slots of courses at once true to PostgreSQL, for the leader (contract.md e, TRAP42).

Every few seconds: reservations that no run came of are freed, Redis is asked whether it still is the one it was, and the
figures are shown. Every five minutes, and at once when Redis has lost its counters, was restarted, or a term begins, all
counters are counted anew; that also keeps the counters of users with slots from expiring. None of it needs the fence of an
epoch: what is written is the truth, whoever writes it.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Final

from services.kernel import metrics
from services.kernel.clock import Clock
from services.kernel.concurrency import Book, ConcurrencyView
from services.kernel.logs import get_logger
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

LOOK_SECONDS: Final = 5.0
"""How often the leader looks."""
REBUILD_SECONDS: Final = 300.0
"""How often everything is counted anew (contract.md e)."""

_log = get_logger(__name__)


class _Instruments:
    """What Prometheus sees of it."""

    def __init__(self) -> None:
        self.slots = metrics.gauge(
            "concurrency_slots", "Courses that hold a slot, of all users and by tier of those that run", ["scope"]
        )
        self.drift = metrics.gauge("concurrency_drift", "Counted slots less courses that run, over all users")
        self.freed = metrics.counter("concurrency_abandoned_slots", "Reservations freed because no run came of them")
        self.corrected = metrics.counter("concurrency_corrections", "Slots and counters that a rebuild has put right")


@cache
def _instruments() -> _Instruments:
    """Made once, when first needed: a process has one registry."""
    return _Instruments()


class SlotKeeper:
    """Looks after the slots during one term after the other."""

    def __init__(self, book: Book, redis: Redis, clock: Clock) -> None:
        self._book = book
        self._redis = redis
        self._clock = clock
        self._server: str | None = None
        self._due = 0.0
        self._show = _instruments()

    def begin(self) -> None:
        """A term begins: what another leader knew of Redis is not known here."""
        self._server = None

    async def look(self) -> None:
        """Look once; rebuild if it is time or there is a reason.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: left for the next time.
        """
        server = await self._running_server()
        if server != self._server or self._clock.monotonic() >= self._due or not await self._book.is_ready():
            await self._rebuild(server)
        freed = await self._book.verify()
        if freed:
            _log.warning("abandoned reservations freed", slots=freed)
            self._show.freed.inc(freed)
        self._publish(await self._book.snapshot())

    async def _rebuild(self, server: str) -> None:
        rebuilt = await self._book.rebuild()
        if rebuilt is None:
            return  # PostgreSQL answered too late; again at the next look
        if rebuilt.is_change:
            _log.warning(
                "concurrency counters corrected",
                added=rebuilt.added,
                removed=rebuilt.removed,
                corrected=rebuilt.corrected,
                slots=rebuilt.slots,
            )
            self._show.corrected.inc(rebuilt.added + rebuilt.removed + rebuilt.corrected)
        else:
            _log.debug("concurrency counters confirmed", slots=rebuilt.slots)
        self._server = server
        self._due = self._clock.monotonic() + REBUILD_SECONDS

    async def _running_server(self) -> str:
        """Names one run of one Redis: another one may have come back with old counters."""
        with translated():
            about = await self._redis.info("server")
        return str(about["run_id"])

    def _publish(self, view: ConcurrencyView) -> None:
        by_tier: Counter[str] = Counter()
        for user in view.users:
            if user.tier is not None:
                by_tier[user.tier] += user.truth
        self._show.slots.clear()
        self._show.slots.labels("global").set(view.global_counter)
        for tier, slots in by_tier.items():
            self._show.slots.labels(tier).set(slots)
        self._show.drift.set(view.drift)
