"""The schema of a DatabaseMigration's status: what `kubectl explain dbm.status` tells."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.migrations.job import BACKUP_LENGTH
from operators.coursegen_operator.migrations.progress import PATIENCE
from operators.coursegen_operator.migrations.status import DONE_LISTED, LISTED, TEXT_BYTES
from operators.coursegen_operator.resources import ANNOTATION_BACKUP, ANNOTATION_RECONCILE_AT
from operators.coursegen_operator.schemas.openapi import (
    Schema,
    array,
    boolean,
    conditions,
    date_time,
    integer,
    obj,
    observed_generation,
    string,
)


def _revision(doc: str) -> Schema:
    return string(doc, max_length=64)


def _hash(doc: str) -> Schema:
    return string(doc, max_length=80)


def _hashes(doc: str) -> Schema:
    return array(doc, _hash("A plan."), max_items=DONE_LISTED)


def _revisions(doc: str) -> Schema:
    return array(doc, _revision("A migration's version."), max_items=LISTED)


_LAST_ATTEMPT: Final = obj(
    "The newest Job that planned or migrated.",
    {
        "jobName": string("Its name: kubectl logs job/<name>, as long as it is kept.", max_length=63),
        "task": string("What for: plan, apply or contract.", max_length=16),
        "attempt": integer("Its number since the spec, or the annotation reconcile-at, last changed."),
        "outcome": string(
            "Running, NotStarted, Succeeded, Failed, Unreachable (the database does not answer) or Denied.",
            max_length=16,
        ),
        "startedAt": date_time("When Kubernetes began it."),
        "finishedAt": date_time("When it ended."),
        "revision": _revision("Where it left the database."),
        "error": string("Why it failed, or does not start.", max_length=TEXT_BYTES),
    },
)

_USED_BACKUP: Final = obj(
    f"What the value of the annotation {ANNOTATION_BACKUP} was last used for. It is good for no other plan.",
    {
        "id": string("The backup.", max_length=BACKUP_LENGTH),
        "task": string("What it was used for: apply or contract.", max_length=16),
        "planHash": _hash("The plan that was applied with it; empty when the database knows it by an older one."),
        "round": string(
            "The round in which that was, until the plan is applied whole; what is left of one that broke off goes on with the "
            "same backup.",
            max_length=64,
        ),
    },
)

_DRIFT_STATUS: Final = obj(
    "The newest check for drift.",
    {
        "state": string("Unknown, InSync or Drifted.", max_length=16),
        "checkedAt": date_time("When that was seen."),
        "fingerprint": string("Stands for the schema as it was found.", max_length=128),
        "summary": string("What differs.", max_length=TEXT_BYTES),
        "error": string(
            "Why the newest check came to nothing; state is then that of the one before.", max_length=TEXT_BYTES
        ),
        "jobName": string("The Job that checked.", max_length=63),
    },
)

STATUS: Final = obj(
    "Where the database stands.",
    {
        "observedGeneration": observed_generation(),
        "conditions": conditions(),
        "currentRevision": _revision("The newest migration that is applied."),
        "targetRevision": _revision("The migration to get to."),
        "pendingCount": integer("How many files of phase expand are not applied."),
        "pendingRevisions": _revisions("Those files; the first twenty."),
        "baselineCount": integer("How many files spec.baseline is still to note as applied, without running them."),
        "planHash": _hash(
            "Stands for exactly these files and their text; the annotation approve must have this value. The same plan once "
            "more, after its revisions were lost, is another value."
        ),
        "appliedPlanHashes": _hashes(
            "The plans that were applied, or begun and broken off; the last ten, the newest first."
        ),
        "approvedPlanHash": _hash("The plan that was approved, or what is left of it."),
        "approvedPlanRound": string(
            "The round in which it was; what is left of one that broke off goes on with the same approval.",
            max_length=64,
        ),
        "destructive": array(
            "Statements of the plan that lose data; the first twenty.",
            obj(
                "A statement.",
                {"revision": _revision("Its migration."), "statement": string("Its beginning.", max_length=160)},
            ),
            max_items=LISTED,
        ),
        "aheadOfImage": boolean("The database has migrations that the image does not know."),
        "contractPendingRevisions": _revisions("Files of phase contract that are not applied; the first twenty."),
        "contractPlanHash": _hash("As planHash, for the files of phase contract."),
        "appliedContractPlanHashes": _hashes("As appliedPlanHashes, of phase contract."),
        "approvedContractPlanHash": _hash("The plan of phase contract that was approved, or what is left of it."),
        "approvedContractPlanRound": string("As approvedPlanRound, of phase contract.", max_length=64),
        "expandedAt": date_time(
            "When the expand phase was found or made complete; the soak counts from here at the earliest."
        ),
        "previouslyExpandedAt": date_time(
            "What expandedAt was before the present plan of the same work, and is again when it finds nothing pending."
        ),
        "usedBackup": _USED_BACKUP,
        "lastAttempt": _LAST_ATTEMPT,
        "lastAppliedAt": date_time("When a migration was last applied."),
        "failedAttempts": integer("Errors that count against retry.maxAttempts."),
        "consecutiveFailures": integer(
            "Failures of any sort since something last succeeded; the wait grows with them."
        ),
        "passingFailures": integer(
            "Those of them that should have passed by themselves: a lock, a deadlock, another runner. They count against "
            f"retry.maxAttempts from number {PATIENCE} on."
        ),
        "nextAttemptAt": date_time("When the next attempt is made, after a failure."),
        "drift": _DRIFT_STATUS,
        "task": string("What is due or runs: plan, apply, contract or drift.", max_length=16),
        "attempt": integer("Number of the newest Job since the spec, or the annotation reconcile-at, last changed."),
        "round": string("The number of those changes, and a hash of what the present work is for.", max_length=64),
        "lastHandledReconcileAt": string(f"The value of the annotation {ANNOTATION_RECONCILE_AT} that was last seen."),
    },
)
