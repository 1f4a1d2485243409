"""`coursegen admin …` against a running api: what an administrator reads, and what a script does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from services.kernel.database import Database
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course
from tests.support.servers import REPOSITORY
from tests.support.tokens import ADMIN, mint
from tests.support.webhook_rows import add_delivery

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Awaitable[Done]]


@pytest.fixture
async def run(app_database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Run]:
    """Runs the command as administrator of a running api."""
    async with running_api(app_database_url, redis_url) as api:
        yield runner(api, tmp_path)


def runner(api: RunningApi, home: Path) -> Run:
    """Calls the command."""

    async def call(*arguments: str, token: str | None = None) -> Done:
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "services.cli", "admin", *arguments],
            env={
                "PATH": "/usr/bin:/bin",
                "API_URL": api.url,
                "API_TOKEN": token or mint(ADMIN, role="admin"),
                "COURSEGEN_HOME": str(home),
                "BROWSER": "/bin/false",
                "COLUMNS": "200",
            },
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return call


async def add_dead_rows(db: Database, course: UUID, number: int, error: str = "it is broken") -> list[str]:
    """Dead letters beside the pipeline; their names."""
    rows = await db.fetch(
        "INSERT INTO job_outbox (entity_id, queue_name, job_type, retry_count, max_retries, last_error)"
        " SELECT $1, 'own', 'OWN', 5, 5, $3 FROM generate_series(1, $2) RETURNING outbox_id",
        course, number, error,
    )  # fmt: skip
    return [f"outbox:{row['outbox_id']}" for row in rows]


_SHOWN = {
    "queues": "course-generation:documents",
    "jobs course-generation:analysis": "no job in course-generation:analysis is waiting",
    "concurrency": "everyone",
    "limits": "PREMIUM",
    "limits free": "FREE",
    "reconcile": "0 courses run; put right: 0 counters",
    "outbox": "0 rows wait",
    "leader": "Start an outbox-relay.",
    "dead-letters list": "There are no dead letters.",
    "actions --action limit.set": "No action matches.",
    "events": "No event matches.",
    "open --print": "/admin#ticket=",
}
_CALLED_WRONGLY = {
    "dead-letters replay": "--all",
    "dead-letters discard outbox:x --all": "--all",
    "limits global many": "1 to 10000",
    "limits gold": "there are global",
    "limits global 0": "1 to 10000",
}
_REFUSED = {
    "limits gold 5": "global, FREE",
    "pause no-such-queue": "no such queue",
    "jobs no-such-queue": "no such queue",
    "jobs course-generation:analysis --state lost": "waiting, scheduled, running, dead",
    "dead-letters list --course x": "UUID",
    "dead-letters replay --kind letters": "letters",
    "events --type bad": "concurrency_limit_hit",
}


async def together(run: Run, commands: Iterable[str]) -> dict[str, Done]:
    """Many calls of the command, a few at a time."""
    few = asyncio.Semaphore(3)

    async def one(command: str) -> tuple[str, Done]:
        async with few:
            return command, await run(*command.split())

    return dict(await asyncio.gather(*(one(command) for command in commands)))


async def test_every_command_speaks_to_people_and_to_scripts(run: Run) -> None:
    """A sentence or a table; with --json one document."""
    people = await together(run, _SHOWN)
    scripts = await together(run, [f"{command} --json" for command in _SHOWN])

    assert {command: done.stderr for command, done in (people | scripts).items() if done.returncode} == {}
    assert [command for command, shows in _SHOWN.items() if shows not in people[command].stdout] == []
    assert all(isinstance(json.loads(done.stdout), dict) for done in scripts.values())


@pytest.mark.parametrize(("mistakes", "code"), [(_CALLED_WRONGLY, 2), (_REFUSED, 1)], ids=["called wrongly", "refused"])
async def test_a_mistake_is_answered_with_what_to_write(run: Run, mistakes: dict[str, str], code: int) -> None:
    """2 when the command cannot be meant, 1 when the api refuses it; no traceback."""
    done = await together(run, mistakes)

    assert {command: each.returncode for command, each in done.items() if each.returncode != code} == {}
    assert {
        command: done[command].stderr for command, says in mistakes.items() if says not in done[command].stderr
    } == {}
    assert [command for command, each in done.items() if "Traceback" in each.stderr] == []


async def test_a_queue_is_paused_and_resumed(run: Run) -> None:
    """With the reason, and a record of both; the second time nothing changes."""
    paused = await run("pause", "course-generation:documents", "--reason", "the disk is full")
    again = await run("pause", "course-generation:documents")
    shown = await run("queues")
    resumed = await run("resume", "course-generation:documents")
    record = await run("actions")

    assert paused.stdout == "course-generation:documents is paused\n"
    assert "it was so before" in again.stdout
    assert "PAUSED" in shown.stdout
    assert resumed.stdout == "course-generation:documents goes on\n"
    assert [word in record.stdout for word in ("queue.pause", "queue.resume", "the disk is full", str(ADMIN))] == [
        True
    ] * 4


async def test_a_limit_is_changed_and_given_back(run: Run) -> None:
    """In any case of letters."""
    changed = json.loads((await run("limits", "premium", "7", "--json")).stdout)["limits"][0]
    back = json.loads((await run("limits", "PREMIUM", "default", "--json")).stdout)["limits"][0]

    assert (changed["scope"], changed["slots"], changed["overridden"]) == ("PREMIUM", 7, True)
    assert (back["slots"], back["overridden"]) == (back["default"], False)


async def test_dead_letters_are_replayed_by_name_filter_or_all_together(run: Run, db: Database) -> None:
    """Many pages become one answer; a dry run changes nothing; what was refused ends the command with 1."""
    course = await add_course(db)
    names = await add_dead_rows(db, course, 3)
    hook = await add_delivery(db, course, status="dead", error="status 500")

    listed = await run("dead-letters", "list", "--reason", "BROKEN", "--limit", "2")
    dry = await run("dead-letters", "replay", "--kind", "outbox", "--dry-run")
    one = await run("dead-letters", "replay", names[0])
    again = await run("dead-letters", "replay", names[0], "--json")
    nothing = await run("dead-letters", "discard", "--kind", "queue")
    rest = await run("dead-letters", "discard", "--all")

    assert listed.stdout.count("it is broken") == 2
    assert "3 dead letters (3 outbox)" in listed.stdout
    assert "3 would be replayed, 0 not" in dry.stdout
    assert (one.returncode, f"replayed       {names[0]}" in one.stdout) == (0, True)
    assert (again.returncode, json.loads(again.stdout)["results"][0]["outcome"]) == (1, "not_found")
    assert (nothing.returncode, "No dead letter matches (kind = queue)." in nothing.stdout) == (0, True)
    assert "3 discarded, 0 not" in rest.stdout
    assert f"webhook:{hook}" in rest.stdout
    assert "There are no dead letters." in (await run("dead-letters", "list")).stdout


async def test_more_than_one_call_can_hold_are_dealt_with(run: Run, db: Database) -> None:
    """Seven hundred, in one command."""
    await add_dead_rows(db, await add_course(db), 700)

    done = await run("dead-letters", "discard", "--reason", "broken")
    listed = json.loads((await run("dead-letters", "list", "--limit", "500", "--json")).stdout)

    assert "700 discarded, 0 not" in done.stdout
    assert "... and 680 more" in done.stdout
    assert listed["deadLetters"] == []
    assert await db.fetchval("SELECT count(*) FROM admin_actions") == 2


async def test_without_the_role_nothing_is_shown(run: Run) -> None:
    """And the answer names the claim."""
    done = await run("queues", token=mint(uuid4()))

    assert done.returncode == 1
    assert "app_metadata.role" in done.stderr


async def test_an_address_is_printed_when_no_browser_starts(run: Run) -> None:
    """For whoever sits at another machine."""
    done = await run("open")

    assert done.returncode == 0
    assert "/admin#ticket=" in done.stdout
