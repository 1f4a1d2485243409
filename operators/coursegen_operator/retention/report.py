"""How a run went: the report of its process, and what Kubernetes says where there is none.

The report is the termination message of the pod's container: JSON of at most 4096 bytes. Where the process could not write
one, Kubernetes puts the end of its log there, so that anything at all may stand in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from operators.coursegen_operator.conditions import moment_of, timestamp
from operators.coursegen_operator.jobs.ending import clean, ending_of, finished_at, parsed, terminated
from operators.coursegen_operator.resources import Object
from services.kernel.texts import shortened

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
IDLE: Final[dict[str, str]] = {
    "Unscheduled": "its targets are off the schedule in cron.job; SELECT cron.schedule_defaults() puts them back",
    "Held": "somebody else removed from its targets at that moment",
}
"""Runs in which no rule ran, and why; an image that says more is quoted instead."""

_MOST: Final = 2**63 - 1


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
    ending = ending_of(job)
    if ending is None:
        return None
    ended = terminated(job, pods)
    created = moment_of(job["metadata"].get("creationTimestamp"))
    started = moment_of((job.get("status") or {}).get("startTime")) or created or datetime.fromtimestamp(0, UTC)
    report = parse(ended.get("message"))
    outcome, error = _judged(ending, ended, report)
    return Run(
        job=job["metadata"]["name"],
        started_at=started,
        finished_at=finished_at(job) or started,
        outcome=outcome,
        report=report,
        error=clean(error),
    )


def parse(text: object) -> Report | None:
    """The report in a termination message; None when it is no report."""
    return parsed(text, Report)


def _judged(ending: Object, ended: Object, report: Report | None) -> tuple[Outcome, str]:
    has_failed = ending.get("type") == "Failed"
    if report is None:
        return ("Failed", _without_report(ending, ended)) if has_failed else ("Succeeded", "")
    outcome = OUTCOMES[report.outcome]
    if has_failed and outcome not in FAILURES:  # ended by its deadline, after it had written its report
        return "Failed", str(ending.get("message") or "the Job failed")
    return outcome, report.error or IDLE.get(outcome) or ("the process says no more" if outcome in FAILURES else "")


def _without_report(ending: Object, ended: Object) -> str:
    if not ended:
        return f"{str(ending.get('message') or 'the pod is gone').rstrip('. ')}: no report was left"
    code, reason = ended.get("exitCode", "?"), ended.get("reason") or "Error"
    last = " ".join(str(ended.get("message") or "").split())[-300:]
    return f"the process ended without a report, {reason}, exit code {code}" + (f": {last}" if last else "")


def _rules(rules: Sequence[RuleReport]) -> list[Object]:
    """One of each name, as a list by name must be."""
    found = {each["name"]: each for each in (rule.as_object() for rule in rules[:MOST_RULES])}
    return list(found.values())


def _count(number: int) -> int:
    return max(min(number, _MOST), 0)
