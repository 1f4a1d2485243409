"""Rows of a given age, and settings for a run over them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import orjson

from services.kernel.clock import Clock
from services.kernel.database import Database
from services.retention.cleanup import Cleanup
from services.retention.report import RunReport
from services.retention.settings import RetentionSettings
from tests.support.courses import add_course

OUTBOX, KEYS, EVENTS = "cleanup_processed_outbox_entries", "cleanup_expired_idempotency_keys", "cleanup_old_fsm_events"


def rule(target: str, keep: str = "7d", **fields: Any) -> dict[str, Any]:
    """A rule as the resource writes it, without pauses."""
    return {"name": target.lower(), "target": target, "keep": keep, "pauseMillis": 0} | fields


def environ(*rules: dict[str, Any], **variables: str) -> dict[str, str]:
    """The environment of a run. Everything may go, unless the test says otherwise."""
    return {
        "RETENTION_RULES": orjson.dumps(rules).decode(),
        "RETENTION_MAX_DELETE_FRACTION": "1",
        **variables,
    }


async def run(
    db: Database,
    *rules: dict[str, Any],
    stopping: asyncio.Event | None = None,
    clock: Clock | None = None,
    **variables: str,
) -> RunReport:
    """One run in this process."""
    settings = RetentionSettings.from_environ(environ(*rules, DATABASE_URL="postgresql://db/x", **variables))
    return await Cleanup(db, settings, stopping or asyncio.Event(), clock).run()


async def add_keys(db: Database, *ages: str) -> None:
    """Idempotency keys of those ages, no longer valid when they are older than a day."""
    course = await add_course(db)
    for age in ages:
        await db.execute(
            "INSERT INTO idempotency_keys (idempotency_key, entity_id, created_at, expires_at)"
            " SELECT gen_random_uuid()::text, $1, now() - a, now() - a + interval '1 day'"
            " FROM (SELECT $2::text::interval) AS t (a)",
            course, age,
        )  # fmt: skip


async def add_row(
    db: Database, course: UUID, *, age: str, dead: bool = False, published: bool = True, job_type: str = "CUSTOM"
) -> UUID:
    """An outbox row of the present run, as old as `age`."""
    found: UUID = await db.fetchval(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, created_at, processed_at, retry_count, last_attempt_at)"
        " VALUES ($1, 'course-generation', $2, now() - $3::text::interval, CASE WHEN $4 THEN now() - $3::text::interval END,"
        " CASE WHEN $5 THEN 5 ELSE 0 END, CASE WHEN $5 THEN now() - $3::text::interval END) RETURNING outbox_id",
        course, job_type, age, published and not dead, dead,
    )  # fmt: skip
    return found


async def add_events(db: Database, *days: int) -> None:
    """Events of those ages."""
    course = await add_course(db)
    await db.execute(
        "INSERT INTO fsm_events (entity_id, event_type, created_by, created_at)"
        " SELECT $1, 'STATE_CHANGED', 'API', now() - make_interval(days => d) FROM unnest($2::int[]) AS d",
        course, list(days),
    )  # fmt: skip


async def count(db: Database, table: str) -> int:
    """How many rows there are."""
    found: int = await db.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def noted(db: Database, job: str) -> tuple[str | None, str | None]:
    """What `cron.job` says of the last run."""
    found: Any = await db.fetchrow(
        "SELECT last_run_status, last_run_message, last_run IS NULL AS never FROM cron.job WHERE jobname = $1", job
    )
    assert found["never"] == (found["last_run_status"] is None)
    return found["last_run_status"], found["last_run_message"]
