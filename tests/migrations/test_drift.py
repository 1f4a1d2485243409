"""What was changed by hand is found, named, and not hidden by the next release."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kernel.database import Connection, connect
from services.migrate.drift import Drift
from services.migrate.files import find_directory
from services.migrate.request import Request
from tests.support.migrating import FIRST, SECOND, Tasks, folder_of, runner_on, value

_CHANGES = (
    ("CREATE TABLE extra (id int PRIMARY KEY)", "table public.extra added"),
    ("DROP TABLE course_results", "table public.course_results removed"),
    ("ALTER TABLE courses ADD COLUMN extra int", "column public.courses.extra added"),
    ("ALTER TABLE courses ALTER COLUMN title TYPE varchar(900)", "column public.courses.title changed"),
    ("ALTER TABLE courses ALTER COLUMN priority SET DEFAULT 7", "column public.courses.priority changed"),
    ("ALTER TABLE courses ADD CONSTRAINT extra CHECK (true)", "constraint public.courses.extra added"),
    ("DROP INDEX idx_courses_running", "index public.courses.idx_courses_running removed"),
    ("CREATE INDEX extra ON courses (title)", "index public.courses.extra added"),
    ("ALTER TABLE courses DISABLE TRIGGER ALL", "trigger public.courses."),
    ("ALTER TABLE courses DISABLE ROW LEVEL SECURITY", "table public.courses changed (row security off)"),
    ("ALTER TABLE system_metrics SET UNLOGGED", "table public.system_metrics changed (unlogged)"),
    (
        "ALTER TABLE courses DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY",
        "table public.courses changed (row security off, row security not forced)",
    ),
    ("DROP POLICY courses_service_role ON courses", "policy public.courses.courses_service_role removed"),
    ("ALTER TYPE metric_severity ADD VALUE 'extra'", "type public.metric_severity changed"),
    (
        "CREATE OR REPLACE FUNCTION course_slug(p_title text) RETURNS text LANGUAGE sql RETURN 'x'",
        "function public.course_slug(p_title text) changed",
    ),
    ("ALTER FUNCTION course_slug(text) SECURITY DEFINER", "function public.course_slug(p_title text) changed"),
    ("CREATE VIEW extra AS SELECT 1 AS one", "view public.extra added"),
    ("ALTER TABLE cron.job ADD COLUMN extra int", "column cron.job.extra added"),
)


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Connection]:
    """A migrated database, as its owner."""
    opened = await connect(database_url)
    yield opened
    await opened.close()


async def _drift(url: str, folder: Path | None = None, **request: object) -> Drift:
    return await runner_on(url, folder or find_directory()).drift(Request(**request))  # type: ignore[arg-type]


@pytest.mark.parametrize(("change", "said"), _CHANGES, ids=lambda each: each[:40])
async def test_a_change_by_hand_is_named(session: Connection, database_url: str, change: str, said: str) -> None:
    """Every kind of object; before it, and when it may differ, all is in sync."""
    before = await _drift(database_url)
    await session.execute(change)
    after = await _drift(database_url)

    assert (before.state, after.state) == ("InSync", "Drifted")
    assert said in after.summary
    assert before.fingerprint != after.fingerprint
    assert (await _drift(database_url, ignore=("*",))).state == "InSync"


async def test_rows_and_use_are_no_drift(session: Connection, database_url: str) -> None:
    """Only what the schema is counts, not what is in it, nor how sessions look at it."""
    await session.execute(
        "INSERT INTO auth.users (id) VALUES (gen_random_uuid()); SELECT cron.unschedule('cleanup_old_fsm_events');"
        "ANALYZE; CREATE TEMP TABLE extra (id int)"
    )
    await session.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = pg_catalog', current_database()); END $$"
    )

    assert (await _drift(database_url)).state == "InSync"


async def test_a_release_does_not_hide_it(empty_database_url: str, tmp_path: Path) -> None:
    """What a file changes itself is right afterwards; what somebody else has changed still is not, until it is accepted."""
    folder = folder_of(tmp_path / "files", **{FIRST: "CREATE TABLE things (id int, note text);"})
    runner = runner_on(empty_database_url, folder)
    await runner.apply()
    session = await connect(empty_database_url)
    await session.execute("ALTER TABLE things ADD COLUMN extra int; ALTER TABLE things ALTER note SET DEFAULT 'x'")
    folder_of(folder, **{SECOND: "CREATE TABLE more (id int); ALTER TABLE things ALTER note SET DEFAULT 'y';"})
    await runner.apply()

    drift = await _drift(empty_database_url, folder)
    assert drift.summary == "1 differences: column public.things.extra added"
    assert (await _drift(empty_database_url, folder, accept_drift=True)).state == "InSync"
    assert (await _drift(empty_database_url, folder)).state == "InSync"
    await session.execute("ALTER TABLE things DROP COLUMN extra")
    assert (await _drift(empty_database_url, folder)).summary == "1 differences: column public.things.extra removed"
    await runner.apply(Request(accept_drift=True))
    assert (await _drift(empty_database_url, folder)).state == "InSync"
    await session.close()


async def test_a_schema_that_was_never_noted_is_taken_as_it_is(session: Connection, database_url: str) -> None:
    """As of an older release, or after a run that was killed: the first look notes it."""
    await session.execute("DROP TABLE supabase_migrations.schema_reference")
    assert (await _drift(database_url)).state == "InSync"

    await session.execute("ALTER TABLE courses ADD COLUMN extra int")
    assert (await _drift(database_url)).state == "Drifted"
    await session.execute(
        "INSERT INTO supabase_migrations.schema_migrations (version, name) VALUES ('29990101000000', 'later')"
    )
    assert (await _drift(database_url)).state == "InSync"


async def test_it_is_in_the_report(session: Connection, database_url: str, tmp_path: Path) -> None:
    """The task succeeds: that the schema has drifted is its finding, not its failure."""
    await session.execute("ALTER TABLE courses ADD COLUMN extra int")
    tasks = Tasks(database_url, find_directory(), tmp_path)
    ended = tasks.run("drift")

    assert (ended.code, ended.report["outcome"], ended.report["drift"]["state"]) == (0, "succeeded", "Drifted")
    assert ended.report["drift"]["summary"] == "1 differences: column public.courses.extra added"
    assert tasks.run("drift", "--ignore=public.courses.e*").report["drift"]["state"] == "InSync"
    assert await value(database_url, "SELECT count(*) FROM supabase_migrations.schema_reference") == 1
