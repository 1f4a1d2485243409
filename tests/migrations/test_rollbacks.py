"""The ways back: each script with data present, and the way forward again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from services.kernel.database import Database
from services.kernel.errors import SchemaMissing
from services.kernel.schema import require_relations
from services.migrate.files import due, find_directory, read_directory
from services.migrate.runner import apply_all
from tests.support.courses import add_course, footprint
from tests.support.marked import DOCS, marked
from tests.support.servers import psql
from tests.support.tokens import ORGANIZATION, USER

_SCRIPTS = Path(__file__).resolve().parents[2] / "rollback"
_OUTBOX = ["job_outbox", "idempotency_keys", "fsm_events"]
_CALL = (
    "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, 'API_INITIATE', 'stage_4_init',"
    ' \'[{"queue": "course-generation", "job_type": "STRUCTURE_ANALYSIS"}]\'::jsonb)'
)


def run_script(name: str, url: str, *, force: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script by the command of docs/MIGRATIONS.md, which has another one's name."""
    command = marked(DOCS / "MIGRATIONS.md", "rollback-script")
    assert "rollback/002_full.sql" in command
    environ = os.environ | ({"PGOPTIONS": "-c coursegen.force=on"} if force else {})
    environ |= {"DATABASE_URL": url, "PATH": f"{psql().parent}:{os.environ['PATH']}"}
    script = command.replace("002_full.sql", name).replace("psql ", "psql -XqAt ")
    return subprocess.run(
        ["bash", "-ec", script], env=environ, cwd=_SCRIPTS.parent, capture_output=True, text=True, check=False
    )


@pytest.fixture
async def course(db: Database) -> UUID:
    """A course with rows in all three tables, one of its jobs pending."""
    course_id = await add_course(db)
    await db.fetchval(_CALL, course_id, USER, ORGANIZATION, "before")
    return course_id


async def _there(db: Database, *names: str) -> list[str]:
    return [name for name in names if await db.fetchval("SELECT to_regclass($1) IS NOT NULL", f"public.{name}")]


def _with_amendments(*versions: str) -> list[str]:
    """What migrating applies when the list has lost `versions`."""
    files = read_directory(find_directory())
    return [file.version for file in due(files, {file.version for file in files} - set(versions))]


async def test_level_4_removes_the_outbox_and_nothing_else(db: Database, database_url: str, course: UUID) -> None:
    """Function, three tables and two records go; no process starts; migrating brings them back, empty and working."""
    done = run_script("000_level_4.sql", database_url)

    assert done.returncode == 0, done.stderr
    assert await _there(db, *_OUTBOX, "courses", "effect_ledger") == ["courses", "effect_ledger"]
    assert await db.fetchval("SELECT to_regproc('initialize_fsm_with_outbox')") is None
    with pytest.raises(SchemaMissing, match=r"fsm_events, idempotency_keys, job_outbox.*coursegen migrate"):
        await require_relations(db)

    applied = await apply_all(database_url)
    assert [each.version for each in applied][:2] == ["20251118094238", "20251118095804"]
    assert [each.version for each in applied] == _with_amendments("20251118094238", "20251118095804")
    await require_relations(db)
    await db.fetchval(_CALL, course, USER, ORGANIZATION, "after")
    assert (await footprint(db, course)).size == (1, 1, 1)


@pytest.mark.parametrize(
    ("script", "gone"),
    [
        ("000_level_4.sql", _OUTBOX),
        ("003_progress.sql", ("system_metrics",)),
        (
            "004_messages.sql",
            ("messages", "message_payloads", "message_receipts", "message_partitions", "message_workers"),
        ),
    ],
    ids=["000", "003", "004"],
)
async def test_a_rollback_may_be_run_again(
    db: Database, database_url: str, course: UUID, script: str, gone: tuple[str, ...]
) -> None:
    """Half a rollback can be finished."""
    for _ in range(2):
        assert run_script(script, database_url).returncode == 0
    assert await _there(db, *gone) == []


async def test_the_messages_go_and_come_back_empty(db: Database, database_url: str, course: UUID) -> None:
    """With their function, and nothing else with them."""
    await db.execute("INSERT INTO messages (id, conversationid, senderid, content) VALUES ('m', 'c', 's', 'Hello')")
    assert run_script("004_messages.sql", database_url).returncode == 0
    assert await db.fetchval("SELECT to_regproc('accept_messages')") is None
    assert await _there(db, *_OUTBOX, "courses") == [*_OUTBOX, "courses"]

    assert [each.version for each in await apply_all(database_url)] == ["20251123100000"]
    assert await db.fetchval("SELECT count(*) FROM messages") == 0


async def test_level_4_stops_the_cleanup_of_what_is_gone(db: Database, database_url: str, course: UUID) -> None:
    """No schedule points at a missing table; it comes back with the tables."""
    assert run_script("000_level_4.sql", database_url).returncode == 0
    assert await db.fetchval("SELECT count(*) FROM cron.job") == 0

    await apply_all(database_url)
    assert await db.fetchval("SELECT cron.schedule_defaults()") == 3


async def test_the_full_rollback_refuses_while_rows_are_pending(db: Database, database_url: str, course: UUID) -> None:
    """Nothing is removed, and the way to give them up is named."""
    done = run_script("002_full.sql", database_url)

    assert done.returncode != 0
    assert "1 outbox rows are pending" in done.stderr
    assert "coursegen.force=on" in done.stderr
    assert (await footprint(db, course)).size == (1, 1, 1)


@pytest.mark.parametrize("force", [False, True])
async def test_the_full_rollback_needs_no_cascade(db: Database, database_url: str, course: UUID, force: bool) -> None:
    """Function by its bare name, then the three tables, then the schedule; all of it comes back."""
    if not force:
        await db.execute("UPDATE job_outbox SET processed_at = now()")
    done = run_script("002_full.sql", database_url, force=force)

    assert done.returncode == 0, done.stderr
    assert await _there(db, *_OUTBOX) == []
    assert await db.fetchval("SELECT count(*) FROM cron.job") == 0

    await apply_all(database_url)
    assert await db.fetchval("SELECT cron.schedule_defaults()") == 3
    await db.fetchval(_CALL, course, USER, ORGANIZATION, "after")
    assert (await footprint(db, course)).size == (1, 1, 1)


async def test_keeping_the_data_touches_no_row(db: Database, database_url: str, course: UUID) -> None:
    """Cleanup stops, the relay that leads is fenced off, requests are still accepted and pile up."""
    before, epoch = await footprint(db, course), await db.fetchval("SELECT epoch FROM relay_leadership")
    done = run_script("002_keep_data.sql", database_url)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1|1|1"
    assert await footprint(db, course) == before
    assert await db.fetchval("SELECT count(*) FROM cron.job") == 0
    assert await db.fetchval("SELECT epoch FROM relay_leadership") == epoch + 1
    await db.fetchval(_CALL, course, USER, ORGANIZATION, "meanwhile")
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE processed_at IS NULL") == 2
    assert await apply_all(database_url) == []


async def test_progress_and_metrics_go_and_come_back(db: Database, database_url: str, course: UUID) -> None:
    """003: function, table, two types, none with CASCADE."""
    await db.execute("INSERT INTO system_metrics (event_type, severity) VALUES ('job_rollback', 'error')")
    await db.fetchval("SELECT update_course_progress($1, 3, 'in_progress', 'x')", course)
    shown = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    done = run_script("003_progress.sql", database_url)

    assert done.returncode == 0, done.stderr
    assert await _there(db, "system_metrics", "courses") == ["courses"]
    assert await db.fetchval("SELECT to_regtype('metric_severity')") is None
    assert await db.fetchval("SELECT to_regtype('metric_event_type')") is None
    assert await db.fetchval("SELECT to_regproc('update_course_progress')") is None
    assert await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course) == shown

    applied = await apply_all(database_url)
    assert [each.name for each in applied] == [
        "create_system_metrics",
        "create_update_course_progress_rpc",
        "keep_progress_rising",
    ]
    assert await db.fetchval("SELECT update_course_progress($1, 3, 'in_progress', 'x')", course) == shown


async def test_the_sources_own_statements_work_as_written(db: Database, course: UUID) -> None:
    """002 and 003 drop without CASCADE and without argument lists (TRAP10)."""
    for statement in (
        "DROP FUNCTION IF EXISTS initialize_fsm_with_outbox",
        "DROP TABLE IF EXISTS fsm_events",
        "DROP TABLE IF EXISTS idempotency_keys",
        "DROP TABLE IF EXISTS job_outbox",
        "SELECT cron.unschedule('cleanup_old_outbox_entries')",
        "SELECT cron.unschedule('cleanup_expired_idempotency_keys')",
        "DROP FUNCTION IF EXISTS update_course_progress",
        "DROP TABLE IF EXISTS system_metrics",
        "DROP TYPE IF EXISTS metric_severity",
        "DROP TYPE IF EXISTS metric_event_type",
    ):
        await db.execute(statement)

    assert await _there(db, *_OUTBOX, "system_metrics") == []
