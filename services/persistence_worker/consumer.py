"""The consumer's loop: read, write, settle; the next read is under way while a batch is written.

Promises: one batch is written at a time, so entries of a partition are written in their order; what failed for want of a
server is read again from the stream, before anything new. After a read that Redis has not answered the partition gets a new
epoch first, for the read may still be on its way and would take entries that nobody hears of.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from services.kernel.clock import Clock
from services.kernel.errors import BrokerUnavailable, CoursegenError, RedisOccupied
from services.kernel.faults import reach
from services.kernel.health import Heartbeat
from services.kernel.logs import get_logger
from services.kernel.messages.consuming import Delivery, Lease
from services.kernel.messages.refusal import may_be_of_row, sqlstate_of
from services.kernel.messages.transport import Exit
from services.kernel.pauses import pause
from services.kernel.reminders import Reminder
from services.persistence_worker.figures import Figures
from services.persistence_worker.held import Held
from services.persistence_worker.holder import Holder
from services.persistence_worker.items import Item, Outcome, read_items
from services.persistence_worker.lines import Tally, say_later, say_refused, say_strangers
from services.persistence_worker.opening import Opening
from services.persistence_worker.persister import Persister
from services.persistence_worker.reading import Reading
from services.persistence_worker.shares import Share, Shares
from services.persistence_worker.undertaker import Undertaker

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
"""Reconnection: 0.1 s doubling to 2 s; a server that is back is used within 2 s."""
LATER_SECONDS: Final = 10.0
"""How often a partition is looked at that an entry of a later version stops."""
_log = get_logger(__name__)


class Consumer:
    """Moves entries of all shares."""

    def __init__(
        self,
        *,
        stream: Exit,
        shares: Shares,
        holder: Holder,
        opening: Opening,
        reading: Reading,
        persister: Persister,
        held: Held,
        undertaker: Undertaker,
        figures: Figures,
        tally: Tally,
        heartbeat: Heartbeat,
        clock: Clock,
    ) -> None:
        self._stream = stream
        self._shares = shares
        self._holder = holder
        self._opening = opening
        self._reading = reading
        self._persister = persister
        self._held = held
        self._undertaker = undertaker
        self._figures = figures
        self._tally = tally
        self._heartbeat = heartbeat
        self._clock = clock
        self._outage_pause = _FIRST_PAUSE_SECONDS
        self._reminder = Reminder(clock)

    async def run(self, stopping: asyncio.Event) -> None:
        """Consume until `stopping` is set; what is in hand then is written, if PostgreSQL and Redis let it be."""
        while not stopping.is_set():
            self._heartbeat.beat()
            try:
                await self._turn()
            except CoursegenError as error:
                await self._wait_out(error, stopping)
            else:
                self._went_well()
        try:
            await self._handle(await self._reading.last())
        except CoursegenError as error:
            _log.warning("entries in hand are left to the next owner", reason=error.message)
        await self._opening.close()

    async def _turn(self) -> None:
        await self._opening.open_new(self._shares)
        self._shares.changed.clear()
        for share in self._shares.resume(self._clock.monotonic(), self._reading.partitions):
            self._held.drop(share.lease)
        deliveries = await self._reading.next(self._held)
        self._reading.begin(self._held)
        await self._handle(deliveries)
        leaving = self._shares.to_give_back(self._reading.partitions)
        await self._holder.give_back([each.lease for each in leaving])
        for share in leaving:
            self._forget(share)

    async def _handle(self, deliveries: Sequence[tuple[Share, Delivery]]) -> None:
        self._held.keep_only(self._shares.leases)
        items: list[Item] = []
        for share, delivery in deliveries:
            if share.is_gone or delivery.succeeded_by:
                self._forget(share)
                continue
            if not delivery.has_group:
                self._open_again(share, delivery)
            if share.is_paused:
                continue  # it was on its way already; it stays pending
            found = read_items(share.lease, delivery)
            items += found.items
            for entry, error in found.bad:
                await self._undertaker.bury_unreadable(share.lease, entry, error)
            if found.later is not None:
                share.is_paused, share.resumes_at = True, self._clock.monotonic() + LATER_SECONDS
                say_later(*found.later)
        self._figures.paused(self._shares.paused)
        due = self._held.due()
        outcome = await self._persister.put([*due, *self._held.keep_back(items)])
        if outcome.done:
            self._figures.persisted(len(outcome.new), len(outcome.done) - len(outcome.new))
            self._tally.add(outcome)
            await reach("persistence.before_settle")
        if outcome.was_divided:
            self._reading.begin_small()
        await self._settle(outcome)

    async def _settle(self, outcome: Outcome) -> None:
        done: defaultdict[Lease, list[str]] = defaultdict(list)
        for item in outcome.done:
            done[item.lease].append(item.entry.entry_id)
        lost = await self._stream.settle(done, [item.envelope.id for item in outcome.done])
        given_up = self._held.learn(outcome)
        for refusal in outcome.refused:
            self._figures.refused()
            say_refused(refusal)
        for refusal in given_up:
            await self._undertaker.bury_refused(refusal)
        for item in outcome.crashing:
            await self._undertaker.bury_server_crashing(item)
        now = self._clock.monotonic()
        self._figures.settled(now - item.read_at for item in outcome.done if item.lease.partition not in lost)
        for lease in outcome.lost | {each for each in done if each.partition in lost}:
            self._held.drop(lease)
            if (share := self._shares.current(lease)) is not None:
                _log.warning("a partition is another worker's by now", partition=lease.partition)
                self._forget(share)

    def _open_again(self, share: Share, delivery: Delivery) -> None:
        """What is pending of it will be read again, what waits here included."""
        self._held.drop(share.lease)
        if delivery.has_strangers:
            say_strangers(share.partition)

    def _forget(self, share: Share) -> None:
        self._held.drop(share.lease)
        self._shares.drop(share)

    async def _wait_out(self, error: CoursegenError, stopping: asyncio.Event) -> None:
        is_broker = isinstance(error, BrokerUnavailable)
        trouble = "Redis is unreachable" if is_broker else "PostgreSQL is unreachable"
        if isinstance(error, RedisOccupied):
            trouble = "the stream is another installation's"
        if may_be_of_row(error):
            trouble = "PostgreSQL takes no message"
        if self._reminder.is_due(trouble):
            facts = {"reason": error.message, "sqlstate": sqlstate_of(error) or None}
            _log.warning(f"{trouble}, consuming pauses; no message is charged", **facts)
        self._held.clear()
        is_broker |= not await self._reading.drop()
        self._reading.begin_small()
        self._shares.read_again(are_worn=is_broker)
        await pause(stopping, self._outage_pause)
        self._outage_pause = min(self._outage_pause * 2, _LONGEST_PAUSE_SECONDS)

    def _went_well(self) -> None:
        self._outage_pause = _FIRST_PAUSE_SECONDS
        if self._reminder.has_said:
            _log.info("consuming goes on")
            self._reminder.forget()
