"""The reasons and messages of a DatabaseMigration, and the commands that the messages name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from operators.coursegen_operator.migrations.status import Memory, Task
from operators.coursegen_operator.resources import (
    ANNOTATION_APPROVE,
    ANNOTATION_BACKUP,
    ANNOTATION_RECONCILE_AT,
    DATABASE_MIGRATION,
    Object,
)
from services.kernel.texts import shortened

PENDING_APPROVAL: Final = "PendingApproval"
DRIFT_DETECTED: Final = "DriftDetected"
CONTRACT_PENDING: Final = "ContractPending"
CONTRACT_FAILED: Final = "ContractFailed"

RECONCILING: Final = "Reconciling"
MIGRATING: Final = "Migrating"
PLAN_READY: Final = "PlanReady"
AWAITING_APPROVAL: Final = "AwaitingApproval"
DESTRUCTIVE_DENIED: Final = "DestructiveDenied"
APPLIED: Final = "Applied"
AHEAD_OF_IMAGE: Final = "AheadOfImage"
DATABASE_UNREACHABLE: Final = "DatabaseUnreachable"
MIGRATION_FAILED: Final = "MigrationFailed"
RETRY_LIMIT_REACHED: Final = "RetryLimitReached"
CONTRACT_DEFERRED: Final = "ContractDeferred"
SUSPENDED: Final = "Suspended"

WAITING_FOR_ROLLOUT: Final = "WaitingForRollout"
SOAKING: Final = "Soaking"
NOTHING_PENDING: Final = "NothingPending"
NOT_GIVEN_UP: Final = "NotGivenUp"
IN_SYNC: Final = "InSync"
NOT_CHECKED: Final = "NotChecked"
CHECK_FAILED: Final = "CheckFailed"

PLAN_COMPUTED: Final = "PlanComputed"
APPROVAL_REQUIRED: Final = "ApprovalRequired"
MIGRATION_STARTED: Final = "MigrationStarted"
MIGRATION_SUCCEEDED: Final = "MigrationSucceeded"
DRIFT_RESOLVED: Final = "DriftResolved"
CONTRACT_APPLIED: Final = "ContractApplied"
REVISIONS_LOST: Final = "RevisionsLost"

_ERROR_BYTES: Final = 480
"""What is left of an error in a message, so that the command behind it is not cut off."""


@dataclass(frozen=True, slots=True)
class Commands:
    """What a person may type about one resource."""

    namespace: str
    name: str

    @classmethod
    def about(cls, resource: Object) -> Commands:
        """The commands about `resource`."""
        return cls(resource["metadata"].get("namespace", "default"), resource["metadata"]["name"])

    @property
    def kubectl(self) -> str:
        """How each begins."""
        return f"kubectl -n {self.namespace}"

    def log(self, job: str) -> str:
        """Shows what a Job has said."""
        return f"{self.kubectl} logs job/{job}"

    def approve(self, plan_hash: str) -> str:
        """Approves a plan."""
        return self._annotate(f"{ANNOTATION_APPROVE}={plan_hash}")

    @property
    def backup(self) -> str:
        """Names the backup that was taken: its id is in the shell's BACKUP, and nothing happens while there is none."""
        return self._annotate(f'{ANNOTATION_BACKUP}="$BACKUP"')

    @property
    def again(self) -> str:
        """Has everything begin anew."""
        return self._annotate(f'{ANNOTATION_RECONCILE_AT}="$(date +%s)"')

    @property
    def allow(self) -> str:
        """Lets statements pass that lose data."""
        return self._patch('{"spec":{"policy":{"destructive":"Allow"}}}')

    @property
    def resume(self) -> str:
        """Ends a suspension."""
        return self._patch('{"spec":{"suspend":false}}')

    def _annotate(self, annotation: str) -> str:
        return f"{self.kubectl} annotate {DATABASE_MIGRATION.short}/{self.name} --overwrite {annotation}"

    def _patch(self, patch: str) -> str:
        return f"{self.kubectl} patch {DATABASE_MIGRATION.short}/{self.name} --type=merge -p '{patch}'"


def listed(revisions: tuple[str, ...], count: int) -> str:
    """Some revisions, and how many there are: `2 files (…, …)`."""
    shown = ", ".join(revisions[:3]) + (", …" if count > 3 else "")
    files = "1 file" if count == 1 else f"{count} files"
    return f"{files} ({shown})" if revisions else files


def of_task(task: Task, memory: Memory) -> str:
    """What a Job of `task` applies."""
    if task == "contract":
        return listed(memory.contract_pending, len(memory.contract_pending))
    return work(memory)


def work(memory: Memory) -> str:
    """What the plan has to do in phase expand: files, a baseline, or both."""
    baseline = of_baseline(memory.baseline_count)
    files = listed(memory.pending, memory.pending_count)
    return f"{baseline} and {files}" if baseline and memory.pending_count else baseline or files


def of_baseline(count: int) -> str:
    """A baseline that is to be noted, or nothing."""
    return f"the baseline of {'1 file' if count == 1 else f'{count} files'}" if count else ""


def brief(error: str, longest: int = _ERROR_BYTES) -> str:
    """An error, or what somebody has named, as part of a message."""
    return shortened(error.rstrip(". "), longest)


def given_up(memory: Memory, commands: Commands) -> str:
    """That nothing is tried any more, and how to have it tried again."""
    last = memory.last
    return (
        f"{last.task} failed {memory.failed_attempts} times: {brief(last.error)}; see: {commands.log(last.job)}; "
        f"when it is mended: {commands.again}"
    )


def where(memory: Memory) -> str:
    """Where the database stands."""
    return f"the database is at {memory.current}" if memory.current else "the database has no migration yet"
