"""Reading ahead: the next entries are on their way while those in hand are written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from services.kernel.errors import CoursegenError
from services.kernel.messages.consuming import NEW, Delivery
from services.kernel.messages.transport import Exit
from services.persistence_worker.held import Held
from services.persistence_worker.shares import Share, Shares

MOST_BATCHES: Final = 20
"""A worker that is behind reads so many batches of a partition at once."""
MOST_ENTRIES: Final = 500
"""Most entries of one read: what a worker has in hand when it dies is handled one at a time by the next."""
MOST_HELD: Final = 500
"""A partition of which more waits for refused messages is not read on."""
MOST_HELD_IN_ALL: Final = 2_000
"""While more than that waits, no partition is read of which anything does."""
LONGEST_WAIT_SECONDS: Final = 1.0
LOOK_ROUND_SECONDS: Final = 5.0
"""How often idle partitions are looked at for entries that a stranger has claimed; others are whenever they are read."""
_BARRIER_SECONDS: Final = 0.05
"""How often a new partition is looked at while the one it comes from is not through, and how soon one that strangers read."""

Deliveries = list[tuple[Share, Delivery]]


class Reading:
    """One read at a time."""

    def __init__(self, stream: Exit, shares: Shares, *, batch_size: int, poll_seconds: float) -> None:
        self._stream = stream
        self._shares = shares
        self._batch_size = batch_size
        self._batches = 1
        self._poll_seconds = min(poll_seconds, LONGEST_WAIT_SECONDS)
        self._task: asyncio.Task[Deliveries] | None = None
        self._wanted: list[Share] = []
        self._woken: set[int] = set()
        self._looks_round_at = 0.0

    @property
    def partitions(self) -> list[int]:
        """Those of which entries may be on their way."""
        return [each.partition for each in self._wanted]

    def begin(self, held: Held) -> None:
        """Read on, beside whatever else is done."""
        waiting = held.by_partition()
        most = MOST_HELD if waiting.total() <= MOST_HELD_IN_ALL else 0
        self._wanted = [each for each in self._shares.to_read() if waiting[each.partition] <= most]
        self._task = asyncio.create_task(self._read(self._wanted, held.seconds), name="reading")

    async def next(self, held: Held) -> Deliveries:
        """What was read, which may be nothing.

        Raises:
            BrokerUnavailable: Redis does not answer; entries may have been taken all the same.
        """
        if self._task is None:
            self.begin(held)
        return await self.last()

    async def last(self) -> Deliveries:
        """What the read that is under way brings, if there is one.

        Raises:
            BrokerUnavailable: Redis does not answer; entries may have been taken all the same.
        """
        task, self._task = self._task, None
        deliveries = [] if task is None else await task
        for share, delivery in deliveries:
            share.waits = delivery.waits
            if not delivery.has_group:
                share.phase = "adopted"
            elif not (share.waits or delivery.succeeded_by):
                self._shares.advance(share, delivery.entries[-1].entry_id if delivery.entries else None)
        return deliveries

    def begin_small(self) -> None:
        """Read little at first, and more from read to read: what went wrong may have been too much for one statement."""
        self._batches = 1

    async def drop(self) -> bool:
        """Forget what is being read; whether Redis has answered."""
        try:
            await self.last()
        except CoursegenError:
            return False
        return True

    async def _read(self, wanted: list[Share], held_seconds: float | None) -> Deliveries:
        if not wanted:
            await self._pause(held_seconds, {})
            return []
        count = self._count(len(wanted))
        places = [(each.lease, each.cursor) for each in wanted]
        answers = await self._stream.read(places, count, looks_round=self._is_to_look_round())
        answers = self._without_strangers(wanted, answers)
        if any(each.has_strangers for each in answers):
            await asyncio.sleep(_BARRIER_SECONDS)  # who reads on and on has the worker take back now and then, not spin
            return list(zip(wanted, answers, strict=True))
        fullest = max(len(each.entries) for each in answers)
        self._batches = min(self._batches * 2, MOST_BATCHES) if fullest >= count else max(1, self._batches // 2)
        if not fullest and all(each.cursor == NEW or each.waits for each in wanted):
            waiting = any(each.waits for each in answers)
            last = {share.partition: share.last for share, each in zip(wanted, answers, strict=True) if not each.waits}
            await self._pause(min(_BARRIER_SECONDS, held_seconds or 1) if waiting else held_seconds, last)
        return list(zip(wanted, answers, strict=True))

    def _without_strangers(self, wanted: Sequence[Share], answers: Sequence[Delivery]) -> list[Delivery]:
        """The answers; a partition that had an entry, of which this worker was given none, is read by somebody else."""
        woken, self._woken = self._woken, set()
        return [
            answer._replace(has_group=False, has_strangers=True)
            if share.partition in woken and share.cursor == NEW and _has_nothing(answer)
            else answer
            for share, answer in zip(wanted, answers, strict=True)
        ]

    def _is_to_look_round(self) -> bool:
        now = time.monotonic()
        is_due = now >= self._looks_round_at
        if is_due:
            self._looks_round_at = now + LOOK_ROUND_SECONDS
        return is_due

    def _count(self, partitions: int) -> int:
        most = max(self._batch_size, MOST_ENTRIES // partitions)
        return min(self._batch_size * self._batches, most)

    async def _pause(self, seconds: float | None, last: dict[int, str]) -> None:
        """Wait for an entry, for a change of the shares, or for `seconds`."""
        longest = self._poll_seconds if seconds is None else min(self._poll_seconds, seconds)
        changed = asyncio.create_task(self._shares.changed.wait())
        waits: set[asyncio.Task[Any]] = {changed}
        if last:
            waits.add(asyncio.create_task(self._stream.wait(last, longest)))
        done, _ = await asyncio.wait(
            waits, timeout=longest + 1 if last else longest, return_when=asyncio.FIRST_COMPLETED
        )
        for each in waits - done:
            each.cancel()
        await asyncio.gather(*(waits - done), return_exceptions=True)
        for each in done - {changed}:
            self._woken = each.result()


def _has_nothing(answer: Delivery) -> bool:
    return answer.has_group and not (answer.entries or answer.waits or answer.succeeded_by)
