"""The checklist's word `admin`, and every command of the runbooks that begins with it, against a running api.

Only the way into a pod is another: what stands for kubectl runs here what it would run there. On a cluster
tests/e2e/kubernetes/test_docs.py types the word.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from services.kernel.database import Database
from tests.support import checklist, tokens
from tests.support.api import running_api
from tests.support.marked import commands_of
from tests.support.rehearsal import RUNBOOKS, typed_inline
from tests.support.tokens import ADMIN, mint

Done = subprocess.CompletedProcess[str]
Types = Callable[..., Awaitable[Done]]
WHO = "00000000-0000-4000-8000-0000000000ad"
_INTO_A_POD = """#!/bin/bash
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
async def types(app_database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Types]:
    """Types commands in bash behind the checklist's words; variables may be added to those of the api's process."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(_INTO_A_POD, encoding="utf-8")
    kubectl.chmod(0o755)
    async with running_api(app_database_url, redis_url) as api:
        words = checklist.words().replace('"127.0.0.1", 3000', f'"127.0.0.1", {api.port}')
        assert str(api.port) in words

        async def call(commands: str, **variables: str) -> Done:
            path = f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin"
            return await asyncio.to_thread(
                subprocess.run,
                ["bash", "-eo", "pipefail", "-c", f"{words}\n{commands}"],
                env={"PATH": path, "JWT_SECRET": tokens.SECRET, **variables},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

        yield call


async def test_every_call_of_the_pages_is_answered(types: Types) -> None:
    """Each in the runbooks' sentences, tables and blocks, and the checklist's own block, which prints what it says."""
    blocks = [line for page in RUNBOOKS for each in commands_of(page) for line in each.text.splitlines()]
    calls = [each.text for each in typed_inline() if each.word == "admin"]
    calls += [each for each in dict.fromkeys(blocks) if each.startswith("admin ")]
    done = {each: await types(each) for each in calls}
    (own,) = [each for each in checklist.blocks() if each.mark == "checklist-admin"]
    said = await types(own.commands)

    assert {each: end.stdout + end.stderr for each, end in done.items() if end.returncode != 0} == {}
    assert len(calls) > 12
    assert said.returncode == 0, said.stdout + said.stderr
    assert checklist.unseen(own, said.stdout, "coursegen") == []


async def test_values_are_json_or_a_text(types: Types, db: Database) -> None:
    """And a record is kept of who, which is whoever has kubectl."""
    done = await types(
        'admin PUT limits/global slots=7; admin POST queues/course-generation:analysis/pause reason="it is 7"'
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert await db.fetchval("SELECT slots FROM concurrency_limits WHERE scope = 'global'") == 7
    rows = await db.fetch("SELECT user_id::text AS who, detail FROM admin_actions ORDER BY id")
    assert {row["who"] for row in rows} == {WHO}
    assert "it is 7" in str([row["detail"] for row in rows])
    found = await types("admin GET actions action=queue.pause")
    assert [each["action"] for each in json.loads(found.stdout)["actions"]] == ["queue.pause"]


async def test_what_is_refused_fails(types: Types) -> None:
    """With the api's words, so that a script stops."""
    done = await types("admin PUT limits/global slots=0")

    assert done.returncode != 0
    assert json.loads(done.stdout)["error"]["code"] == "invalid_input"


async def test_a_token_of_an_issuer_comes_from_a_file(types: Types, tmp_path: Path, db: Database) -> None:
    """It is no argument; and without it the word says what to do, where the release has no secret to sign with."""
    file = tmp_path / "token"
    file.write_text(mint(ADMIN, role="admin") + "\n", encoding="utf-8")
    done = await types("admin PUT limits/FREE slots=2", JWT_SECRET="", ADMIN_TOKEN=str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert await db.fetchval("SELECT user_id FROM admin_actions") == ADMIN

    without = await types("unset JWT_SECRET; admin GET queues")
    assert without.returncode != 0
    assert "export ADMIN_TOKEN=FILE" in without.stderr
