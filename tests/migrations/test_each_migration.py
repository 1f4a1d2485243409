"""Each migration of the release: from an empty database, and once more over what it made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from services.kernel.database import Connection, connect
from services.migrate.files import MigrationFile, due, find_directory, read_directory
from services.migrate.runner import apply_all
from tests.support import checklist
from tests.support.fences import fences
from tests.support.marked import typed_as
from tests.support.servers import APPLICATION_ROLE, REPOSITORY, Postgres, PrivatePostgres, psql, with_user

_FILES = read_directory(find_directory())
_PASSWORD = "of-the-login"

# Everything a migration can leave behind, in words: what is applied twice must not change a letter of it.
_SCHEMA = """
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
    SELECT format('column %s.%s %s %s %s', c.table_schema, c.table_name, c.column_name, c.udt_name,
                  concat_ws(' ', c.is_nullable, c.column_default, c.generation_expression)) AS line
    FROM information_schema.columns AS c WHERE c.table_schema IN ('public', 'auth', 'cron', 'supabase_migrations')
    UNION ALL SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname IN ('public', 'cron')
    UNION ALL SELECT format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
              WHERE contype <> 'n' AND connamespace::regnamespace::text IN ('public', 'auth', 'cron')
    UNION ALL SELECT format('function %s %s', p.oid::regprocedure, md5(pg_get_functiondef(p.oid)) || p.proacl::text)
              FROM pg_proc AS p WHERE p.pronamespace::regnamespace::text IN ('public', 'cron')
    UNION ALL SELECT format('policy %s', to_jsonb(pol)) FROM pg_policies AS pol
    UNION ALL SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT format('grant %s %s', c.oid::regclass, c.relacl) FROM pg_class AS c
              WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text IN ('public', 'auth', 'cron')
    UNION ALL SELECT format('enum %s %s', enumtypid::regtype, string_agg(enumlabel, ',' ORDER BY enumsortorder))
              FROM pg_enum GROUP BY enumtypid
    UNION ALL SELECT format('comment %s %s %s', objoid, objsubid, description) FROM pg_description WHERE objoid >= 16384
    UNION ALL SELECT format('job %s', to_jsonb(j)) FROM cron.job AS j
) AS lines
"""


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Connection]:
    """A migrated database, as its owner."""
    opened = await connect(database_url)
    yield opened
    await opened.close()


async def test_every_file_can_be_applied_again(session: Connection, database_url: str) -> None:
    """All of them over everything, with rows in the tables: nothing changes, nothing is lost."""
    await session.execute(
        "INSERT INTO auth.users (id) VALUES ('00000000-0000-0000-0000-000000000012');"
        "INSERT INTO courses (title, slug, user_id, organization_id)"
        " VALUES ('Test Course', 'test-course', '00000000-0000-0000-0000-000000000012', gen_random_uuid())"
    )
    before = await session.fetchval(_SCHEMA)
    await session.execute("DELETE FROM supabase_migrations.schema_migrations")
    applied = await apply_all(database_url)

    assert len(applied) == len(_FILES)
    assert _without_index_comments(await session.fetchval(_SCHEMA)) == _without_index_comments(before)
    assert await session.fetchval("SELECT count(*) FROM courses") == 1


def _without_index_comments(schema: str) -> list[str]:
    """An index that was built anew has a new number, which its comment is listed under."""
    return sorted(line.split(" ", 3)[-1] if line.startswith("comment ") else line for line in schema.splitlines())


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.filename)
async def test_each_file_can_be_applied_again_alone(
    session: Connection, database_url: str, file: MigrationFile
) -> None:
    """As after a restore that lost one line of the list; what amends it follows, so that nothing of it is lost."""
    before = sorted(_without_index_comments(await session.fetchval(_SCHEMA)))
    await session.execute("DELETE FROM supabase_migrations.schema_migrations WHERE version = $1", file.version)
    expected = due(_FILES, {each.version for each in _FILES} - {file.version})

    assert [each.version for each in await apply_all(database_url)] == [each.version for each in expected]
    assert sorted(_without_index_comments(await session.fetchval(_SCHEMA))) == before


async def test_a_job_taken_off_the_schedule_stays_off(session: Connection, database_url: str) -> None:
    """Applying the schedule's file again does not overrule an operator."""
    await session.execute("SELECT cron.unschedule('cleanup_old_fsm_events')")
    await session.execute("DELETE FROM supabase_migrations.schema_migrations")
    await apply_all(database_url)

    assert await session.fetchval("SELECT count(*) FROM cron.job") == 2


def test_psql_alone_is_enough(postgres_server: Postgres, empty_database_url: str) -> None:
    """The files are plain SQL: in order, each by `psql -f`, twice."""
    program = psql()
    for file in [*_FILES, *_FILES]:
        path = Path(find_directory()) / file.filename
        whole = ["-1"] if file.in_transaction else []
        argv = [str(program), "-XqAt", "-v", "ON_ERROR_STOP=1", *whole, "-d", empty_database_url, "-f", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{file.filename}: {done.stderr}"

    assert postgres_server.run_sql("SELECT count(*) FROM cron.job", url=empty_database_url) == "3"


def nobody_makes_it(url: str) -> None:
    """Then the migration does."""


def as_the_checklist_says(url: str) -> None:
    """The login is made by step 0.5, whose psql is asked from where nobody sits, as by `kubectl exec` in a test."""
    (block,) = typed_as(checklist.PAGE, "checklist-login")
    words = shlex.split(block.text.replace("\\\n", " "))
    said = say(url, words[words.index("psql") + 1 :], 2 * f"{_PASSWORD}\n")
    assert said.splitlines() == block.printed[0].splitlines()[:1]


def as_the_readme_says(url: str) -> None:
    """The login is made by what README.md has typed into psql."""
    (typed,) = (each for each in fences((REPOSITORY / "README.md").read_text("utf-8")) if each.language == "sql")
    say(url, ["-qAtX", "-v", "ON_ERROR_STOP=1"], typed.text + 2 * f"{_PASSWORD}\n")


def say(url: str, options: list[str], typed: str) -> str:
    """What psql prints that has no terminal to ask at."""
    argv = [str(psql()), "-d", url, *options]
    done = subprocess.run(argv, input=typed, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


_IN_THE_POD = """
set -eo pipefail
tools() { :; }
kubectl() { while [ "$1" != -- ]; do shift; done; shift; "$@"; }
sql() { PGSERVICE=app psql -X -c "$1"; }
"""


def test_a_login_has_the_password_of_its_secret_again(private_postgres: PrivatePostgres, tmp_path: Path) -> None:
    """By the checklist, with the file that the tools pod has: neither what it prints nor the server's log shows the password."""
    server = Postgres(private_postgres.url())
    server.run_sql("CREATE ROLE coursegen_app LOGIN PASSWORD 'another'")
    server.run_sql("ALTER SYSTEM SET log_statement = 'all'")
    server.run_sql("SELECT pg_reload_conf()")
    owner = private_postgres.url()
    login = with_user(owner, APPLICATION_ROLE).replace(f"{APPLICATION_ROLE}@", f"{APPLICATION_ROLE}:{_PASSWORD}@")
    assert _PASSWORD in login
    tools = REPOSITORY / "charts" / "coursegen" / "files" / "tools.py"
    addresses = {"DATABASE_URL": login, "OWNER_DATABASE_URL": owner, "REDIS_URL": "redis://127.0.0.1/0"}
    subprocess.run([sys.executable, tools], env={"TOOLS_FOLDER": str(tmp_path), **addresses}, check=True)
    (block,) = [each for each in checklist.blocks() if each.where == "The login"]
    done = subprocess.run(
        ["bash", "-c", _IN_THE_POD + block.commands.replace("/tools/", f"{tmp_path}/")],
        env={"PATH": f"{psql().parent}:/usr/bin:/bin", "PGSERVICEFILE": f"{tmp_path}/pg_service.conf"},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    kept = server.run_sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'coursegen_app'")

    assert done.returncode == 0, done.stderr
    assert checklist.unseen(block, done.stdout, "coursegen") == []
    assert is_of(kept, _PASSWORD)
    assert not is_of(kept, "another")
    assert _PASSWORD not in done.stdout + done.stderr
    log = (private_postgres.server.folder / "postgres.log").read_text("utf-8")
    assert "ALTER" in log
    assert _PASSWORD not in log


def is_of(kept: str, password: str) -> bool:
    """Whether what the server keeps of a password (RFC 5802, RFC 7677) is of this one."""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):.*", kept)
    assert found is not None, kept
    rounds, salt, stored = found.groups()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", "sha256")
    return base64.b64decode(stored) == hashlib.sha256(key).digest()


@pytest.mark.parametrize("makes", [nobody_makes_it, as_the_checklist_says, as_the_readme_says])
async def test_an_owner_without_superuser_may_migrate(
    private_postgres: PrivatePostgres, makes: Callable[[str], None]
) -> None:
    """As on a managed service: a database owner who may create roles; then the application works under row security.

    The login that the owner has made before, as the pages have it, is left as it is, with its password, which the server has
    never been told: a log of all statements has only its hash.
    """
    server = Postgres(private_postgres.url())
    server.run_sql("CREATE ROLE migrator LOGIN CREATEROLE")
    server.run_sql("CREATE DATABASE managed OWNER migrator TEMPLATE template0")
    url = server.url("managed")
    server.run_sql("ALTER ROLE migrator SET log_statement = 'all'")
    makes(with_user(url, "migrator"))
    password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'coursegen_app'"
    before = server.run_sql(password)
    await apply_all(with_user(url, "migrator"))
    application = await connect(with_user(url, APPLICATION_ROLE))
    request = {"courseId": str(uuid4()), "userId": str(uuid4()), "organizationId": str(uuid4()), "title": "Managed"}
    outcomes = await application.fetchval("SELECT initiate_generation_v2($1)", [request])

    assert outcomes[0]["status"] == "accepted"
    assert await application.execute("DELETE FROM courses") == "DELETE 1"
    assert server.run_sql(password) == before
    assert bool(before) is (makes is not nobody_makes_it)
    log = (private_postgres.server.folder / "postgres.log").read_text(encoding="utf-8")
    assert ("CREATE ROLE coursegen_app LOGIN" in log) is bool(before)
    assert _PASSWORD not in log
    await application.close()


async def test_the_statements_that_the_sources_run_for_the_list_work(session: Connection) -> None:
    """000 reads version, name and executed_at of the two named migrations (TRAP6)."""
    rows = await session.fetch(
        "SELECT version, name, executed_at FROM supabase_migrations.schema_migrations"
        " WHERE version IN ('20251118094238', '20251118095804') ORDER BY version"
    )

    assert [row["name"] for row in rows] == [
        "create_transactional_outbox_tables",
        "create_initialize_fsm_with_outbox_rpc",
    ]


async def test_every_object_says_what_it_is(session: Connection) -> None:
    """COMMENT ON for every table, function, type and trigger of ours."""
    silent = await session.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace::regnamespace::text IN ('public', 'cron') AND obj_description(oid, 'pg_class') IS NULL"
        " UNION ALL SELECT oid::regprocedure::text FROM pg_proc"
        " WHERE pronamespace::regnamespace::text IN ('public', 'cron') AND obj_description(oid, 'pg_proc') IS NULL"
        " UNION ALL SELECT oid::regtype::text FROM pg_type WHERE typtype = 'e' AND obj_description(oid, 'pg_type') IS NULL"
        " UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND obj_description(oid, 'pg_trigger') IS NULL"
    )

    assert [row[0] for row in silent] == []
