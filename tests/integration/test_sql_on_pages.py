"""Every statement that the runbooks and the checklist have one type with `sql` or `owner` is taken by a migrated database.

It is run, in the role that the word has, and rolled back: tables, columns, functions and rights are there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from services.kernel.database import Connection, Database, connect
from services.kernel.errors import CoursegenError
from tests.support import checklist
from tests.support.courses import add_course
from tests.support.marked import DOCS, marked
from tests.support.rehearsal import filled, statements

_LOGIN = f"importer_{uuid4().hex[:8]}"
_DEAD = """
INSERT INTO job_outbox (entity_id, queue_name, job_type, run_number, retry_count, max_retries, last_error)
VALUES ($1, 'course-generation', $2, $3, 5, 5, 'the queue is not known')
"""


class Psql:
    """The words `sql` and `owner`, each with a session of its role."""

    def __init__(self, app: Connection, owner: Connection) -> None:
        self._sessions = {"sql": app, "owner": owner}

    async def tries(self, word: str, statement: str) -> str:
        """What the server has against a statement, which is rolled back; nothing if it takes it."""
        session = self._sessions[word]
        transaction = session.transaction()
        await transaction.start()
        try:
            added = re.fullmatch(r"(ALTER TABLE \w+) ADD COLUMN (\w+) .*", statement)
            if added is not None:  # what somebody else has taken away
                await session.execute(f"{added[1]} DROP COLUMN {added[2]}")
            await session.execute(statement)
        except (CoursegenError, Exception) as error:  # the driver's own, too: what it is, is the test's answer
            return f"{statement}: {error}"
        finally:
            await transaction.rollback()
        return ""

    async def types(self, block: str) -> None:
        """Run every statement of a block, for good."""
        for word, statement in re.findall(r"^(sql|owner) +\"([^\"]*)\"", block, re.MULTILINE):
            await self._sessions[word].execute(statement)


@pytest.fixture
async def psql(database_url: str, app_database_url: str) -> AsyncIterator[Psql]:
    """For the test's own database."""
    app, owner = await connect(app_database_url), await connect(database_url)
    yield Psql(app, owner)
    for session in (app, owner):
        await session.close()


async def test_every_statement_is_taken(psql: Psql, db: Database) -> None:
    """As it stands, with what the reader fills in."""
    faults = []
    await db.execute(f"CREATE ROLE {_LOGIN} LOGIN IN ROLE service_role")
    await db.execute(f"GRANT INSERT ON job_outbox TO {_LOGIN}")
    try:
        for word, text in statements():
            faults.append(await psql.tries(word, filled(text, {"$LOGIN": _LOGIN})))
        assert await psql.tries("sql", "SELECT no_such_column FROM courses")
    finally:
        await db.execute(f"DROP OWNED BY {_LOGIN}")
        await db.execute(f"DROP ROLE {_LOGIN}")

    assert [each for each in faults if each] == []
    assert len(faults) > 60


async def _dead(db: Database, job_type: str, *, run: int = 1, state: str = "stage_4_init") -> UUID:
    course = await add_course(db, state=state)
    await db.execute(_DEAD, course, job_type, run)
    return course


@pytest.mark.parametrize("page", ["OutboxDeadLetters", "case 2"])
async def test_giving_dead_rows_up_leaves_no_course_behind(psql: Psql, db: Database, page: str) -> None:
    """Who waits for a dead row is cancelled, and holds no slot; who waits for another one, or for none, goes on."""
    waits = await _dead(db, "STRUCTURE_ANALYSIS")
    later, beside, done = [
        await _dead(db, "STRUCTURE_ANALYSIS", run=7),
        await _dead(db, "A_PLUGIN"),
        await _dead(db, "STRUCTURE_GENERATION", state="completed"),
    ]
    if page == "case 2":
        (block,) = [each.commands for each in checklist.blocks() if "Manually flushed" in each.commands]
        block = block.partition("# Or give them up")[2]
    else:
        block = marked(DOCS / "runbooks" / "OutboxDeadLetters.md", "mend-dead")
    await psql.types(block)

    states = {
        row["id"]: row["state"] for row in await db.fetch("SELECT id, generation_status::text AS state FROM courses")
    }
    assert (states[waits], states[later], states[beside], states[done]) == (
        "cancelled",
        "stage_4_init",
        "stage_4_init",
        "completed",
    )
    left = await db.fetchval("SELECT count(*) FROM job_outbox WHERE processed_at IS NULL")
    assert left == 0


async def test_the_writer_may_write_no_more(psql: Psql, db: Database) -> None:
    """By FallbackFrequencyHigh: neither as a member of the role nor by a right of its own."""
    login = f"importer_{uuid4().hex[:8]}"
    may = f"SELECT has_table_privilege('{login}', 'job_outbox', 'INSERT')"
    await db.execute(f"CREATE ROLE {login} LOGIN IN ROLE service_role")
    await db.execute(f"GRANT INSERT ON job_outbox TO {login}")
    try:
        assert await db.fetchval(may)
        block = marked(DOCS / "runbooks" / "FallbackFrequencyHigh.md", "mend-writer")
        await psql.types(block.replace("$LOGIN", login))
        assert not await db.fetchval(may)
    finally:
        await db.execute(f"DROP OWNED BY {login}")
        await db.execute(f"DROP ROLE {login}")
