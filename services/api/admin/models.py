"""The bodies of the admin endpoints. The OpenAPI description and the admin page are made from these types."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from services.api.models import check_line

JobState = Literal["waiting", "scheduled", "running", "dead"]
Kind = Literal["outbox", "queue", "webhook"]
Outcome = Literal["would_replay", "would_discard", "replayed", "discarded", "refused", "not_found"]
Severity = Literal["info", "warning", "error", "critical"]
EventType = Literal["job_rollback", "orphaned_job_recovery", "concurrency_limit_hit"]
Scope = Literal["global", "FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM"]

Reason = Annotated[str, Meta(max_length=500, description="why, for those who read the record later")]
Slots = Annotated[int, Meta(ge=1, le=10_000, description="courses at once")]
Moment = Annotated[datetime, Meta(tz=True, description="ISO 8601, with its zone")]
LetterId = Annotated[str, Meta(min_length=1, max_length=400, description="the `id` of a dead letter")]


class PriorityCount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Jobs that wait with one priority."""

    priority: int
    jobs: int


class QueueReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One queue as Redis has it now; figures are null while Redis does not answer."""

    queue: str
    waiting: list[PriorityCount]
    """The most urgent first; priorities without jobs are left out."""
    waiting_total: int | None
    scheduled: int | None
    """Jobs that wait for their next try."""
    running: int | None
    dead: int | None
    workers: int | None
    paused: bool
    paused_by: UUID | None
    paused_at: datetime | None
    pause_reason: str | None


class QueueList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Every queue that is known."""

    queues: list[QueueReply]
    message: str | None
    """What is not known, and why; null otherwise."""
    read_at: datetime


class JobReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One job in a queue."""

    key: str
    """The outbox row's identifier."""
    queue: str
    job_type: str | None
    """Null, like all that follows, where the job's body does not say."""
    priority: int | None
    status: JobState
    course_id: UUID | None
    run_number: int | None
    attempts: int
    worker: str | None
    """The worker process that runs it."""
    queued_at: datetime | None
    started_at: datetime | None
    due_at: datetime | None
    """Not before this time; scheduled jobs only."""
    reason: str | None
    """Why it was set aside; dead jobs only."""
    detail: str | None
    """The same in a sentence; of a scheduled job its last error."""
    died_at: datetime | None


class JobPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of a queue's jobs in one state; `nextOffset` asks for the next one, null at the end."""

    queue: str
    state: JobState
    jobs: list[JobReply]
    next_offset: int | None


class PauseBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a queue is paused or resumed."""

    reason: Reason | None = None

    def __post_init__(self) -> None:
        check_line(self.reason, "reason")


class QueueControlReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether a queue is paused now."""

    queue: str
    paused: bool
    changed: bool
    """False when it was so before."""
    changed_by: UUID | None
    changed_at: datetime | None
    reason: str | None


class LimitReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many courses may run at once in one scope."""

    scope: Scope
    slots: int
    """What holds now."""
    default: int
    """What the settings say."""
    overridden: bool
    changed_by: UUID | None
    changed_at: datetime | None


class LimitBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new limit; null goes back to what the settings say."""

    slots: Slots | None


class GlobalCounter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The counter of all users together."""

    limit: int
    counter: int | None
    """What Redis says; null while Redis does not answer."""
    truth: int
    """Courses that run, by PostgreSQL."""
    drift: int | None
    """counter - truth. A course that begins or ends at this moment is off by one."""


class UserCounter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The counter of one user."""

    user_id: UUID
    tier: str | None
    """Of the user's running courses; null when none runs."""
    limit: int | None
    counter: int | None
    truth: int
    drift: int | None


class ConcurrencyReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Counters beside the truth, and the limits."""

    ready: bool
    """False while the counters are not believed; PostgreSQL counts instead."""
    total: GlobalCounter = msgspec.field(name="global")
    users: list[UserCounter]
    """Users with a counter or a running course, the furthest off first, then the busiest; at most 1,000."""
    users_total: int
    limits: list[LimitReply]
    message: str | None
    """Says so when Redis does not answer; null otherwise."""
    read_at: datetime


class ReconcileReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The counters were rebuilt from PostgreSQL."""

    added: int
    """Slots of running courses that Redis did not know."""
    removed: int
    """Slots of courses that do not run."""
    corrected: int
    """Counters that did not say how many slots there are."""
    slots: int
    """Slots now."""


class OutboxQueue(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Rows of one queue that have not left the outbox."""

    queue: str
    waiting: int
    delayed: int
    """Waiting rows that are not to be tried yet, after a failure."""
    dead: int
    oldest_seconds: float | None
    """Age of the oldest row that is still to go."""


class OutboxReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What lies in the outbox."""

    depth: int
    """Rows that have not left, dead ones included."""
    waiting: int
    dead: int
    oldest_seconds: float | None
    queues: list[OutboxQueue]
    read_at: datetime


class RelayNode(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One relay."""

    node_id: str
    role: Literal["leader", "standby"]
    started_at: datetime
    heartbeat_at: datetime
    heartbeat_age_seconds: float
    alive: bool


class LeaderReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who relays."""

    holder: str | None
    epoch: int
    alive: bool
    """Whether the leader has been heard of lately."""
    acquired_at: datetime | None
    heartbeat_at: datetime | None
    heartbeat_age_seconds: float | None
    last_progress_at: datetime | None
    poll_interval_ms: int | None
    nodes: list[RelayNode]
    read_at: datetime


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Something that nothing tries again by itself."""

    id: str
    """`outbox:<uuid>`, `queue:<queue>/<key>` or `webhook:<uuid>`."""
    kind: Kind
    queue: str | None
    job_type: str | None
    """Of a webhook its event type."""
    course_id: UUID | None
    run_number: int | None
    priority: int | None
    attempts: int | None
    reason: str
    """In a word or a sentence: `exhausted`, `refused`, the relay's error, the receiver's answer."""
    detail: str | None
    dead_since: datetime | None


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of dead letters, the latest first; `nextCursor` asks for the next one, null at the end."""

    dead_letters: list[DeadLetter]
    matched: dict[str, int]
    """How many there are of each kind."""
    message: str | None
    """Says so when nothing matches; null otherwise."""
    next_cursor: str | None


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters; what is left out does not matter."""

    kind: Kind | None = None
    queue: Annotated[str, Meta(max_length=200)] | None = None
    job_type: Annotated[str, Meta(max_length=200)] | None = None
    course_id: UUID | None = None
    reason: Annotated[str, Meta(max_length=200, description="part of the reason or its detail")] | None = None
    before: Moment | None = None
    """Dead before this moment."""

    def __post_init__(self) -> None:
        if self.before is not None:
            _check_in_calendar(self.before, "before")


def _check_in_calendar(moment: datetime, name: str) -> None:
    """A zone can push a moment out of the calendar."""
    try:
        moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{name} must lie in the years 1 to 9999 of UTC") from error


class DeadLetterBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters to replay or discard: those named, or those that match."""

    ids: Annotated[list[LetterId], Meta(min_length=1, max_length=500)] | None = None
    filter: DeadLetterFilter | None = None
    dry_run: bool = False
    limit: Annotated[int, Meta(ge=1, le=500, description="most of them in one call")] = 500
    cursor: Annotated[str, Meta(max_length=400, description="`nextCursor` of the call before")] | None = None

    def __post_init__(self) -> None:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("send either `ids` or a `filter` (`{}` means all)")


class DeadLetterResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of one dead letter."""

    id: str
    outcome: Outcome
    message: str | None
    """Why it was refused, or what follows from it."""
    new_job_id: UUID | None
    """The job that does the work again, when it is a new one."""


class DeadLetterOutcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of the dead letters; `nextCursor` goes on with the rest, null when all were looked at."""

    action: Literal["replay", "discard"]
    dry_run: bool
    matched: int
    done: int
    """Replayed or discarded; of a dry run those that would be."""
    refused: int
    results: list[DeadLetterResult]
    message: str | None
    """Says so when nothing matches; null otherwise."""
    next_cursor: str | None


class ActionReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing an administrator did."""

    id: int
    at: datetime
    user_id: UUID
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str | None


class ActionPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of actions, the latest first; `nextCursor` asks for the next one, null at the end."""

    actions: list[ActionReply]
    message: str | None
    next_cursor: str | None


class SystemEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One critical event of `system_metrics`."""

    id: int
    event_type: EventType
    severity: Severity
    user_id: UUID | None
    course_id: UUID | None
    job_id: UUID | None
    metadata: dict[str, Any]
    created_at: datetime


class SystemEventPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of critical events, the latest first; `nextCursor` asks for the next one, null at the end."""

    events: list[SystemEvent]
    message: str | None
    next_cursor: str | None
