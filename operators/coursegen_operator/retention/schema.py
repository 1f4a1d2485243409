"""The schema of RetentionPolicy: what `kubectl explain rtp` tells, and what the API server refuses."""

from __future__ import annotations

from typing import Final

from operators.coursegen_operator.jobs import fields
from operators.coursegen_operator.jobs.ending import ERROR_BYTES
from operators.coursegen_operator.resources import ANNOTATION_RECONCILE_AT, ANNOTATION_RUN_NOW
from operators.coursegen_operator.retention import spec
from operators.coursegen_operator.retention.cronjob import FIELD_LENGTH, MOST_FIELDS
from operators.coursegen_operator.retention.memory import MOST_COUNTED
from operators.coursegen_operator.retention.report import MOST_RULES, OUTCOMES
from operators.coursegen_operator.schemas.openapi import (
    array,
    boolean,
    cel,
    column,
    conditions,
    date_time,
    duration,
    fraction,
    integer,
    list_map,
    obj,
    observed_generation,
    secret_key_ref,
    string,
)

_DAY: Final = 86_400
_IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]{0,62}"

_FIELD_VALUES: Final = (
    "[0-5]?[0-9]",
    "([01]?[0-9]|2[0-3])",
    "(0?[1-9]|[12][0-9]|3[01])",
    "(0?[1-9]|1[0-2])",
    "[0-6]",
)
"""Minute, hour, day of month, month, day of week: numbers only, and Sunday is 0, so that everybody reads them alike."""


def _field(value: str) -> str:
    part = rf"(\*|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{part}(,{part})*"


SCHEDULE_PATTERN: Final = "^" + " ".join(_field(value) for value in _FIELD_VALUES) + "$"


_RULE: Final = obj(
    "What goes, and after what time.",
    {
        "name": string(
            "Name of the rule, in status and log.", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63
        ),
        "target": string(
            "OutboxPublished: outbox rows that were handed over, by that time. OutboxDead: those that were given up, by their "
            "last attempt. IdempotencyKeys: keys that are no longer valid. FsmEvents: events of courses, with critical events of "
            "the same age and administrators' actions of a year. Messages: messages with their receipts and long "
            "contents. Custom: another table. Rows that a course still waits for are never removed. Whoever takes the target's "
            "job off `cron.job` stops it too.",
            enum=spec.TARGETS,
        ),
        "keep": duration(
            "How old a row may become, such as 7d, 90m or 1d12h; by the database's clock.",
            rules=[cel("self.matches('[1-9]')", "must be more than nothing, such as 7d or 90m")],
        ),
        "batchSize": integer(
            "Rows that one short transaction removes.", default=spec.BATCH_SIZE, minimum=1, maximum=100_000
        ),
        "pauseMillis": integer(
            "Milliseconds between two batches, for the database's other work.",
            default=spec.PAUSE_MILLIS,
            minimum=0,
            maximum=60_000,
        ),
        "maxRowsPerRun": integer(
            "After so many rows a run ends as Partial; the next one goes on.", default=spec.MAX_ROWS_PER_RUN, minimum=1
        ),
        "table": string(
            "Only for target Custom: the table, as name or schema.name with its capitals. None of coursegen's own.",
            pattern=rf"^{_IDENTIFIER}(\.{_IDENTIFIER})?$",
            min_length=1,
            max_length=127,
        ),
        "timestampColumn": string(
            "Only for target Custom: the column that says how old a row is; timestamptz, timestamp (UTC) or date. A row without "
            "a value stays.",
            pattern=rf"^{_IDENTIFIER}$",
            min_length=1,
            max_length=63,
        ),
    },
    required=("name", "target", "keep"),
    rules=[
        cel(
            "self.target != 'Custom' || (has(self.table) && has(self.timestampColumn))",
            "target Custom needs table and timestampColumn",
        ),
        cel(
            "self.target == 'Custom' || (!has(self.table) && !has(self.timestampColumn))",
            "only target Custom takes table and timestampColumn",
        ),
    ],
)

_GUARD: Final = obj(
    "What keeps a mistake, such as keep: 7m for 7d, from doing harm: a rule that would go beyond it removes nothing at all, the "
    "run fails, and the condition GuardTripped tells.",
    {
        "maxDeleteFraction": fraction(
            "The largest share of its rows that a rule may remove in one go, from 0 to 1.",
            default=spec.MAX_DELETE_FRACTION,
        ),
        "freeRows": integer(
            "So many rows may go whatever their share is: of a small table a quiet month is everything. 0: none.",
            default=spec.FREE_ROWS,
            minimum=0,
        ),
        "minKeepRows": integer("So many rows must be left.", default=spec.MIN_KEEP_ROWS, minimum=0),
    },
    default={},
)

_HISTORY: Final = obj(
    "How many Jobs are kept that the schedule has started, each with its log. At least one of each: the operator reads from them "
    "how a run went.",
    {
        "successful": integer("Of those that succeeded.", default=spec.HISTORY_LIMIT, minimum=1, maximum=50),
        "failed": integer("Of those that failed.", default=spec.HISTORY_LIMIT, minimum=1, maximum=50),
    },
    default={},
)

_JOB: Final = obj(
    "How the pods run.",
    {
        "resources": fields.resources("64Mi"),
        "serviceAccountName": fields.service_account_name(),
        "nodeSelector": fields.labels("Labels that the pods' node must have.", checks_names=True),
        "tolerations": fields.tolerations(),
        "podLabels": fields.labels("Labels of the pods, for a NetworkPolicy for instance.", checks_names=True),
    },
    default={},
)

SPEC: Final = obj(
    "What is removed from a database, and when. A CronJob runs it; the operator itself reads no Secret and has no way to the "
    f'database. To run it at once: kubectl annotate rtp/<name> {ANNOTATION_RUN_NOW}="$(date +%s)" --overwrite, or kubectl create '
    "job --from=cronjob/<status.cronJobName> <job>.",
    {
        "schedule": string(
            "When, in five fields: minute hour day-of-month month day-of-week, with numbers only and Sunday as 0, such as "
            "`17 3 * * *` or `*/30 8-18 * * 1-5`.",
            pattern=SCHEDULE_PATTERN,
            min_length=9,
            max_length=128,
        ),
        "timeZone": string(
            "The time zone of the schedule, such as Europe/Berlin. A time that its clocks skip in spring is not due.",
            pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
            default=spec.TIME_ZONE,
            min_length=1,
            max_length=64,
            rules=[cel("self != 'Local'", "must name a time zone, such as Etc/UTC")],
        ),
        "suspend": boolean(
            "Not by itself: neither Overdue nor anything else complains. The annotation run-now still runs it.",
            default=False,
        ),
        "startingDeadlineSeconds": integer(
            "How late a run may begin that was missed at its time, after an outage for instance.",
            default=spec.STARTING_DEADLINE_SECONDS,
            minimum=10,
            maximum=7 * _DAY,
        ),
        "databaseSecretRef": secret_key_ref(
            "Where the address of the database stands: postgresql://user:password@host/name.", key=spec.KEY
        ),
        "image": fields.image(
            "The image that carries the migrations, which has this process too: name:tag, or better name@sha256:…."
        ),
        "imagePullPolicy": fields.image_pull_policy(),
        "imagePullSecrets": fields.image_pull_secrets(),
        "command": fields.command("What the image runs. Without one: python -m services.retention."),
        "dryRun": boolean("Count only: the status says what would go, and nothing goes.", default=False),
        "maxRunSeconds": integer(
            "When a run ends by itself, as Partial; the next one goes on.",
            default=spec.MAX_RUN_SECONDS,
            minimum=10,
            maximum=_DAY,
        ),
        "guard": _GUARD,
        "rules": list_map(
            "What goes. One after the other, each with an equal share of the time that is left; one that fails stops no other.",
            _RULE,
            min_items=1,
            max_items=MOST_RULES,
        ),
        "historyLimits": _HISTORY,
        "job": _JOB,
    },
    required=("schedule", "databaseSecretRef", "image", "rules"),
)

_LAST_RUN: Final = obj(
    "The newest run that has ended, whoever started it.",
    {
        "jobName": string("Its Job: kubectl logs job/<name>, as long as it is kept.", max_length=63),
        "startedAt": date_time("When Kubernetes began it."),
        "finishedAt": date_time("When it ended."),
        "outcome": string(
            "Succeeded; Partial: something is left for the next run; Guarded: too much would have gone, so nothing did; "
            "Unscheduled: taken off `cron.job`; Held: somebody else removes at that moment; Failed; Unreachable: the database "
            "did not answer.",
            enum=tuple(OUTCOMES.values()),
        ),
        "dryRun": boolean("It only counted."),
        "rowsDeleted": integer("Rows that it removed."),
        "rowsMatched": integer("Rows that were old enough when it began."),
        "rules": list_map(
            "The same by rule.",
            obj(
                "One rule.",
                {
                    "name": string("Its name.", max_length=63),
                    "outcome": string("As of the run.", enum=tuple(OUTCOMES.values())),
                    "rowsDeleted": integer("Rows that it removed, with those that go along."),
                    "rowsMatched": integer("Rows that were old enough."),
                    "rowsRemaining": integer("Rows of the target that were left."),
                    "oldestRemaining": date_time("How old the oldest of those is."),
                    "estimated": boolean("The table was too large to count; the figures are from a sample."),
                },
                required=("name",),
            ),
            max_items=MOST_RULES,
        ),
        "error": string("Why it failed, or removed nothing.", max_length=ERROR_BYTES),
    },
)

STATUS: Final = obj(
    "What the policy has done, and when it is due.",
    {
        "observedGeneration": observed_generation(),
        "conditions": conditions(),
        "cronJobName": string("The CronJob.", max_length=52),
        "changedFields": array(
            "Fields of the CronJob that were found changed, and were written over; the first sixteen. Those that stay are "
            "changed by somebody else whenever it is written.",
            string("A field's path.", max_length=FIELD_LENGTH),
            max_items=MOST_FIELDS,
        ),
        "activeJobName": string("The Job that runs now.", max_length=63),
        "notStarted": obj(
            "A Job whose pod does not start; nothing when there is none.",
            {
                "jobName": string("The Job.", max_length=63),
                "message": string("What keeps its pod from starting, and the next command."),
            },
        ),
        "lastScheduleTime": date_time("When the CronJob last started a Job."),
        "lastSuccessfulTime": date_time("When a run last ended as Succeeded or Partial."),
        "lastCompletedTime": date_time(
            "When a run last came to an end of its own: Succeeded, Partial, Guarded, Unscheduled or Held. What was due before is "
            "not overdue."
        ),
        "nextScheduleTime": date_time("When it is due next; nothing while it is suspended."),
        "consecutiveFailures": integer("Runs that failed since the last that succeeded."),
        "lastRun": _LAST_RUN,
        "countedRuns": list_map(
            "The last run, and those that ended within a minute before it: each is counted once, whichever is seen first.",
            obj(
                "One run.",
                {
                    "jobName": string("Its Job.", max_length=63),
                    "finishedAt": date_time("When it ended."),
                },
                required=("jobName", "finishedAt"),
            ),
            keys=("jobName", "finishedAt"),
            max_items=MOST_COUNTED,
        ),
        "scheduled": obj(
            "The schedule in force; nothing while it is suspended.",
            {
                "schedule": string("The five fields and the time zone.", max_length=200),
                "since": date_time("Since when; what was due before is not missed."),
            },
        ),
        "lastHandledRunNow": string(f"The value of the annotation {ANNOTATION_RUN_NOW} for which a Job was made last."),
        "lastHandledReconcileAt": string(f"The value of the annotation {ANNOTATION_RECONCILE_AT} that was last seen."),
    },
)

_READY: Final = '.status.conditions[?(@.type=="Ready")]'

COLUMNS: Final = [
    column("Ready", f"{_READY}.status", "Whether the policy is in force."),
    column("Schedule", ".spec.schedule", "When it runs."),
    column("Suspend", ".spec.suspend", "Whether it does not run by itself.", type="boolean"),
    column("Last-OK", ".status.lastSuccessfulTime", "When a run last succeeded.", type="date"),
    column("Next", ".status.nextScheduleTime", "When it is due next."),
    column("Deleted", ".status.lastRun.rowsDeleted", "Rows that the last run removed.", type="integer"),
    column("Age", ".metadata.creationTimestamp", "How old this resource is.", type="date"),
    column("Outcome", ".status.lastRun.outcome", "How the last run went.", wide=True),
    column("Message", f"{_READY}.message", "What is going on, in a sentence.", wide=True),
    column("CronJob", ".status.cronJobName", "The CronJob.", wide=True),
]

SELECTABLE: Final = [".spec.suspend"]
