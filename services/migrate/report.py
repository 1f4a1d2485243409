"""What a task says at its end, for whoever started it: a JSON document that fits into a container's termination message.

It holds no secret: what an error says is cleaned of the password, and statements are shown without what they quote.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from services.kernel.texts import shortened
from services.migrate.drift import Drift
from services.migrate.plan import Plan, Survey

REPORT_BYTES: Final = 4096
"""What the kubelet keeps of a termination message."""

_ERROR_BYTES: Final = 600
_REVISIONS: Final = 20
_STATEMENTS: Final = 10

Task = Literal["plan", "apply", "contract", "drift"]
Outcome = Literal["succeeded", "failed", "unreachable", "denied", "ahead"]


@dataclass(slots=True)
class Report:
    """How a task went. What could not be found out is left out of the document."""

    task: Task
    outcome: Outcome = "failed"
    survey: Survey | None = None
    drift: Drift | None = None
    has_adopted: bool = False
    """The baseline is noted."""
    applied: list[str] = field(default_factory=list)
    """Revisions that this task applied."""
    revision: str | None = None
    """The one that failed, or the last one that was applied."""
    error: str | None = None
    is_backup_spent: bool = False
    """It was denied since the backup that was named was used for another plan."""
    transient: bool = False
    """The same task may succeed later without anybody changing anything."""

    def document(self) -> dict[str, Any]:
        """The report as JSON knows it, with lists cut to what fits."""
        return {
            "task": self.task,
            "outcome": self.outcome,
            **self._standing(),
            "drift": self._drift(),
            "applied": self.applied[-_REVISIONS:],
            "revision": self.revision or (self.applied[-1] if self.applied else None),
            "error": None if self.error is None else shortened(self.error, _ERROR_BYTES),
            "backupSpent": self.is_backup_spent or None,
            "transient": self.transient,
        }

    def encoded(self, secrets: Collection[str] = ()) -> bytes:
        """The document as bytes: at most `REPORT_BYTES`, with none of `secrets` in it."""
        document = {key: value for key, value in self.document().items() if value is not None}
        if "error" in document:
            document["error"] = shortened(without(self.error or "", secrets), _ERROR_BYTES)
        while len(text := orjson.dumps(document)) > REPORT_BYTES:
            _shorten(document)
        return text

    def _standing(self) -> dict[str, Any]:
        if self.survey is None:
            return {}
        plan = self.survey.contract if self.task == "contract" else self.survey.expand
        pending = [each for each in _revisions(plan) if each not in self.applied]
        contract = [each for each in _revisions(self.survey.contract) if each not in self.applied]
        return {
            "currentRevision": max([self.survey.current or "", *self.applied]) or None,
            "targetRevision": self.survey.target,
            "pending": pending[:_REVISIONS],
            "pendingCount": len(pending),
            "baselineCount": 0 if self.has_adopted else len(self.survey.expand.adopted),
            "planHash": plan.hash,
            "destructive": _destructive(plan),
            "destructiveCount": len(plan.destructive),
            "contractPending": contract[:_REVISIONS],
            "contractPendingCount": len(contract),
            "contractPlanHash": self.survey.contract.hash,
            "contractDestructive": _destructive(self.survey.contract) if self.task == "plan" else None,
        }

    def _drift(self) -> dict[str, str] | None:
        if self.drift is None:
            return None
        return {"state": self.drift.state, "fingerprint": self.drift.fingerprint, "summary": self.drift.summary}


def without(text: str, secrets: Collection[str]) -> str:
    """`text` with every secret masked, the longest first, since one may be part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _revisions(plan: Plan) -> list[str]:
    return [file.version for file in plan.files]


def _destructive(plan: Plan) -> list[dict[str, str]]:
    return [{"revision": file.version, "statement": each.statement} for file, each in plan.destructive[:_STATEMENTS]]


def _shorten(document: dict[str, Any]) -> None:
    """Take the least important thing out."""
    lists: Sequence[str] = ("contractDestructive", "destructive", "applied", "contractPending", "pending")
    for key in lists:
        if document.get(key):
            document[key] = document[key][:-1]
            return
    for key in ("error", "drift"):
        if key in document:
            document[key] = None if key == "drift" else shortened(document[key], len(document[key].encode()) // 2)
            return
