"""Takes jobs from queues and runs them: the stage worker's engine.

Promises: never more than `concurrency` jobs at once; the most urgent job of a queue first; nothing is taken after
`stopping` is set; at the end every job is finished or back in its queue. While Redis is away the worker waits quietly (one
look every two seconds) and the running jobs go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from services.kernel.errors import BrokerUnavailable
from services.kernel.logs import get_logger
from services.kernel.queue.course_queue import MOST_CRASHES, CourseQueue, Taken, wait_for_any
from services.kernel.queue.execution import Execution
from services.kernel.queue.jobs import DeadLetter, Handler
from services.kernel.queue.scripts import QueueDamaged
from services.kernel.queue.upkeep import Upkeep
from services.kernel.reminders import Reminder

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = get_logger(__name__)

LOOK_SECONDS: Final = 2.0
"""An idle worker looks into its queues so often even when nothing wakes it (jobs of a plain saq producer wake nobody)."""
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0
GIVE_BACK_SECONDS: Final = 2.0
"""The end of the drain that is kept for giving unfinished jobs back."""


class QueueWorker:
    """Runs the jobs of some queues in this process."""

    def __init__(
        self,
        redis: Redis,
        queues: Sequence[str],
        handlers: Mapping[str, Handler],
        *,
        concurrency: int = 4,
        worker_id: str | None = None,
        drain_seconds: float = 20.0,
        dead_letter: DeadLetter | None = None,
        most_crashes: int = MOST_CRASHES,
        beat: Callable[[], None] = lambda: None,
        guard: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare a worker.

        Args:
            redis: a client that answers in bytes and waits at least 5 s for an answer.
            queues: names of the saq queues to serve.
            handlers: by job function.
            concurrency: most jobs at once.
            worker_id: must be new for each start of a process; made up when absent.
            drain_seconds: from `stopping` to the return of `run`, at most.
            dead_letter: is told of jobs set aside, until it returns without an error.
            most_crashes: workers that may die with a job before it is set aside.
            beat: called whenever the loop has come round; for a liveness check.
            guard: asked before jobs are taken, every `LOOK_SECONDS` and after each outage, and before each side duty that is
                done for others; while it raises `BrokerUnavailable` nothing is taken, rescued, woken or reported.
        """
        self.worker_id = worker_id or uuid4().hex
        self.queues = [CourseQueue(redis, name, worker_id=self.worker_id) for name in queues]
        self._redis: Any = redis  # redis-py types every answer as "perhaps not awaitable"
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._beat = beat
        self._guard = guard
        self._guarded_until = 0.0
        self._draining = asyncio.Event()
        self._running: dict[asyncio.Task[None], Execution] = {}
        self._slot_free = asyncio.Event()
        self._turn = 0
        self._upkeep = Upkeep(redis, self.queues, self._executions, dead_letter, most_crashes, guard)

    @property
    def running(self) -> int:
        """Jobs in work."""
        return len(self._running)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set, then drain."""
        async with asyncio.TaskGroup() as group:
            upkeep = group.create_task(self._upkeep.run())
            await self._fetch(stopping)
            self._draining.set()
            await self._drain()
            upkeep.cancel()
        await self._upkeep.resign()

    def _executions(self) -> list[Execution]:
        return list(self._running.values())

    async def _fetch(self, stopping: asyncio.Event) -> None:
        pause, reminder = FIRST_PAUSE_SECONDS, Reminder()
        while not stopping.is_set():
            self._beat()
            try:
                await self._be_sure()
                if not await self._fill(stopping):
                    await _unless(stopping, wait_for_any(self._redis, self.queues, LOOK_SECONDS))
                pause = FIRST_PAUSE_SECONDS
                reminder.forget()
            except BrokerUnavailable as error:
                self._guarded_until = 0.0
                if reminder.is_due(error.message):
                    logger.warning("the queue is unreachable", reason=error.message)
                await _unless(stopping, asyncio.sleep(pause * (0.5 + random.random() / 2)))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _be_sure(self) -> None:
        if self._guard is not None and time.monotonic() >= self._guarded_until:
            await self._guard()
            self._guarded_until = time.monotonic() + LOOK_SECONDS

    async def _fill(self, stopping: asyncio.Event) -> int:
        """Fill the free slots; how many values were taken. Waits for a free slot, if need be."""
        while self.running >= self._concurrency and not stopping.is_set():
            self._beat()  # long jobs in every slot are work, not a hang
            self._slot_free.clear()
            with contextlib.suppress(TimeoutError):
                await _unless(stopping, asyncio.wait_for(self._slot_free.wait(), LOOK_SECONDS))
        taken = 0
        self._turn += 1
        for index in range(len(self.queues)):
            free = self._concurrency - self.running
            if free <= 0 or stopping.is_set():
                break
            taken += await self._take(self.queues[(self._turn + index) % len(self.queues)], free)
        return taken

    async def _take(self, queue: CourseQueue, most: int) -> int:
        try:
            found = await queue.take(most)
        except QueueDamaged as error:  # this queue only
            logger.warning("the queue cannot be read", queue=queue.name, reason=error.message)
            return 0
        for each in found:
            self._start(queue, each)
        return len(found)

    def _start(self, queue: CourseQueue, taken: Taken) -> None:
        if taken.job is not None:
            execution = Execution(queue, taken.job, self._handlers.get(taken.job.function), self._draining)
            task = asyncio.create_task(execution.run(), name=f"job {taken.job.key}")
            self._running[task] = execution
            task.add_done_callback(self._ended)
        elif taken.reason is not None:
            logger.warning("job set aside", queue=queue.name, id=taken.id, reason=taken.reason, detail=taken.detail)
            self._upkeep.set_aside(queue, taken)
        else:
            logger.warning("job without a body dropped; the reconciler puts it back", queue=queue.name, id=taken.id)

    def _ended(self, task: asyncio.Task[None]) -> None:
        execution = self._running.pop(task)
        self._slot_free.set()
        if execution.was_set_aside:
            self._upkeep.report_soon()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a delivery ended in an error of its own; the sweep will find its job", exc_info=error)

    async def _drain(self) -> None:
        if not self._running:
            return
        logger.info("waiting for running jobs", jobs=self.running)
        grace = max(self._drain_seconds - GIVE_BACK_SECONDS, self._drain_seconds / 2)
        await asyncio.wait(self._running, timeout=grace)
        if not self._running:
            return
        logger.warning("jobs are given back unfinished", jobs=self.running)
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running, timeout=GIVE_BACK_SECONDS)


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Wait for `work`, but not beyond `stopping`; errors of `work` are raised."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, stop):
            each.cancel()
        await asyncio.gather(task, stop, return_exceptions=True)
