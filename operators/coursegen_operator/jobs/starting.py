"""Why a Job's pod does not start: no such Secret, no such image, no place. Nothing of this ends the Job by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.jobs.ending import clean, container_of, pods_of
from operators.coursegen_operator.resources import Object

GRACE: Final = timedelta(seconds=60)
"""How long a Secret, an image or a pod may be on its way before somebody is asked to look."""

SECRET_NOT_FOUND: Final = "SecretNotFound"  # noqa: S105  # a reason
IMAGE_NOT_PULLED: Final = "ImageNotPulled"
POD_NOT_STARTED: Final = "PodNotStarted"

_IMAGE: Final = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
_HOPELESS: Final = {"InvalidImageName", "ErrImageNeverPull"}
_ON_ITS_WAY: Final = {"ContainerCreating", "PodInitializing", ""}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a pod from starting."""

    reason: str
    message: str
    """Ends with the next command."""
    stuck_at: datetime | None
    """From when on a person is needed; None: it may solve itself until the Job's deadline."""

    def is_stuck(self, now: datetime) -> bool:
        """Whether a person is needed."""
        return self.stuck_at is not None and now >= self.stuck_at


def has_started(job: Object, pods: Sequence[Object]) -> bool:
    """Whether the process of `job` runs, or has run, in any pod."""
    states = [container_of(pod).get("state") or {} for pod in pods_of(job, pods)]
    return any("running" in state or "terminated" in state for state in states)


def obstacle_of(job: Object, pods: Sequence[Object], now: datetime, command: str) -> Obstacle | None:
    """What keeps the unfinished `job` from running; None when it runs or is about to. `command` is kubectl's beginning."""
    ours = pods_of(job, pods)
    if not ours:
        return _no_pod(job, now, command)
    if has_started(job, pods):
        return None
    pod = ours[-1]
    name, since = pod["metadata"]["name"], _created(pod, now)
    waiting = (container_of(pod).get("state") or {}).get("waiting") or {}
    why = str(waiting.get("reason", ""))
    if why in _ON_ITS_WAY:
        return _no_place(pod, command)
    message = clean(f"{why}: {waiting.get('message') or 'no message'}")
    stuck_at = now if why in _HOPELESS else since + GRACE
    if why in _IMAGE:
        return Obstacle(IMAGE_NOT_PULLED, f"{message}; see: {command} describe pod/{name}", stuck_at)
    if why == "CreateContainerConfigError" and "secret" in message.lower():
        return Obstacle(SECRET_NOT_FOUND, f"{message}; see: {command} get secrets", stuck_at)
    return Obstacle(POD_NOT_STARTED, f"{message}; see: {command} describe pod/{name}", stuck_at)


def _no_pod(job: Object, now: datetime, command: str) -> Obstacle | None:
    since = _created(job, now)
    if now < since + GRACE:
        return None
    name = job["metadata"]["name"]
    message = f"no pod could be made; see: {command} describe job/{name}"
    if (job.get("spec") or {}).get("suspend"):
        resume = f"""{command} patch job/{name} --type=merge -p '{{"spec":{{"suspend":false}}}}'"""
        message = f"somebody has suspended the Job; resume: {resume}"
    return Obstacle(POD_NOT_STARTED, message, since + GRACE)


def _no_place(pod: Object, command: str) -> Obstacle | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            message = clean(f"Unschedulable: {condition.get('message') or 'no message'}")
            name = pod["metadata"]["name"]
            return Obstacle(POD_NOT_STARTED, f"{message}; see: {command} describe pod/{name}", None)
    return None


def _created(item: Object, now: datetime) -> datetime:
    return moment_of(item["metadata"].get("creationTimestamp")) or now
