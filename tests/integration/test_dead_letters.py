"""Rows that were given up can be seen and sent again by anyone with the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from services.kernel.database import Database
from tests.support.servers import REPOSITORY

_DEAD = """
WITH course AS (
    INSERT INTO courses (title, slug, user_id, organization_id)
    SELECT 'Bees', 'bees', u.id, gen_random_uuid() FROM (
        SELECT '00000000-0000-0000-0000-000000000012'::uuid AS id
    ) AS u RETURNING id
)
INSERT INTO job_outbox (entity_id, queue_name, job_type, retry_count, max_retries, last_error)
SELECT course.id, 'course-generation', 'STRUCTURE_ANALYSIS', tries, 5, 'it is broken' FROM course, unnest(ARRAY[5, 5, 1]) AS tries
"""


def _run(database_url: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli", "dead-letters", *arguments],
        env={"PATH": "/usr/bin:/bin", "DATABASE_URL": database_url, "COURSEGEN_HOME": str(home)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_dead_rows_are_listed_and_replayed(db: Database, database_url: str, tmp_path: Path) -> None:
    """Only rows without tries left; one by its name, then all; what is replayed is dead no more."""
    await db.execute("INSERT INTO auth.users (id) VALUES ('00000000-0000-0000-0000-000000000012')")
    await db.execute(_DEAD)
    first = json.loads(_run(database_url, tmp_path, "list", "--json").stdout)["deadLetters"]

    one = json.loads(_run(database_url, tmp_path, "replay", first[0]["outbox_id"], "--json").stdout)
    rest = _run(database_url, tmp_path, "list").stdout
    everything = json.loads(_run(database_url, tmp_path, "replay", "--all", "--json").stdout)

    assert [row["last_error"] for row in first] == ["it is broken"] * 2
    assert one == {"replayed": 1}
    assert first[0]["outbox_id"] not in rest
    assert first[1]["outbox_id"] in rest
    assert everything == {"replayed": 1}
    assert "no dead letters" in _run(database_url, tmp_path, "list").stdout
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE retry_count = 0") == 2


def test_a_replay_names_its_rows_or_says_all(database_url: str, tmp_path: Path) -> None:
    """Neither by accident."""
    done = _run(database_url, tmp_path, "replay")

    assert done.returncode == 1
    assert "--all" in done.stderr


def test_a_database_that_was_never_migrated_is_answered_with_the_next_command(
    database_url: str, tmp_path: Path
) -> None:
    """Every PostgreSQL has a database `postgres`; this one holds no tables."""
    done = _run(urlsplit(database_url)._replace(path="/postgres").geturl(), tmp_path, "list")

    assert done.returncode == 1
    assert "run `coursegen migrate`" in done.stderr
    assert "Traceback" not in done.stderr
