"""The beginning with a partition: what was pending is this worker's, and is through before anything new is read."""

from __future__ import annotations

import asyncio

from services.kernel.logs import get_logger
from services.kernel.messages.consuming import PENDING, TakeOver
from services.kernel.messages.partitions import PartitionBook
from services.kernel.messages.transport import Exit
from services.persistence_worker.recovery import Recovery
from services.persistence_worker.shares import Share, Shares
from services.persistence_worker.undertaker import Undertaker

_log = get_logger(__name__)


class Opening:
    """Opens shares."""

    def __init__(self, book: PartitionBook, stream: Exit, recovery: Recovery, undertaker: Undertaker) -> None:
        self._book = book
        self._stream = stream
        self._recovery = recovery
        self._undertaker = undertaker
        self._tasks: set[asyncio.Task[None]] = set()

    async def open_new(self, shares: Shares) -> None:
        """Open what was adopted.

        Raises:
            CoursegenError: a server does not answer; what is not open by then is opened the next time.
        """
        for task in [each for each in self._tasks if each.done()]:
            self._tasks.discard(task)
            task.result()
        for share in shares.to_open():
            await self._open(share, shares)

    async def close(self) -> None:
        """Return when no entry is in hand; the shares must be ending."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _open(self, share: Share, shares: Shares) -> None:
        before = share.lease if share.was_open else None
        found = TakeOver(share.lease.epoch if share.is_worn else 0, 0, "")
        if not share.is_worn:
            found = await self._stream.take_over(share.lease)
        if found.succeeded_by:
            lease = await self._book.overtake(share.lease, found.succeeded_by)
            if lease is None:
                shares.drop(share)
                return
            share.lease, share.is_worn = lease, False
            found = await self._stream.take_over(lease)
            if found.succeeded_by:
                shares.drop(share)
                return
        self._undertaker.note_missing(share.partition, found.missing)
        share.last, share.cursor = found.last_delivered, PENDING
        if share.lease != before:  # it is opened again after every outage
            _log.info(f"Worker started for partition {share.partition}", epoch=share.lease.epoch, pending=found.taken)
        if found.taken and not share.was_open:
            share.phase = "recovering"
            self._tasks.add(asyncio.create_task(self._recover(share, shares), name=f"recovery {share.partition}"))
        else:
            share.phase = "reading"
        share.was_open = True

    async def _recover(self, share: Share, shares: Shares) -> None:
        await self._recovery.run(share)
        if share.is_gone:
            shares.drop(share)
        share.phase = "reading"
        shares.changed.set()
