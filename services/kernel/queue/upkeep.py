"""What a worker does beside its jobs: keep its leases, rescue the jobs of dead workers, wake delayed jobs, report dead ones.

Each duty runs in its own loop, so that a slow one does not cost the worker its lease. Nothing here ends the worker: an
outage is waited out, anything else is logged and tried again. Nothing is done for others in a Redis that is another
installation's: what died there is reported to its own PostgreSQL, by its own workers. Whose it is takes a while to ask, so the
lease is kept without asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from saq.utils import now

from services.kernel.errors import BrokerUnavailable
from services.kernel.logs import get_logger
from services.kernel.pauses import pause
from services.kernel.queue.course_queue import RENEW_SECONDS, CourseQueue, Taken
from services.kernel.queue.execution import Execution
from services.kernel.queue.inspector import Inspector
from services.kernel.queue.jobs import DeadLetter, DeadReason
from services.kernel.redis_connection import translated

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = get_logger(__name__)

PROMOTE_SECONDS: Final = 1.0
"""How often delayed jobs are looked at."""
INFO_SECONDS: Final = 10.0
"""How often the worker shows itself to saq's page."""
REPORTED_AT_ONCE: Final = 50
"""Dead jobs reported in one round."""


class Upkeep:
    """The side duties of one worker."""

    def __init__(
        self,
        redis: Redis,
        queues: Sequence[CourseQueue],
        executions: Callable[[], list[Execution]],
        dead_letter: DeadLetter | None,
        most_crashes: int,
        guard: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._queues = queues
        self._executions = executions
        self._dead_letter = dead_letter
        self._most_crashes = most_crashes
        self._guard = guard
        self._inspector = Inspector(redis)
        self._pending: list[tuple[CourseQueue, Taken]] = []
        self._something_died = asyncio.Event()

    async def run(self) -> None:
        """Do every duty until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(RENEW_SECONDS, self._live))
            group.create_task(self._repeat(RENEW_SECONDS, self._rescue, for_others=True))
            group.create_task(self._repeat(PROMOTE_SECONDS, self._promote, for_others=True))
            group.create_task(self._repeat(INFO_SECONDS, self._show))
            group.create_task(self._repeat(RENEW_SECONDS, self._bury, wake=self._something_died, for_others=True))

    def set_aside(self, queue: CourseQueue, taken: Taken) -> None:
        """Have a value that is no job put beside its queue soon."""
        self._pending.append((queue, taken))
        self.report_soon()

    def report_soon(self) -> None:
        """Have the dead-letter function told at once of what was set aside."""
        self._something_died.set()

    async def resign(self) -> None:
        """Give the leases up, so that whatever is left is rescued at once."""
        try:
            for queue in self._queues:
                await queue.resign()
        except BrokerUnavailable:
            logger.info("the leases run out by themselves")

    async def _repeat(
        self,
        seconds: float,
        duty: Callable[[], Awaitable[None]],
        *,
        wake: asyncio.Event | None = None,
        for_others: bool = False,
    ) -> None:
        guard = self._guard if for_others else None
        while True:
            if wake is not None:
                wake.clear()
            try:
                if guard is not None:
                    await guard()
                await duty()
            except BrokerUnavailable:
                logger.debug("a duty waits for the queue", duty=duty.__name__)
            except Exception:  # one bad key or row must not end the worker's upkeep
                logger.exception("a duty failed and is tried again", duty=duty.__name__)
            await _pause(seconds, wake)

    async def _live(self) -> None:
        await asyncio.gather(*(queue.renew() for queue in self._queues))
        for execution in self._executions():
            execution.job.touched = now()
            await execution.queue.touch(execution.job)

    async def _rescue(self) -> None:
        for queue in self._queues:
            forgotten = await queue.reclaim()
            swept = await queue.rescue(most_crashes=self._most_crashes)
            if forgotten or (swept and (swept.put_back or swept.dropped)):
                found = (swept.put_back, swept.dropped) if swept else ([], [])
                logger.warning(
                    "jobs rescued",
                    queue=queue.name,
                    put_back=len(found[0]) + len(forgotten),
                    without_body=len(found[1]),
                )
            if swept and swept.set_aside:
                logger.error("jobs set aside by the sweep", queue=queue.name, ids=swept.set_aside)
                self._something_died.set()

    async def _promote(self) -> None:
        for queue in self._queues:
            await queue.promote()

    async def _show(self) -> None:
        with translated():  # saq's own call, the one duty that does not go through our scripts
            for queue in self._queues:
                await queue.worker_info(queue.worker_id, queue_key=queue.name, ttl=int(INFO_SECONDS) * 3)

    async def _bury(self) -> None:
        while self._pending:
            queue, taken = self._pending[0]
            await queue.set_aside(taken.id, taken.reason or DeadReason.UNDECODABLE, taken.detail)
            self._pending.pop(0)
        for queue in self._queues:
            await self._report(queue)

    async def _report(self, queue: CourseQueue) -> None:
        for dead in await self._inspector.unreported(queue.name, REPORTED_AT_ONCE):
            if self._dead_letter is not None:
                await self._dead_letter(dead)
            await self._inspector.reported(queue.name, dead.key)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    await pause(wake, seconds)
