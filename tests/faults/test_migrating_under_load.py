"""Case 15: a release's migrations are applied while the api is asked, and somebody holds what they need (R17).

Both phases are, one after the other: what they cost the code that runs. One code does, this one, which uses nothing of what the
files bring and take away; an older one beside it is in test_older_code.py.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.kernel.database import Connection, Database, connect
from services.migrate.files import find_directory
from tests.faults.conftest import OpenDriver
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, judge
from tests.support.migrating import CONTRACT, Tasks, folder_of, value
from tests.support.stack import Stack
from tests.support.waiting import eventually

PER_SECOND = 20
LOCK_SECONDS = 4.0
BUSY_SECONDS = 0.25
"""What the server takes to end a wait, and to be asked about it."""
RUNNER = "coursegen-migrate"
RELEASE = {
    "20990101000000_mark_courses": (
        "ALTER TABLE public.courses ADD COLUMN IF NOT EXISTS mark text, ADD COLUMN IF NOT EXISTS spare text;"
    ),
    "20990102000000_index_marks": (
        "-- migrate: no-transaction\n"
        "DROP INDEX CONCURRENTLY IF EXISTS public.idx_courses_mark;\n"
        "CREATE INDEX CONCURRENTLY idx_courses_mark ON public.courses (mark, created_at);\n"
        "COMMENT ON INDEX public.idx_courses_mark IS 'Courses by mark.';"
    ),
}
REMOVAL = {"20990103000000_drop_spare": CONTRACT + "ALTER TABLE public.courses DROP COLUMN IF EXISTS spare;"}
# CONCURRENTLY waits for old transactions by their virtual ids: nobody comes to wait behind that.
_WAITS = """
SELECT application_name AS who, extract(epoch FROM clock_timestamp() - waitstart)::float8 AS seconds
  FROM pg_locks JOIN pg_stat_activity USING (pid)
 WHERE NOT granted AND waitstart IS NOT NULL AND locktype <> 'virtualxid' AND datname = current_database()
"""


@dataclass
class Waits:
    """The longest waits for locks that were seen in the server, by who waited."""

    longest: dict[str, float] = field(default_factory=dict)
    now: set[str] = field(default_factory=set)
    """Who waits at this moment."""

    async def watch(self, session: Connection) -> None:
        """Look again and again, until cancelled."""
        while True:
            rows = await session.fetch(_WAITS)
            self.now = {row["who"] for row in rows}
            for row in rows:
                self.longest[row["who"]] = max(self.longest.get(row["who"], 0.0), row["seconds"])
            await asyncio.sleep(0.02)

    def has_given_up(self) -> bool:
        """The runner has waited as long as it may, and does not any more."""
        return self.longest.get(RUNNER, 0.0) > LOCK_SECONDS - BUSY_SECONDS and RUNNER not in self.now


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[Waits]:
    """The waits during the block."""
    session, waits = await connect(url), Waits()
    watching = asyncio.create_task(waits.watch(session))
    try:
        yield waits
    finally:
        assert not watching.done(), "nobody looked"
        watching.cancel()
        await asyncio.wait({watching})
        await session.close()


@asynccontextmanager
async def held(url: str) -> AsyncIterator[None]:
    """Courses, read in a transaction that stays open for the block, as a report does; requests read and write beside it."""
    session = await connect(url)
    try:
        async with session.transaction():
            await session.execute("SELECT count(*) FROM courses")
            yield
    finally:
        await session.close()


async def test_migrations_under_load_cost_no_request_and_hold_nobody_up_for_long(
    stack: Stack, db: Database, database_url: str, journal: Journal, drive: OpenDriver, tmp_path: Path
) -> None:
    """One in a transaction, one CONCURRENTLY, one of phase contract: no failed request, and no wait for a lock beyond 4 s.

    A long transaction has the runner of phase expand give up once and try again.
    """
    folder = tmp_path / "migrations"
    shutil.copytree(find_directory(), folder)
    folder_of(folder, **RELEASE, **REMOVAL)
    tasks = Tasks(database_url, folder, tmp_path)
    api, _, _ = await stack.start_all("api", "outbox_relay", "stage_worker")
    driver, enough = drive(api), asyncio.Event()
    async with watched(database_url) as waits:
        asking = asyncio.create_task(driver.load(driver.orders(until=enough), per_second=PER_SECOND, insist=False))
        await eventually(lambda: len(journal.answers) > PER_SECOND, within=10)
        running = asyncio.create_task(asyncio.to_thread(tasks.run, "apply", MIGRATE_LOCK_SECONDS=f"{LOCK_SECONDS:g}"))
        async with held(database_url):
            await eventually(waits.has_given_up, within=15)
        ended = await running
        leave = ("--allow-destructive", "--backup=before")
        removed = await asyncio.to_thread(tasks.run, "contract", *leave, MIGRATE_LOCK_SECONDS=f"{LOCK_SECONDS:g}")
        answered = len(journal.answers)
        await eventually(lambda: len(journal.answers) > answered + PER_SECOND, within=10)
        enough.set()
        await asking
    runner = waits.longest.pop(RUNNER, 0.0)
    others = max(waits.longest.values(), default=0.0)
    print(
        f"{len(journal.attempts)} requests, longest answer {max(journal.seconds.values()):.2f} s; longest wait for a lock: "
        f"runner {runner:.2f} s, others {others:.2f} s"
    )

    assert ended.code == 0, ended.said
    assert (removed.code, removed.report["applied"]) == (0, ["20990103000000"]), removed.said
    assert [each.removesuffix(".sql") for each in ended.report["applied"]] == [each[:14] for each in RELEASE]
    assert await value(database_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_courses_mark'::regclass")
    assert journal.failures == []
    assert runner <= LOCK_SECONDS + BUSY_SECONDS
    assert 0 < others <= LOCK_SECONDS + BUSY_SECONDS
    held_up = {"lock that is not to be had": 1}
    assert_passed(await judge(db, journal, stack, held_up, also_fired=held_up), stack)
