"""Retention: what goes, what stays, and that the schedule tells the truth (contract.md m)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.kernel.database import Database, DatabaseRefused, connect
from services.kernel.maintenance import CLEANUP_JOBS, JobRun, Scheduler, run_job, scheduled_jobs
from tests.support.courses import add_course
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually

_OUTBOX, _KEYS, _EVENTS = CLEANUP_JOBS


class FixedClock:
    """A clock that a test sets."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """The time it was set to."""
        return self.at

    def monotonic(self) -> float:
        """Not asked for."""
        raise NotImplementedError


async def add_job(
    db: Database, course: UUID, *, age: str, processed: bool = True, job_type: str = "STRUCTURE_ANALYSIS"
) -> UUID:
    """An outbox row of the present run, as old as `age`."""
    identifier: UUID = await db.fetchval(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, created_at, processed_at)"
        " VALUES ($1, 'course-generation', $2, now() - $3::text::interval, CASE WHEN $4 THEN now() - $3::text::interval END)"
        " RETURNING outbox_id",
        course, job_type, age, processed,
    )  # fmt: skip
    return identifier


async def left(db: Database, table: str, column: str) -> set[Any]:
    """The identifiers that are still there."""
    return {row[0] for row in await db.fetch(f"SELECT {column} FROM {table}")}


async def test_processed_outbox_rows_go_after_thirty_days(db: Database) -> None:
    """Pending and dead ones stay, however old."""
    course = await add_course(db)
    await add_job(db, course, age="31 days")
    kept = {await add_job(db, course, age="29 days"), await add_job(db, course, age="31 days", processed=False)}

    assert await db.fetchval("SELECT cleanup_processed_outbox_entries()") == 1
    assert await left(db, "job_outbox", "outbox_id") == kept


async def test_a_job_that_has_had_no_effect_yet_is_no_history(db: Database) -> None:
    """Its course still waits for it, and the reconciler needs the row."""
    running, finished = await add_course(db, state="stage_4_init"), await add_course(db, state="completed")
    waiting = await add_job(db, running, age="31 days")
    done = await add_job(db, running, age="31 days")
    await add_job(db, finished, age="31 days")
    await db.execute(
        "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome) VALUES ($1, $2, 'X', 1, 'applied')",
        done, running,
    )  # fmt: skip

    assert await db.fetchval("SELECT cleanup_old_outbox_entries()") == 2
    assert await left(db, "job_outbox", "outbox_id") == {waiting}


async def test_keys_go_after_seven_days_and_never_while_valid(db: Database) -> None:
    """D13: valid for a day, kept for a week."""
    course = await add_course(db)
    for key, age, expires in (
        ("old", "8 days", "-7 days"),
        ("logically expired", "2 days", "-1 days"),
        ("old and valid", "8 days", "1 day"),
    ):
        await db.execute(
            "INSERT INTO idempotency_keys (idempotency_key, entity_id, created_at, expires_at)"
            " VALUES ($1, $2, now() - $3::text::interval, now() + $4::text::interval)",
            key, course, age, expires,
        )  # fmt: skip

    assert await db.fetchval("SELECT cleanup_expired_idempotency_keys()") == 1
    assert await left(db, "idempotency_keys", "key") == {"logically expired", "old and valid"}


async def test_events_go_after_ninety_days(db: Database) -> None:
    """And the period may be given."""
    course = await add_course(db)
    for days in (10, 89, 91):
        await db.execute(
            "INSERT INTO fsm_events (entity_id, event_type, created_by, created_at)"
            " VALUES ($1, 'STATE_CHANGED', 'API', now() - make_interval(days => $2))",
            course, days,
        )  # fmt: skip

    assert await db.fetchval("SELECT cleanup_old_fsm_events()") == 1
    assert await db.fetchval("SELECT cleanup_old_fsm_events(interval '30 days')") == 1
    assert await db.fetchval("SELECT count(*) FROM fsm_events") == 1


async def add_event(db: Database, event_type: str, age: str) -> int:
    """A critical event as old as `age`."""
    identifier: int = await db.fetchval(
        "INSERT INTO system_metrics (event_type, created_at)"
        " VALUES ($1::text::metric_event_type, now() - $2::text::interval) RETURNING id",
        event_type, age,
    )  # fmt: skip
    return identifier


async def add_action(db: Database, age: str) -> int:
    """An action of an administrator as old as `age`."""
    identifier: int = await db.fetchval(
        "INSERT INTO admin_actions (user_id, action, target, at)"
        " VALUES (gen_random_uuid(), 'queue.pause', 'q', now() - $1::text::interval) RETURNING id",
        age,
    )  # fmt: skip
    return identifier


async def test_the_job_that_removes_history_bounds_the_event_log_too(app_db: Database, db: Database) -> None:
    """Critical events of every type after ninety days, actions of administrators after a year; all in batches."""
    types = ("job_rollback", "orphaned_job_recovery", "concurrency_limit_hit")
    kept = {await add_event(db, each, "89 days") for each in types}
    for each in types:
        await add_event(db, each, "91 days")
    for _ in range(3):
        await add_action(db, "1 year 1 day")
    actions = {await add_action(db, "364 days")}
    await db.execute("UPDATE cron.job SET command = replace(command, '10000', '2') WHERE jobname = $1", _EVENTS)

    assert await run_job(app_db, _EVENTS) == JobRun(_EVENTS, "succeeded", 6, "6 rows removed")
    assert await left(db, "system_metrics", "id") == kept
    assert await left(db, "admin_actions", "id") == actions


async def test_the_application_removes_no_action_of_this_year(app_db: Database, db: Database) -> None:
    """Neither itself nor by the cleanup, whose period it cannot shorten."""
    action = await add_action(db, "364 days")

    assert await app_db.fetchval("SELECT cleanup_old_admin_actions()") == 0
    with pytest.raises(DatabaseRefused, match="permission denied"):
        await app_db.execute("DELETE FROM admin_actions")
    assert await left(db, "admin_actions", "id") == {action}


async def test_history_is_cleaned_where_a_rollback_took_the_event_log_away(db: Database) -> None:
    """The other tables go on being cleaned."""
    await db.execute("DROP TABLE system_metrics")
    await add_action(db, "2 years")

    assert await run_job(db, _EVENTS) == JobRun(_EVENTS, "succeeded", 1, "1 rows removed")


async def test_a_command_of_an_operators_own_outlives_the_migration(db: Database) -> None:
    """What was the default is replaced, what somebody wrote is not."""
    migration = (REPOSITORY / "migrations" / "20251122170000_bound_event_log.sql").read_text(encoding="utf-8")
    own, default = (
        "SELECT public.cleanup_old_fsm_events(interval '1 day')",
        "SELECT public.cleanup_old_fsm_events(p_batch => 10000)",
    )
    found = []
    for command in (own, default):
        await db.execute("UPDATE cron.job SET command = $2 WHERE jobname = $1", _EVENTS, command)
        async with db.acquire() as session:
            await session.execute(migration)
        found.append(await db.fetchval("SELECT command FROM cron.job WHERE jobname = $1", _EVENTS))

    assert found[0] == own
    assert "cleanup_old_system_metrics" in found[1]


async def test_the_schedule_lists_three_jobs_as_the_sources_read_it(app_db: Database) -> None:
    """000 and 002 select these columns (TRAP6); times are UTC (D24)."""
    rows = await app_db.fetch(
        "SELECT jobid, jobname, schedule, command, active, last_run, last_run_status FROM cron.job ORDER BY jobid"
    )

    assert [(row["jobname"], row["schedule"], row["active"]) for row in rows] == [
        ("cleanup_processed_outbox_entries", "0 2 * * *", True),
        ("cleanup_expired_idempotency_keys", "0 3 * * *", True),
        ("cleanup_old_fsm_events", "0 4 * * 0", True),
    ]
    assert all(row["jobname"] in row["command"] for row in rows)
    assert all(row["last_run"] is None for row in rows)


async def test_a_run_is_written_down(app_db: Database) -> None:
    """What was removed in batches, and when."""
    course = await add_course(app_db)
    for _ in range(5):
        await add_job(app_db, course, age="31 days")
    command = "SELECT public.cleanup_processed_outbox_entries(p_batch => 2)"
    await app_db.execute("SELECT cron.schedule($1, '0 2 * * *', $2)", _OUTBOX, command)
    run = await run_job(app_db, _OUTBOX)
    job = (await scheduled_jobs(app_db))[0]

    assert run == JobRun(_OUTBOX, "succeeded", 5, "5 rows removed")
    assert (job.last_run_status, job.last_run_message) == ("succeeded", "5 rows removed")
    assert job.last_run is not None
    assert datetime.now(UTC) - job.last_run < timedelta(minutes=1)
    assert await app_db.fetchval("SELECT count(*) FROM job_outbox") == 0


async def test_a_failed_run_is_written_down_too(db: Database) -> None:
    """With its reason; the next run may succeed."""
    await db.execute("ALTER TABLE fsm_events RENAME TO gone")
    run = await run_job(db, _EVENTS)
    job = next(each for each in await scheduled_jobs(db) if each.jobname == _EVENTS)

    assert run.outcome == job.last_run_status == "failed"
    assert "fsm_events" in (job.last_run_message or "")
    await db.execute("ALTER TABLE gone RENAME TO fsm_events")
    assert (await run_job(db, _EVENTS)).outcome == "succeeded"


@pytest.mark.parametrize("name", ["cleanup_old_outbox_entries", _OUTBOX])
async def test_an_unscheduled_job_does_not_run_until_scheduled_again(app_db: Database, name: str) -> None:
    """By either name (D24)."""
    course = await add_course(app_db)
    await add_job(app_db, course, age="31 days")
    assert await app_db.fetchval("SELECT cron.unschedule($1)", name) is True

    assert await run_job(app_db, name) == JobRun(_OUTBOX, "unscheduled")
    assert await app_db.fetchval("SELECT count(*) FROM job_outbox") == 1
    assert await app_db.fetchval("SELECT cron.schedule_defaults()") == 1
    assert (await run_job(app_db, name)).removed == 1


async def test_a_job_that_is_not_active_does_not_run(db: Database) -> None:
    """An operator's UPDATE is enough."""
    await db.execute("UPDATE cron.job SET active = false WHERE jobname = $1", _KEYS)

    assert (await run_job(db, _KEYS)).outcome == "unscheduled"


async def test_unscheduling_what_is_not_there_is_an_error(db: Database) -> None:
    """In pg_cron's words."""
    with pytest.raises(DatabaseRefused, match="could not find valid entry for job"):
        await db.execute("SELECT cron.unschedule('nothing')")


async def test_a_job_is_run_by_one_clock_at_a_time(db: Database, database_url: str) -> None:
    """The other one finds it held and leaves it."""
    other = await connect(database_url)
    async with other.transaction():
        await other.execute("SELECT * FROM cron.job WHERE jobname = $1 FOR UPDATE", _KEYS)
        run = await run_job(db, _KEYS)
    await other.close()

    assert run.outcome == "held"


class TestScheduler:
    """The clock of the local stack."""

    @staticmethod
    async def _scheduled(db: Database, at: str) -> None:
        await db.execute("UPDATE cron.job SET scheduled_at = $1", datetime.fromisoformat(at))

    async def test_each_job_runs_when_it_is_due(self, db: Database) -> None:
        """Two o'clock, three o'clock, Sunday at four; UTC."""
        await self._scheduled(db, "2025-11-22T01:00:00+00:00")
        clock = FixedClock(datetime(2025, 11, 22, 1, 59, tzinfo=UTC))
        scheduler = Scheduler(db, clock=clock)
        due = {}
        for at in ("2025-11-22T01:59", "2025-11-22T02:00", "2025-11-22T03:30", "2025-11-22T04:30", "2025-11-23T04:00"):
            clock.at = datetime.fromisoformat(at + ":00+00:00")
            due[at] = [run.jobname for run in await scheduler.run_due()]
            await db.execute("UPDATE cron.job SET last_run = $1 WHERE last_run IS NOT NULL", clock.at)

        assert due == {
            "2025-11-22T01:59": [],
            "2025-11-22T02:00": [_OUTBOX],
            "2025-11-22T03:30": [_KEYS],
            "2025-11-22T04:30": [],
            "2025-11-23T04:00": [_OUTBOX, _KEYS, _EVENTS],
        }

    async def test_a_run_that_was_missed_is_made_up_for_once(self, db: Database) -> None:
        """A laptop that slept at night cleans up in the morning."""
        await self._scheduled(db, "2025-11-01T00:00:00+00:00")
        scheduler = Scheduler(db, clock=FixedClock(datetime(2025, 11, 22, 9, tzinfo=UTC)))

        assert len(await scheduler.run_due()) == 3
        assert await scheduler.run_due() == []

    async def test_a_schedule_nobody_can_read_stops_no_other(self, db: Database) -> None:
        """It is logged, and the rest goes on."""
        await self._scheduled(db, "2025-11-01T00:00:00+00:00")
        await db.execute("UPDATE cron.job SET schedule = 'whenever' WHERE jobname = $1", _OUTBOX)
        scheduler = Scheduler(db, clock=FixedClock(datetime(2025, 11, 22, 9, tzinfo=UTC)))

        assert [run.jobname for run in await scheduler.run_due()] == [_KEYS, _EVENTS]

    async def test_it_runs_what_is_due_at_once_and_stops_when_told(self, app_db: Database, db: Database) -> None:
        """Under the application's role, with the real clock."""
        await self._scheduled(db, "2025-11-01T00:00:00+00:00")
        stopping = asyncio.Event()
        serving = asyncio.create_task(Scheduler(app_db).serve(stopping))
        ran = "SELECT count(*) = 3 FROM cron.job WHERE last_run_status = 'succeeded'"
        await eventually(lambda: db.fetchval(ran), within=10)
        stopping.set()

        await asyncio.wait_for(serving, 5)

    async def test_it_outlives_a_database_without_the_schedule(self, db: Database) -> None:
        """Nothing is raised; it looks again later."""
        await db.execute("ALTER TABLE cron.job RENAME TO gone")
        stopping = asyncio.Event()
        serving = asyncio.create_task(Scheduler(db).serve(stopping))
        await asyncio.sleep(0.1)
        assert not serving.done()
        stopping.set()
        await asyncio.wait_for(serving, 5)
