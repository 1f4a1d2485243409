"""A database that has the schema but no list of how it came to it is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.migrate.files import find_directory, read_directory
from services.migrate.runner import apply_all
from tests.support.migrating import CONTRACT, FIRST, SECOND, THIRD, Tasks, folder_of, value
from tests.support.servers import Postgres

_VERSIONS = [file.version for file in read_directory(find_directory())]
_LINES = "SELECT to_regclass('supabase_migrations.schema_migrations')::text"
_NOTED = "SELECT count(*) FROM supabase_migrations.schema_migrations"


@pytest.fixture
def adopted(database_url: str, postgres_server: Postgres, tmp_path: Path) -> Tasks:
    """Tasks on a database whose list is lost."""
    postgres_server.run_sql("DROP SCHEMA supabase_migrations CASCADE", url=database_url)
    return Tasks(database_url, find_directory(), tmp_path)


def test_files_up_to_it_are_noted_and_the_rest_is_applied(adopted: Tasks) -> None:
    """The plan says so beforehand without writing anything; naming it again changes nothing."""
    baseline = f"--baseline={_VERSIONS[-3]}"
    planned = adopted.run("plan", baseline).report
    assert (planned["outcome"], planned["pending"]) == ("succeeded", _VERSIONS[-2:])
    assert (planned["currentRevision"], adopted.run("plan").report["pendingCount"]) == (_VERSIONS[-3], len(_VERSIONS))

    applied = adopted.run("apply", baseline, f"--expect-plan={planned['planHash']}").report
    assert (applied["outcome"], applied["applied"]) == ("succeeded", _VERSIONS[-2:])
    again = adopted.run("apply", baseline).report
    assert (again["outcome"], again["pendingCount"]) == ("succeeded", 0)
    assert adopted.run("drift").report["drift"]["state"] == "InSync"


async def test_a_baseline_that_covers_every_file_is_still_to_be_noted(adopted: Tasks) -> None:
    """The plan has a hash and counts what it would note, though no file is to run; applying it makes the list, once."""
    baseline = f"--baseline={_VERSIONS[-1]}"
    expanding = [file for file in read_directory(find_directory()) if file.phase == "expand"]
    planned = adopted.run("plan", baseline).report
    assert (planned["outcome"], planned["pendingCount"], planned["baselineCount"]) == ("succeeded", 0, len(expanding))
    assert await value(adopted.url, _LINES) is None
    other = adopted.run("apply", baseline, "--expect-plan=0123456789abcdef").report
    assert (other["outcome"], await value(adopted.url, _NOTED)) == ("denied", 0)

    for _ in range(2):  # the second one stands for a Job that is run again after its report was lost
        applied = adopted.run("apply", baseline, f"--expect-plan={planned['planHash']}").report
        assert (applied["outcome"], applied["applied"], applied["baselineCount"]) == ("succeeded", [], 0)
        assert await value(adopted.url, _NOTED) == len(expanding)
    assert applied["currentRevision"] == max(file.version for file in expanding)
    again = adopted.run("plan", baseline).report
    assert (again["outcome"], again["baselineCount"], again.get("planHash")) == ("succeeded", 0, None)
    assert adopted.run("drift", baseline).report["drift"]["state"] == "InSync"


async def test_a_list_that_is_lost_later_is_seen_by_the_check_for_drift(
    adopted: Tasks, postgres_server: Postgres
) -> None:
    """It says that the baseline is to be noted once more."""
    baseline = f"--baseline={_VERSIONS[-1]}"
    assert adopted.run("apply", baseline).report["outcome"] == "succeeded"
    postgres_server.run_sql("TRUNCATE supabase_migrations.schema_migrations", url=adopted.url)
    assert adopted.run("drift", baseline).report["baselineCount"] > 0


def test_what_is_not_permitted_notes_nothing(adopted: Tasks) -> None:
    """A run that is refused has done nothing, the baseline included."""
    baseline = f"--baseline={_VERSIONS[-3]}"
    assert adopted.run("apply", baseline, "--expect-plan=0123456789abcdef").report["outcome"] == "denied"
    assert adopted.run("plan").report["pendingCount"] == len(_VERSIONS)


async def test_a_baseline_may_name_a_file_of_phase_contract(
    empty_database_url: str, tmp_path: Path, postgres_server: Postgres
) -> None:
    """It is not noted itself; the list that is noted is recognised all the same."""
    things = "CREATE TABLE IF NOT EXISTS things (id int);"
    folder = folder_of(tmp_path / "files", **{FIRST: things, SECOND: CONTRACT + "DROP TABLE IF EXISTS gone;"})
    postgres_server.run_sql(things, url=empty_database_url)
    tasks = Tasks(empty_database_url, folder, tmp_path)
    for _ in range(2):
        report = tasks.run("apply", "--baseline=20260102000000").report
        assert (report["outcome"], report["contractPending"]) == ("succeeded", ["20260102000000"])


def test_a_database_with_a_list_is_not_taken_over(database_url: str, tmp_path: Path, postgres_server: Postgres) -> None:
    """Unless the list has that revision."""
    tasks = Tasks(database_url, find_directory(), tmp_path)
    assert tasks.run("apply", f"--baseline={_VERSIONS[5]}").report["outcome"] == "succeeded"

    postgres_server.run_sql(
        f"DELETE FROM supabase_migrations.schema_migrations WHERE version = '{_VERSIONS[5]}'", url=database_url
    )
    refused = tasks.run("apply", f"--baseline={_VERSIONS[5]}")
    assert (refused.code, refused.report["outcome"]) == (1, "denied")
    assert "leave it out" in refused.report["error"]


def test_an_empty_database_is_not_taken_over(empty_database_url: str, tmp_path: Path) -> None:
    """It has none of the tables, which are named; nothing is noted."""
    tasks = Tasks(empty_database_url, find_directory(), tmp_path)
    for task in ("plan", "apply"):
        refused = tasks.run(task, f"--baseline={_VERSIONS[-1]}")
        assert refused.report["outcome"] == "denied"
        assert '"public"."courses"' in refused.report["error"] or '"public"."admin_actions"' in refused.report["error"]
    assert tasks.run("plan").report["pendingCount"] == len(_VERSIONS)
    assert tasks.run("plan", "--baseline=20200101000000").code == 2


def test_an_older_database_is_not_taken_for_a_newer_one(adopted: Tasks, postgres_server: Postgres) -> None:
    """One table too few."""
    postgres_server.run_sql("DROP TABLE admin_actions", url=adopted.url)
    refused = adopted.run("apply", f"--baseline={_VERSIONS[-1]}")

    assert refused.report["outcome"] == "denied"
    assert "admin_actions" in refused.report["error"]


async def test_contract_files_are_not_taken_as_applied(
    empty_database_url: str, tmp_path: Path, postgres_server: Postgres
) -> None:
    """They may run on a schema that has what they make, and must on one that has not."""
    folder = folder_of(
        tmp_path / "files",
        **{
            FIRST: "CREATE TABLE IF NOT EXISTS things (id int); CREATE TABLE IF NOT EXISTS gone (id int);",
            SECOND: CONTRACT + "DROP TABLE IF EXISTS gone;",
            THIRD: "CREATE TABLE more (id int);",
        },
    )
    await apply_all(empty_database_url, folder)
    postgres_server.run_sql("DROP SCHEMA supabase_migrations CASCADE", url=empty_database_url)
    report = Tasks(empty_database_url, folder, tmp_path).run("apply", "--baseline=20260103000000").report

    assert (report["outcome"], report["applied"]) == ("succeeded", [])
    assert report["contractPending"] == ["20260102000000"]
