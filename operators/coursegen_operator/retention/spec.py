"""What a RetentionPolicy asks for, with the defaults that the schema also states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from operators.coursegen_operator.jobs.pod import part_of
from operators.coursegen_operator.resources import Object, number, part

KEY: Final = "DATABASE_URL"
TIME_ZONE: Final = "Etc/UTC"
STARTING_DEADLINE_SECONDS: Final = 3600
MAX_RUN_SECONDS: Final = 1800
MAX_DELETE_FRACTION: Final = "0.5"
FREE_ROWS: Final = 0
MIN_KEEP_ROWS: Final = 0
BATCH_SIZE: Final = 1000
PAUSE_MILLIS: Final = 50
MAX_ROWS_PER_RUN: Final = 1_000_000
HISTORY_LIMIT: Final = 3

TARGETS: Final = ("OutboxPublished", "OutboxDead", "IdempotencyKeys", "FsmEvents", "Messages", "Custom")

_RULE_FIELDS: Final = (
    "name", "target", "keep", "batchSize", "pauseMillis", "maxRowsPerRun", "table", "timestampColumn",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RetentionSpec:
    """The spec of one RetentionPolicy."""

    schedule: str
    time_zone: str
    suspend: bool
    starting_deadline_seconds: int
    secret_name: str
    secret_key: str
    image: str
    dry_run: bool
    max_run_seconds: int
    max_delete_fraction: str
    free_rows: int
    min_keep_rows: int
    rules: tuple[Object, ...]
    """As the process reads them."""
    successful_history: int
    failed_history: int
    pod: Object
    """What concerns the pods only, as the spec has it: `image…`, `command` and `job`."""

    @property
    def grace_seconds(self) -> int:
        """How long after a due time a run must have begun, for the policy not to be overdue."""
        return self.starting_deadline_seconds + self.max_run_seconds

    @classmethod
    def of(cls, resource: Object) -> RetentionSpec:
        """The spec of `resource`; whatever the schema admits can be read."""
        spec = part(resource, "spec")
        secret, guard, history = (part(spec, each) for each in ("databaseSecretRef", "guard", "historyLimits"))
        return cls(
            schedule=" ".join(str(spec.get("schedule", "")).split()),
            time_zone=str(spec.get("timeZone") or TIME_ZONE),
            suspend=bool(spec.get("suspend", False)),
            starting_deadline_seconds=number(spec, "startingDeadlineSeconds", STARTING_DEADLINE_SECONDS),
            secret_name=str(secret.get("name", "")),
            secret_key=str(secret.get("key") or KEY),
            image=str(spec.get("image", "")),
            dry_run=bool(spec.get("dryRun", False)),
            max_run_seconds=number(spec, "maxRunSeconds", MAX_RUN_SECONDS),
            max_delete_fraction=str(guard.get("maxDeleteFraction") or MAX_DELETE_FRACTION),
            free_rows=number(guard, "freeRows", FREE_ROWS),
            min_keep_rows=number(guard, "minKeepRows", MIN_KEEP_ROWS),
            rules=tuple(_rule(rule) for rule in spec.get("rules") or ()),
            successful_history=number(history, "successful", HISTORY_LIMIT),
            failed_history=number(history, "failed", HISTORY_LIMIT),
            pod=part_of(spec),
        )


def _rule(rule: Object) -> Object:
    return {key: rule[key] for key in _RULE_FIELDS if rule.get(key) is not None}
