"""The gate that every initiation passes: is there a slot, and whose is it if no run comes of it (contract.md e).

::

    admit ── Redis: room? ──┬─ taken / held ────────────▶ permit ──▶ write ──▶ settle: keep it, or give it back
               │            └─ full ─▶ event, 429
               └─ away, or its counters lost ─▶ permit with limits: PostgreSQL counts in the write ──▶ claim afterwards

Promises: a permit that no run comes of leaves no slot behind; one whose run began has exactly one, also when two requests
raced, when Redis went or came back in between, or when nobody knows whether the commit happened (then PostgreSQL is asked
later). A Redis that was away is not believed again before its counters are rebuilt.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from services.kernel.clock import Clock, SystemClock
from services.kernel.commands import InitiationOutcome, InitiationRequest
from services.kernel.concurrency.book import Book
from services.kernel.concurrency.limits import Limits
from services.kernel.concurrency.refusals import ConcurrencyLimitReached, LimitType, Refusals
from services.kernel.concurrency.releases import Releases
from services.kernel.concurrency.slots import Claim, Decision, Slots
from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, RetryableError
from services.kernel.logs import get_logger

if TYPE_CHECKING:
    from redis.asyncio import Redis

WATCH_SECONDS: Final = 1.0
"""How often changed limits are looked for, and a Redis that was away is tried."""
_OPEN_SECONDS: Final = 1.0
"""Longest wait for Redis at the start: PostgreSQL can count meanwhile."""
_CONFIRM_SECONDS: Final = 10.0
"""A reservation older than that may have been verified away before its run began."""
_LIMIT_TYPES: Final[Mapping[Decision, LimitType]] = {Decision.USER_LIMIT: "user", Decision.GLOBAL_LIMIT: "global"}
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Permit:
    """What a request needs to be written."""

    course_id: UUID
    user_id: UUID
    run_number: int
    holder: str
    decision: Decision
    """TAKEN, HELD, or NOT_READY: PostgreSQL counts."""
    limits: Mapping[str, int] | None
    """What PostgreSQL is to count against; None when Redis has counted."""
    since: float


class Gate:
    """Admits requests. Safe for concurrent use."""

    def __init__(
        self,
        db: Database,
        redis: Redis,
        limits: Limits,
        *,
        book: Book | None = None,
        wait_seconds: float = 0.2,
        clock: Clock | None = None,
    ) -> None:
        """Guard with these limits.

        Args:
            db: the truth, and the count while Redis is away.
            redis: where slots are; a request waits for it no longer than `wait_seconds`.
            limits: those in force.
            book: rebuilds the counters; with a more patient client than requests may have.
            wait_seconds: longest wait for Redis.
            clock: measures how old a permit is.
        """
        self._slots = Slots(redis, wait_seconds=wait_seconds)
        self._book = book or Book(db, redis)
        self._limits = limits
        self._clock = clock or SystemClock()
        self._is_doubted = False
        self._doubts = asyncio.Event()
        self._name = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self.refusals = Refusals(db)
        self.releases = Releases(self._slots)

    @property
    def is_counting_in_redis(self) -> bool:
        """False while PostgreSQL counts instead."""
        return not self._is_doubted

    async def open(self) -> None:
        """Look at the limits, and have the counters rebuilt if Redis does not know them; one that hangs is not waited for.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        await self._limits.refresh()
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                is_ready = await self._book.is_ready()
            if not is_ready:
                await self._book.rebuild()
        except (BrokerUnavailable, TimeoutError):
            self.doubt("Redis does not answer")

    async def admit(self, request: InitiationRequest, run_number: int) -> Permit:
        """A permit for the run that the request would begin.

        Raises:
            ConcurrencyLimitReached: there is no slot; it has been written down.
        """
        tier, holder = request.tier, f"{self._name}-{next(self._numbers)}"
        claim = Claim(request.course_id, request.user_id, run_number, self._limits.of_tier(tier), holder)
        decision, current = await self._ask(claim)
        if decision in _LIMIT_TYPES:
            limit = claim.user_limit if decision is Decision.USER_LIMIT else self._limits.of_all
            await self.refuse(request, _LIMIT_TYPES[decision], limit, current)
        is_uncounted = decision is Decision.NOT_READY
        limits = {"user": claim.user_limit, "global": self._limits.of_all} if is_uncounted else None
        return Permit(request.course_id, request.user_id, run_number, holder, decision, limits, self._clock.monotonic())

    async def refuse(self, request: InitiationRequest, limit_type: str, limit: int, current: int) -> None:
        """Write the refusal down, then raise it.

        Raises:
            ConcurrencyLimitReached: always.
        """
        kind = cast(LimitType, limit_type)
        refusal = ConcurrencyLimitReached.of(kind, tier=request.tier, limit=limit, current=current)
        await self.refusals.note(request, refusal)
        raise refusal

    async def settle(self, permit: Permit, outcome: InitiationOutcome) -> None:
        """What was written, or not, decides whose the slot is; never raises because of Redis."""
        if outcome.running:
            if self._needs_claim(permit, outcome):
                self._beside(self._claim(permit, outcome.run_number or permit.run_number))
        elif permit.decision is Decision.TAKEN:
            await self.releases.release(permit.course_id, permit.run_number, permit.holder)
        elif permit.decision is Decision.NOT_READY:
            self.releases.owe(permit.course_id, permit.run_number, permit.holder)  # it may have been taken unheard

    async def watch(self, stopping: asyncio.Event) -> None:
        """Follow the limits, and put right what Redis or PostgreSQL missed while they were away, until told to stop."""
        while not stopping.is_set():
            with contextlib.suppress(RetryableError):
                await self._limits.refresh()
            with contextlib.suppress(RetryableError):
                await self._recover()
            await self.releases.retry()
            await self.refusals.retry()
            await self._pause(stopping)

    def doubt(self, reason: str) -> None:
        """From now on PostgreSQL counts, until the counters are rebuilt: somebody has waited for Redis in vain."""
        if not self._is_doubted:
            _log.warning("courses at once are counted in PostgreSQL for now", reason=reason)
        self._is_doubted = True
        self._doubts.set()

    async def drain(self) -> None:
        """Return when nothing is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.releases.retry()
        await self._slots.drain()

    async def _ask(self, claim: Claim) -> tuple[Decision, int]:
        if self._is_doubted:
            return Decision.NOT_READY, 0
        try:
            verdict = await self._slots.reserve(claim, self._limits.of_all)
        except BrokerUnavailable as error:
            self.doubt(error.message)
            return Decision.NOT_READY, 0
        if verdict.decision is Decision.NOT_READY:
            self.doubt("Redis has lost its counters")
        return verdict.decision, verdict.current

    def _needs_claim(self, permit: Permit, outcome: InitiationOutcome) -> bool:
        """Whether the run that began may be without a slot of its own."""
        if permit.decision is Decision.NOT_READY:
            return True
        is_old = self._clock.monotonic() - permit.since > _CONFIRM_SECONDS
        return outcome.status == "accepted" and (permit.decision is Decision.HELD or is_old)

    async def _claim(self, permit: Permit, run_number: int) -> None:
        try:
            await self._slots.claim(permit.course_id, permit.user_id, run_number)
        except BrokerUnavailable as error:
            self.doubt(error.message)

    async def _recover(self) -> None:
        """Rebuild the counters of a Redis that is back, and believe them again."""
        if not self._is_doubted:
            return
        self._doubts.clear()
        await self._book.distrust()
        rebuilt = await self._book.rebuild()
        if rebuilt is not None and not self._doubts.is_set():  # a doubt of meanwhile is about what was just counted
            self._is_doubted = False
            _log.info("courses at once are counted in Redis again", slots=rebuilt.slots)

    async def _pause(self, stopping: asyncio.Event) -> None:
        """A second, or less when the counters have just been lost."""
        waits = [asyncio.ensure_future(each) for each in (stopping.wait(), self._doubts.wait())]
        try:
            await asyncio.wait(
                waits[: 1 if self._is_doubted else 2], timeout=WATCH_SECONDS, return_when="FIRST_COMPLETED"
            )
        finally:
            for wait in waits:
                wait.cancel()

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
