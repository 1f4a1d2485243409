"""The runs of a policy whose Jobs are still there: those that have ended, those that go on, and what keeps one from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from operators.coursegen_operator.child import task_of, uid_of
from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.planning import Observed
from operators.coursegen_operator.resources import JOB, LABEL_OWNER_UID, Object
from operators.coursegen_operator.retention.cronjob import TASK
from operators.coursegen_operator.retention.report import Run, clean, pods_of, run_of

SECRET_NOT_FOUND: Final = "SecretNotFound"  # noqa: S105  # a reason, not a secret
IMAGE_UNAVAILABLE: Final = "ImageUnavailable"

OBSTACLES: Final = frozenset({SECRET_NOT_FOUND, IMAGE_UNAVAILABLE})

_BY_WAITING: Final = {
    "CreateContainerConfigError": SECRET_NOT_FOUND,
    "ErrImagePull": IMAGE_UNAVAILABLE,
    "ImagePullBackOff": IMAGE_UNAVAILABLE,
    "InvalidImageName": IMAGE_UNAVAILABLE,
    "ErrImageNeverPull": IMAGE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a pod does not start; only a person can help."""

    reason: str
    job: str
    message: str


@dataclass(frozen=True, slots=True)
class Runs:
    """What the Jobs of a policy show at one moment."""

    ended: tuple[Run, ...]
    """The oldest first."""
    active: tuple[Object, ...]
    """Jobs that have not ended, the oldest first."""
    active_since: datetime | None
    """When the newest of those began."""
    obstacle: Obstacle | None

    @classmethod
    def of(cls, resource: Object, observed: Observed) -> Runs:
        """The runs of `resource`."""
        pods = observed.around.get("pods", ())
        jobs = jobs_of(resource, observed)
        ended = [run for run in (run_of(job, pods) for job in jobs) if run is not None]
        names = {run.job for run in ended}
        active = tuple(job for job in jobs if job["metadata"]["name"] not in names)
        starts = [start for start in map(_started, active) if start is not None]
        return cls(
            ended=tuple(sorted(ended, key=lambda run: run.place)),
            active=active,
            active_since=max(starts, default=None),
            obstacle=next(filter(None, (_obstacle(job, pods) for job in reversed(active))), None),
        )

    def after(self, place: tuple[str, str]) -> tuple[Run, ...]:
        """Those that have ended since the run at `place`."""
        return tuple(run for run in self.ended if run.place > place)


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


def _jobs(items: Iterable[Object]) -> Iterable[Object]:
    return (item for item in items if item.get("kind", JOB.kind) == JOB.kind and "metadata" in item)


def _belongs(job: Object, resource: Object) -> bool:
    labels = job["metadata"].get("labels") or {}
    return task_of(job) == TASK and labels.get(LABEL_OWNER_UID) == uid_of(resource)


def _started(job: Object) -> datetime | None:
    return moment_of((job.get("status") or {}).get("startTime")) or moment_of(job["metadata"].get("creationTimestamp"))


def _obstacle(job: Object, pods: Sequence[Object]) -> Obstacle | None:
    for pod in reversed(pods_of(job, pods)):
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            reason = _BY_WAITING.get(str(waiting.get("reason")))
            if reason is not None:
                message = clean(str(waiting.get("message") or waiting["reason"]))
                return Obstacle(reason, job["metadata"]["name"], message)
    return None
