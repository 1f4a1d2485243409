"""Holding the Lease: renewed in time, or lost in time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

from services.kernel.cancellation import forget
from services.kernel.clock import Clock
from services.kernel.lease.api import LeaseApi, LeaseConflict, LeaseUnavailable
from services.kernel.lease.record import LeaseRecord, Timers
from services.kernel.lease.watchdog import Watchdog
from services.kernel.logs import get_logger

_log = get_logger(__name__)

T = TypeVar("T")

RELEASE_TRIES: Final = 3


class LeaseFigures(Protocol):
    """What is counted of the Lease."""

    def lease_renewed(self, seconds: float) -> None: ...  # noqa: D102
    def lease_failed(self, reason: str) -> None: ...  # noqa: D102


class Tenure:
    """The Lease in the hands of one candidate, from the moment it was taken.

    ::

        renewed ──no answer for renew_seconds, or another holder──▶ lost ──stop_seconds──▶ the watchdog ends the process
    """

    def __init__(
        self,
        api: LeaseApi,
        timers: Timers,
        clock: Clock,
        figures: LeaseFigures,
        watchdog: Watchdog,
        record: LeaseRecord,
        asked_at: float,
    ) -> None:
        """`asked_at` is when the record was sent, not when it was answered: from then on others may have counted."""
        self.lost = asyncio.Event()
        self._api = api
        self._timers = timers
        self._clock = clock
        self._figures = figures
        self._watchdog = watchdog
        self._record = record
        self._is_doubtful = False
        self._extend(asked_at)
        self._keeping = asyncio.create_task(self._keep(), name="lease")
        self._keeping.add_done_callback(self._kept)

    def rest(self) -> None:
        """The work has stopped: nobody need be ended for it. The Lease is still kept."""
        self._watchdog.disarm()

    async def end(self) -> None:
        """Renew no more, and let the next one in at once; a Lease that is lost, or cannot be written, runs out by itself."""
        self.rest()
        if self._keeping.done():
            return
        self._keeping.remove_done_callback(self._kept)
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        try:
            await bounded(self._release(), min(self._timers.call_seconds, max(self._left(), 0.0)))
        except (LeaseConflict, LeaseUnavailable, TimeoutError, _LostToAnother) as error:
            _log.warning("the Lease is left to run out", reason=str(error) or type(error).__name__)

    async def _keep(self) -> str:
        """Renew until it is lost; returns why."""
        asked_at = self._renewed_at
        while (left := self._left()) > 0:
            rest = asked_at + self._timers.retry_seconds - self._clock.monotonic()
            await asyncio.sleep(min(max(rest, 0.0), left))
            asked_at = self._clock.monotonic()
            try:
                await self._renew()
            except LeaseConflict as conflict:
                if not self._is_doubtful:
                    asked_at = -math.inf  # who holds it now is seen in the next round, at once
                self._note("conflict", conflict.message)
            except TimeoutError:
                self._note("timeout", "the API server takes too long")
            except LeaseUnavailable as error:
                self._note("unavailable", error.message)
            except _LostToAnother as other:
                return str(other)
        return f"not renewed for {self._timers.renew_seconds:g} s"

    def _kept(self, keeping: asyncio.Task[str]) -> None:
        """Nobody renews any more, for whatever reason: a defect, too, must not leave a leader without a Lease."""
        if keeping.cancelled():
            self._lose("its renewal was cancelled")
        elif (error := keeping.exception()) is not None:
            self._lose(f"its renewal failed: {error!r}")
        else:
            self._lose(keeping.result())

    async def _renew(self) -> None:
        asked_at = self._clock.monotonic()
        left = self._left()
        if left <= 0:
            return
        await bounded(self._write(), min(self._timers.call_seconds, left))
        self._figures.lease_renewed(self._clock.monotonic() - asked_at)
        self._is_doubtful = False
        self._extend(asked_at)

    async def _write(self) -> None:
        if self._is_doubtful:
            self._record = await self._still_ours()
        self._record = await self._api.update(self._record.renewed(self._clock.now()))

    async def _still_ours(self) -> LeaseRecord:
        seen = await self._api.read()
        if seen is None:
            raise _LostToAnother("the Lease has been deleted")
        if seen.holder != self._record.holder:
            raise _LostToAnother(f"the Lease is held by {seen.holder or 'nobody'}")
        return seen

    async def _release(self) -> None:
        for left in reversed(range(RELEASE_TRIES)):
            try:
                if self._is_doubtful:
                    self._record = await self._still_ours()
                self._record = await self._api.update(self._record.released(self._clock.now()))
            except LeaseConflict:
                self._is_doubtful = True
                if not left:
                    raise
            else:
                _log.info("lease released", transitions=self._record.transitions)
                return

    def _note(self, reason: str, message: str) -> None:
        self._is_doubtful = True
        self._figures.lease_failed(reason)
        _log.warning("lease not renewed", reason=message, seconds_left=round(max(self._left(), 0.0), 1))

    def _extend(self, asked_at: float) -> None:
        self._renewed_at = asked_at
        if self._left() > 0:  # else it is lost at once, and the work has yet to hear of it
            self._watchdog.arm(asked_at + self._timers.lease_seconds)

    def _left(self) -> float:
        return self._renewed_at + self._timers.renew_seconds - self._clock.monotonic()

    def _lose(self, reason: str) -> None:
        _log.warning("lease lost, all work stops", reason=reason)
        self._watchdog.hasten(self._clock.monotonic() + self._timers.stop_seconds)
        self.lost.set()


class _LostToAnother(Exception):
    """The Lease is in other hands."""


async def bounded(call: Coroutine[Any, Any, T], seconds: float) -> T:
    """The result of `call`, or `TimeoutError` after `seconds`, however long `call` takes to let itself be cancelled.

    A call that was cancelled by somebody else has no answer either.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done() or task.cancelled():
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.add_done_callback(forget)
            task.cancel()
