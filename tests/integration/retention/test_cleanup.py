"""A run over the rules: what goes, what stays, what stops it, and what it tells (contract.md m)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.kernel.database import Database, connect
from services.retention.rules import Target
from services.retention.targets import CRON_JOBS
from tests.integration.retention.rows import (
    EVENTS,
    KEYS,
    OUTBOX,
    add_events,
    add_keys,
    add_row,
    count,
    noted,
    rule,
    run,
)
from tests.support.clocks import StandingClock
from tests.support.courses import add_course
from tests.support.waiting import eventually


async def test_old_keys_go_in_batches_and_the_report_tells(app_db: Database) -> None:
    """How many went, how many are left, how old the oldest of those is; and `cron.job` knows."""
    await add_keys(app_db, *["8 days"] * 5, "6 days", "1 hour")
    report = await run(app_db, rule("IdempotencyKeys", batchSize=2))
    done = report.rules[0]

    assert (report.outcome, done.deleted, done.matched, done.remaining) == ("succeeded", 5, 5, 2)
    assert done.oldest_remaining is not None
    assert timedelta(days=6) <= datetime.now(UTC) - done.oldest_remaining < timedelta(days=6, minutes=5)
    assert not done.is_estimate
    assert await noted(app_db, KEYS) == ("succeeded", "5 rows removed")


async def test_a_key_that_is_valid_stays_however_old(app_db: Database) -> None:
    """As with cleanup_expired_idempotency_keys."""
    await add_keys(app_db, "8 days")
    await app_db.execute("UPDATE idempotency_keys SET expires_at = now() + interval '1 hour'")

    assert (await run(app_db, rule("IdempotencyKeys"))).rules[0].matched == 0
    assert await count(app_db, "idempotency_keys") == 1


async def outbox_of_every_kind(db: Database) -> None:
    """Published, pending and dead rows, old and young, of courses that wait for them and others."""
    running, finished = await add_course(db, state="stage_4_init"), await add_course(db, state="completed")
    for course in (running, finished):
        for age in ("31 days", "29 days"):
            for job_type in ("STRUCTURE_ANALYSIS", "CUSTOM"):
                await add_row(db, course, age=age, job_type=job_type)
                await add_row(db, course, age=age, job_type=job_type, dead=True)
            await add_row(db, course, age=age, published=False)
    effect = await add_row(db, running, age="31 days", job_type="STRUCTURE_ANALYSIS")
    await db.execute(
        "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome) VALUES ($1, $2, 'X', 1, 'applied')",
        effect, running,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "keep", "function"),
    [
        ("OutboxPublished", "30d", "cleanup_processed_outbox_entries(interval '30 days')"),
        ("OutboxPublished", "30d", "cleanup_old_outbox_entries()"),
        ("IdempotencyKeys", "7d", "cleanup_expired_idempotency_keys(interval '7 days')"),
        ("FsmEvents", "90d", "cleanup_old_fsm_events(interval '90 days')"),
    ],
)
async def test_a_target_removes_what_the_contracts_function_would(
    app_db: Database, target: str, keep: str, function: str
) -> None:
    """Not a row more or less: afterwards the function, which still answers, finds nothing."""
    await outbox_of_every_kind(app_db)
    await add_keys(app_db, "8 days", "6 days")
    await add_events(app_db, 91, 89)
    tables = ("job_outbox", "idempotency_keys", "fsm_events")
    async with app_db.acquire() as session:
        transaction = session.transaction()
        await transaction.start()
        expected = await session.fetchval(f"SELECT {function}")
        left = [{row[0] for row in await session.fetch(f"SELECT t::text FROM {table} AS t")} for table in tables]
        await transaction.rollback()
    report = await run(app_db, rule(target, keep))

    assert report.rules[0].deleted == expected > 0
    assert [{row[0] for row in await app_db.fetch(f"SELECT t::text FROM {table} AS t")} for table in tables] == left
    assert await app_db.fetchval(f"SELECT {function}") == 0


async def test_dead_rows_go_by_their_last_attempt(app_db: Database) -> None:
    """Not those that a running course waits for, nor pending ones; `cron.job` has no say in it."""
    await outbox_of_every_kind(app_db)
    await app_db.execute("SELECT cron.unschedule($1)", OUTBOX)
    before = await count(app_db, "job_outbox")
    report = await run(app_db, rule("OutboxDead", "30d"))

    assert (report.outcome, report.rules[0].deleted) == ("succeeded", 2)
    assert await count(app_db, "job_outbox") == before - 2
    dead = await app_db.fetchval(
        "SELECT count(*) FROM job_outbox WHERE processed_at IS NULL AND retry_count >= max_retries"
    )
    assert report.rules[0].remaining == dead == 6


async def test_history_takes_along_what_the_schedules_job_takes_along(app_db: Database, db: Database) -> None:
    """Critical events of the same age, administrators' actions of a year; both are counted as going beside."""
    await add_events(app_db, 91, 10)
    for age in ("91 days", "92 days", "89 days"):
        await db.execute(
            "INSERT INTO system_metrics (event_type, created_at) VALUES ('job_rollback', now() - $1::text::interval)",
            age,
        )
    await db.execute(
        "INSERT INTO admin_actions (user_id, action, target, at)"
        " VALUES (gen_random_uuid(), 'queue.pause', 'q', now() - interval '366 days')"
    )
    done = (await run(app_db, rule("FsmEvents", "90d", batchSize=1))).rules[0]

    assert (done.outcome, done.matched, done.deleted, done.beside, done.remaining) == ("succeeded", 1, 4, 3, 1)
    assert await count(db, "system_metrics") == 1
    assert await count(db, "admin_actions") == 0
    assert await noted(app_db, EVENTS) == ("succeeded", "4 rows removed")


async def test_a_dry_run_removes_nothing_and_is_no_run(app_db: Database) -> None:
    """It counts; `cron.job` hears nothing of it."""
    await add_keys(app_db, *["8 days"] * 3, "1 day")
    report = await run(app_db, rule("IdempotencyKeys"), RETENTION_DRY_RUN="true")

    assert (report.outcome, report.dry_run) == ("succeeded", True)
    assert (report.rules[0].deleted, report.rules[0].matched, report.rules[0].remaining) == (0, 3, 4)
    assert await count(app_db, "idempotency_keys") == 4
    assert await noted(app_db, KEYS) == (None, None)


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"RETENTION_MAX_DELETE_FRACTION": "0.5"}, "3 of 5 rows (60.0%) would go"),
        ({"RETENTION_MIN_KEEP_ROWS": "3"}, "2 rows would be left, fewer than the 3"),
    ],
)
async def test_the_guard_refuses_the_whole_rule(app_db: Database, variables: dict[str, Any], complaint: str) -> None:
    """Not a single row goes, a dry run says the same, other rules go on."""
    await add_keys(app_db, *["8 days"] * 3, *["1 day"] * 2)
    await add_events(app_db, 91, *[1] * 9)
    rules = rule("IdempotencyKeys"), rule("FsmEvents", "90d")
    dry = await run(app_db, *rules, RETENTION_DRY_RUN="1", **variables)
    report = await run(app_db, *rules, **variables)

    assert dry.outcome == report.outcome == "guarded"
    assert [each.outcome for each in report.rules] == ["guarded", "succeeded"]
    assert complaint in report.rules[0].message
    assert (await count(app_db, "idempotency_keys"), await count(app_db, "fsm_events")) == (5, 9)
    status, message = await noted(app_db, KEYS)
    assert status == "failed"
    assert complaint in (message or "")


async def test_most_rows_of_a_run_are_a_limit_and_the_next_goes_on(app_db: Database) -> None:
    """Partial while something is left; the run that removes the last is not."""
    await add_keys(app_db, *["8 days"] * 5)
    limited = rule("IdempotencyKeys", batchSize=2, maxRowsPerRun=3)
    first = await run(app_db, limited)
    said = await noted(app_db, KEYS)
    second = await run(app_db, limited)
    await add_keys(app_db, *["8 days"] * 3)
    third = await run(app_db, limited)

    assert [(each.outcome, each.rules[0].deleted) for each in (first, second, third)] == [
        ("partial", 3), ("succeeded", 2), ("succeeded", 3),
    ]  # fmt: skip
    assert said == ("succeeded", "3 rows removed; maxRowsPerRun (3) was reached; the next run goes on")


class HurryingClock(StandingClock):
    """A second passes whenever it is looked at."""

    def monotonic(self) -> float:
        """One more than the last time."""
        self.pass_by(1)
        return super().monotonic()


async def test_a_run_ends_in_time_and_every_rule_has_its_share(app_db: Database) -> None:
    """A rule with too much to do does not starve the next one."""
    await add_keys(app_db, *["8 days"] * 40)
    await add_events(app_db, *[91] * 3)
    rules = rule("IdempotencyKeys", batchSize=1), rule("FsmEvents", "90d")
    report = await run(app_db, *rules, clock=HurryingClock(), RETENTION_MAX_RUN_SECONDS="40")

    assert [each.outcome for each in report.rules] == ["partial", "succeeded"]
    assert 15 <= report.rules[0].deleted <= 20
    assert report.rules[0].remaining == 40 - report.rules[0].deleted
    assert "maxRunSeconds" in report.rules[0].message
    assert report.rules[1].deleted == 3


async def test_it_stops_after_the_batch_at_hand_when_told(app_db: Database) -> None:
    """What is left is left to the next run."""
    await add_keys(app_db, *["8 days"] * 4)
    stopping = asyncio.Event()
    running = asyncio.create_task(
        run(app_db, rule("IdempotencyKeys", batchSize=1, pauseMillis=60_000), stopping=stopping)
    )
    await eventually(lambda: _is_count(app_db, 3), within=10)
    stopping.set()
    report = await asyncio.wait_for(running, 5)

    assert (report.outcome, report.rules[0].deleted, report.rules[0].remaining) == ("partial", 1, 3)
    assert "told to stop" in report.rules[0].message


async def _is_count(db: Database, number: int) -> bool:
    return await count(db, "idempotency_keys") == number


@pytest.mark.parametrize("target", sorted(CRON_JOBS))
async def test_an_unscheduled_target_is_left_alone_and_says_so(app_db: Database, target: Target) -> None:
    """It is no failure, and no run either; scheduled again, it runs."""
    await add_keys(app_db, "100 days")
    await add_events(app_db, 100)
    await add_row(app_db, await add_course(app_db), age="100 days")
    await app_db.execute("SELECT cron.unschedule($1)", CRON_JOBS[target])
    off = await run(app_db, rule(target))
    await app_db.execute("SELECT cron.schedule_defaults()")
    on = await run(app_db, rule(target))

    assert (off.outcome, off.rules[0].deleted, off.has_failed) == ("unscheduled", 0, False)
    assert "cron.schedule_defaults()" in off.rules[0].message
    assert (on.outcome, on.rules[0].deleted) == ("succeeded", 1)


async def test_a_job_that_is_not_active_is_off_the_schedule(db: Database) -> None:
    """An operator's UPDATE is enough."""
    await add_keys(db, "8 days")
    await db.execute("UPDATE cron.job SET active = false WHERE jobname = $1", KEYS)

    assert (await run(db, rule("IdempotencyKeys"))).outcome == "unscheduled"
    assert await noted(db, KEYS) == (None, None)


async def test_a_job_unscheduled_in_the_middle_stops_there(app_db: Database) -> None:
    """Before the next batch."""
    await add_keys(app_db, *["8 days"] * 4)
    running = asyncio.create_task(run(app_db, rule("IdempotencyKeys", batchSize=1, pauseMillis=1000)))
    await eventually(lambda: _is_count(app_db, 3), within=10)
    await app_db.execute("SELECT cron.unschedule($1)", KEYS)
    report = await asyncio.wait_for(running, 10)

    assert (report.outcome, report.rules[0].deleted) == ("partial", 1)
    assert "off the schedule" in report.rules[0].message


@pytest.mark.parametrize("target", ["IdempotencyKeys", "OutboxDead"])
async def test_what_somebody_else_runs_is_left_to_him(db: Database, database_url: str, target: str) -> None:
    """The local stack's scheduler or a second Job, at this moment."""
    await add_keys(db, "8 days")
    await add_row(db, await add_course(db), age="8 days", dead=True)
    other = await connect(database_url)
    async with other.transaction():
        await other.execute("SELECT * FROM cron.job FOR UPDATE")
        key = "coursegen retention OutboxDead public.job_outbox"
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", key)
        report = await run(db, rule(target))
    await other.close()

    assert (report.outcome, report.rules[0].deleted, report.has_failed) == ("held", 0, False)
    assert (await count(db, "idempotency_keys"), await count(db, "job_outbox")) == (1, 1)
    assert await noted(db, KEYS) == (None, None)


async def test_two_runs_at_once_remove_every_row_once(app_db: Database) -> None:
    """Whoever finds the target held leaves it to the other; together they report what there was."""
    await add_keys(app_db, *["8 days"] * 60)
    runs = await asyncio.gather(*(run(app_db, rule("IdempotencyKeys", batchSize=1)) for _ in range(3)))

    assert sum(each.rules[0].deleted for each in runs) == 60 - await count(app_db, "idempotency_keys")
    assert {each.outcome for each in runs} <= {"succeeded", "partial", "held"}
    assert (await run(app_db, rule("IdempotencyKeys"))).outcome == "succeeded"
    assert await count(app_db, "idempotency_keys") == 0


async def test_rows_that_somebody_holds_are_left_for_the_next_run(db: Database, database_url: str) -> None:
    """Nobody waits for a cleanup, nor a cleanup for anybody."""
    await add_keys(db, *["8 days"] * 3)
    other = await connect(database_url)
    async with other.transaction():
        await other.execute("SELECT * FROM idempotency_keys LIMIT 1 FOR UPDATE")
        report = await asyncio.wait_for(run(db, rule("IdempotencyKeys")), 5)
    await other.close()

    assert (report.outcome, report.rules[0].deleted, report.rules[0].remaining) == ("succeeded", 2, 1)
    assert (await run(db, rule("IdempotencyKeys"))).rules[0].deleted == 1


async def test_a_table_that_stays_locked_fails_its_rule_alone(app_db: Database, database_url: str) -> None:
    """After a short wait, with what to look at; the other rule goes on."""
    await add_keys(app_db, "8 days")
    await add_events(app_db, 91)
    other = await connect(database_url)
    async with other.transaction():
        await other.execute("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE")
        report = await asyncio.wait_for(run(app_db, rule("IdempotencyKeys"), rule("FsmEvents", "90d")), 30)
    await other.close()

    assert [each.outcome for each in report.rules] == ["failed", "succeeded"]
    assert "pg_stat_activity" in report.rules[0].message
    assert (await noted(app_db, KEYS))[0] == "failed"


async def test_a_schema_that_is_not_there_names_the_next_command(db: Database) -> None:
    """The other rules go on."""
    await db.execute("ALTER TABLE fsm_events RENAME TO gone")
    report = await run(db, rule("FsmEvents"), rule("IdempotencyKeys"))

    assert [each.outcome for each in report.rules] == ["failed", "succeeded"]
    assert "coursegen migrate" in report.rules[0].message
    assert (await noted(db, EVENTS))[0] == "failed"


async def test_a_large_table_is_judged_by_a_sample(db: Database) -> None:
    """Where a count takes too long: the figures are marked, and the guard works by them."""
    await db.execute("CREATE TABLE visits (id int, at timestamptz)")
    await db.execute(
        "INSERT INTO visits SELECT n, now() - make_interval(days => n % 10) FROM generate_series(1, 200000) AS n"
    )
    await db.execute("ANALYZE visits")
    custom = rule("Custom", "5d", table="visits", timestampColumn="at", batchSize=100_000)
    limits: dict[str, Any] = {"RETENTION_COUNT_SECONDS": "0.001"}
    guarded = await run(db, custom, RETENTION_MAX_DELETE_FRACTION="0.3", **limits)
    report = await run(db, custom, **limits)
    done: Any = report.rules[0]

    assert (guarded.outcome, guarded.rules[0].is_estimate) == ("guarded", True)
    assert guarded.rules[0].message.startswith("about ")
    assert (report.outcome, done.is_estimate) == ("succeeded", True)
    assert 90_000 <= done.deleted <= 120_000
    assert abs(done.matched - done.deleted) < 10_000
    assert await db.fetchval("SELECT count(*) FROM visits WHERE at < now() - interval '5 days 1 hour'") == 0
