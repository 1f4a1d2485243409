"""Queues as administrators see them, and the pause button."""

from __future__ import annotations

from collections.abc import Mapping
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

_NO_FIGURES: Final = "Redis does not answer: what is in the queues is not known, nor whether there are others."
_QUERIES = Queries.load("services.api", "admin.sql")


class QueueDesk:
    """Looks into queues, pauses and resumes them."""

    def __init__(self, db: Database, inspector: Inspector, controls: QueueControls, audit: Audit) -> None:
        self._db = db
        self._inspector = inspector
        self._controls = controls
        self._audit = audit

    async def overview(self) -> QueueList:
        """Every queue that is known, in figures; without Redis, which has the figures, what is paused and by whom."""
        controls = {control.queue: control for control in await self._controls.all()}
        message = None
        try:
            queues = await self._counted(controls)
        except BrokerUnavailable:
            queues, message = _uncounted(controls), _NO_FIGURES
        return QueueList(queues=queues, message=message, read_at=datetime.now(UTC))

    async def _counted(self, controls: Mapping[str, QueueControl]) -> list[QueueReply]:
        names = await self._inspector.known_queues()
        names += sorted(set(controls) - set(names))
        return [_queue(each, controls.get(each.queue)) for each in await self._inspector.overview(names)]

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
            action = PAUSE if paused else RESUME
            recorded = await self._audit.record_within(session, author, action, queue, detail)
        self._audit.announce(recorded)
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
            raise NotFound(_no_queue(queue, known), queue=queue[:200])


def _queue(overview: QueueOverview, control: QueueControl | None) -> QueueReply:
    return QueueReply(
        queue=overview.queue,
        waiting=[PriorityCount(priority=priority, jobs=jobs) for priority, jobs in overview.waiting.items()],
        waiting_total=overview.depth,
        scheduled=overview.scheduled,
        running=overview.running,
        dead=overview.dead,
        workers=overview.workers,
        paused=overview.paused if control is None else control.paused,
        **_pause(control),
    )


def _uncounted(controls: Mapping[str, QueueControl]) -> list[QueueReply]:
    """The queues that are known without Redis."""
    unknown = dict.fromkeys(("waiting_total", "scheduled", "running", "dead", "workers"))
    names = [*PIPELINE_QUEUES, *sorted(set(controls) - set(PIPELINE_QUEUES))]
    return [
        QueueReply(
            queue=name,
            waiting=[],
            paused=name in controls and controls[name].paused,
            **unknown,
            **_pause(controls.get(name)),
        )
        for name in names
    ]


def _pause(control: QueueControl | None) -> dict[str, Any]:
    if control is None or not control.paused:
        return {"paused_by": None, "paused_at": None, "pause_reason": None}
    return {"paused_by": control.changed_by, "paused_at": control.changed_at, "pause_reason": control.reason}


def _no_queue(queue: str, known: set[str]) -> str:
    stages = [
        each for each in (*PIPELINE_QUEUES, *sorted(known - set(PIPELINE_QUEUES))) if each.startswith(f"{queue}:")
    ]
    if stages:
        return f"`{queue}` is not one queue; each stage has its own: {', '.join(stages)}."
    return "There is no such queue; `GET /api/admin/queues` lists those there are."


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
