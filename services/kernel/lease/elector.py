"""The elector: candidates ask for one Lease, and who has it begins a term; the relay's is an epoch in PostgreSQL.

::

    candidate ──free, or silent for its duration──▶ holder ──term begun──▶ leader ──stop──▶ released
        ▲  ▲                                          │                      │
        │  └───────────no term: released──────────────┘                      │
        └──lost: work is cancelled, awaited, or the process ends─────────────┘

A Lease is no fence: two may believe that they hold it. Who must be sure has the term bring a number that is checked with
every write, as the relay does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, Protocol, TypeVar

from services.kernel.clock import Clock
from services.kernel.errors import DatabaseUnavailable, StaleLeader
from services.kernel.lease.api import LeaseApi, LeaseConflict, LeaseUnavailable
from services.kernel.lease.record import LeaseRecord, Observer, Timers
from services.kernel.lease.tenure import LeaseFigures, Tenure, bounded
from services.kernel.lease.watchdog import Watchdog
from services.kernel.logs import get_logger
from services.kernel.pauses import pause

_log = get_logger(__name__)

T = TypeVar("T")
"""A term of leadership, whatever the counter makes of it."""

END_SECONDS: Final = 2.0
"""Longest wait for the counter to note the end of a term."""
RETRY_SECONDS: Final = 1.0
"""Pause after the counter could not begin a term."""
_LATE_SECONDS: Final = (0.01, 0.1)
"""How long after a Lease has run out it is asked for: not at the same moment by all candidates."""


class TermCounter(Protocol[T]):
    """Begins and ends the terms; the relay's fence counts them in PostgreSQL."""

    async def begin(self, lost: asyncio.Event) -> T:
        """The next term; `lost` will say that it is over.

        Raises:
            DatabaseUnavailable: it cannot be counted now.
        """

    async def end(self, term: T) -> None:
        """The term is over, and its work has stopped."""


class LeaseElector(Generic[T]):
    """Leads while it holds a Lease."""

    def __init__(
        self,
        api: LeaseApi,
        fence: TermCounter[T],
        *,
        identity: str,
        timers: Timers,
        clock: Clock,
        figures: LeaseFigures,
        make_watchdog: Callable[[Clock, float], Watchdog] = Watchdog,
    ) -> None:
        self._api = api
        self._fence = fence
        self._identity = identity
        self._timers = timers
        self._clock = clock
        self._figures = figures
        self._make_watchdog = make_watchdog
        self._observer = Observer()
        self._trouble = ""
        self._asks_at = 0.0

    @asynccontextmanager
    async def term(self, stopping: asyncio.Event) -> AsyncIterator[T | None]:
        """Wait for the Lease, then lead until it or the term is lost; None when `stopping` came first."""
        tenure = await self._acquire(stopping)
        if tenure is None:
            yield None
            return
        try:
            term = await self._begin(tenure, stopping)
            announcing = asyncio.create_task(self._api.announce(f"{self._identity} became leader"))
            try:
                yield term
            finally:
                tenure.rest()
                announcing.cancel()
            with suppress(TimeoutError):
                await bounded(self._fence.end(term), END_SECONDS)
        finally:
            await tenure.end()

    async def _acquire(self, stopping: asyncio.Event) -> Tenure | None:
        await pause(stopping, max(0.0, self._asks_at - self._clock.monotonic()))
        while not stopping.is_set():
            asked_at = self._clock.monotonic()
            try:
                record = await bounded(self._ask(), self._timers.call_seconds)
            except LeaseConflict:
                self._figures.lease_failed("conflict")  # another one was faster
            except TimeoutError:
                self._fail("timeout", "the API server takes too long")
            except LeaseUnavailable as error:
                self._fail("unavailable", error.message)
            else:
                self._trouble = ""
                if record is not None:
                    return self._taken(record, asked_at)
            await pause(stopping, self._pause_seconds())
        return None

    def _pause_seconds(self) -> float:
        """Until the next look: not the same for all candidates, and no longer than the holder may still be silent."""
        seconds = self._timers.retry_seconds * random.uniform(0.6, 1.0)
        left = self._observer.seconds_left(self._identity, self._clock.monotonic())
        return min(seconds, left + random.uniform(*_LATE_SECONDS)) if left >= 0 else seconds

    async def _ask(self) -> LeaseRecord | None:
        """One round: the Lease if this candidate has taken it."""
        seen = await self._api.read()
        at = self._clock.monotonic()
        if seen is not None and self._observer.see(seen, at):
            _log.info("lease observed", holder=seen.holder or "nobody", transitions=seen.transitions)
        if not self._observer.may_be_taken(self._identity, at):
            return None
        taken = (seen or LeaseRecord()).taken(self._identity, self._timers.lease_seconds, self._clock.now())
        return await (self._api.create(taken) if seen is None else self._api.update(taken))

    def _taken(self, record: LeaseRecord, asked_at: float) -> Tenure:
        _log.info("lease acquired", holder=record.holder, transitions=record.transitions)
        watchdog = self._make_watchdog(self._clock, self._timers.stop_seconds)
        return Tenure(self._api, self._timers, self._clock, self._figures, watchdog, record, asked_at)

    async def _begin(self, tenure: Tenure, stopping: asyncio.Event) -> T:
        """The next term.

        Raises:
            StaleLeader: the Lease was lost meanwhile.
            DatabaseUnavailable: none could be counted; another candidate may be better off.
        """
        give_up_at = self._clock.monotonic() + self._timers.renew_seconds
        while True:
            try:
                return await self._begin_unless_lost(tenure, give_up_at - self._clock.monotonic())
            except DatabaseUnavailable as error:
                if stopping.is_set() or self._clock.monotonic() >= give_up_at:
                    self._asks_at = self._clock.monotonic() + 2 * self._timers.retry_seconds  # the others come first
                    raise
                _log.warning("the Lease is held, but no epoch can be had", reason=error.message)
                await pause(stopping, RETRY_SECONDS)

    async def _begin_unless_lost(self, tenure: Tenure, seconds: float) -> T:
        beginning = asyncio.ensure_future(bounded(self._fence.begin(tenure.lost), max(seconds, 0.0)))
        lost = asyncio.ensure_future(tenure.lost.wait())
        try:
            await asyncio.wait({beginning, lost}, return_when=asyncio.FIRST_COMPLETED)
            if tenure.lost.is_set():
                raise StaleLeader("the Lease was lost before the term began")
            return beginning.result()
        except TimeoutError as error:
            raise DatabaseUnavailable("PostgreSQL takes too long to give an epoch") from error
        finally:
            lost.cancel()
            beginning.cancel()
            await asyncio.wait({beginning})

    def _fail(self, reason: str, message: str) -> None:
        self._figures.lease_failed(reason)
        if message != self._trouble:  # once, not every two seconds
            _log.warning("cannot ask for the Lease", reason=message)
            self._trouble = message
