"""Layer 2: hears which jobs were queued and initialises a course that nobody has initialised yet (contract.md g).

The relay announces what it has queued; saq itself publishes no such event. The listener reads the courses first and acts
only on those still pending, through the command handler's function and with an empty job list, because the job exists
(TRAP34). It is a safety net, so it is never fatal: whatever goes wrong is a warning, a lost announcement is left to Layer
3, and announcements that come faster than the database answers are dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from services.kernel import redis_connection
from services.kernel.clock import Clock, SystemClock
from services.kernel.counters import Counters
from services.kernel.database import Connection, Database, Row, translated
from services.kernel.envelopes import (
    ANNOUNCEMENT_CHANNEL,
    DOCUMENT_PROCESSING,
    STRUCTURE_ANALYSIS,
    STRUCTURE_GENERATION,
    Announcement,
    MalformedMessage,
    decode_announcements,
)
from services.kernel.errors import CoursegenError, RetryableError
from services.kernel.logs import bind_context, get_logger
from services.kernel.queries import Queries
from services.kernel.reminders import Reminder
from services.stage_worker.stages.course_run import ANALYSIS, DOCUMENTS, GENERATION, Position

if TYPE_CHECKING:
    from redis.asyncio import Redis

INITIATED_BY: Final = "QUEUE_LAYER_2"

POSITION_OF: Final[dict[str, Position]] = {
    DOCUMENT_PROCESSING: DOCUMENTS,
    STRUCTURE_ANALYSIS: ANALYSIS,
    STRUCTURE_GENERATION: GENERATION,
}
"""Which stage a job type begins; announcements of other types are ignored."""

_READ_SECONDS: Final = 1.0
_RECONNECT_SECONDS: Final = 1.0
_MOST_WAITING: Final = 100

_log = get_logger(__name__)


class Layer2Listener:
    """Listens until it is told to stop."""

    def __init__(
        self,
        redis: Redis,
        db: Database,
        counters: Counters,
        *,
        heartbeat: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        self._redis = redis
        self._db = db
        self._counters = counters
        self._beat = heartbeat
        self._clock = clock or SystemClock()
        self._reminder = Reminder()
        self._sql = Queries.load("services.stage_worker", "courses.sql")
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)

    async def run(self, stopping: asyncio.Event) -> None:
        """Listen until `stopping` is set; outages of Redis and PostgreSQL only interrupt it."""
        acting = asyncio.create_task(self._act_for_ever(), name="layer 2")
        try:
            while not stopping.is_set():
                await self._listen(stopping)
        finally:
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)

    async def consider(self, message: bytes) -> None:
        """Initialise the courses that `message` names and nobody has initialised.

        Raises:
            CoursegenError: the message cannot be read or the database does not answer; nothing is owed to anyone then.
        """
        jobs = {each.course_id: each for each in decode_announcements(message) if each.job_type in POSITION_OF}
        if not jobs or not await self._db.fetchval(self._sql["any_uninitialised"], list(jobs)):
            return
        async with self._db.transaction() as connection:
            for course in await connection.fetch(self._sql["lock_uninitialised"], list(jobs)):
                await self._initialise(connection, course, jobs[course["id"]])

    async def _initialise(self, connection: Connection, course: Row, job: Announcement) -> None:
        position = POSITION_OF[job.job_type or ""]
        began = self._clock.monotonic()
        with bind_context(courseId=str(course["id"]), jobId=str(job.outbox_id)):
            try:
                with translated():
                    async with connection.transaction():
                        await self._call(connection, course, job, position)
            except RetryableError:
                raise
            except CoursegenError as error:
                _log.warning("layer 2 could not initialise the course", error=error.message)
                self._count("failed", began)
                return
            _log.warning("layer 2 initialised the course", state=position.initial)
            self._count("success", began)

    def _count(self, result: str, began: float) -> None:
        self._counters.add("fallback", f"layer2:{result}")
        self._counters.observe("fallback_duration", self._clock.monotonic() - began)

    async def _call(self, connection: Connection, course: Row, job: Announcement, position: Position) -> None:
        await connection.fetchval(
            self._sql["initialize_stage"],
            course["id"],
            course["user_id"],
            course["organization_id"],
            f"layer2:{course['id']}:{course['run_number']}:{position.number}",
            INITIATED_BY,
            position.initial,
            [],
            {"layer": 2, "jobId": str(job.outbox_id)},
        )

    async def _act_for_ever(self) -> None:
        while True:
            message = await self._waiting.get()
            try:
                await self.consider(message)
            except MalformedMessage as error:
                _log.warning("layer 2 ignored an announcement", error=error.message)
            except Exception as error:  # noqa: BLE001 - a safety net must not tear
                _log.warning("layer 2 missed an announcement", error=str(error))

    async def _listen(self, stopping: asyncio.Event) -> None:
        try:
            with redis_connection.translated():
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(ANNOUNCEMENT_CHANNEL)
                    self._reminder.forget()
                    while not stopping.is_set():
                        self._beat()
                        self._take(await subscription.get_message(timeout=_READ_SECONDS))
        except Exception as error:  # noqa: BLE001 - a safety net must not tear
            if self._reminder.is_due(str(error)):
                _log.warning("layer 2 does not hear", error=str(error))
            self._beat()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def _take(self, message: dict[str, bytes] | None) -> None:
        if message is None:
            return
        try:
            self._waiting.put_nowait(message["data"])
        except asyncio.QueueFull:
            _log.warning("layer 2 is behind, an announcement is left to layer 3")
