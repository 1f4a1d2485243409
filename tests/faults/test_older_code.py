"""An upgrade's middle, and a way back of the processes alone: older code at work on the newest schema, beside the newest code.

The schema goes first and never back (docs/MIGRATIONS.md), so code of the release before must make courses on it, with today's
processes beside it and after they are gone again. Case 15 has migrations under load; here they are applied already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.kernel.database import Database
from services.kernel.schema import REVISION
from tests.faults.conftest import OpenDriver
from tests.support import older
from tests.support.courses import add_course, add_documents
from tests.support.driver import Journal, Order
from tests.support.evidence import assert_passed, judge
from tests.support.pipeline import DOCUMENTS
from tests.support.ports import claim
from tests.support.stack import Kind, Process, Stack
from tests.support.waiting import eventually

PER_SECOND = 4
COURSES = 6
"""Accepted by each generation of the code before the next one comes."""
KINDS: tuple[Kind, ...] = ("api", "outbox_relay", "stage_worker")


@pytest.fixture
def code(tmp_path: Path) -> dict[str, str]:
    """The variables with which processes run the older code."""
    variables = older.unpack(tmp_path / "older")
    assert older.revision(variables) < older.revision({}) == REVISION
    return variables


class Release:
    """One process of each kind, which another one's take the place of, one by one."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._port = claim()
        self.running: list[Process] = []
        self.exits: list[int] = []

    @property
    def api(self) -> Process:
        """Who is asked."""
        return self.running[0]

    async def becomes(self, variables: Mapping[str, str]) -> None:
        """Start processes with these variables; each ends its predecessor once it is ready."""
        for place, kind in enumerate(KINDS):
            port = self._port if kind == "api" else None
            started = await self._stack.start(kind, port=port, env=variables)
            if place < len(self.running):
                self.exits.append(await self.running[place].stopped())
                self.running[place] = started
            else:
                self.running.append(started)


@pytest.mark.no_second_try
async def test_older_code_works_on_the_newest_schema_before_beside_and_after_the_newest_code(
    stack: Stack, db: Database, journal: Journal, drive: OpenDriver, code: dict[str, str]
) -> None:
    """Upgrade and way back under load: no failed request, each course made once, with documents and without; every exit 0."""
    stack.environment |= {"API_REUSE_PORT": "true", "INSTANT_SECONDS": "0.2"}
    release = Release(stack)
    await release.becomes(code)
    driver, enough = drive(release.api, keep=False), asyncio.Event()
    asking = asyncio.create_task(driver.load(driver.orders(until=enough), per_second=PER_SECOND, insist=False))
    for variables in (dict[str, str](), code):
        await _made(db, COURSES)
        await release.becomes(variables)
    await _made(db, COURSES)
    course = await add_course(db)
    await add_documents(db, course, DOCUMENTS[:3])
    await driver.send(Order(course, key="documents", title=None))
    enough.set()
    await asking
    verdict = await judge(
        db, journal, stack, {"generations": 3}, also_fired={"generations": 1 + len(release.exits) // 3}
    )

    assert journal.failures == []
    assert_passed(verdict, stack)
    assert verdict.acked == len(journal.attempts) >= 3 * COURSES
    assert release.exits == [0] * 6
    assert await db.fetchval("SELECT generation_status::text FROM courses WHERE id = $1", course) == "completed"
    assert await db.fetchval("SELECT count(*) FROM job_outbox WHERE retry_count > 0 OR last_error IS NOT NULL") == 0


async def _made(db: Database, more: int) -> None:
    """Return when so many more courses are completed."""
    completed = "SELECT count(*) FROM courses WHERE generation_status = 'completed'"
    least = await db.fetchval(completed) + more

    async def enough() -> bool:
        return bool(await db.fetchval(completed) >= least)

    await eventually(enough, within=60, every=0.1)
