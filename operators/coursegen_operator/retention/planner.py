"""From a RetentionPolicy to its CronJob, and from what that CronJob has run to the policy's status.

Level-triggered: the status remembers what Jobs that are gone have left, everything else is read from what is there. Ready
says that the policy is in force; how its runs go is said by LastRunSucceeded, GuardTripped and Overdue, so that a night's
trouble holds up no release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from operators.coursegen_operator.child import is_owned_by, uid_of
from operators.coursegen_operator.conditions import READY, RECONCILING, Condition, find, is_true, timestamp
from operators.coursegen_operator.jobs.ending import clean
from operators.coursegen_operator.planning import Child, Notice, Observed, Plan, Reader
from operators.coursegen_operator.resources import (
    ANNOTATION_RECONCILE_AT,
    ANNOTATION_RUN_NOW,
    CRON_JOB,
    JOB,
    LABEL_OWNER_UID,
    POD,
    RETENTION_POLICY,
    Object,
    ResourceType,
)
from operators.coursegen_operator.retention import standing
from operators.coursegen_operator.retention.cronjob import (
    State,
    cron_job_name,
    cron_job_of,
    job_by_annotation,
    job_by_annotation_name,
    state_of,
)
from operators.coursegen_operator.retention.memory import Memory
from operators.coursegen_operator.retention.report import FAILURES, IDLE, Run
from operators.coursegen_operator.retention.runs import Runs
from operators.coursegen_operator.retention.schedule import Schedule, ScheduleUnusable
from operators.coursegen_operator.retention.spec import RetentionSpec
from operators.coursegen_operator.retention.standing import OVERDUE, RUN_SKIPPED, Place
from operators.coursegen_operator.schemas.openapi import TEXT_LENGTH
from services.kernel.texts import shortened

ANNOTATION_LENGTH: Final = 1024
"""As much of an annotation's value as the status echoes."""

_ACTIVE_SECONDS: Final = 10.0
_UNREAD_SECONDS: Final = 1.0
"""To the next look when a Job has ended and its pod is about to be seen."""
_WRITTEN_SECONDS: Final = 1.0
"""To the next look when the CronJob was written over: no watch tells of one that is the same afterwards."""
_MOST_TOLD: Final = 3
"""Runs that are told of by an Event each, after a time in which nobody looked."""


class RetentionKind:
    """RetentionPolicy → CronJob."""

    type: ResourceType = RETENTION_POLICY
    child_types: tuple[ResourceType, ...] = (CRON_JOB, JOB)

    async def observe(self, cluster: Reader, resource: Object) -> Mapping[str, Sequence[Object]]:
        """The Jobs, most of which belong to the CronJob, and their pods."""
        namespace, labels = resource["metadata"]["namespace"], {LABEL_OWNER_UID: uid_of(resource)}
        return {
            "jobs": await cluster.list(JOB, namespace, labels=labels),
            "pods": await cluster.list(POD, namespace, labels=labels),
        }

    def plan(self, resource: Object, observed: Observed) -> Plan:
        """What should be there: pure, and total for whatever the schema admits."""
        return _Planning(resource, observed).plan()


@dataclass(frozen=True, slots=True)
class _Moments:
    """What the schedule says at this moment."""

    next_due: datetime | None = None
    missed: datetime | None = None
    """The due time whose run is overdue."""
    would_be_overdue: datetime | None = None


class _Planning:
    """One look at one policy."""

    def __init__(self, resource: Object, observed: Observed) -> None:
        self._resource = resource
        self._now = observed.now
        self._spec = RetentionSpec.of(resource)
        self._status: Object = resource.get("status") or {}
        self._previous: Sequence[Object] = self._status.get("conditions") or ()
        self._place = Place.of(resource)
        self._before = Memory.of(resource)
        self._runs = Runs.of(resource, observed, self._place.command)
        self._cron_job = _own_cron_job(resource, observed)

    def plan(self) -> Plan:
        try:
            schedule = Schedule.of(self._spec.schedule, self._spec.time_zone)
        except ScheduleUnusable as error:
            return self._unusable(str(error))
        return self._scheduled(schedule)

    def _unusable(self, message: str) -> Plan:
        fresh, memory = self._counted()
        reason = "InvalidTimeZone" if message.startswith("time zone") else "InvalidSchedule"
        conditions = (
            *standing.unusable(reason, message, self._place, has_cron_job=self._cron_job is not None),
            standing.last_run_succeeded(memory, self._place),
            standing.guard_tripped(memory, self._previous, self._place),
            Condition(OVERDUE, "Unknown", reason, message),
        )
        notices = tuple(self._told(fresh))
        return Plan(self._written(memory.scheduled_as("", self._now), conditions, None), notices=notices)

    def _scheduled(self, schedule: Schedule) -> Plan:
        fresh, memory = self._counted()
        text = "" if self._spec.suspend else f"{self._spec.schedule} {self._spec.time_zone}"
        memory = memory.scheduled_as(text, self._now)
        wanted = cron_job_of(self._resource, self._spec)
        state, changed = state_of(self._cron_job, wanted.manifest, self._changed_before)
        memory, by_hand = self._by_hand(memory)
        moments = _Moments() if self._spec.suspend else self._moments(schedule, memory)
        conditions = (
            *self._ready(memory, state, wanted.name, changed),
            standing.last_run_succeeded(memory, self._place),
            standing.guard_tripped(memory, self._previous, self._place),
            standing.overdue(self._spec, moments.missed, memory, self._place, wanted.name),
        )
        return Plan(
            self._written(memory, conditions, moments.next_due, changed),
            children=(wanted, *by_hand),
            notices=(*self._told(fresh), *self._repairs(state, wanted.name, changed), *self._late(conditions)),
            look_again_seconds=_WRITTEN_SECONDS if state == "edited" else self._look_again(moments),
        )

    def _ready(self, memory: Memory, state: State, name: str, changed: Sequence[str]) -> tuple[Condition, ...]:
        return standing.ready(
            self._spec,
            memory,
            self._runs.waiting,
            now=self._now,
            state=state,
            place=self._place,
            cron_job=name,
            changed=changed,
        )

    def _counted(self) -> tuple[tuple[Run, ...], Memory]:
        """The runs that have ended since the last look, and what is remembered with them."""
        fresh = tuple(self._explained(run) for run in self._runs.ended if self._before.is_news(run))
        return fresh, self._before.counting(fresh, self._runs.ended).seeing(self._cron_job or {})

    def _explained(self, run: Run) -> Run:
        """A run whose pod never started is told with the reason that was seen while it waited."""
        seen = self._status.get("notStarted") or {}
        if run.report is not None or run.outcome not in FAILURES or seen.get("jobName") != run.job:
            return run
        error = clean(f"{run.error}; {seen.get('message', '')}")
        return Run(run.job, run.started_at, run.finished_at, run.outcome, None, error)

    def _not_started(self) -> Object | None:
        """What keeps a Job's pod from starting, or has done so until the Job came to the end that is still to be read."""
        waiting = self._runs.waiting
        if waiting is not None:
            return {"jobName": waiting.job, "message": shortened(waiting.obstacle.message, TEXT_LENGTH)}
        before: Object = self._status.get("notStarted") or {}
        return dict(before) if before.get("jobName") in self._runs.unread else None

    def _repairs(self, state: State, name: str, changed: Sequence[str]) -> tuple[Notice, ...]:
        """Whether somebody has deleted what was right before, or changed what is right again."""
        is_settled = self._status.get("observedGeneration") == self._generation
        was_deleted = is_settled and state == "absent" and is_true(self._previous, READY)
        mended = [field for field in self._changed_before if field not in changed]
        was_edited = is_true(self._previous, RECONCILING)  # else a webhook had its way with it, and has ended
        was_changed = bool(mended) and was_edited and state in {"right", "overridden"}
        if not (was_deleted or was_changed):
            return ()
        what = "deleted" if was_deleted else f"changed ({standing.fields(mended)})"
        return (Notice("CronJobRepaired", f"CronJob {name} was {what}, and is written as it should be", warning=True),)

    def _by_hand(self, memory: Memory) -> tuple[Memory, tuple[Child, ...]]:
        """The Job that the annotation asks for, until it has been seen: then its value is handled for good."""
        value = self._annotation(ANNOTATION_RUN_NOW)
        if not value or value == memory.handled_run_now:
            return memory, ()
        name = job_by_annotation_name(self._resource, value)
        if name in {run.job for run in self._runs.ended} or any(
            job["metadata"]["name"] == name for job in self._runs.active
        ):
            return replace(memory, handled_run_now=value), ()
        return memory, (job_by_annotation(self._resource, self._spec, value),)

    def _moments(self, schedule: Schedule, memory: Memory) -> _Moments:
        grace = timedelta(seconds=self._spec.grace_seconds)
        known = (memory.scheduled_since, memory.last_completed, self._runs.active_since)
        since = min(max(each for each in (*known, _LONG_AGO) if each is not None), self._now)
        due = schedule.previous(self._now - grace)
        awaited = schedule.next(since)
        return _Moments(
            next_due=schedule.next(self._now),
            missed=due if due is not None and due > since else None,
            would_be_overdue=None if awaited is None else awaited + grace,
        )

    def _told(self, fresh: Sequence[Run]) -> list[Notice]:
        told = [self._ending(run) for run in fresh[-_MOST_TOLD:]]
        active = self._active
        if active and active != self._status.get("activeJobName"):
            told.append(Notice("RunStarted", f"Job {active} has begun"))
        return told

    def _ending(self, run: Run) -> Notice:
        log = self._place.kubectl(f"logs job/{run.job}")
        if run.outcome == "Guarded":
            return Notice("GuardTripped", f"{run.error}; see {log}", warning=True)
        if run.outcome in FAILURES:
            return Notice("RunFailed", f"Job {run.job}, {run.outcome}: {run.error}; see {log}", warning=True)
        if run.outcome in IDLE:
            return Notice(
                "RunSkipped", f"Job {run.job}, {run.outcome}: {run.error}", warning=run.outcome == "Unscheduled"
            )
        said = standing.rows(Memory(last_run=run.as_object()))
        return Notice("RunSucceeded", f"Job {run.job}, {run.outcome}: {said}")

    def _late(self, conditions: Sequence[Condition]) -> tuple[Notice, ...]:
        late = next(each for each in conditions if each.type == OVERDUE)
        before = find(self._previous, OVERDUE) or {}
        was_late = before.get("status") == "True" and before.get("reason") != RUN_SKIPPED
        if (
            late.status != "True" or late.reason == RUN_SKIPPED or was_late
        ):  # a run that was skipped has an Event of its own
            return ()
        return (Notice("Overdue", late.message, warning=True),)

    def _look_again(self, moments: _Moments) -> float | None:
        waits = [
            (moment - self._now).total_seconds() + 1
            for moment in (moments.next_due, moments.would_be_overdue)
            if moment is not None and moment >= self._now
        ]
        if self._runs.unread:
            waits.append(_UNREAD_SECONDS)
        elif self._runs.active:
            waits.append(_ACTIVE_SECONDS)  # a pod that does not start changes nothing about its Job
        return min(waits, default=None)

    def _written(
        self,
        memory: Memory,
        conditions: Sequence[Condition],
        next_due: datetime | None,
        changed: Sequence[str] = (),
    ) -> Object:
        handled = self._annotation(ANNOTATION_RECONCILE_AT)
        found: Object = {
            "observedGeneration": self._generation,
            "conditions": [condition.as_object() for condition in conditions],
            "cronJobName": cron_job_name(self._resource),
            "changedFields": list(changed) or None,
            "activeJobName": self._active or None,
            "notStarted": self._not_started(),
            "nextScheduleTime": None if next_due is None else timestamp(next_due),
            "lastHandledReconcileAt": handled or None,
            **memory.as_object(),
        }
        return {key: value for key, value in found.items() if value is not None}

    @property
    def _changed_before(self) -> Sequence[str]:
        """What the last look has found to be changed in the CronJob, and has written over."""
        return self._status.get("changedFields") or ()

    @property
    def _active(self) -> str:
        """The newest Job that has not ended."""
        return str(self._runs.active[-1]["metadata"]["name"]) if self._runs.active else ""

    @property
    def _generation(self) -> int:
        return int(self._resource["metadata"].get("generation") or 0)

    def _annotation(self, name: str) -> str:
        return str((self._resource["metadata"].get("annotations") or {}).get(name, ""))[:ANNOTATION_LENGTH]


_LONG_AGO: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _own_cron_job(resource: Object, observed: Observed) -> Object | None:
    name = cron_job_name(resource)
    return next(
        (
            child
            for child in observed.children
            if child.get("kind") == CRON_JOB.kind and child["metadata"]["name"] == name and is_owned_by(child, resource)
        ),
        None,
    )
