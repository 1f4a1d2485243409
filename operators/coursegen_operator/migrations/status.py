"""What a DatabaseMigration's status remembers: all that the operator knows from one look to the next.

A *round* is the work for one spec: it begins with a plan and ends when the expand phase is applied. Another spec, or another
value of the annotation `reconcile-at`, is another round. What only says when and how Jobs run makes none, unless one runs or has
failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

from operators.coursegen_operator.conditions import moment_of, timestamp
from operators.coursegen_operator.resources import Object

Task = Literal["plan", "apply", "contract", "drift"]

LISTED: Final = 20
"""Longest list of revisions or statements in a status."""

TEXT_BYTES: Final = 600
REVISION_BYTES: Final = 64
HASH_BYTES: Final = 64
STATEMENT_BYTES: Final = 160

DONE_LISTED: Final = 10
"""So many plans that were applied are remembered: an approval of one of these is known to be an old one."""

AGAIN: Final = ".again"
"""Stands between a plan's hash and how often it has been there."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One Job that plans or migrates, as `status.lastAttempt` shows it."""

    job: str = ""
    task: str = ""
    number: int = 0
    outcome: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    revision: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class DriftMemory:
    """The last check for drift, as `status.drift` shows it."""

    state: str = "Unknown"
    checked_at: datetime | None = None
    fingerprint: str = ""
    summary: str = ""
    error: str = ""
    """Why the last check came to nothing; the state is then that of the check before."""
    job: str = ""


@dataclass(frozen=True, slots=True)
class BackupUse:
    """What the backup was used for that a Job last had with which data may be lost, as `status.usedBackup` shows it."""

    id: str = ""
    task: str = ""
    plan_hash: str = ""
    round: str = ""
    """As a memory's, until the plan is applied whole; empty from then on."""

    @property
    def work_key(self) -> str:
        """As a memory's."""
        return _work_of(self.round)


@dataclass(frozen=True, slots=True)
class Memory:
    """A status without its conditions."""

    round: str = ""
    """`<number>-<hash of what it is for>`; empty before the first look."""
    reconcile_at: str = ""
    task: Task | None = None
    """What is due or runs; None: nothing that the next look would not find by itself."""
    attempt: int = 0
    """Number of the round's newest Job."""
    retry_at: datetime | None = None
    """Nothing is done before."""
    failed_attempts: int = 0
    """Errors of this phase that waiting does not mend."""
    failures_in_row: int = 0
    """Failures of any sort since something last succeeded: the longer, the longer the wait."""
    passing_in_row: int = 0
    """Those of them that should have passed by themselves: a lock, a deadlock, another runner."""

    current: str = ""
    target: str = ""
    pending_count: int = 0
    pending: tuple[str, ...] = ()
    baseline_count: int = 0
    """Files that a baseline is still to note as applied. Until then the application's pods do not know the schema."""
    plan_hash: str = ""
    """Of a plan that was applied before, with `AGAIN` and a number behind the hash: whoever approved it then has not now."""
    done_hashes: tuple[str, ...] = ()
    """The plans that were applied, or begun, the newest first."""
    approved_hash: str = ""
    approved_round: str = ""
    """The round in which it was; what is left of its plan needs no other approval in this one."""
    destructive: tuple[tuple[str, str], ...] = ()
    """Revision and statement, of those that lose data."""
    is_ahead: bool = False

    contract_pending: tuple[str, ...] = ()
    contract_hash: str = ""
    done_contract_hashes: tuple[str, ...] = ()
    approved_contract_hash: str = ""
    approved_contract_round: str = ""

    settled_at: datetime | None = None
    """When this round's expand phase was found, or made, complete."""
    settled_before: datetime | None = None
    """What `settled_at` was before the present plan of the same work: it is so again when nothing is pending."""
    applied_at: datetime | None = None
    used_backup: BackupUse = field(default_factory=BackupUse)
    last: Attempt = field(default_factory=Attempt)
    drift: DriftMemory = field(default_factory=DriftMemory)

    @property
    def is_settled(self) -> bool:
        """Whether the expand phase is complete: the application may run."""
        return self.settled_at is not None

    @property
    def has_work(self) -> bool:
        """Whether the plan has something to do in phase expand."""
        return bool(self.pending_count or self.baseline_count)

    @property
    def round_number(self) -> int:
        """How many rounds there have been."""
        return _whole(self.round.partition("-")[0])

    @property
    def round_key(self) -> str:
        """What this round is for."""
        return self.round.partition("-")[2]

    @property
    def work_key(self) -> str:
        """What there is to apply, and to which database, whatever the rest of the spec."""
        return _work_of(self.round)

    @property
    def plan_key(self) -> str:
        """What a plan follows from, whatever says only when and how Jobs run."""
        return self.round_key.rpartition("-")[0]

    @property
    def is_at_rest(self) -> bool:
        """Whether no Job runs or is due but a check for drift, and none has failed."""
        return self.task in {None, "drift"} and not (self.failures_in_row or self.failed_attempts)

    @classmethod
    def of(cls, status: Object) -> Memory:
        """What `status` remembers; empty for a resource that was not looked at."""
        task = status.get("task")
        return cls(
            round=_text(status, "round"),
            reconcile_at=_text(status, "lastHandledReconcileAt"),
            task=task if task in get_args(Task) else None,
            attempt=_whole(status.get("attempt")),
            retry_at=moment_of(status.get("nextAttemptAt")),
            failed_attempts=_whole(status.get("failedAttempts")),
            failures_in_row=_whole(status.get("consecutiveFailures")),
            passing_in_row=_whole(status.get("passingFailures")),
            current=_text(status, "currentRevision"),
            target=_text(status, "targetRevision"),
            pending_count=_whole(status.get("pendingCount")),
            pending=_texts(status.get("pendingRevisions")),
            baseline_count=_whole(status.get("baselineCount")),
            plan_hash=_text(status, "planHash"),
            done_hashes=_texts(status.get("appliedPlanHashes")),
            approved_hash=_text(status, "approvedPlanHash"),
            approved_round=_text(status, "approvedPlanRound"),
            destructive=tuple(
                (_text(each, "revision"), _text(each, "statement")) for each in status.get("destructive") or ()
            ),
            is_ahead=status.get("aheadOfImage") is True,
            contract_pending=_texts(status.get("contractPendingRevisions")),
            contract_hash=_text(status, "contractPlanHash"),
            done_contract_hashes=_texts(status.get("appliedContractPlanHashes")),
            approved_contract_hash=_text(status, "approvedContractPlanHash"),
            approved_contract_round=_text(status, "approvedContractPlanRound"),
            settled_at=moment_of(status.get("expandedAt")),
            settled_before=moment_of(status.get("previouslyExpandedAt")),
            applied_at=moment_of(status.get("lastAppliedAt")),
            used_backup=_backup(status.get("usedBackup") or {}),
            last=_attempt(status.get("lastAttempt") or {}),
            drift=_drift(status.get("drift") or {}),
        )

    def as_object(self) -> Object:
        """As a status holds it; what is empty is left out, and an equal memory is an equal status."""
        return _filled(
            round=self.round,
            lastHandledReconcileAt=self.reconcile_at,
            task=self.task,
            attempt=self.attempt,
            nextAttemptAt=self.retry_at,
            consecutiveFailures=self.failures_in_row,
            passingFailures=self.passing_in_row,
            currentRevision=self.current,
            targetRevision=self.target,
            pendingRevisions=list(self.pending),
            baselineCount=self.baseline_count,
            planHash=self.plan_hash,
            appliedPlanHashes=list(self.done_hashes),
            approvedPlanHash=self.approved_hash,
            approvedPlanRound=self.approved_round,
            destructive=[{"revision": revision, "statement": text} for revision, text in self.destructive],
            contractPendingRevisions=list(self.contract_pending),
            contractPlanHash=self.contract_hash,
            appliedContractPlanHashes=list(self.done_contract_hashes),
            approvedContractPlanHash=self.approved_contract_hash,
            approvedContractPlanRound=self.approved_contract_round,
            expandedAt=self.settled_at,
            previouslyExpandedAt=self.settled_before,
            lastAppliedAt=self.applied_at,
            usedBackup=_backup_object(self.used_backup),
            lastAttempt=_attempt_object(self.last),
            drift=_drift_object(self.drift),
        ) | {
            "pendingCount": self.pending_count,
            "failedAttempts": self.failed_attempts,
            "aheadOfImage": self.is_ahead,
        }


def _work_of(round_: str) -> str:
    return round_.partition("-")[2].partition("-")[0]


def _attempt(item: Object) -> Attempt:
    return Attempt(
        job=_text(item, "jobName"),
        task=_text(item, "task"),
        number=_whole(item.get("attempt")),
        outcome=_text(item, "outcome"),
        started_at=moment_of(item.get("startedAt")),
        finished_at=moment_of(item.get("finishedAt")),
        revision=_text(item, "revision"),
        error=_text(item, "error"),
    )


def _attempt_object(last: Attempt) -> Object:
    return _filled(
        jobName=last.job,
        task=last.task,
        attempt=last.number,
        outcome=last.outcome,
        startedAt=last.started_at,
        finishedAt=last.finished_at,
        revision=last.revision,
        error=last.error,
    )


def _backup(item: Object) -> BackupUse:
    return BackupUse(
        id=_text(item, "id"), task=_text(item, "task"), plan_hash=_text(item, "planHash"), round=_text(item, "round")
    )


def _backup_object(used: BackupUse) -> Object:
    return _filled(id=used.id, task=used.task, planHash=used.plan_hash, round=used.round)


def _drift(item: Object) -> DriftMemory:
    return DriftMemory(
        state=_text(item, "state") or "Unknown",
        checked_at=moment_of(item.get("checkedAt")),
        fingerprint=_text(item, "fingerprint"),
        summary=_text(item, "summary"),
        error=_text(item, "error"),
        job=_text(item, "jobName"),
    )


def _drift_object(drift: DriftMemory) -> Object:
    return _filled(
        state=drift.state,
        checkedAt=drift.checked_at,
        fingerprint=drift.fingerprint,
        summary=drift.summary,
        error=drift.error,
        jobName=drift.job,
    )


def _filled(**fields: Any) -> Object:
    found = {name: timestamp(value) if isinstance(value, datetime) else value for name, value in fields.items()}
    return {name: value for name, value in found.items() if value}


def _text(item: Object, key: str) -> str:
    found = item.get(key)
    return found if isinstance(found, str) else ""


def _texts(items: Any) -> tuple[str, ...]:
    return tuple(each for each in items or () if isinstance(each, str))


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) else 0
