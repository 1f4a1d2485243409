"""The five steps as the database shows them, with the function and without it (contract.md b.11, D35)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.kernel.clock import SystemClock
from services.kernel.database import Database
from services.kernel.errors import DatabaseUnavailable, InvalidInput
from services.kernel.progress import CANCELLED, FINISHED, STEP_NAMES, ProgressBoard, Step, with_step
from tests.support.courses import add_course
from tests.support.progress import timeless

_BREAK = """CREATE OR REPLACE FUNCTION update_course_progress(p_course_id uuid, p_step_id int, p_status text, p_message text,
p_error jsonb DEFAULT NULL, p_metadata jsonb DEFAULT '{}'::jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$ BEGIN PERFORM nextval('broken_calls'); RAISE EXCEPTION 'broken on purpose'; END $$"""


async def progress_of(db: Database, course: UUID) -> dict[str, Any]:
    """What the owner sees."""
    progress: dict[str, Any] = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    return progress


async def test_the_step_names_agree_with_the_database(db: Database) -> None:
    """One set of names: those of the file are those of the template (GAP22)."""
    progress = await progress_of(db, await add_course(db))

    assert tuple(step["name"] for step in progress["steps"]) == STEP_NAMES
    assert [step["id"] for step in progress["steps"]] == [int(step) for step in Step]


_HISTORY: list[tuple[Step, Any, str | None, dict[str, Any] | None]] = [
    (Step.ACCEPTED, "completed", None, None),
    (Step.DOCUMENTS, "in_progress", "1", None),
    (Step.DOCUMENTS, "failed", "2", {"code": "x", "message": "y"}),
    (Step.DOCUMENTS, "in_progress", "3", None),
    (Step.DOCUMENTS, "completed", "4", None),
    (Step.DOCUMENTS, "completed", "5", None),
    (Step.GENERATION, "completed", None, None),
    (Step.ANALYSIS, "pending", None, None),
    (Step.ANALYSIS, "completed", None, None),
    (Step.EXPORT, "completed", "end", None),
]


async def test_the_direct_write_computes_what_the_function_computes(db: Database) -> None:
    """Step by step through a long history both ways give the same progress; only the clocks differ."""
    course = await add_course(db)
    board = ProgressBoard()
    expected = await progress_of(db, course)
    for step, status, message, error in _HISTORY:
        async with db.transaction() as connection:
            await board.mark(connection, course, step, status, message, error=error)
        expected = with_step(expected, step, status, message, error, now=SystemClock().now())

        assert timeless(await progress_of(db, course)) == timeless(expected)


async def test_a_failing_function_is_tried_thrice_and_then_done_without(db: Database) -> None:
    """The transaction around it survives, and the owner sees the step all the same (D35)."""
    course = await add_course(db)
    await db.execute("CREATE SEQUENCE broken_calls")
    await db.execute(_BREAK)
    async with db.transaction() as connection:
        await connection.execute("UPDATE courses SET title = 'kept' WHERE id = $1", course)
        await ProgressBoard().mark(connection, course, Step.DOCUMENTS, "in_progress", "reading")
    progress = await progress_of(db, course)

    assert await db.fetchval("SELECT last_value FROM broken_calls") == 3
    assert progress["steps"][1]["status"] == "in_progress"
    assert progress["message"] == "reading"
    assert await db.fetchval("SELECT title FROM courses WHERE id = $1", course) == "kept"


async def test_a_lost_connection_is_not_papered_over(db: Database) -> None:
    """Without a database there is nothing to show and nothing to fall back to."""
    course = await add_course(db)

    async def mark_on_a_dead_connection() -> None:
        async with db.transaction() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await db.execute("SELECT pg_terminate_backend($1)", pid)
            await ProgressBoard().mark(connection, course, Step.DOCUMENTS, "in_progress")

    with pytest.raises(DatabaseUnavailable):
        await mark_on_a_dead_connection()


async def test_a_lost_session_of_its_own(db: Database) -> None:
    """The same outside the pool."""
    course = await add_course(db)
    connection = await db.connect()
    connection.terminate()
    with pytest.raises(DatabaseUnavailable):
        await ProgressBoard().mark(connection, course, Step.DOCUMENTS, "in_progress")


async def test_a_course_that_is_gone_is_no_error(db: Database) -> None:
    """There is nobody to show anything to."""
    async with db.transaction() as connection:
        await ProgressBoard().mark(connection, UUID(int=1), Step.DOCUMENTS, "in_progress")


async def test_a_cancelled_run_closes_its_open_step(db: Database) -> None:
    """Between two steps that is the next one; where all is done there is nothing to close; a course that is gone is no error."""
    board = ProgressBoard()
    between, done = await add_course(db), await add_course(db)
    async with db.transaction() as connection:
        await board.mark(connection, between, Step.ACCEPTED, "completed")
        await board.mark(connection, between, Step.DOCUMENTS, "completed")
        for step in Step:
            await board.mark(connection, done, step, "completed", FINISHED)
        for course in (between, done, UUID(int=1)):
            await board.close(connection, course)
    closed, finished = await progress_of(db, between), await progress_of(db, done)

    assert [step["status"] for step in closed["steps"]] == ["completed"] * 2 + ["failed"] + ["pending"] * 2
    assert (closed["percentage"], closed["current_step"], closed["message"]) == (40, 3, CANCELLED)
    assert (finished["percentage"], finished["message"]) == (100, FINISHED)


async def test_repeating_a_mark_changes_nothing(db: Database) -> None:
    """The first times stay."""
    course = await add_course(db)
    for _ in range(2):
        async with db.transaction() as connection:
            await ProgressBoard().mark(connection, course, Step.ACCEPTED, "completed", "done")
        first = await progress_of(db, course)
    async with db.transaction() as connection:
        await ProgressBoard().mark(connection, course, Step.ACCEPTED, "completed", "done")

    assert await progress_of(db, course) == first


@pytest.mark.parametrize("bad", [0, 6])
async def test_the_function_refuses_other_steps(db: Database, bad: int) -> None:
    """There are five."""
    with pytest.raises(InvalidInput, match="1 to 5"):
        await db.fetchval("SELECT update_course_progress($1, $2, 'completed', NULL)", await add_course(db), bad)


def test_a_stamp_is_utc_with_milliseconds() -> None:
    """As the function writes it."""
    empty = {"id": 1, "status": "pending", "message": None, "started_at": None, "completed_at": None, "error": None}
    now = datetime(2025, 11, 18, 9, 42, 38, 123456, tzinfo=UTC)
    changed = with_step({"steps": [empty]}, Step.ACCEPTED, "in_progress", None, None, now=now)

    assert changed["steps"][0]["started_at"] == "2025-11-18T09:42:38.123Z"
