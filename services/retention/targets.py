"""What each target means: its statements, and the job of `cron.job` under whose name it runs (contract.md m).

The statements of our own tables stand in `sql/retention.sql`. For any other table PostgreSQL composes them, after it has
looked the names up: it quotes them itself, and what does not exist is never asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.kernel.database import Database, Row
from services.kernel.errors import OperatorError
from services.kernel.queries import Queries
from services.retention.rules import Rule, Target

QUERIES: Final = Queries.load("services.retention", "retention.sql")

CRON_JOBS: Final[Mapping[Target, str]] = {
    Target.OUTBOX_PUBLISHED: "cleanup_processed_outbox_entries",
    Target.IDEMPOTENCY_KEYS: "cleanup_expired_idempotency_keys",
    Target.FSM_EVENTS: "cleanup_old_fsm_events",
}
"""Whoever unschedules one of these stops its target too."""

_OWN: Final[Mapping[Target, tuple[str, str]]] = {
    Target.OUTBOX_PUBLISHED: ("outbox_published", "public.job_outbox"),
    Target.OUTBOX_DEAD: ("outbox_dead", "public.job_outbox"),
    Target.IDEMPOTENCY_KEYS: ("idempotency_keys", "public.idempotency_keys"),
    Target.FSM_EVENTS: ("fsm_events", "public.fsm_events"),
}
_MESSAGES: Final = ("messages", "public.messages")
"""Not among the others: a database from before they were there is no fault of the rule's."""
_NOT_CUSTOM: Final[Mapping[str, str]] = {
    "public.job_outbox": "use target OutboxPublished or OutboxDead, which spare what a course still waits for",
    "public.idempotency_keys": "use target IdempotencyKeys, which spares keys that are valid",
    "public.fsm_events": "use target FsmEvents",
    "public.messages": "use target Messages",
    "public.courses": "courses go through the api, which takes their files and their jobs along",
    "public.effect_ledger": "it is what keeps a job from having its effect twice; it goes with its course",
}
_CLOSED_SCHEMAS: Final = frozenset({"information_schema", "auth", "cron", "supabase_migrations"})
_KINDS: Final = ("r", "p")
_TIMES: Final = ("timestamptz", "timestamp", "date")


class TargetUnusable(OperatorError):
    """The table or the column of a rule cannot be cleaned by it."""

    code = "retention_target_unusable"


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one rule."""

    relation: str
    survey: str
    sample: str
    remove: str
    beside: str | None = None
    """Removes what goes together with the target, in the same manner."""


async def find_statements(db: Database, rule: Rule) -> Statements | None:
    """The statements of `rule`; None when there is no such table yet, so that there is nothing to remove.

    Raises:
        TargetUnusable: there is no such column, or the table is not one that a rule may clean.
    """
    if rule.target in _OWN:
        return _own(*_OWN[rule.target])
    if rule.target is Target.MESSAGES:
        found: Any = await db.fetchrow(QUERIES["find_table"], _MESSAGES[1], "createdat")
        return None if found["kind"] is None else _own(*_MESSAGES)
    found = await db.fetchrow(QUERIES["find_table"], rule.table, rule.timestamp_column)
    _check(found, rule.table, rule.timestamp_column)
    composed: Any = await db.fetchrow(
        QUERIES["compose"], found["schema_name"], found["table_name"], found["column_name"]
    )
    return Statements(**dict(composed))


def _own(name: str, relation: str) -> Statements:
    beside = f"remove_beside_{name}"
    return Statements(
        relation,
        survey=QUERIES[f"survey_{name}"],
        sample=QUERIES[f"sample_{name}"],
        remove=QUERIES[f"remove_{name}"],
        beside=QUERIES[beside] if beside in set(QUERIES) else None,
    )


def _check(found: Row, table: str, column: str) -> None:
    if found["kind"] is None:
        raise TargetUnusable(f"there is no table {table}; write schema.table with its capitals, without quotes")
    name = f"{found['schema_name']}.{found['table_name']}"
    if found["kind"] not in _KINDS:
        raise TargetUnusable(f"{name} is no table")
    schema = found["schema_name"]
    if schema in _CLOSED_SCHEMAS or schema.startswith("pg_"):
        raise TargetUnusable(f"{name} is not for rules: schema {schema} belongs to the system")
    if name in _NOT_CUSTOM:
        raise TargetUnusable(f"{name} is not for target Custom: {_NOT_CUSTOM[name]}")
    if found["column_name"] is None:
        raise TargetUnusable(f"{name} has no column {column}")
    if found["type"] not in _TIMES:
        raise TargetUnusable(f"{name}.{column} is {found['type']}, not timestamptz, timestamp or date")
