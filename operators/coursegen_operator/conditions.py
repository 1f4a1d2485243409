"""Conditions as `kubectl wait` and Helm's kstatus read them.

::

    working   Ready=False  Reconciling=True   Stalled=False    wait
    done      Ready=True   Reconciling=False  Stalled=False    go on
    stuck     Ready=False  Reconciling=False  Stalled=True     a person must act: Helm gives up at once

All three are always there. Planners say conditions without times; `merged` keeps the time of the last change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from operators.coursegen_operator.resources import Object
from services.kernel.logs import scrub_text
from services.kernel.texts import shortened

Standing = Literal["True", "False", "Unknown"]

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"

MESSAGE_BYTES: Final = 1024
"""Longest message, in UTF-8."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One claim about a resource, and why it holds or not."""

    type: str
    status: Standing
    reason: str
    message: str

    def as_object(self) -> Object:
        """As a plan's status has it: no times yet."""
        return {"type": self.type, "status": self.status, "reason": self.reason, "message": self.message}

    @classmethod
    def of(cls, item: Object) -> Condition:
        """The condition in a plan, or in a status that the API server has shown."""
        return cls(item["type"], item["status"], item["reason"], item.get("message", ""))


def done(reason: str, message: str) -> tuple[Condition, ...]:
    """The resource is as its spec wants it."""
    return standing(reason, message, ready="True", reconciling="False", stalled="False")


def working(reason: str, message: str) -> tuple[Condition, ...]:
    """It will be, if one waits."""
    return standing(reason, message, ready="False", reconciling="True", stalled="False")


def stuck(reason: str, message: str) -> tuple[Condition, ...]:
    """It will not be, unless a person acts; `message` says how."""
    return standing(reason, message, ready="False", reconciling="False", stalled="True")


def standing(
    reason: str, message: str, *, ready: Standing, reconciling: Standing, stalled: Standing
) -> tuple[Condition, ...]:
    """The three conditions that every status has, of one reason."""
    return (
        Condition(READY, ready, reason, message),
        Condition(RECONCILING, reconciling, reason, message),
        Condition(STALLED, stalled, reason, message),
    )


def find(conditions: Sequence[Object], condition_type: str) -> Object | None:
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.get("type") == condition_type), None)


def is_true(conditions: Sequence[Object], condition_type: str) -> bool:
    """Whether that condition is there, and holds."""
    condition = find(conditions, condition_type)
    return condition is not None and condition.get("status") == "True"


def merged(previous: Sequence[Object], new: Sequence[Condition], generation: int, now: datetime) -> list[Object]:
    """The conditions to write: those of `new` with times; a status that stays keeps the time at which it came about."""
    return [_dated(find(previous, condition.type), condition, generation, now) for condition in new]


def _dated(before: Object | None, condition: Condition, generation: int, now: datetime) -> Object:
    is_same = before is not None and before.get("status") == condition.status and "lastTransitionTime" in before
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": shortened(scrub_text(condition.message), MESSAGE_BYTES),
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and is_same else timestamp(now),
    }


def timestamp(moment: datetime) -> str:
    """As the API server writes times: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: object) -> datetime | None:
    """The moment that a status or the API server has written; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
