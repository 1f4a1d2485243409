"""How a run went: the report of its process, and what Kubernetes says where there is none.

The report is the termination message of the pod's container: JSON of at most 4096 bytes. Where the process could not write
one, Kubernetes puts the end of its log there, so that anything at all may stand in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from operators.coursegen_operator.conditions import moment_of, timestamp
from operators.coursegen_operator.migrations.report import container_of, pods_of
from operators.coursegen_operator.resources import Object
from services.kernel.logs import scrub_text
from services.kernel.texts import shortened

ERROR_BYTES: Final = 600
NAME_LENGTH: Final = 63
MOST_RULES: Final = 16

Outcome = Literal["Succeeded", "Partial", "Guarded", "Unscheduled", "Held", "Failed", "Unreachable"]
OUTCOMES: Final[dict[str, Outcome]] = {
    "succeeded": "Succeeded",
    "partial": "Partial",
    "guarded": "Guarded",
    "unscheduled": "Unscheduled",
    "held": "Held",
    "failed": "Failed",
    "unreachable": "Unreachable",
}
"""As the status has them, by the word of the process."""
FAILURES: Final = frozenset({"Guarded", "Failed", "Unreachable"})

_MOST: Final = 2**63 - 1
_BROKEN: Final = (msgspec.MsgspecError, ValueError, RecursionError)


class RuleReport(msgspec.Struct, frozen=True, rename="camel"):
    """What became of one rule."""

    name: str
    outcome: str = ""
    rows_deleted: int = 0
    rows_matched: int = 0
    rows_remaining: int | None = None
    oldest_remaining: str | None = None
    estimated: bool = False

    def as_object(self) -> Object:
        """As the status has it."""
        oldest = moment_of(self.oldest_remaining)
        found: Object = {
            "name": shortened(self.name, NAME_LENGTH),
            "outcome": OUTCOMES.get(self.outcome),
            "rowsDeleted": _count(self.rows_deleted),
            "rowsMatched": _count(self.rows_matched),
            "rowsRemaining": None if self.rows_remaining is None else _count(self.rows_remaining),
            "oldestRemaining": None if oldest is None else timestamp(oldest),
            "estimated": self.estimated or None,
        }
        return {key: value for key, value in found.items() if value is not None}


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """As `python -m services.retention` writes it."""

    outcome: Literal["succeeded", "partial", "guarded", "unscheduled", "held", "failed", "unreachable"]
    dry_run: bool = False
    rows_deleted: int = 0
    rows_matched: int = 0
    rules: tuple[RuleReport, ...] = ()
    error: str | None = None


class Run(msgspec.Struct, frozen=True):
    """A run that has ended."""

    job: str
    started_at: datetime
    finished_at: datetime
    outcome: Outcome
    report: Report | None
    error: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands among all runs."""
        return timestamp(self.finished_at), self.job

    def as_object(self) -> Object:
        """As `status.lastRun` has it."""
        report = self.report or Report("failed")
        found: Object = {
            "jobName": self.job,
            "startedAt": timestamp(self.started_at),
            "finishedAt": timestamp(self.finished_at),
            "outcome": self.outcome,
            "dryRun": report.dry_run or None,
            "rowsDeleted": _count(report.rows_deleted),
            "rowsMatched": _count(report.rows_matched),
            "rules": _rules(report.rules) or None,
            "error": self.error or None,
        }
        return {key: value for key, value in found.items() if value is not None}


def run_of(job: Object, pods: Sequence[Object]) -> Run | None:
    """How `job` ended; None when it has not."""
    ending = _ending(job)
    if ending is None:
        return None
    status, terminated = job.get("status") or {}, _terminated(job, pods)
    created = moment_of(job["metadata"].get("creationTimestamp"))
    started = moment_of(status.get("startTime")) or created or datetime.fromtimestamp(0, UTC)
    report = parse(terminated.get("message"))
    outcome, error = _judged(ending, terminated, report)
    return Run(
        job=job["metadata"]["name"],
        started_at=started,
        finished_at=moment_of(status.get("completionTime")) or moment_of(ending.get("lastTransitionTime")) or started,
        outcome=outcome,
        report=report,
        error=clean(error),
    )


def parse(text: object) -> Report | None:
    """The report in a termination message; None when it is no report."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(text, type=Report)
    except _BROKEN:
        return None


def clean(text: str) -> str:
    """A text of somebody else as a status may show it: on one line, without secrets, not too long."""
    return shortened(scrub_text(" ".join(text.split())), ERROR_BYTES)


def _judged(ending: Object, terminated: Object, report: Report | None) -> tuple[Outcome, str]:
    has_failed = ending.get("type") == "Failed"
    if report is None:
        return ("Failed", _without_report(ending, terminated)) if has_failed else ("Succeeded", "")
    outcome = OUTCOMES[report.outcome]
    if has_failed and outcome not in FAILURES:  # ended by its deadline, after it had written its report
        return "Failed", str(ending.get("message") or "the Job failed")
    return outcome, report.error or ("the process says no more" if outcome in FAILURES else "")


def _without_report(ending: Object, terminated: Object) -> str:
    if not terminated:
        return f"{str(ending.get('message') or 'the pod is gone').rstrip('. ')}: no report was left"
    code, reason = terminated.get("exitCode", "?"), terminated.get("reason") or "Error"
    last = " ".join(str(terminated.get("message") or "").split())[-300:]
    return f"the process ended without a report, {reason}, exit code {code}" + (f": {last}" if last else "")


def _terminated(job: Object, pods: Sequence[Object]) -> Object:
    """How the newest pod's container has ended; empty when that cannot be seen."""
    for pod in reversed(pods_of(job, pods)):
        container = container_of(pod)
        for state in (container.get("state"), container.get("lastState")):
            ended: Any = (state or {}).get("terminated")
            if ended:
                return dict(ended)
    return {}


def _ending(job: Object) -> Object | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in {"Complete", "Failed"} and condition.get("status") == "True":
            return dict(condition)
    return None


def _rules(rules: Sequence[RuleReport]) -> list[Object]:
    """One of each name, as a list by name must be."""
    found = {each["name"]: each for each in (rule.as_object() for rule in rules[:MOST_RULES])}
    return list(found.values())


def _count(number: int) -> int:
    return max(min(number, _MOST), 0)
