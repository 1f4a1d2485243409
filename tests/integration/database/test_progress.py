"""`update_course_progress`: one step, one UPDATE, safe to repeat (contract.md b.11, GAP23, GAP30)."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.kernel.database import Database, DatabaseRefused
from services.kernel.errors import InvalidInput
from services.kernel.progress import STEP_NAMES
from tests.support.courses import add_course

_STEP_KEYS = {"id", "name", "status", "message", "started_at", "completed_at", "error"}


async def update(db: Database, course: UUID, *arguments: Any) -> dict[str, Any]:
    """Call the function with the arguments given."""
    places = ", ".join(f"${place}" for place in range(2, len(arguments) + 2))
    result: dict[str, Any] = await db.fetchval(f"SELECT update_course_progress($1, {places})", course, *arguments)
    return result


async def test_a_new_course_shows_five_pending_steps(db: Database) -> None:
    """The shape is frozen; the Russian names are those of kernel.progress (GAP22)."""
    course = await add_course(db)
    progress = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)

    assert set(progress) == {"steps", "percentage", "current_step", "message"}
    assert [step["id"] for step in progress["steps"]] == [1, 2, 3, 4, 5]
    assert tuple(step["name"] for step in progress["steps"]) == STEP_NAMES
    assert all(set(step) == _STEP_KEYS for step in progress["steps"])
    assert {step["status"] for step in progress["steps"]} == {"pending"}
    assert (progress["percentage"], progress["current_step"], progress["message"]) == (0, 1, None)


async def test_a_step_goes_through_its_states(db: Database) -> None:
    """Times are set once, percentage counts completed steps, current_step is the first that is not."""
    course = await add_course(db)
    await update(db, course, 1, "completed", "принято")
    started = await update(db, course, 2, "in_progress", "читаем")
    done = await update(db, course, 2, "completed", "прочитано", None, {"documents": 4})

    before, after = started["steps"][1], done["steps"][1]
    assert (before["status"], before["completed_at"]) == ("in_progress", None)
    assert after["started_at"] == before["started_at"] is not None
    assert after["completed_at"] >= after["started_at"]
    assert (started["percentage"], started["current_step"], started["message"]) == (20, 2, "читаем")
    assert (done["percentage"], done["current_step"]) == (40, 3)
    assert await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course) == done
    assert await db.fetchval("SELECT generation_metadata FROM courses WHERE id = $1", course) == {"2": {"documents": 4}}


async def test_repeating_a_call_changes_nothing(db: Database) -> None:
    """So that it may be retried."""
    course = await add_course(db)
    for arguments in ((3, "in_progress", "x"), (3, "completed", "y"), (3, "failed", "z", {"code": "c"})):
        first = await update(db, course, *arguments)
        assert await update(db, course, *arguments) == first


async def test_a_failure_carries_its_error_until_the_step_is_taken_up_again(db: Database) -> None:
    """The error is the owner's to read."""
    course = await add_course(db)
    failed = await update(db, course, 4, "failed", "не вышло", {"code": "upstream"})
    again = await update(db, course, 4, "in_progress", "ещё раз")

    assert failed["steps"][3]["error"] == {"code": "upstream"}
    assert failed["steps"][3]["completed_at"] is None
    assert again["steps"][3]["error"] is None
    assert again["steps"][3]["started_at"] == failed["steps"][3]["started_at"]


async def test_all_steps_completed_is_a_hundred_percent(db: Database) -> None:
    """And the last step stays the current one."""
    course = await add_course(db)
    for step in range(1, 6):
        progress = await update(db, course, step, "completed", None)

    assert (progress["percentage"], progress["current_step"]) == (100, 5)


@pytest.mark.parametrize(
    "arguments", [(0, "completed", ""), (6, "completed", ""), (None, "completed", ""), (1, "done", ""), (1, None, "")]
)
async def test_bad_arguments_are_refused(db: Database, arguments: tuple[Any, ...]) -> None:
    """p_step_id is 1 to 5, p_status one of four."""
    course = await add_course(db)
    with pytest.raises(InvalidInput, match="must be"):
        await update(db, course, *arguments)


async def test_an_unknown_course_is_an_error(db: Database) -> None:
    """Not a silent success."""
    with pytest.raises(DatabaseRefused, match="does not exist"):
        await update(db, uuid4(), 1, "completed", "")


async def test_it_stands_once_in_the_catalogue(db: Database) -> None:
    """003 looks for one row and drops it without an argument list (TRAP10)."""
    assert await db.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'update_course_progress'") == 1


async def test_two_steps_at_once_both_stay(db: Database) -> None:
    """One UPDATE each: the second sees the first's."""
    course = await add_course(db)
    await asyncio.gather(*(update(db, course, step, "completed", f"{step}") for step in range(1, 6)))

    assert (await update(db, course, 1, "completed", "1"))["percentage"] == 100
