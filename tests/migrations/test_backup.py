"""The backup that docs/DEPLOYMENT-CHECKLIST.md takes, and the way back with it, as an owner who is no superuser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret
from services.migrate.runner import apply_all
from tests.migrations.test_rollbacks import run_script
from tests.support import checklist
from tests.support.courses import add_course, totals
from tests.support.rehearsal import filled
from tests.support.servers import APPLICATION_ROLE, Postgres, psql, with_user
from tests.support.tokens import ORGANIZATION, USER

_CALL = (
    "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, 'API_INITIATE', 'stage_4_init',"
    ' \'[{"queue": "course-generation", "job_type": "STRUCTURE_ANALYSIS"}]\'::jsonb)'
)


@pytest.fixture
async def owners_url(postgres_server: Postgres, database_url: str) -> AsyncIterator[str]:
    """A migrated database of an owner whom row security binds; `database_url` has made the other roles."""
    owner = f"{urlsplit(database_url).path.lstrip('/')}_owner"
    postgres_server.run_sql(f'CREATE ROLE "{owner}" LOGIN CREATEROLE; GRANT service_role TO "{owner}"')
    postgres_server.run_sql(f'CREATE DATABASE "{owner}" OWNER "{owner}"')
    url = postgres_server.url(owner, user=owner)
    await apply_all(url)
    yield url
    postgres_server.run_sql(f'DROP DATABASE "{owner}" WITH (FORCE)')
    postgres_server.run_sql(f'DROP ROLE "{owner}"')


def _tool(name: str, *arguments: str, url: str, archive: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a tool of PostgreSQL: pg_dump into the archive, anything else from it."""
    argv = [str(psql().with_name(name)), *arguments, f"--dbname={url}"]
    if name == "pg_dump":
        with archive.open("wb") as file:
            return subprocess.run(argv, stdout=file, stderr=subprocess.PIPE, check=False)
    with archive.open("rb") as file:
        return subprocess.run(argv, stdin=file, capture_output=True, check=False)


def _printed(tool: str) -> list[str]:
    """The options with which the page calls a tool; the service that it connects by is the test's address."""
    options = {tuple(re.findall(r"-\S+", each)) for each in re.findall(rf"\b{tool} ([^|<>\n]*)[<>]", checklist.text())}
    (only,) = {tuple(each for each in found if not each.startswith("--dbname")) for found in options}
    return list(only)


async def test_the_backup_has_everything_and_brings_it_back(owners_url: str, tmp_path: Path) -> None:
    """With the options that the page prints: all tables, all rows although row security is forced, after level 4 as well."""
    settings = CommonSettings(database_url=Secret(with_user(owners_url, APPLICATION_ROLE)))
    archive = tmp_path / "before.dump"
    db = await Database.open(settings)
    for number in range(3):
        await db.fetchval(_CALL, await add_course(db), USER, ORGANIZATION, f"key-{number}")
    before = await totals(db)

    refused = _tool("pg_dump", "-Fc", url=owners_url, archive=archive)
    dumped = _tool("pg_dump", *_printed("pg_dump"), url=owners_url, archive=archive)
    removed = run_script("000_level_4.sql", owners_url)
    await db.close()
    restored = _tool("pg_restore", *_printed("pg_restore"), url=owners_url, archive=archive)
    db = await Database.open(settings)
    after = await totals(db)
    await db.close()

    assert (refused.returncode, dumped.returncode, removed.returncode) == (1, 0, 0), dumped.stderr
    assert restored.returncode == 0, restored.stderr
    assert before == after
    assert (after["courses"], after["job_outbox"]) == (3, 3)
    script = subprocess.run(
        [psql().with_name("pg_restore"), "-f", "-", archive], capture_output=True, text=True, check=True
    ).stdout
    copied = len(re.findall(r"^COPY", script, re.MULTILINE))
    assert f"\n{copied}\n```\n\n{copied} tables, read to the end" in checklist.text()


async def test_every_statement_of_the_page_runs(database_url: str) -> None:
    """As whom the page says, against the schema of this release; what they change is undone."""
    statements = re.findall(r"\b(sql|owner) \"((?:[^\"\\]|\\.)*)\"", checklist.text())
    urls = {"sql": with_user(database_url, APPLICATION_ROLE), "owner": database_url}
    for who, url in urls.items():
        db = await Database.open(CommonSettings(database_url=Secret(url)))
        for statement in [text for name, text in statements if name == who]:
            with pytest.raises(_Undone):
                async with db.transaction() as session:
                    if "ADD COLUMN next_attempt_at" in statement:  # it mends what the test has to break first
                        await session.execute("ALTER TABLE job_outbox DROP COLUMN next_attempt_at")
                    await session.execute(filled(statement))
                    raise _Undone
        await db.close()

    assert len(statements) > 40


class _Undone(Exception):
    """Ends a transaction without keeping it."""
