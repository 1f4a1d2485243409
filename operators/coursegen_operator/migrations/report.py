"""What a Job of a migration has left: the report of its process, and what Kubernetes says where there is none.

The report is the termination message of the pod's container: JSON of at most 4096 bytes. Where the process could not write
one, Kubernetes puts the end of its log there, so that anything at all may stand in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import msgspec

from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.jobs.ending import clean, ending_of, finished_at, parsed, terminated, without_report
from operators.coursegen_operator.resources import Object

DRIFT_STATES: Final = ("InSync", "Drifted")

Outcome = Literal["Succeeded", "Failed", "Unreachable", "Denied", "NotStarted"]


class Statement(msgspec.Struct, frozen=True, rename="camel"):
    """A statement that loses data."""

    revision: str = ""
    statement: str = ""


class DriftReport(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the database has the schema that its migrations make."""

    state: str | None = None
    """`InSync` or `Drifted`."""
    fingerprint: str | None = None
    summary: str | None = None


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """As `python -m services.migrate --task …` writes it."""

    task: Literal["plan", "apply", "contract", "drift"]
    outcome: Literal["succeeded", "failed", "unreachable", "denied", "ahead"]
    current_revision: str | None = None
    target_revision: str | None = None
    pending: tuple[str, ...] | None = None
    pending_count: int | None = None
    baseline_count: int | None = None
    plan_hash: str | None = None
    destructive: tuple[Statement, ...] | None = None
    destructive_count: int | None = None
    contract_pending: tuple[str, ...] | None = None
    contract_pending_count: int | None = None
    contract_plan_hash: str | None = None
    drift: DriftReport | None = None
    applied: tuple[str, ...] | None = None
    revision: str | None = None
    error: str | None = None
    backup_spent: bool | None = None
    """The backup that the Job was given was used for another plan: the list in the database says so."""
    transient: bool | None = None

    @property
    def count(self) -> int:
        """How many files are pending; this list, like the others, may be cut, even to nothing."""
        return max(self.pending_count or 0, len(self.pending or ()))

    @property
    def adopted_count(self) -> int:
        """How many files a baseline is still to note as applied; processes of older images do not tell."""
        return max(self.baseline_count or 0, 0)

    @property
    def has_work(self) -> bool:
        """Whether there is something to do in phase expand: a list of what was applied that is not written is, too."""
        return bool(self.count or self.adopted_count)

    @property
    def contract_count(self) -> int:
        """How many files of phase contract are pending."""
        return max(self.contract_pending_count or 0, len(self.contract_pending or ()))

    @property
    def losses(self) -> int:
        """How many statements of the plan lose data."""
        return max(self.destructive_count or 0, len(self.destructive or ()))

    @property
    def is_complete(self) -> bool:
        """Whether a plan has a hash for all that it wants to have applied."""
        return bool((self.plan_hash or not self.has_work) and (self.contract_plan_hash or not self.contract_count))


@dataclass(frozen=True, slots=True)
class Result:
    """How a finished Job has ended."""

    outcome: Outcome
    report: Report | None
    error: str
    """Empty when it succeeded; else one sentence or more, free of secrets."""
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_away(self) -> bool:
        """Whether nothing was tried, since there was no database or no pod."""
        return self.outcome in {"Unreachable", "NotStarted"}

    @property
    def is_passing(self) -> bool:
        """Whether it was tried, and should pass by itself: a lock, a deadlock, another runner, told to stop."""
        return self.outcome == "Failed" and self.report is not None and self.report.transient is True

    @property
    def is_transient(self) -> bool:
        """Whether the same attempt may succeed later, with nothing changed by anybody."""
        return self.is_away or self.is_passing


def parse(text: object) -> Report | None:
    """The report in a termination message; None when it is no report."""
    return parsed(text, Report)


def result_of(job: Object, pods: Sequence[Object], task: str) -> Result:
    """How `job` has ended. The report's word counts where there is one, since it is the last that the process does."""
    ending = ending_of(job) or {}
    ended = terminated(job, pods)
    report = parse(ended.get("message"))
    if report is not None and report.task != task:
        report = None
    outcome, error = _judged(report) if report is not None else ("Failed", without_report(ending, ended))
    return Result(
        outcome=outcome,
        report=report,
        error=clean(error),
        started_at=moment_of((job.get("status") or {}).get("startTime")),
        finished_at=finished_at(job),
    )


def _judged(report: Report) -> tuple[Outcome, str]:
    error = report.error or ""
    match report.outcome:
        case "succeeded" | "ahead" if report.task == "plan" and not report.is_complete:
            return "Failed", "the plan has no hash"
        case "succeeded" if report.task == "drift" and (report.drift is None or report.drift.state not in DRIFT_STATES):
            return "Failed", "the check for drift says neither InSync nor Drifted"
        case "succeeded" | "ahead":
            return "Succeeded", ""
        case "unreachable":
            return "Unreachable", error or "the database does not answer"
        case "denied":
            return "Denied", error or "the migration process refused the plan"
        case _:
            return "Failed", error or "the migration process failed"
