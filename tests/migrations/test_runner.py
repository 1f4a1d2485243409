"""The runner: each file once, in order, whole or not at all, whoever starts first."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.kernel.database import connect
from services.kernel.errors import DatabaseDenied, DatabaseUnavailable, OperatorError
from services.migrate.errors import ChecksumChanged, MigrationFailed, RunnerBusy
from services.migrate.files import find_directory, read_directory
from services.migrate.history import LOCK_KEY
from services.migrate.request import Request
from services.migrate.runner import apply_all
from tests.support.migrating import FIRST, SECOND, SLEEPING, folder_of, runner_on, value
from tests.support.servers import APPLICATION_ROLE, Postgres, PrivatePostgres, with_user
from tests.support.waiting import eventually, eventually_sync


async def test_all_files_are_applied_once_and_recorded(empty_database_url: str) -> None:
    """From nothing, in order; a second run finds nothing to do."""
    files = read_directory(find_directory())
    applied = await apply_all(empty_database_url)

    assert [each.version for each in applied] == [file.version for file in files]
    assert await apply_all(empty_database_url) == []
    session = await connect(empty_database_url)
    rows = await session.fetch(
        "SELECT version, name, executed_at, checksum FROM supabase_migrations.schema_migrations ORDER BY version"
    )
    await session.close()
    assert [(row["version"], row["name"], row["checksum"]) for row in rows] == [
        (file.version, file.name, file.checksum) for file in files
    ]
    assert all(row["executed_at"] for row in rows)


async def test_two_runners_at_once_apply_each_file_once(empty_database_url: str) -> None:
    """The second waits for the first without holding a snapshot, which CREATE INDEX CONCURRENTLY would wait for."""
    both = await asyncio.gather(apply_all(empty_database_url), apply_all(empty_database_url))

    versions = sorted(each.version for applied in both for each in applied)
    assert versions == [file.version for file in read_directory(find_directory())]


async def test_a_broken_file_leaves_nothing_of_itself(empty_database_url: str, tmp_path: Path) -> None:
    """What stood before it stays; the error names file and line and what to do."""
    folder = folder_of(
        tmp_path,
        **{
            FIRST: "CREATE TABLE things (id int);",
            SECOND: "CREATE TABLE more (id int);\n\nSELECT no_such_column FROM things;",
        },
    )
    with pytest.raises(MigrationFailed) as failure:
        await apply_all(empty_database_url, folder)

    assert f"{SECOND}.sql, line 3: column" in failure.value.message
    assert "Nothing of this file was kept" in failure.value.message
    assert "run `coursegen migrate` again" in failure.value.message
    assert await value(empty_database_url, "SELECT to_regclass('things')") == "things"
    assert await value(empty_database_url, "SELECT to_regclass('more')") is None

    folder_of(tmp_path, **{SECOND: "CREATE TABLE more (id int);"})
    assert [each.name for each in await apply_all(empty_database_url, folder)] == ["make_more"]


async def test_a_changed_file_stops_the_run_before_anything_is_done(empty_database_url: str, tmp_path: Path) -> None:
    """Unless its new text is accepted by name."""
    folder = folder_of(tmp_path, **{FIRST: "CREATE TABLE things (id int);"})
    await apply_all(empty_database_url, folder)
    folder_of(tmp_path, **{FIRST: "CREATE TABLE things (id bigint);", SECOND: "CREATE TABLE more (id int);"})

    with pytest.raises(ChecksumChanged, match="--accept 20260101000000"):
        await apply_all(empty_database_url, folder)
    assert await value(empty_database_url, "SELECT to_regclass('more')") is None

    applied = await runner_on(empty_database_url, folder).apply(Request(accept=("20260101000000",)))
    assert [each.name for each in applied] == ["make_more"]
    assert await apply_all(empty_database_url, folder) == []


async def test_a_file_without_transaction_runs_statement_by_statement(empty_database_url: str, tmp_path: Path) -> None:
    """CREATE INDEX CONCURRENTLY works, and what stood before a failing statement is kept."""
    folder = folder_of(
        tmp_path,
        **{
            FIRST: "CREATE TABLE things (id int);",
            SECOND: (
                "-- migrate: no-transaction\n"
                "DROP INDEX CONCURRENTLY IF EXISTS things_id;\n"
                "CREATE INDEX CONCURRENTLY things_id ON things (id);\n"
                "SELECT 1/0;"
            ),
        },
    )
    with pytest.raises(MigrationFailed, match=r"line 4: division by zero.*was kept"):
        await apply_all(empty_database_url, folder)
    assert await value(empty_database_url, "SELECT to_regclass('things_id')") == "things_id"

    standings = {each.name: each.state for each in await runner_on(empty_database_url, folder).standings()}
    assert standings == {"make_things": "applied", "make_more": "pending"}


async def test_a_held_lock_is_not_waited_for_long(empty_database_url: str, tmp_path: Path) -> None:
    """lock_timeout ends the wait, a few tries follow, then the error says who is in the way."""
    folder = folder_of(tmp_path, **{FIRST: "CREATE TABLE things (id int);"})
    await apply_all(empty_database_url, folder)
    folder_of(tmp_path, **{SECOND: "ALTER TABLE things ADD COLUMN name text;"})
    holder = await connect(empty_database_url)
    async with holder.transaction():
        await holder.execute("SELECT * FROM things")
        with pytest.raises(MigrationFailed, match="pg_stat_activity"):
            await runner_on(empty_database_url, folder, lock_seconds=0.1, lock_tries=2).apply()
    applied = await runner_on(empty_database_url, folder, lock_seconds=0.1, lock_tries=2).apply()
    await holder.close()

    assert [each.name for each in applied] == ["make_more"]


async def test_without_a_transaction_only_concurrently_waits_long(empty_database_url: str, tmp_path: Path) -> None:
    """A statement beside it holds up everyone who comes later, as in any other file: it gives up after `lock_seconds`."""
    folder = folder_of(tmp_path, **{FIRST: "CREATE TABLE things (id int);"})
    await apply_all(empty_database_url, folder)
    header, name = "-- migrate: no-transaction\n", SECOND
    folder_of(tmp_path, **{name: f"{header}SELECT 1;\nALTER TABLE things ADD COLUMN name text; -- not CONCURRENTLY"})
    holder = await connect(empty_database_url)
    async with holder.transaction():
        await holder.execute("INSERT INTO things VALUES (1)")
        with pytest.raises(MigrationFailed, match=r"line 3: .*lock timeout"):
            await runner_on(empty_database_url, folder, lock_seconds=0.1, lock_tries=2).apply()

    folder_of(tmp_path, **{name: f"{header}CREATE INDEX CONCURRENTLY things_id ON things (id);"})
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("INSERT INTO things VALUES (2)")
    running = asyncio.create_task(runner_on(empty_database_url, folder, lock_seconds=0.1, lock_tries=1).apply())
    waited = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND query LIKE '%CREATE INDEX%' AND clock_timestamp() > query_start + interval '0.5 s'"
    )
    await eventually(lambda: value(empty_database_url, waited), within=10)
    await transaction.rollback()
    await holder.close()

    assert [each.name for each in await running] == ["make_more"]


async def test_a_lock_that_falls_meanwhile_costs_a_try_only(empty_database_url: str, tmp_path: Path) -> None:
    """The file is tried again from its beginning."""
    folder = folder_of(tmp_path, **{FIRST: "CREATE TABLE things (id int);"})
    await apply_all(empty_database_url, folder)
    folder_of(tmp_path, **{SECOND: "ALTER TABLE things ADD COLUMN name text;"})
    holder = await connect(empty_database_url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT * FROM things")
    running = asyncio.create_task(runner_on(empty_database_url, folder, lock_seconds=0.1, lock_tries=50).apply())
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'things'::regclass"
    await eventually(lambda: holder.fetchval(waiting), within=10)
    await eventually(lambda: holder.fetchval(f"SELECT NOT EXISTS ({waiting} HAVING count(*) > 0)"), within=10)
    await transaction.rollback()
    await holder.close()

    assert [each.name for each in await running] == ["make_more"]


async def test_a_statement_that_takes_too_long_is_ended(empty_database_url: str, tmp_path: Path) -> None:
    """And the error names the setting."""
    folder = folder_of(tmp_path, **{FIRST: "SELECT pg_sleep(20);"})
    with pytest.raises(MigrationFailed, match="MIGRATE_STATEMENT_SECONDS"):
        await runner_on(empty_database_url, folder, statement_seconds=0.2).apply()


async def test_a_runner_waits_for_another_only_so_long(empty_database_url: str, tmp_path: Path) -> None:
    """Then it says so, and nothing is wrong."""
    folder = folder_of(tmp_path, **{FIRST: "SELECT 1;"})
    other = await connect(empty_database_url)
    await other.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
    with pytest.raises(RunnerBusy, match="another runner"):
        await runner_on(empty_database_url, folder, wait_seconds=0.5).apply()
    await other.close()

    assert len(await runner_on(empty_database_url, folder, wait_seconds=20).apply()) == 1


async def test_a_table_of_supabase_is_given_what_it_lacks(empty_database_url: str, tmp_path: Path) -> None:
    """Stock Supabase has neither executed_at nor checksum (TRAP6); what it lists is taken as applied."""
    folder = folder_of(tmp_path, **{FIRST: "SELECT 1/0;", SECOND: "SELECT 1;"})
    session = await connect(empty_database_url)
    await session.execute("CREATE SCHEMA supabase_migrations")
    await session.execute(
        "CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY, statements text[], name text)"
    )
    await session.execute(
        "INSERT INTO supabase_migrations.schema_migrations (version, name) VALUES ('20260101000000', 'make_things')"
    )
    await session.close()

    assert [each.name for each in await apply_all(empty_database_url, folder)] == ["make_more"]
    missing = "SELECT count(*) FROM supabase_migrations.schema_migrations WHERE checksum IS NULL OR executed_at IS NULL"
    assert await value(empty_database_url, missing) == 0


async def test_an_older_file_that_is_missing_is_applied_late(empty_database_url: str, tmp_path: Path) -> None:
    """Rollbacks take lines out of the list; a line without a file is shown as unknown and left alone."""
    folder = folder_of(tmp_path, **{FIRST: "CREATE TABLE things (id int);", SECOND: "SELECT 1;"})
    await apply_all(empty_database_url, folder)
    session = await connect(empty_database_url)
    await session.execute("DROP TABLE things")
    await session.execute(
        "UPDATE supabase_migrations.schema_migrations SET version = '2' WHERE version LIKE '20260101%'"
    )
    await session.close()

    assert [each.name for each in await apply_all(empty_database_url, folder)] == ["make_things"]
    standings = [(each.version, each.state) for each in await runner_on(empty_database_url, folder).standings()]
    assert standings == [("2", "unknown"), ("20260101000000", "applied"), ("20260102000000", "applied")]


async def test_a_file_applied_again_takes_its_amendments_with_it(empty_database_url: str, tmp_path: Path) -> None:
    """So that an older form of a function does not come back; the list of what stands says so beforehand."""
    third, fourth = "20260103000000_make_it_three", "20260104000000_stand_apart"
    function = "CREATE OR REPLACE FUNCTION answer() RETURNS int LANGUAGE sql RETURN {};"
    folder = folder_of(
        tmp_path,
        **{
            FIRST: function.format(1),
            SECOND: f"-- Amends: {FIRST}\n" + function.format(2),
            third: f"-- Amends:  {SECOND}\n\n" + function.format(3),
            fourth: "SELECT 1;",
        },
    )
    await apply_all(empty_database_url, folder)
    assert await apply_all(empty_database_url, folder) == []
    session = await connect(empty_database_url)
    await session.execute("DELETE FROM supabase_migrations.schema_migrations WHERE version LIKE '20260101%'")
    await session.close()
    standings = [each.state for each in await runner_on(empty_database_url, folder).standings()]

    assert standings == ["pending", "pending", "pending", "applied"]
    applied = await apply_all(empty_database_url, folder)
    assert [each.name for each in applied] == ["make_things", "make_more", "make_it_three"]
    assert await value(empty_database_url, "SELECT answer()") == 3
    assert await apply_all(empty_database_url, folder) == []


async def test_the_applications_role_is_told_that_it_is_the_wrong_one(
    postgres_server: Postgres, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    """It owns nothing and may create nothing."""
    postgres_server.run_sql("SELECT 1", url=database_url)  # the role exists once any database is migrated
    with pytest.raises(OperatorError, match="owner of the database"):
        await apply_all(with_user(empty_database_url, APPLICATION_ROLE))

    folder = folder_of(tmp_path, **{FIRST: "ALTER TABLE courses ADD COLUMN x int;"})
    grant = f"GRANT INSERT ON supabase_migrations.schema_migrations TO {APPLICATION_ROLE}"
    postgres_server.run_sql(grant, url=database_url)
    with pytest.raises(MigrationFailed, match="owner of the database"):
        await apply_all(with_user(database_url, APPLICATION_ROLE), folder)


async def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """For as long as the setting says, then the error names DATABASE_URL."""
    folder = folder_of(tmp_path, **{FIRST: "SELECT 1;"})
    with pytest.raises(DatabaseUnavailable, match="DATABASE_URL"):
        await runner_on("postgresql://nobody@127.0.0.1:1/x", folder, connect_seconds=1).apply()


async def test_a_login_that_is_refused_is_not_waited_for(postgres_server: Postgres, tmp_path: Path) -> None:
    """Nobody else makes the owner's role; the error names DATABASE_URL."""
    folder = folder_of(tmp_path, **{FIRST: "SELECT 1;"})
    url = postgres_server.url("no_such_database")
    with pytest.raises(DatabaseDenied, match='"no_such_database" does not exist; look at DATABASE_URL'):
        await asyncio.wait_for(runner_on(url, folder, connect_seconds=600).apply(), 10)


class TestProcess:
    """`python -m services.migrate`."""

    @staticmethod
    def _run(url: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        argv = [sys.executable, "-m", "services.migrate", *arguments]
        return subprocess.run(
            argv,
            env=environ | ({"DATABASE_URL": url} if url else {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def test_it_migrates_and_says_so(self, empty_database_url: str) -> None:
        """Lines for people first, then JSON for scripts."""
        planned = json.loads(self._run(empty_database_url, "--plan", "--json").stdout)["migrations"]
        done = self._run(empty_database_url)
        again = json.loads(self._run(empty_database_url, "--json").stdout)
        status = json.loads(self._run(empty_database_url, "--status", "--json").stdout)["migrations"]

        assert done.returncode == 0
        assert len(planned) == len(status) == len(read_directory(find_directory()))
        assert f"{len(planned)} migrations applied" in done.stdout
        assert again == {"applied": []}
        assert {each["state"] for each in planned} == {"pending"}
        assert {each["state"] for each in status} == {"applied"}

    def test_a_failure_is_an_exit_code_and_a_sentence(self, empty_database_url: str, tmp_path: Path) -> None:
        """On standard error for people, in the document for scripts."""
        folder = folder_of(tmp_path / "files", **{FIRST: "SELECT 1;", SECOND: "SELEC 1;"})
        done = self._run(empty_database_url, "--json", "--directory", str(folder))
        document = json.loads(done.stdout)

        assert done.returncode == 1
        assert "syntax error" in done.stderr
        assert [each["name"] for each in document["applied"]] == ["make_things"]
        assert document["error"]["code"] == "migration_failed"

    def test_without_a_database_it_says_which_setting_is_missing(self) -> None:
        """Exit code 78, like every process."""
        done = self._run(None)

        assert done.returncode == 78
        assert "DATABASE_URL" in done.stderr

    @contextmanager
    def _start(self, url: str, log: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        argv = [sys.executable, "-m", "services.migrate", *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                argv, env={**os.environ, "DATABASE_URL": url, **environment}, stdout=output, stderr=output
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def test_it_waits_for_a_server_that_is_not_there_yet(
        self, private_postgres: PrivatePostgres, tmp_path: Path
    ) -> None:
        """It says so once, and migrates when the server is there: no attempt of a Job is used up."""
        url, log = Postgres(private_postgres.url()).create(migrated=False), tmp_path / "log"
        private_postgres.stop()
        with self._start(url, log, MIGRATE_CONNECT_SECONDS="60") as process:
            eventually_sync(lambda: "migrate: PostgreSQL does not answer" in log.read_text(), within=20)
            private_postgres.start()

            assert process.wait(30) == 0
            assert log.read_text().count("does not answer") == 1
            assert "the database is up to date" in log.read_text()

    @pytest.mark.parametrize("each", [signal.SIGTERM, signal.SIGINT])
    def test_it_stops_waiting_when_told(self, each: signal.Signals, tmp_path: Path) -> None:
        """At once, with the code of the signal and no traceback."""
        log = tmp_path / "log"
        with self._start("postgresql://nobody@127.0.0.1:1/x", log, MIGRATE_CONNECT_SECONDS="600") as process:
            eventually_sync(lambda: "does not answer" in log.read_text(), within=20)
            process.send_signal(each)

            assert process.wait(2) == 128 + each
            assert f"stopped by {each.name}; files that were applied stay applied" in log.read_text()
            assert "Traceback" not in log.read_text()

    def test_of_a_file_in_hand_nothing_is_kept_when_it_is_told_to_stop(
        self, empty_database_url: str, postgres_server: Postgres, tmp_path: Path
    ) -> None:
        """Its transaction ends with the process, in time for Kubernetes; the files before it stay."""
        folder = folder_of(
            tmp_path / "files",
            **{FIRST: "CREATE TABLE things (id int);", SECOND: "CREATE TABLE more (id int); SELECT pg_sleep(60);"},
        )
        with self._start(empty_database_url, tmp_path / "log", "--directory", str(folder)) as process:
            eventually_sync(lambda: postgres_server.run_sql(SLEEPING, url=empty_database_url) == "1")
            process.send_signal(signal.SIGTERM)

            assert process.wait(5) == 128 + signal.SIGTERM
        tables = "SELECT to_regclass('things') IS NOT NULL, to_regclass('more') IS NULL"
        assert postgres_server.run_sql(tables, url=empty_database_url) == "t|t"
        eventually_sync(lambda: postgres_server.run_sql(SLEEPING, url=empty_database_url) == "0")
