"""What people see of a queue: its figures and its jobs, read without changing anything.

Whatever a stranger has put into Redis must not hide the rest: what cannot be read is shown as far as it can be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson

from services.kernel.queue.jobs import DeadReason
from services.kernel.queue.keys import QueueKeys, by_priority

MOST_LISTED: Final = 500
"""Jobs of one page: Redis reads them in one step."""


class Place(StrEnum):
    """Where a job of a queue can be."""

    WAITING = "waiting"
    SCHEDULED = "scheduled"
    """Waits for its time: a repeat after a failure or an outage."""
    RUNNING = "running"
    DEAD = "dead"
    """Set aside; nothing runs it until someone replays it."""


@dataclass(frozen=True, slots=True)
class QueueOverview:
    """One queue in figures, all of one moment."""

    queue: str
    waiting: dict[int, int]
    """Jobs that wait, by priority, the most urgent first; priorities without any are left out."""
    scheduled: int
    running: int
    dead: int
    paused: bool
    """Whether workers take nothing from it at present."""
    workers: int
    """Worker processes that serve it and have been heard of in the last ten seconds."""
    oldest_seconds: float = 0.0
    """How long ago the outbox row of the job was written that has waited longest."""

    @property
    def depth(self) -> int:
        """Jobs that wait, of all priorities."""
        return sum(self.waiting.values())


@dataclass(frozen=True, slots=True)
class JobView:
    """One job as it lies in Redis; None wherever its body does not say."""

    key: str
    """The outbox row's identifier."""
    queue: str
    function: str | None
    """The job type."""
    priority: int | None
    status: Place
    course_id: UUID | None
    run_number: int | None
    queued_at: datetime | None
    """When its outbox row was written."""
    started_at: datetime | None
    """When its present, or last, delivery began."""
    worker: str | None
    """The worker process that runs it."""
    attempts: int
    """Deliveries that were charged, the present one included."""
    due_at: datetime | None = None
    """Not before this time; scheduled jobs only."""
    reason: DeadReason | None = None
    """Why it was set aside; dead jobs only."""
    detail: str | None = None
    """The same, in a sentence; of a scheduled job its last error."""
    died_at: datetime | None = None


def overview_of(queue: str, answer: list[Any]) -> QueueOverview:
    """What the script `overview` has said."""
    lengths, (scheduled, running, dead, paused, workers, oldest) = answer
    waiting = by_priority(lengths)
    return QueueOverview(
        queue=queue,
        waiting={priority: jobs for priority, jobs in reversed(list(enumerate(waiting))) if jobs},
        scheduled=scheduled,
        running=running,
        dead=dead,
        paused=bool(paused),
        workers=workers,
        oldest_seconds=oldest / 1000,
    )


def name_of(names: QueueKeys, raw_id: bytes) -> str:
    """What people call the job whose id in Redis this is; bytes that are no text are written out in hexadecimal."""
    return names.job_key(raw_id.decode("utf-8", "backslashreplace"))


def view_of(names: QueueKeys, place: Place, entry: list[Any]) -> JobView:
    """One job that the script `jobs` has listed."""
    raw_id, body, owner, note = entry
    job = parsed(body)
    payload = _payload(job)
    why = parsed(note) if place is Place.DEAD else {}
    return JobView(
        key=name_of(names, raw_id),
        queue=names.queue,
        function=_text(job.get("function")),
        priority=_integer(job.get("priority")),
        status=place,
        course_id=_uuid(payload.get("courseId")),
        run_number=_integer(payload.get("runNumber")),
        queued_at=_moment(job.get("queued"), 1000),
        started_at=_moment(job.get("started"), 1000),
        worker=(owner or b"").decode("utf-8", "replace").rpartition("/")[0] or None,
        attempts=_integer(job.get("attempts")) or 0,
        due_at=_moment(_number(note), 1) if place is Place.SCHEDULED else None,
        reason=reason_of(why.get("reason")) if place is Place.DEAD else None,
        detail=_text(why.get("detail")) if place is Place.DEAD else _text(job.get("error")),
        died_at=_moment(why.get("at"), 1),
    )


def parsed(text: bytes | None) -> dict[str, Any]:
    """The JSON object in `text`; an empty one when there is none."""
    try:
        value = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def reason_of(value: object) -> DeadReason:
    """Why a job was set aside; what is no reason of ours counts as `UNDECODABLE`."""
    return DeadReason(value) if isinstance(value, str) and value in list(DeadReason) else DeadReason.UNDECODABLE


def _payload(job: dict[str, Any]) -> dict[str, Any]:
    kwargs = job.get("kwargs")
    payload = kwargs.get("payload") if isinstance(kwargs, dict) else None
    return payload if isinstance(payload, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, bytes) else None
    except ValueError:
        return None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _moment(value: object, unit: int) -> datetime | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value:
        return None
    try:
        return datetime.fromtimestamp(value / unit, UTC)
    except (OverflowError, ValueError, OSError):
        return None
