"""What the operator's Jobs run: each task ends with a report that says how it went, whatever happened."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.migrate.files import find_directory, read_directory
from tests.support.migrating import CONTRACT, FIRST, SECOND, SLEEPING, THIRD, Tasks, folder_of
from tests.support.servers import Postgres, PrivatePostgres, psql
from tests.support.waiting import eventually_sync

_VERSIONS = ["20260101000000", "20260102000000", "20260103000000"]
_RELEASE = {
    FIRST: "CREATE TABLE things (id int, old int);",
    SECOND: "CREATE TABLE more (id int);",
    THIRD: CONTRACT + "ALTER TABLE things DROP COLUMN old;",
}


@pytest.fixture
def tasks(empty_database_url: str, tmp_path: Path) -> Tasks:
    """Tasks on an empty database, with a release of two files and a third for phase contract."""
    return Tasks(empty_database_url, folder_of(tmp_path / "files", **_RELEASE), tmp_path)


def test_from_plan_to_contract(tasks: Tasks) -> None:
    """As on Kubernetes: look, apply what was looked at, contract when the rollout has soaked, look again."""
    planned = tasks.run("plan")
    assert planned.code == 0
    assert planned.report == {
        "task": "plan",
        "outcome": "succeeded",
        "targetRevision": _VERSIONS[1],
        "pending": _VERSIONS[:2],
        "pendingCount": 2,
        "baselineCount": 0,
        "planHash": planned.report["planHash"],
        "destructive": [],
        "destructiveCount": 0,
        "contractPending": _VERSIONS[2:],
        "contractPendingCount": 1,
        "contractPlanHash": planned.report["contractPlanHash"],
        "contractDestructive": [{"revision": _VERSIONS[2], "statement": "ALTER TABLE things DROP COLUMN old"}],
        "applied": [],
        "transient": False,
    }
    applied = tasks.run("apply", f"--expect-plan={planned.report['planHash']}")
    assert (applied.code, applied.report["outcome"], applied.report["applied"]) == (0, "succeeded", _VERSIONS[:2])
    assert (applied.report["currentRevision"], applied.report["pendingCount"]) == (_VERSIONS[1], 0)
    assert applied.report["drift"]["state"] == "InSync"

    contract = f"--expect-plan={planned.report['contractPlanHash']}", "--allow-destructive", "--backup=b-1"
    contracted = tasks.run("contract", *contract)
    assert (contracted.code, contracted.report["applied"]) == (0, _VERSIONS[2:])
    assert contracted.report["contractPendingCount"] == 0

    after = tasks.run("plan").report
    assert (after["outcome"], after["pendingCount"], after["contractPendingCount"]) == ("succeeded", 0, 0)
    assert "planHash" not in after
    assert "contractPlanHash" not in after
    assert tasks.run("drift").report["drift"]["state"] == "InSync"


def test_the_release_itself_is_planned_and_applied(empty_database_url: str, tmp_path: Path) -> None:
    """Every file of it, within the bytes of a termination message."""
    tasks = Tasks(empty_database_url, find_directory(), tmp_path)
    versions = [file.version for file in read_directory(find_directory())]
    planned = tasks.run("plan").report

    assert (planned["pendingCount"], planned["pending"]) == (len(versions), versions[:20])
    assert tasks.run("apply", f"--expect-plan={planned['planHash']}").report["currentRevision"] == versions[-1]


def test_a_plan_that_has_changed_is_refused(tasks: Tasks) -> None:
    """Nothing is done; the report has the new one."""
    old = tasks.run("plan").report["planHash"]
    folder_of(tasks.folder, **{SECOND: "CREATE TABLE others (id int);"})
    ended = tasks.run("apply", f"--expect-plan={old}")

    assert (ended.code, ended.report["outcome"], ended.report["transient"]) == (1, "denied", False)
    assert ended.report["planHash"] == tasks.run("plan").report["planHash"] != old
    assert ended.report["pendingCount"] == 2


def test_destructive_statements_are_denied(tasks: Tasks) -> None:
    """The report names them; leave without a backup is not enough."""
    tasks.run("apply")
    folder_of(tasks.folder, **{"20260104000000_forget": "UPDATE things SET id = 0;\nTRUNCATE more;"})
    denied = tasks.run("apply")

    assert (denied.code, denied.report["outcome"]) == (1, "denied")
    assert [each["statement"] for each in denied.report["destructive"]] == ["UPDATE things SET id = 0", "TRUNCATE more"]
    assert tasks.run("apply", "--allow-destructive").report["outcome"] == "denied"
    assert tasks.run("apply", "--allow-destructive", "--backup=b").report["outcome"] == "succeeded"
    folder_of(tasks.folder, **{"20260105000000_forget_more": "TRUNCATE things;"})
    spent = tasks.run("apply", "--allow-destructive", "--backup=b").report
    assert (spent["outcome"], spent["backupSpent"]) == ("denied", True)
    assert "backupSpent" not in denied.report


def test_a_database_that_is_ahead_is_no_error(tasks: Tasks, postgres_server: Postgres) -> None:
    """After a return to an older release: planned and applied, nothing is done, and drift is looked for all the same."""
    tasks.run("apply")
    postgres_server.run_sql(
        "INSERT INTO supabase_migrations.schema_migrations (version, name) VALUES ('29990101000000', 'later')",
        url=tasks.url,
    )
    for task in ("plan", "apply"):
        ended = tasks.run(task)
        assert (ended.code, ended.report["outcome"]) == (0, "ahead")
        assert ended.report["currentRevision"] == "29990101000000"
    assert tasks.run("drift").report["outcome"] == "succeeded"


def test_a_target_is_where_it_ends(tasks: Tasks) -> None:
    """Forward only: the way back is named."""
    first = tasks.run("apply", f"--target={_VERSIONS[0]}").report
    assert (first["applied"], first["targetRevision"]) == (_VERSIONS[:1], _VERSIONS[0])

    tasks.run("apply", "--target=head")
    back = tasks.run("apply", f"--target={_VERSIONS[0]}")
    assert (back.code, back.report["outcome"]) == (1, "denied")
    assert "rollback/" in back.report["error"]

    unknown = tasks.run("plan", "--target=20200101000000")
    assert (unknown.code, unknown.report["outcome"], unknown.report["transient"]) == (2, "failed", False)


def test_a_file_that_fails_is_named(tasks: Tasks) -> None:
    """With what stands applied before it; that is permanent."""
    folder_of(tasks.folder, **{SECOND: "CREATE TABLE more (id int);\nSELECT nonsense;"})
    ended = tasks.run("apply")

    assert (ended.code, ended.report["outcome"], ended.report["transient"]) == (1, "failed", False)
    assert (ended.report["applied"], ended.report["revision"]) == (_VERSIONS[:1], _VERSIONS[1])
    assert ended.report["currentRevision"] == _VERSIONS[0]
    assert ended.report["pending"] == _VERSIONS[1:2]
    assert f"{SECOND}.sql, line 2" in ended.report["error"]


def test_a_lock_that_is_held_passes(tasks: Tasks, postgres_server: Postgres) -> None:
    """It is transient: whoever holds it will go."""
    tasks.run("apply")
    folder_of(tasks.folder, **{"20260104000000_alter": "ALTER TABLE things ADD COLUMN x int;"})
    with _holding(postgres_server, tasks.url, "things"):
        ended = tasks.run("apply", MIGRATE_LOCK_SECONDS="0.1", MIGRATE_LOCK_TRIES="1")

    assert (ended.report["outcome"], ended.report["transient"]) == ("failed", True)
    assert "pg_stat_activity" in ended.report["error"]


def test_another_runner_passes(tasks: Tasks, postgres_server: Postgres) -> None:
    """It is transient, for every task that changes something."""
    folder_of(tasks.folder, **{FIRST: "SELECT pg_sleep(60);"})
    other = Tasks(tasks.url, tasks.folder, folder_of(tasks.place / "other"))
    with other.started("apply"):
        eventually_sync(lambda: postgres_server.run_sql(SLEEPING, url=tasks.url) == "1", within=30)
        looked = tasks.run("drift", MIGRATE_WAIT_SECONDS="1")
        ended = tasks.run("apply", MIGRATE_WAIT_SECONDS="1")
        planned = tasks.run("plan")

    for each in (looked, ended):
        assert (each.report["outcome"], each.report["transient"]) == ("failed", True)
    assert planned.report["outcome"] == "succeeded"


def test_a_server_that_is_away_is_unreachable(tmp_path: Path) -> None:
    """For every task; the password is nowhere."""
    folder = folder_of(tmp_path / "files", **_RELEASE)
    tasks = Tasks("postgresql://owner:s3cr3t-word@127.0.0.1:1/x", folder, tmp_path)
    for task in ("plan", "apply", "contract", "drift"):
        ended = tasks.run(task, MIGRATE_CONNECT_SECONDS="1")
        assert (ended.code, ended.report["outcome"], ended.report["transient"]) == (1, "unreachable", True)
        assert "s3cr3t-word" not in str(ended)


def test_a_server_that_goes_away_is_unreachable(private_postgres: PrivatePostgres, tmp_path: Path) -> None:
    """In the middle of a file: nothing of it is kept, and the same run succeeds when the server is back."""
    url = Postgres(private_postgres.url()).create(migrated=False)
    tasks = Tasks(url, folder_of(tmp_path / "files", **_RELEASE), tmp_path)
    folder_of(tasks.folder, **{SECOND: "CREATE TABLE more (id int); SELECT pg_sleep(60);"})
    with tasks.started("apply") as process:
        eventually_sync(lambda: Postgres(private_postgres.url()).run_sql(SLEEPING, url=url) == "1", within=30)
        private_postgres.stop()
        said, _ = process.communicate(timeout=30)
    ended = tasks.ended(process, said)

    assert (ended.code, ended.report["outcome"], ended.report["transient"]) == (1, "unreachable", True)
    assert (ended.report["applied"], ended.report["revision"]) == (_VERSIONS[:1], _VERSIONS[1])
    private_postgres.start()
    folder_of(tasks.folder, **{SECOND: _RELEASE[SECOND]})
    assert tasks.run("apply").report["applied"] == _VERSIONS[1:2]


def test_a_task_that_is_told_to_stop_says_so(tasks: Tasks, postgres_server: Postgres) -> None:
    """As when its node is drained: another attempt may follow at once."""
    folder_of(tasks.folder, **{SECOND: "CREATE TABLE more (id int); SELECT pg_sleep(60);"})
    with tasks.started("apply") as process:
        eventually_sync(lambda: postgres_server.run_sql(SLEEPING, url=tasks.url) == "1", within=30)
        process.send_signal(signal.SIGTERM)
        process.wait(5)
    ended = tasks.ended(process)

    assert (ended.code, ended.report["outcome"], ended.report["transient"]) == (143, "failed", True)
    assert ended.report["applied"] == _VERSIONS[:1]
    assert "SIGTERM" in ended.report["error"]


def test_a_task_that_is_killed_leaves_nothing_half(tasks: Tasks, postgres_server: Postgres) -> None:
    """The file in hand is gone with the session, its lock as well; the plan that was approved is finished by the next."""
    sleep = "SELECT pg_sleep(coalesce(current_setting('a.b', true), '60')::int);"
    folder_of(tasks.folder, **{SECOND: f"CREATE TABLE more (id int); {sleep}"})
    approved = f"--expect-plan={tasks.run('plan').report['planHash']}"
    asleep = SLEEPING.replace("pg_sleep(60)", "pg_sleep(coalesce")
    with tasks.started("apply", approved) as process:
        eventually_sync(lambda: postgres_server.run_sql(asleep, url=tasks.url) == "1", within=30)
        process.kill()
        process.wait()
    assert tasks.ended(process).report == {}
    tables = "SELECT to_regclass('things') IS NOT NULL, to_regclass('more') IS NULL"
    eventually_sync(lambda: postgres_server.run_sql(asleep, url=tasks.url) == "0", within=10)
    assert postgres_server.run_sql(tables, url=tasks.url) == "t|t"

    left = tasks.run("plan").report
    assert left["pending"] == _VERSIONS[1:2]
    assert f"--expect-plan={left['planHash']}" != approved
    no_sleep = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET a.b = ''0''', current_database()); END $$"
    postgres_server.run_sql(no_sleep, url=tasks.url)
    assert tasks.run("apply", "--expect-plan=" + "0" * 16).report["outcome"] == "denied"
    finished = tasks.run("apply", approved)
    assert (finished.report["outcome"], finished.report["applied"]) == ("succeeded", _VERSIONS[1:2])


def test_a_file_that_was_changed_stops_every_task_that_plans(tasks: Tasks) -> None:
    """And says which one."""
    tasks.run("apply")
    folder_of(tasks.folder, **{FIRST: "CREATE TABLE things (id bigint);"})
    for task in ("plan", "apply"):
        ended = tasks.run(task)
        assert (ended.report["outcome"], ended.report["transient"]) == ("failed", False)
        assert FIRST in ended.report["error"]


@contextmanager
def _holding(server: Postgres, url: str, table: str) -> Iterator[None]:
    """Another session holds the lock of `table` for the block."""
    argv = [str(psql()), "-XqAt", "-d", url, "-c", f"BEGIN; LOCK TABLE {table}; SELECT pg_sleep(60)"]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    mode = "mode = 'AccessExclusiveLock' AND granted"
    held = f"SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND {mode}"
    try:
        eventually_sync(lambda: server.run_sql(held, url=url) == "1", within=20)
        yield
    finally:
        server.run_sql(SLEEPING.replace("count(*)", "count(pg_terminate_backend(pid))"), url=url)
        process.wait()


def test_a_check_for_drift_tells_what_is_pending_up_to_the_target(tasks: Tasks) -> None:
    """And no more: by that the operator sees that revisions were lost."""
    target = f"--target={_VERSIONS[0]}"
    assert tasks.run("drift", target).report["pending"] == _VERSIONS[:1]
    tasks.run("apply", target)
    found = tasks.run("drift", target).report

    assert (found["outcome"], found["targetRevision"]) == ("succeeded", _VERSIONS[0])
    assert (found["pending"], found["pendingCount"]) == ([], 0)
    assert tasks.run("drift").report["pending"] == _VERSIONS[1:2]


def test_a_check_for_drift_counts_what_the_baseline_stands_for(tasks: Tasks) -> None:
    """A database that is taken over as a whole has no list yet; one that is not as the baseline says lacks everything."""
    baseline = f"--baseline={_VERSIONS[1]}"
    assert tasks.run("drift", baseline).report["pendingCount"] == 2
    by_hand = "CREATE TABLE things (id int, old int); CREATE TABLE more (id int)"
    subprocess.run([psql(), tasks.url, "-c", by_hand], check=True, capture_output=True)

    assert tasks.run("plan", baseline).report["pendingCount"] == 0
    assert tasks.run("drift", baseline).report["pendingCount"] == 0
