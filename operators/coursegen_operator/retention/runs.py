"""The runs of a policy whose Jobs are still there: those that have ended, those that go on, and what keeps one from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from operators.coursegen_operator.child import task_of, uid_of
from operators.coursegen_operator.conditions import is_true, moment_of
from operators.coursegen_operator.jobs.ending import is_finished, is_readable
from operators.coursegen_operator.jobs.starting import Obstacle, obstacle_of
from operators.coursegen_operator.planning import Observed
from operators.coursegen_operator.resources import JOB, LABEL_OWNER_UID, Object
from operators.coursegen_operator.retention.cronjob import TASK
from operators.coursegen_operator.retention.report import Run, run_of


@dataclass(frozen=True, slots=True)
class Waiting:
    """A Job whose pod does not start."""

    job: str
    obstacle: Obstacle


@dataclass(frozen=True, slots=True)
class Runs:
    """What the Jobs of a policy show at one moment."""

    ended: tuple[Run, ...]
    """The oldest first."""
    active: tuple[Object, ...]
    """Jobs that have not ended, or whose result is still to be read; the oldest first."""
    active_since: datetime | None
    """When the newest of those began."""
    unread: frozenset[str]
    """Names of the active ones that are at their end: what they leave is seen soon."""
    waiting: Waiting | None

    @classmethod
    def of(cls, resource: Object, observed: Observed, command: str) -> Runs:
        """The runs of `resource`; `command` is the beginning of those that an obstacle names."""
        pods, now = observed.around.get("pods", ()), observed.now
        jobs = jobs_of(resource, observed)
        ended = _read(jobs, observed)
        names = {run.job for run in ended}
        active = tuple(job for job in jobs if job["metadata"]["name"] not in names)
        starts = [start for start in map(_started, active) if start is not None]
        hindered = (
            Waiting(job["metadata"]["name"], found)
            for job in reversed(active)
            if not _is_ending(job) and (found := obstacle_of(job, pods, now, command)) is not None
        )
        return cls(
            ended=ended,
            active=active,
            active_since=max(starts, default=None),
            unread=frozenset(job["metadata"]["name"] for job in active if _is_ending(job)),
            waiting=next(hindered, None),
        )


def jobs_of(resource: Object, observed: Observed) -> list[Object]:
    """The Jobs of `resource`, whoever made them, each once; the oldest first."""
    found = {
        job["metadata"]["name"]: job
        for job in _jobs((*observed.children, *observed.around.get("jobs", ())))
        if _belongs(job, resource)
    }
    return sorted(
        found.values(), key=lambda job: (str(job["metadata"].get("creationTimestamp", "")), job["metadata"]["name"])
    )


def _read(jobs: Iterable[Object], observed: Observed) -> tuple[Run, ...]:
    """The runs that have ended and whose result can be read, up to the first of which that cannot be said yet.

    A run is counted once, and never again: one that was counted before its pod was seen would stay without its report, and one
    that ended later, counted first, would have it left out.
    """
    pods = observed.around.get("pods", ())
    found = sorted(
        ((run, is_readable(job, pods, observed.now)) for job in jobs if (run := run_of(job, pods)) is not None),
        key=lambda each: each[0].place,
    )
    first_unread = next((index for index, (_, is_read) in enumerate(found) if not is_read), len(found))
    return tuple(run for run, _ in found[:first_unread])


def _jobs(items: Iterable[Object]) -> Iterable[Object]:
    return (item for item in items if item.get("kind", JOB.kind) == JOB.kind and "metadata" in item)


def _belongs(job: Object, resource: Object) -> bool:
    labels = job["metadata"].get("labels") or {}
    return task_of(job) == TASK and labels.get(LABEL_OWNER_UID) == uid_of(resource)


def _started(job: Object) -> datetime | None:
    return moment_of((job.get("status") or {}).get("startTime")) or moment_of(job["metadata"].get("creationTimestamp"))


def _is_ending(job: Object) -> bool:
    """Whether the Job controller is done with it, or removes its pods to be: then none is missing."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return is_finished(job) or any(is_true(conditions, each) for each in ("FailureTarget", "SuccessCriteriaMet"))
