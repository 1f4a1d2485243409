"""The three stages of the relay, overlapped: while one batch is marked, the next goes into Redis and a third is claimed.

::

    step n:     claim(n+1)  │  enqueue(n)  │  mark(n-1)          on two database sessions and one to Redis

Rows in hand are kept out of the next claim by their positions. Whatever goes wrong, the pipeline is simply emptied: rows
that were put into Redis and not marked are claimed again, and Redis knows their keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from services.kernel import faults
from services.kernel.clock import Clock
from services.kernel.errors import StaleLeader
from services.outbox_relay.dispatch import PARK_SECONDS, Dispatched, Dispatcher
from services.outbox_relay.figures import Figures
from services.outbox_relay.high_water import HighWater, lanes_of
from services.outbox_relay.leadership import Term
from services.outbox_relay.lines import say_failed, say_relayed, trace_of
from services.outbox_relay.outbox import ClaimLimits, Failure, Outbox, OutboxRow
from services.outbox_relay.row_spans import record_relayed

PATIENCE: Final = 10
"""One claim in so many chooses the least urgent rows: they advance whatever else is written all the time."""
_NONE: Final[tuple[OutboxRow, ...]] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the relay takes at once; see `RelaySettings`."""

    batch_size: int
    batch_max: int
    batch_bytes: int
    body_bytes: int
    backoff_seconds: float


@dataclass(slots=True)
class _Claimed:
    rows: Sequence[OutboxRow] = _NONE
    at: float = 0.0
    trace_id: str | None = None
    """Of its first row: an example of what was in hand. One body of a batch is read, never all of them."""


@dataclass(slots=True)
class _Sent:
    dispatched: Dispatched = field(default_factory=Dispatched)
    rows: Sequence[OutboxRow] = _NONE
    at: float = 0.0
    trace_id: str | None = None


class Pipeline:
    """Moves rows, step by step, during one term."""

    def __init__(
        self,
        outbox: Outbox,
        dispatcher: Dispatcher,
        water: HighWater,
        figures: Figures,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._outbox = outbox
        self._dispatcher = dispatcher
        self._water = water
        self._figures = figures
        self._limits = limits
        self._clock = clock
        self._batch_size = limits.batch_size
        self._turn = 0
        self._claimed = _Claimed()
        self._sent = _Sent()
        self.is_blocked = False
        """Whether the last claim left rows behind because their queue is full or damaged."""
        self.has_more = False
        """Whether the last claim was full, so that another one is worth its while."""

    @property
    def is_empty(self) -> bool:
        """Whether no row is in hand."""
        return not self._claimed.rows and not self._sent.rows

    async def step(self, term: Term, *, claim: bool = True) -> None:
        """Move every batch in hand one stage on and, unless told not to, claim the next.

        Raises:
            StaleLeader: another leader is at work.
            BrokerUnavailable: Redis takes nothing at present.
            DatabaseUnavailable: PostgreSQL does not answer.
        """
        claimed, sent = self._claimed, self._sent
        self._claimed, self._sent = _Claimed(), _Sent()  # an error leaves the pipeline empty
        next_claimed, next_sent, _ = await _all(
            self._claim(claimed.rows, sent.rows) if claim else _nothing(),
            self._send(claimed, term),
            self._settle(sent, term),
        )
        self._claimed, self._sent = next_claimed or _Claimed(), next_sent

    async def finish(self, term: Term) -> None:
        """Settle what is in Redis already and let go of what is not. Raises as `step`."""
        self._claimed = _Claimed()
        await self.step(term, claim=False)

    def reset(self) -> None:
        """Forget the rows in hand; they are still pending in PostgreSQL."""
        self._claimed, self._sent = _Claimed(), _Sent()

    async def _claim(self, claimed: Sequence[OutboxRow], sent: Sequence[OutboxRow]) -> _Claimed:
        at = self._clock.monotonic()
        in_flight = lanes_of((row.saq_queue, row.priority) for row in claimed)  # those sent are in the depths already
        rooms = await self._water.rooms(in_flight, self._batch_size)
        limits = ClaimLimits(
            rows=self._batch_size,
            total_bytes=self._limits.batch_bytes,
            body_bytes=self._limits.body_bytes,
            default_room=self._water.default_room,
            rooms=rooms,
            lowest_first=self._turn % PATIENCE == PATIENCE - 1,
        )
        rows = await self._outbox.claim(limits, [row.position for row in (*claimed, *sent)])
        self.is_blocked = self._water.is_blocked(rooms)
        self._adapt(len(rows))
        if not rows:
            return _Claimed()
        self._turn += 1
        trace = trace_of(rows[0])
        claimed_now = _Claimed(rows, at, None if trace is None else trace.trace_id)
        self._figures.stage("claim", self._clock.monotonic() - at, claimed_now.trace_id)
        await faults.reach("relay.after_claim")
        return claimed_now

    def _adapt(self, found: int) -> None:
        self.has_more = found >= self._batch_size // 2
        if found >= self._batch_size:
            self._batch_size = min(self._batch_size * 2, self._limits.batch_max)
        elif found < self._batch_size // 2:
            self._batch_size = max(self._limits.batch_size, self._batch_size // 2)

    async def _send(self, claimed: _Claimed, term: Term) -> _Sent:
        if not claimed.rows:
            return _Sent()
        at = self._clock.monotonic()
        try:
            dispatched = await self._dispatcher.dispatch(claimed.rows, term.epoch)
        except StaleLeader as stale:
            await term.overtake(int(stale.details.get("seen", 0)))
            dispatched = await self._dispatcher.dispatch(claimed.rows, term.epoch)
        for queue, waiting in dispatched.waiting.items():
            self._water.note(queue, waiting)
        for queue in dispatched.parked:
            self._water.park(queue, PARK_SECONDS)
        self._figures.stage("enqueue", self._clock.monotonic() - at, claimed.trace_id)
        self._figures.duplicates(dispatched.duplicates)
        await faults.reach("relay.after_enqueue")
        return _Sent(dispatched, claimed.rows, claimed.at, claimed.trace_id)

    async def _settle(self, sent: _Sent, term: Term) -> None:
        if not sent.rows:
            return
        at = self._clock.monotonic()
        delivered = sent.dispatched.delivered
        created = await self._outbox.mark(delivered, term.epoch) if delivered else 0
        say_relayed(delivered)
        dead = await self._settle_failures(sent.dispatched.failures, term.epoch)
        now = self._clock.monotonic()
        record_relayed(delivered, now - sent.at)
        self._figures.stage("mark", now - at, sent.trace_id)
        self._figures.batch(created=created, dead=dead, seconds=now - sent.at, trace_id=sent.trace_id)
        await faults.reach("relay.after_mark")

    async def _settle_failures(self, failures: Sequence[Failure], epoch: int) -> int:
        transient = [failure for failure in failures if failure.is_transient]
        final = [failure for failure in failures if not failure.is_transient]
        dead = 0
        if transient:
            dead += await self._outbox.charge(transient, epoch, self._limits.backoff_seconds)
        if final:
            dead += await self._outbox.bury(final, epoch)
        for failure in failures:
            say_failed(failure)
        return dead


async def _nothing() -> None:
    return None


async def _all(
    claim: Coroutine[Any, Any, _Claimed | None], send: Coroutine[Any, Any, _Sent], settle: Coroutine[Any, Any, None]
) -> tuple[_Claimed | None, _Sent, None]:
    """Wait for all three even when one fails, so that nothing of this step is still under way in the next."""
    results = await asyncio.gather(claim, send, settle, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise next((error for error in errors if isinstance(error, StaleLeader)), errors[0])
    return cast(tuple[_Claimed | None, _Sent, None], tuple(results))
