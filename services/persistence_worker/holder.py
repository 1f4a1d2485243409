"""Which partitions this worker has: asks PostgreSQL, takes what is free, leaves what is for others."""

from __future__ import annotations

import asyncio
from typing import Final

from services.kernel.clock import Clock
from services.kernel.errors import BrokerUnavailable, CoursegenError
from services.kernel.logs import get_logger
from services.kernel.messages.consuming import Lease
from services.kernel.messages.partitions import PartitionBook
from services.kernel.messages.transport import Exit
from services.kernel.pauses import pause
from services.kernel.reminders import Reminder
from services.persistence_worker.figures import Figures
from services.persistence_worker.shares import Shares

RENEWALS: Final = 5
"""How often a lease is renewed in its time."""
_log = get_logger(__name__)


class Holder:
    """Keeps the shares in step with the leases."""

    def __init__(
        self,
        book: PartitionBook,
        stream: Exit,
        shares: Shares,
        figures: Figures,
        *,
        clock: Clock,
        partitions: int,
        lease_seconds: float,
    ) -> None:
        self._book = book
        self._stream = stream
        self._shares = shares
        self._figures = figures
        self._clock = clock
        self._configured = partitions
        self._partitions = partitions
        self._lease_seconds = lease_seconds
        self._redis_answered = clock.monotonic()
        self._pause_seconds = lease_seconds / RENEWALS
        self._reminder = Reminder()
        self._went_well = True

    async def run(self, stopping: asyncio.Event) -> None:
        """Renew, take and leave until `stopping` is set; outages are waited out."""
        while not stopping.is_set():
            try:
                await self.look()
                self._reminder.forget()
            except CoursegenError as error:
                if self._reminder.is_due(error.message):
                    _log.warning("leases cannot be renewed", reason=error.message)
            await pause(stopping, self._pause_seconds)

    async def look(self) -> None:
        """One look; after one that failed it takes nothing yet, for others renew theirs at this very moment.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer; what is held stays as it is.
        """
        may_take, self._went_well = self._went_well, False
        count = await self._count()
        if self._clock.monotonic() - self._redis_answered > self._lease_seconds:
            await self._withdraw()
            return
        standing = await self._book.renew(count)
        for share in self._shares.keep_only(standing.held):
            _log.warning("a partition was taken by another worker", partition=share.partition)
        self._shares.adopt(standing.held)
        if standing.room and may_take:
            self._shares.adopt(await self._book.take(standing.room))
        elif standing.surplus:
            self._shares.let_go(standing.surplus)
        self._figures.holding(len(self._shares))
        self._went_well = True

    async def give_back(self, leases: list[Lease]) -> None:
        """Leave partitions of which nothing is in hand.

        Raises:
            DatabaseUnavailable: PostgreSQL does not answer; the leases run out.
        """
        await self._book.give_back(leases)
        if leases:
            _log.info("partitions given back", partitions=sorted(each.partition for each in leases))

    async def leave(self) -> None:
        """Give everything back and say that this worker stops; when PostgreSQL is away, the leases run out."""
        try:
            await self.give_back(self._shares.leases)
            await self._book.leave()
        except CoursegenError as error:
            _log.info("the partitions are left to others when their leases run out", reason=error.message)

    async def _withdraw(self) -> None:
        """Leave everything to workers whom Redis answers, and be none until it answers this one."""
        gone = self._shares.keep_only([])
        self._figures.holding(0)
        if gone:
            _log.warning("Redis has not answered for the time of a lease: others may have what this worker had")
        await self._book.give_back([each.lease for each in gone])
        await self._book.leave()

    async def _count(self) -> int:
        """How many partitions there are; what was known last is enough to renew."""
        known = self._partitions
        try:
            async with asyncio.timeout(self._pause_seconds):
                self._partitions = await self._stream.partitions(known)
        except (BrokerUnavailable, TimeoutError):
            return known
        self._redis_answered = self._clock.monotonic()
        if self._partitions not in {known, self._configured}:
            _log.warning(
                f"STREAM_PARTITIONS is {self._configured}, but Redis says {self._partitions}, which counts: set the same "
                "everywhere; `coursegen messages repartition` makes more"
            )
        return self._partitions
