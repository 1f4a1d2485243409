"""The schema of DatabaseMigration: what `kubectl explain dbm` tells, and what the API server refuses."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.jobs import fields
from operators.coursegen_operator.migrations import spec, status_schema
from operators.coursegen_operator.resources import ANNOTATION_APPROVE, ANNOTATION_BACKUP, ANNOTATION_RECONCILE_AT
from operators.coursegen_operator.schemas.openapi import (
    array,
    boolean,
    cel,
    column,
    integer,
    list_map,
    name,
    obj,
    secret_key_ref,
    string,
)

_DAY: Final = 86_400


_POLICY: Final = obj(
    "What a migration may do to the database.",
    {
        "destructive": string(
            "Whether statements may be applied that lose data (DROP, TRUNCATE, a column's type made narrower), and files of "
            "phase contract. With Allow they also need the annotation "
            f"{ANNOTATION_BACKUP}=<id>, which names the backup that was taken; the id is recorded in the database, and is good "
            "for one plan.",
            enum=("Deny", "Allow"),
            default="Deny",
        ),
        "allowDowngrade": boolean(
            "Always false: no file undoes another one. A database that is ahead of the image, as after `helm rollback`, is "
            "left as it is and counts as Ready (AheadOfImage); a targetRevision older than what is applied is an error.",
            default=False,
        ),
        "lockTimeoutSeconds": integer(
            "Longest wait for the lock of a table: whoever comes later waits behind it. Then the file is tried again.",
            default=spec.LOCK_SECONDS,
            minimum=1,
            maximum=3600,
        ),
        "statementTimeoutSeconds": integer(
            "Longest time that one file may take; files without a transaction have no limit but the Job's.",
            default=spec.STATEMENT_SECONDS,
            minimum=1,
            maximum=_DAY,
        ),
    },
    default={},
    rules=[
        cel(
            "!has(self.allowDowngrade) || !self.allowDowngrade",
            "must be false: no migration undoes another one; use helm rollback, and restore a backup where data must go back",
            path=".allowDowngrade",
        )
    ],
)

_CONTRACT: Final = obj(
    "The second phase: files marked `-- Phase: contract`, which remove what only older versions of the application use. They "
    "need policy.destructive: Allow and the annotation "
    + ANNOTATION_BACKUP
    + ". Ready never waits for them; the condition "
    "ContractPending tells how they stand.",
    {
        "mode": string(
            "AfterRollout: when every Deployment of waitFor has been on its newest version for soakSeconds. Manual: then, and "
            f"when the annotation {ANNOTATION_APPROVE} has the value of status.contractPlanHash. Never: they stay pending.",
            enum=("AfterRollout", "Manual", "Never"),
            default="AfterRollout",
        ),
        "waitFor": list_map(
            "The Deployments whose old pods must be gone. Without this list: all with this resource's own label "
            "app.kubernetes.io/instance, that is, those of its Helm release; while there is none, the phase waits. An empty "
            "list, []: no Deployment uses the database, and nothing but soakSeconds is waited for.",
            obj(
                "A Deployment in the namespace of this resource.",
                {
                    "kind": string("Only Deployment.", enum=("Deployment",), default="Deployment"),
                    "name": name("Name of the Deployment."),
                },
                required=("name",),
            ),
            max_items=32,
        ),
        "soakSeconds": integer(
            "How long the new version must have run alone, counted from the end of the last rollout or of the expand phase, "
            "whichever is later: as long as `kubectl rollout undo` should stay possible.",
            default=spec.SOAK_SECONDS,
            minimum=0,
            maximum=30 * _DAY,
        ),
    },
    default={},
)

_DRIFT: Final = obj(
    "Looks whether the database still has the schema that its migrations make, once they are applied.",
    {
        "mode": string(
            "Off: never. Detect: a difference shows in the condition DriftDetected, and Ready stays True. Fail: it also makes "
            "Ready False and Stalled True, and holds the contract phase back, until it is gone.",
            enum=("Off", "Detect", "Fail"),
            default="Detect",
        ),
        "intervalSeconds": integer(
            "From one check to the next; each is a short Job.", default=spec.DRIFT_SECONDS, minimum=30, maximum=7 * _DAY
        ),
        "ignore": array(
            "Objects that may differ, as patterns such as public.tmp_* or audit.*.",
            string("A pattern.", pattern=r"^[^\s]+$", min_length=1, max_length=128),
            max_items=32,
        ),
    },
    default={},
)

_RETRY: Final = obj(
    "When a failed attempt is made again. A database that is away (no connection, a server that shuts down) is tried for ever, "
    "and that never counts. What should pass by itself (a lock, a deadlock, another runner) counts from the tenth time in a row.",
    {
        "maxAttempts": integer(
            "After so many other errors the resource is Stalled (RetryLimitReached), until its spec changes or the annotation "
            f"{ANNOTATION_RECONCILE_AT} gets a new value.",
            default=spec.MAX_ATTEMPTS,
            minimum=1,
            maximum=100,
        ),
        "backoffSeconds": integer(
            "The first wait; each further one is twice as long.", default=spec.BACKOFF_SECONDS, minimum=1, maximum=3600
        ),
        "maxBackoffSeconds": integer("The longest wait.", default=spec.MAX_BACKOFF_SECONDS, minimum=1, maximum=_DAY),
    },
    default={},
    rules=[
        cel(
            f"(has(self.backoffSeconds) ? self.backoffSeconds : {spec.BACKOFF_SECONDS}) <= "
            f"(has(self.maxBackoffSeconds) ? self.maxBackoffSeconds : {spec.MAX_BACKOFF_SECONDS})",
            "backoffSeconds must not be longer than maxBackoffSeconds",
            path=".backoffSeconds",
        )
    ],
)

_JOB: Final = obj(
    "How the Jobs run.",
    {
        "backoffLimit": integer(
            "How often Kubernetes itself makes a failed pod again within one Job. 0 leaves it to retry, which tells errors "
            "apart.",
            default=0,
            minimum=0,
            maximum=6,
        ),
        "activeDeadlineSeconds": integer(
            "A Job that takes longer is ended and counts as failed.",
            default=spec.DEADLINE_SECONDS,
            minimum=30,
            maximum=7 * _DAY,
        ),
        "ttlSecondsAfterFinished": integer(
            "How long a finished Job, and with it its log, is kept. Checks for drift are kept ten minutes at most.",
            default=spec.TTL_SECONDS,
            minimum=60,
            maximum=30 * _DAY,
        ),
        "resources": fields.resources("128Mi"),
        "serviceAccountName": fields.service_account_name(),
        "nodeSelector": fields.labels("Labels that the pods' node must have."),
        "tolerations": fields.tolerations(),
        "podLabels": fields.labels("Labels of the Jobs and their pods, for a NetworkPolicy or kubectl get jobs -l."),
    },
    default={},
)

SPEC: Final = obj(
    "Which migrations a database should have, and how they may be applied. An image that carries them is run as a Job: it plans, "
    "applies, and checks for drift. The operator itself reads no Secret and has no way to the database.",
    {
        "databaseSecretRef": secret_key_ref(
            "Where the address of the database stands, as its owner: postgresql://user:password@host/name.",
            key=spec.KEY,
        ),
        "image": fields.image("The image with the migrations: name:tag, or better name@sha256:…."),
        "imagePullPolicy": fields.image_pull_policy(),
        "imagePullSecrets": fields.image_pull_secrets(),
        "command": fields.command(
            "What the image runs, before the arguments --task and so on. Without one: python -m services.migrate."
        ),
        "targetRevision": string(
            "How far to migrate: head for all files of the image, or the fourteen digits of a migration, which is then the last "
            "one.",
            pattern=r"^(head|[0-9]{14})$",
            default=spec.HEAD,
            max_length=14,
        ),
        "baseline": string(
            "For a database that has its schema already, made by other means: up to this migration, all count as applied and are "
            "recorded without being run. Empty: none.",
            pattern=r"^([0-9]{14})?$",
            max_length=14,
        ),
        "approval": string(
            "Auto: what is pending is applied at once. Manual: when the annotation "
            f"{ANNOTATION_APPROVE} has the value of status.planHash.",
            enum=("Auto", "Manual"),
            default="Auto",
        ),
        "policy": _POLICY,
        "contract": _CONTRACT,
        "drift": _DRIFT,
        "retry": _RETRY,
        "job": _JOB,
        "suspend": boolean(
            "Begin no Job. One that runs is left to end. With revisions pending, or nobody knows, the resource is Stalled.",
            default=False,
        ),
    },
    required=("databaseSecretRef", "image"),
    rules=[
        cel(
            "!has(self.job) || !has(self.policy) || !has(self.job.activeDeadlineSeconds) || "
            "!has(self.policy.statementTimeoutSeconds) || "
            "self.policy.statementTimeoutSeconds < self.job.activeDeadlineSeconds",
            "job.activeDeadlineSeconds must be longer than policy.statementTimeoutSeconds: a file must be able to end before "
            "its Job does",
            path=".job.activeDeadlineSeconds",
        )
    ],
)


STATUS: Final = status_schema.STATUS

_READY: Final = '.status.conditions[?(@.type=="Ready")]'

COLUMNS: Final = [
    column("Ready", f"{_READY}.status", "Whether the expand phase is applied."),
    column("State", f"{_READY}.reason", "What is going on, in one word."),
    column("Current", ".status.currentRevision", "The newest migration that is applied."),
    column("Target", ".status.targetRevision", "The migration to get to."),
    column("Pending", ".status.pendingCount", "Files of phase expand that are not applied.", type="integer"),
    column("Drift", ".status.drift.state", "Whether the schema is as the migrations make it."),
    column("Age", ".metadata.creationTimestamp", "How old this resource is.", type="date"),
    column("Last-Applied", ".status.lastAppliedAt", "When a migration was last applied.", type="date", wide=True),
    column("Message", f"{_READY}.message", "What is going on, in a sentence.", wide=True),
    column("Image", ".spec.image", "The image with the migrations.", wide=True),
    column("Job", ".status.lastAttempt.jobName", "The newest Job that planned or migrated.", wide=True),
]

SELECTABLE: Final = [".spec.suspend", ".spec.approval"]
