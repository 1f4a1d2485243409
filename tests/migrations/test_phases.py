"""Expand before the new code, contract after the old one; nothing is taken away without leave and a backup."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from services.kernel.database import connect
from services.migrate.errors import BackupSpent, Denied, MigrationFailed
from services.migrate.request import Request
from services.migrate.runner import apply_all
from tests.support.migrating import CONTRACT, FIRST, SECOND, THIRD, folder_of, runner_on, value

_RELEASE = {
    FIRST: "CREATE TABLE IF NOT EXISTS things (id int, old int);",
    SECOND: CONTRACT + "ALTER TABLE things DROP COLUMN IF EXISTS old;",
    THIRD: "ALTER TABLE things ADD COLUMN IF NOT EXISTS new int;",
}
_COLUMNS = (
    "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute"
    " WHERE attrelid = 'things'::regclass AND attnum > 0 AND NOT attisdropped"
)
_CONTRACT = Request(phase="contract", allow_destructive=True, backup="backup-7")


async def test_a_plain_run_leaves_contract_files_out(empty_database_url: str, tmp_path: Path) -> None:
    """They are shown as waiting, and applied by their own phase, with the backup in the list."""
    folder = folder_of(tmp_path / "files", **_RELEASE)
    applied = await apply_all(empty_database_url, folder)
    states = [each.state for each in await runner_on(empty_database_url, folder).standings()]

    assert [each.name for each in applied] == ["make_things", "drop_old"]
    assert states == ["applied", "contract", "applied"]
    assert await value(empty_database_url, _COLUMNS) == "id,old,new"

    applied = await runner_on(empty_database_url, folder).apply(_CONTRACT)
    backups = (
        "SELECT string_agg(coalesce(backup_id, '-'), ' ' ORDER BY version) FROM supabase_migrations.schema_migrations"
    )
    assert [each.name for each in applied] == ["make_more"]
    assert await value(empty_database_url, _COLUMNS) == "id,new"
    assert await value(empty_database_url, backups) == "- backup-7 -"
    assert await runner_on(empty_database_url, folder).apply(_CONTRACT) == []


async def test_both_phases_at_once_take_the_files_as_they_come(empty_database_url: str, tmp_path: Path) -> None:
    """For a database that no older code uses."""
    folder = folder_of(tmp_path / "files", **_RELEASE)
    request = Request(phase="both", allow_destructive=True, backup="none-it-is-new")
    applied = await runner_on(empty_database_url, folder).apply(request)

    assert [each.name for each in applied] == ["make_things", "make_more", "drop_old"]


async def test_contract_waits_for_expand(empty_database_url: str, tmp_path: Path) -> None:
    """Nothing of it is done."""
    folder = folder_of(tmp_path / "files", **_RELEASE)
    with pytest.raises(Denied, match="phase expand come first"):
        await runner_on(empty_database_url, folder).apply(_CONTRACT)

    assert await value(empty_database_url, "SELECT to_regclass('things')") is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(), r"20260102000000_make_more.sql, line 1: DROP TABLE things.*--allow-destructive"),
        (Request(allow_destructive=True), "--backup ID"),
    ],
    ids=["no leave", "no backup"],
)
async def test_nothing_is_taken_away_unasked(
    empty_database_url: str, tmp_path: Path, request_: Request, message: str
) -> None:
    """Not even the harmless file before it is applied: the plan is refused as a whole."""
    folder = folder_of(tmp_path / "files", **{FIRST: "CREATE TABLE things (id int);"})
    await apply_all(empty_database_url, folder)
    folder_of(folder, **{SECOND: "DROP TABLE things;", "20260101500000_between": "CREATE TABLE other (id int);"})
    with pytest.raises(Denied, match=message):
        await runner_on(empty_database_url, folder).apply(request_)
    assert await value(empty_database_url, "SELECT to_regclass('things') IS NOT NULL AND to_regclass('other') IS NULL")

    await runner_on(empty_database_url, folder).apply(Request(allow_destructive=True, backup="b"))
    assert await value(empty_database_url, "SELECT to_regclass('things') IS NULL AND to_regclass('other') IS NOT NULL")


_THINGS = "CREATE TABLE things (id int, a int, b int, c int, d int);"


def _dropping(column: str, number: int) -> dict[str, str]:
    return {f"2026010{number}000000_drop_{column}": f"ALTER TABLE things DROP COLUMN {column};"}


def _with(backup: str) -> Request:
    return Request(allow_destructive=True, backup=backup)


async def _is_there(url: str, column: str) -> bool:
    columns: str = await value(url, _COLUMNS)
    return column in columns.split(",")


async def test_a_backup_is_good_for_one_plan(empty_database_url: str, tmp_path: Path) -> None:
    """Also when another one was named in between: the list remembers every one. Nothing of the refused plan is done."""
    folder = folder_of(tmp_path / "files", **{FIRST: _THINGS})
    runner = runner_on(empty_database_url, folder)
    await runner.apply()
    for column, number, backup in (("a", 2, "dump-1"), ("b", 3, "dump-2")):
        folder_of(folder, **_dropping(column, number))
        await runner.apply(_with(backup))
    folder_of(folder, **_dropping("c", 4), **{"20260105000000_drop_d": CONTRACT + "ALTER TABLE things DROP COLUMN d;"})

    for backup in ("dump-1", " dump-2 "):
        with pytest.raises(BackupSpent, match=f"{backup.strip()} was used for another plan.*--backup ID"):
            await runner.apply(_with(backup))
    assert await _is_there(empty_database_url, "c")
    await runner.apply(_with("dump-3"))
    with pytest.raises(BackupSpent):
        await runner.apply(dataclasses.replace(_with("dump-3"), phase="contract"))
    assert not await _is_there(empty_database_url, "c")
    assert await _is_there(empty_database_url, "d")


async def test_what_is_left_of_a_plan_goes_on_with_its_backup(empty_database_url: str, tmp_path: Path) -> None:
    """However often it breaks off. A file that was applied with it and is lost since is not what was left."""
    folder = folder_of(tmp_path / "files", **{FIRST: _THINGS})
    runner = runner_on(empty_database_url, folder)
    await runner.apply()
    folder_of(folder, **_dropping("a", 2), **_dropping("b", 3), **_dropping("c", 4))
    for column in ("b", "c"):
        await _run(empty_database_url, f"ALTER TABLE things RENAME {column} TO away")
        with pytest.raises(MigrationFailed):
            await runner.apply(_with("dump-1"))
        await _run(empty_database_url, f"ALTER TABLE things RENAME away TO {column}")
    assert [each.name for each in await runner.apply(_with("dump-1"))] == ["drop_c"]

    await _run(empty_database_url, "ALTER TABLE things ADD a int")
    await _deleted(empty_database_url, "20260102000000")
    with pytest.raises(BackupSpent):
        await runner.apply(_with("dump-1"))


async def _deleted(url: str, *versions: str) -> None:
    for version in versions:
        await _run(url, f"DELETE FROM supabase_migrations.schema_migrations WHERE version = '{version}'")


async def test_a_spent_backup_stays_spent_whatever_becomes_of_the_list(empty_database_url: str, tmp_path: Path) -> None:
    """A rollback script takes its line out; a plan that loses nothing writes over the line of a file that is amended."""
    folder = folder_of(tmp_path / "files", **{FIRST: "CREATE TABLE IF NOT EXISTS things (a int, b int);"})
    runner = runner_on(empty_database_url, folder)
    await runner.apply()
    folder_of(folder, **{SECOND: "ALTER TABLE things DROP COLUMN IF EXISTS a;"})
    await runner.apply(_with(" dump-1 "))
    await _deleted(empty_database_url, SECOND[:14])
    with pytest.raises(BackupSpent, match="dump-1"):
        await runner.apply(_with("dump-1"))
    await runner.apply(_with("dump-2"))

    await _run(
        empty_database_url, "UPDATE supabase_migrations.schema_migrations SET backup_id = NULL, plan_hash = NULL"
    )
    folder_of(folder, **{THIRD: "ALTER TABLE things DROP COLUMN b;"})
    for backup in ("dump-1", "dump-2"):
        with pytest.raises(BackupSpent, match=backup):
            await runner.apply(_with(backup))
    assert await _is_there(empty_database_url, "b")
    await runner.apply(_with("dump-3"))
    uses = "SELECT string_agg(concat_ws(' ', backup_id, version), ', ' ORDER BY used_at) FROM supabase_migrations.used_backups"
    assert (
        await value(empty_database_url, uses) == "dump-1 20260102000000, dump-2 20260102000000, dump-3 20260103000000"
    )


async def test_a_backup_is_spent_by_the_first_thing_that_it_lost(empty_database_url: str, tmp_path: Path) -> None:
    """A file without a transaction has no line until its end. Its own plan goes on with that backup, and no other plan does."""
    folder = folder_of(tmp_path / "files", **{FIRST: "CREATE TABLE things (a int, b int);"})
    runner = runner_on(empty_database_url, folder)
    await runner.apply()
    broken = "-- migrate: no-transaction\nALTER TABLE things DROP COLUMN IF EXISTS a;\nALTER TABLE away DROP COLUMN b;"
    folder_of(folder, **{SECOND: broken})
    with pytest.raises(MigrationFailed):
        await runner.apply(_with("dump-1"))
    assert not await _is_there(empty_database_url, "a")

    folder_of(folder, **{SECOND: broken.replace("away", "things")})
    with pytest.raises(BackupSpent):
        await runner.apply(_with("dump-1"))
    folder_of(folder, **{SECOND: broken})
    await _run(empty_database_url, "CREATE TABLE away (b int)")
    assert [each.name for each in await runner.apply(_with("dump-1"))] == ["make_more"]


async def test_the_list_of_an_older_release_says_which_backups_are_spent(
    empty_database_url: str, tmp_path: Path
) -> None:
    """They are noted before anything is done, and are known when its lines are gone."""
    folder = folder_of(tmp_path / "files", **{FIRST: _THINGS})
    runner = runner_on(empty_database_url, folder)
    await runner.apply()
    folder_of(folder, **_dropping("a", 2))
    await runner.apply(_with("dump-1"))
    await _run(empty_database_url, "DROP TABLE supabase_migrations.used_backups")
    await runner.apply()
    await _run(empty_database_url, "ALTER TABLE things ADD a int")
    await _deleted(empty_database_url, "20260102000000")

    with pytest.raises(BackupSpent):
        await runner.apply(_with("dump-1"))


async def _run(url: str, statement: str) -> None:
    session = await connect(url)
    await session.execute(statement)
    await session.close()


async def test_an_older_list_is_read_and_given_what_it_lacks(empty_database_url: str, tmp_path: Path) -> None:
    """Of a release that knew neither plans nor backups: what it lists counts, also before anything is changed."""
    folder = folder_of(tmp_path / "files", **_RELEASE)
    await apply_all(empty_database_url, folder)
    session = await connect(empty_database_url)
    await session.execute(
        "ALTER TABLE supabase_migrations.schema_migrations"
        " DROP COLUMN plan_hash, DROP COLUMN backup_id, DROP COLUMN is_due_again"
    )
    await session.close()

    found = await runner_on(empty_database_url, folder).survey()
    assert found.expand.files == ()
    assert found.current == "20260103000000"
    assert await apply_all(empty_database_url, folder) == []


async def test_amendments_follow_also_when_the_run_broke_off(empty_database_url: str, tmp_path: Path) -> None:
    """What an earlier file brought back does not stay, and the amending line was never out of the list."""
    function = "CREATE OR REPLACE FUNCTION answer() RETURNS int LANGUAGE sql RETURN {};"
    folder = folder_of(
        tmp_path / "files", **{FIRST: function.format(1), THIRD: f"-- Amends: {FIRST}\n" + function.format(2)}
    )
    await apply_all(empty_database_url, folder)
    session = await connect(empty_database_url)
    await session.execute("DELETE FROM supabase_migrations.schema_migrations WHERE version = '20260101000000'")
    await session.close()
    folder_of(folder, **{SECOND: "SELECT 1/0;"})
    with pytest.raises(MigrationFailed):
        await apply_all(empty_database_url, folder)
    assert await value(empty_database_url, "SELECT answer()") == 1
    assert await value(empty_database_url, "SELECT count(*) FROM supabase_migrations.schema_migrations") == 2

    folder_of(folder, **{SECOND: "SELECT 1;"})
    assert [each.name for each in await apply_all(empty_database_url, folder)] == ["make_more", "drop_old"]
    assert await value(empty_database_url, "SELECT answer()") == 2


async def test_a_contract_file_waits_again_when_its_loss_came_back(empty_database_url: str, tmp_path: Path) -> None:
    """After a rollback: the expanding file brings the column back, the contract takes it away in its own time."""
    folder = folder_of(
        tmp_path / "files", **{FIRST: _RELEASE[FIRST], SECOND: f"-- Amends: {FIRST}\n{_RELEASE[SECOND]}"}
    )
    await apply_all(empty_database_url, folder)
    await runner_on(empty_database_url, folder).apply(_CONTRACT)
    session = await connect(empty_database_url)
    await session.execute("DELETE FROM supabase_migrations.schema_migrations WHERE version = '20260101000000'")
    await session.execute("DROP TABLE things")
    await session.close()

    assert [each.name for each in await apply_all(empty_database_url, folder)] == ["make_things"]
    assert await value(empty_database_url, _COLUMNS) == "id,old"
    with pytest.raises(BackupSpent):
        await runner_on(empty_database_url, folder).apply(_CONTRACT)
    again = dataclasses.replace(_CONTRACT, backup="backup-8")
    assert [each.name for each in await runner_on(empty_database_url, folder).apply(again)] == ["make_more"]
    assert await value(empty_database_url, _COLUMNS) == "id"
