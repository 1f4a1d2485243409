"""How a Job has ended: what Kubernetes says of it and of its pods, and the report that the process has left.

The report is the termination message of the pod's container: JSON of at most 4096 bytes. Where the process could not write
one, Kubernetes puts the end of its log there, so that anything at all may stand in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.jobs.pod import CONTAINER
from operators.coursegen_operator.resources import Object
from services.kernel.logs import scrub_text
from services.kernel.texts import shortened

ERROR_BYTES: Final = 600
LATE: Final = timedelta(seconds=10)
"""How long after the end of a Job its pod may be seen for the first time."""
SLOW: Final = timedelta(minutes=5)
"""How far the operator's clock may be behind that of the Job controller."""

_BROKEN: Final = (msgspec.MsgspecError, ValueError, RecursionError)

R = TypeVar("R")


def parsed(text: object, form: type[R]) -> R | None:
    """The report in a termination message; None when it is no report of this form."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(text, type=form)
    except _BROKEN:
        return None


def clean(text: str) -> str:
    """A text of somebody else as a status may show it: on one line, without secrets, not too long."""
    return shortened(scrub_text(" ".join(text.split())), ERROR_BYTES)


def ending_of(job: Object) -> Object | None:
    """The condition by which the Job controller is done with `job`; None while it is not."""
    for condition in _status(job).get("conditions") or ():
        if condition.get("type") in {"Complete", "Failed"} and condition.get("status") == "True":
            return dict(condition)
    return None


def is_finished(job: Object) -> bool:
    """Whether the Job controller is done with `job`."""
    return ending_of(job) is not None


def finished_at(job: Object) -> datetime | None:
    """When `job` has ended; None when it has not, or does not say."""
    ending = ending_of(job) or {}
    return moment_of(_status(job).get("completionTime")) or moment_of(ending.get("lastTransitionTime"))


def is_readable(job: Object, pods: Sequence[Object], now: datetime) -> bool:
    """Whether what the finished `job` has left can be read, or will not come any more.

    Jobs and pods are watched apart: a Job may be seen to have ended before its pod is. No clock is asked about a pod that is seen
    to run: Kubernetes ends no Job before its pods, so that the watch brings the end of that one, or its removal.

    Only of a Job without any pod something has to be guessed: it is gone, or was never seen. `now` is the operator's clock, and
    the end is of the Job controller's. One that is behind makes the wait longer by as much, up to `SLOW`: from there on the
    clocks say nothing, and nobody should wait for them. One that is ahead makes it shorter, at worst to nothing: then a pod of
    a few seconds that was never seen counts as one without a report: a migration is planned anew, a cleanup shows no rows.
    """
    if any(_runs(pod) for pod in pods_of(job, pods)):
        return False
    if terminated(job, pods):
        return True
    ended_at = finished_at(job)
    return ended_at is None or not ended_at - SLOW <= now < ended_at + LATE


def terminated(job: Object, pods: Sequence[Object]) -> Object:
    """How the newest pod's container has ended; empty when that cannot be seen."""
    for pod in reversed(pods_of(job, pods)):
        container = container_of(pod)
        for state in (container.get("state"), container.get("lastState")):
            ended: Any = (state or {}).get("terminated")
            if ended:
                return dict(ended)
    return {}


def without_report(ending: Object, ended: Object) -> str:
    """What can be said of a Job whose process has left no report, from its condition and its container's end."""
    if not ended:
        return _sentence(str(ending.get("message") or "the pod is gone"), "no report was left")
    code, reason = ended.get("exitCode", "?"), ended.get("reason") or "Error"
    last = " ".join(str(ended.get("message") or "").split())[-300:]
    return _sentence(f"the process ended without a report, {reason}, exit code {code}", last)


def pods_of(job: Object, pods: Sequence[Object]) -> list[Object]:
    """The pods of `job`, oldest first."""
    uid = job["metadata"].get("uid")
    ours = [pod for pod in pods if uid and any(owner.get("uid") == uid for owner in owners_of(pod))]
    return sorted(ours, key=lambda pod: (str(pod["metadata"].get("creationTimestamp", "")), pod["metadata"]["name"]))


def owners_of(item: Object) -> Sequence[Object]:
    """Whom an object belongs to."""
    return item["metadata"].get("ownerReferences") or ()


def container_of(pod: Object) -> Object:
    """The status of the container that does the work; empty before the kubelet has looked at it."""
    statuses = _status(pod).get("containerStatuses") or ()
    return next((each for each in statuses if each.get("name") == CONTAINER), {})


def _runs(pod: Object) -> bool:
    """Whether the pod is seen in the middle of its work, or before it."""
    return _status(pod).get("phase") in {"Pending", "Running"} and "terminated" not in (
        container_of(pod).get("state") or {}
    )


def _sentence(*parts: str) -> str:
    return ": ".join(part.rstrip(". ") for part in parts if part)


def _status(item: Object) -> Object:
    return item.get("status") or {}
