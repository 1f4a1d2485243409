"""Queues as administrators see them, and the pause button."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from services.api.admin.audit import Audit, Author
from services.api.admin.models import (
    JobPage,
    JobReply,
    JobState,
    PriorityCount,
    QueueControlReply,
    QueueList,
    QueueReply,
)
from services.kernel.database import Database
from services.kernel.errors import BrokerUnavailable, NotFound
from services.kernel.queries import Queries
from services.kernel.queue import PIPELINE_QUEUES, Inspector, JobView, QueueOverview
from services.kernel.queue.controls import QueueControl, QueueControls

PAUSE: Final = "queue.pause"
RESUME: Final = "queue.resume"

_QUERIES = Queries.load("services.api", "admin.sql")


class QueueDesk:
    """Looks into queues, pauses and resumes them."""

    def __init__(self, db: Database, inspector: Inspector, controls: QueueControls, audit: Audit) -> None:
        self._db = db
        self._inspector = inspector
        self._controls = controls
        self._audit = audit

    async def overview(self) -> QueueList:
        """Every queue that is known, in figures.

        Raises:
            BrokerUnavailable: Redis, which has the figures, does not answer.
        """
        controls = {control.queue: control for control in await self._controls.all()}
        names = await self._inspector.known_queues()
        names += sorted(set(controls) - set(names))
        queues = [_queue(each, controls.get(each.queue)) for each in await self._inspector.overview(names)]
        return QueueList(queues=queues, read_at=datetime.now(UTC))

    async def jobs(self, queue: str, state: JobState, size: int, offset: int) -> JobPage:
        """A page of the jobs in one place, in the order in which they will be served.

        Raises:
            NotFound: no queue has this name.
        """
        await self._require(queue)
        found = await self._inspector.jobs(queue, state, size + 1, offset)
        more = len(found) > size
        return JobPage(
            queue=queue,
            state=state,
            jobs=[_job(each, state) for each in found[:size]],
            next_offset=offset + size if more else None,
        )

    async def set_paused(self, author: Author, queue: str, *, paused: bool, reason: str | None) -> QueueControlReply:
        """Pause the queue or resume it; at once, or within seconds of Redis's return.

        Raises:
            NotFound: no queue has this name.
            DatabaseUnavailable: nothing has changed.
        """
        await self._require(queue)
        async with self._db.transaction() as session:
            was_paused = bool(await session.fetchval(_QUERIES["lock_control"], queue))
            control = await self._controls.record(session, queue, paused=paused, by=author.user_id, reason=reason)
            detail = {"reason": reason, "was": was_paused}
            await self._audit.record(author, PAUSE if paused else RESUME, queue, detail, session=session)
        await self._controls.apply(control)
        return QueueControlReply(
            queue=control.queue,
            paused=control.paused,
            changed=was_paused != paused,
            changed_by=control.changed_by,
            changed_at=control.changed_at,
            reason=control.reason,
        )

    async def _require(self, queue: str) -> None:
        """A name misspelt must not look like an empty queue, or be paused without effect."""
        if queue in PIPELINE_QUEUES:
            return
        known = {control.queue for control in await self._controls.all()}
        try:
            known |= set(await self._inspector.known_queues())
        except BrokerUnavailable:
            if queue not in known:
                raise
        if queue not in known:
            raise NotFound("There is no such queue; `GET /api/admin/queues` lists those there are.", queue=queue[:200])


def _queue(overview: QueueOverview, control: QueueControl | None) -> QueueReply:
    said: dict[str, Any] = {"paused_by": None, "paused_at": None, "pause_reason": None}
    if control is not None and control.paused:
        said = {
            "paused_by": control.changed_by,
            "paused_at": control.changed_at,
            "pause_reason": control.reason,
        }
    return QueueReply(
        queue=overview.queue,
        waiting=[PriorityCount(priority=priority, jobs=jobs) for priority, jobs in overview.waiting.items()],
        waiting_total=overview.depth,
        scheduled=overview.scheduled,
        running=overview.running,
        dead=overview.dead,
        workers=overview.workers,
        paused=overview.paused if control is None else control.paused,
        **said,
    )


def _job(job: JobView, state: JobState) -> JobReply:
    return JobReply(
        key=job.key,
        queue=job.queue,
        job_type=job.function,
        priority=job.priority,
        status=state,
        course_id=job.course_id,
        run_number=job.run_number,
        attempts=job.attempts,
        worker=job.worker,
        queued_at=job.queued_at,
        started_at=job.started_at,
        due_at=job.due_at,
        reason=None if job.reason is None else job.reason.value,
        detail=job.detail,
        died_at=job.died_at,
    )
