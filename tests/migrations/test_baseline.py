"""A database that has the schema but no list of how it came to it is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.migrate.files import find_directory, read_directory
from services.migrate.runner import apply_all
from tests.support.migrating import CONTRACT, FIRST, SECOND, THIRD, Tasks, folder_of
from tests.support.servers import Postgres

_VERSIONS = [file.version for file in read_directory(find_directory())]


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
