"""One delivery of a job: runs its handler and tells the queue what came of it.

The handler's outcome decides (see the package's table). Telling the queue is repeated until Redis has heard it, or until
the job turns out to be another worker's: a finished job must not stay active because Redis was away for a moment.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from saq.job import Job, Status
from saq.utils import now

from services.kernel import spans, tracing
from services.kernel.envelopes import log_fields
from services.kernel.errors import BrokerUnavailable, PermanentError, RetryableError, UpstreamUnavailable
from services.kernel.logs import bind_context, get_logger
from services.kernel.queue.course_queue import CourseQueue
from services.kernel.queue.jobs import DeadReason, Handler, JobContext

logger = get_logger(__name__)
T = TypeVar("T")

FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
"""An outage is looked at again after 0.5, 1, 2 ... 30 s, less a random part so that jobs do not return all at once."""
LONGEST_WAIT_ASKED_FOR: Final = 300.0
"""Seconds; an upstream that asks for more is asked again after this."""
_OUTAGES: Final = "outages"


class Execution:
    """Runs one job that `queue` has handed out."""

    def __init__(self, queue: CourseQueue, job: Job, handler: Handler | None, draining: asyncio.Event) -> None:
        self.queue = queue
        self.job = job
        self._handler = handler
        self._draining = draining
        self.was_set_aside = False
        """Whether the job has ended as a dead one, which somebody must be told of."""
        self._error = ""
        """The class of what the handler raised."""

    async def run(self) -> None:
        """Run the job to one of its ends. When cancelled, give it back and leave no attempt charged."""
        payload = _payload(self.job)
        trace = tracing.begin(payload.get(tracing.HEADER))
        fields = {**log_fields(payload), "traceId": trace.trace_id}
        began = time.perf_counter()
        with (
            tracing.working_in(trace),
            bind_context(jobId=self.job.key, queue=self.queue.name, jobType=self.job.function, **fields),
        ):
            try:
                await self._deliver()
            except asyncio.CancelledError:
                self._error = "cancelled"
                await self._cut_off()
                raise
            finally:
                self._record(trace, fields, time.perf_counter() - began)

    def _record(self, trace: tracing.TraceContext, fields: dict[str, str], seconds: float) -> None:
        if not spans.is_recording():
            return
        facts: dict[str, spans.Attribute] = {
            "messaging.system": "saq",
            "messaging.operation.type": "process",
            "messaging.destination.name": self.queue.name,
            "messaging.message.id": self.job.key,
            "coursegen.attempt": self.job.attempts,
        }
        if "courseId" in fields:
            facts["coursegen.course_id"] = fields["courseId"]
        if self._error:
            facts["error.type"] = self._error
        name = f"process {self.job.function}"
        spans.record(trace, name, spans.Kind.CONSUMER, seconds, facts, has_failed=bool(self._error))

    async def _deliver(self) -> None:
        job = self.job
        if self._handler is None:
            await self._set_aside(DeadReason.UNKNOWN_FUNCTION, f"no handler is named {job.function!r}")
            return
        payload = (job.kwargs or {}).get("payload")
        if not isinstance(payload, dict):
            await self._set_aside(DeadReason.REFUSED, "its body has no payload object")
            return
        job.status, job.started, job.touched = Status.ACTIVE, now(), now()
        job.attempts += 1
        job.worker_id = self.queue.worker_id
        await self._show()
        await self._conclude(await self._call(self._handler, payload))

    async def _show(self) -> None:
        """Let people see since when it runs, and how often it was tried. Where Redis is away the next heartbeat says so."""
        try:
            await self.queue.touch(self.job)
        except RetryableError as error:
            logger.debug("job runs, which cannot be shown yet", reason=_line(error))

    async def _call(self, handler: Handler, payload: dict[str, Any]) -> Exception | None:
        """What the handler raised, or None."""
        seconds = float(self.job.timeout) or None
        try:
            async with asyncio.timeout(seconds) as limit:
                await handler(payload, self._context())
        except TimeoutError as error:
            return _TimedOut(f"it ran longer than {seconds:g} s") if limit.expired() and seconds else error
        except Exception as error:  # noqa: BLE001 - every kind of failure has its consequence
            return error
        return None

    def _context(self) -> JobContext:
        job = self.job
        return JobContext(
            key=job.key,
            queue=self.queue.name,
            function=job.function,
            attempt=job.attempts,
            attempts_left=max(0, job.retries - job.attempts),
            priority=job.priority,
            timeout=float(job.timeout),
            worker_id=self.queue.worker_id,
            draining=self._draining,
        )

    async def _conclude(self, error: Exception | None) -> None:
        self._error = "" if error is None else type(error).__name__
        if error is None:
            await self._tell(lambda: self.queue.finish(self.job, Status.COMPLETE))
        elif isinstance(error, RetryableError):
            await self._postpone(error)
        elif isinstance(error, PermanentError):
            await self._set_aside(DeadReason.REFUSED, _line(error))
        elif self.job.retryable:
            await self._repeat(error)
        else:
            logger.error("job failed for the last time", attempts=self.job.attempts, exc_info=error)
            await self._set_aside(DeadReason.EXHAUSTED, f"attempt {self.job.attempts}: {_line(error)}")

    async def _postpone(self, error: RetryableError) -> None:
        job = self.job
        job.attempts -= 1
        outages = int(job.meta.get(_OUTAGES, 0)) + 1
        job.meta[_OUTAGES] = outages
        delay = outage_delay(outages, error)
        logger.warning("job waits for an outage to end", reason=_line(error), delay_seconds=round(delay, 2))
        await self._tell(lambda: self.queue.give_back(job, delay=delay))

    async def _repeat(self, error: Exception) -> None:
        job = self.job
        job.error = _line(error)
        delay = job.next_retry_delay()
        logger.warning(
            "job failed, is tried again", attempt=job.attempts, delay_seconds=round(delay, 2), exc_info=error
        )
        await self._tell(lambda: self.queue.give_back(job, delay=delay))

    async def _set_aside(self, reason: DeadReason, detail: str) -> None:
        logger.warning("job set aside", reason=reason.value, detail=detail)
        await self._tell(lambda: self.queue.set_aside(self.job.id, reason, detail))
        self.was_set_aside = True

    async def _cut_off(self) -> None:
        """The worker stops: the job goes back as if it had not been taken. Redis gets one chance to hear it."""
        if self.job.attempts and self.job.status == Status.ACTIVE:
            self.job.attempts -= 1
        try:
            await self.queue.give_back(self.job, first=True)
        except BrokerUnavailable:
            logger.warning("job could not be given back; the next sweep will find it")

    async def _tell(self, say: Callable[[], Awaitable[T]]) -> None:
        delay = 0.1
        while True:
            try:
                await say()
            except BrokerUnavailable:
                await asyncio.sleep(delay * (0.5 + random.random() / 2))
                delay = min(delay * 2, 2.0)
            else:
                return


def _payload(job: Job) -> dict[str, Any]:
    payload = (job.kwargs or {}).get("payload")
    return payload if isinstance(payload, dict) else {}


class _TimedOut(Exception):
    """The handler was cancelled because its time was over."""


def outage_delay(outages: int, error: RetryableError) -> float:
    """Seconds until a job is tried again that has met `outages` outages in a row."""
    asked = error.retry_after if isinstance(error, UpstreamUnavailable) else None
    if asked is not None:
        return max(FIRST_DELAY_SECONDS, min(asked, LONGEST_WAIT_ASKED_FOR))
    longest: float = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(outages - 1, 16))
    return longest * (0.5 + random.random() / 2)


def _line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return f"{type(error).__name__}: {text}".replace("\n", " ")[:500]
