"""`update_course_progress`: one step, one UPDATE, safe to repeat (contract.md b.11, GAP23, GAP30)."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.kernel.database import Database, DatabaseRefused
from services.kernel.errors import InvalidInput
from services.kernel.progress import STEP_NAMES, Step, fresh_progress, with_step
from tests.support.courses import add_course
from tests.support.progress import check_display, timeless
from tests.support.tokens import ORGANIZATION, USER

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


async def test_a_call_is_fast(db: Database) -> None:
    """Target: 100 ms at the 95th percentile (contract.md n); one UPDATE by the key takes some 2 ms."""
    course = await add_course(db)
    loop = asyncio.get_running_loop()
    taken = []
    for number in range(100):
        started = loop.time()
        await update(db, course, 1 + number % 5, "in_progress", f"{number}")
        taken.append(loop.time() - started)

    assert sorted(taken)[94] < 0.1


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


@pytest.mark.parametrize("seed", range(20))
async def test_the_percentage_never_falls_and_the_form_stays(db: Database, seed: int) -> None:
    """Random sequences, steps set back, repeated and out of turn; and the direct write computes the very same."""
    course = await add_course(db)
    dice = random.Random(seed)
    shown: dict[str, Any] = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)
    expected = shown
    for _ in range(20):
        step, status = dice.randint(1, 5), dice.choice(["pending", "in_progress", "completed", "failed"])
        message, error = dice.choice([None, "Читаем"]), dice.choice([None, {"code": "x", "message": "y"}])
        before, shown = shown, await update(db, course, step, status, message, error)
        now = datetime.now(UTC)
        expected = with_step(expected, Step(step), status, message, error, now=now)  # type: ignore[arg-type]

        check_display(shown)
        assert shown["percentage"] >= before["percentage"]
        assert timeless(shown) == timeless(expected)
        assert await update(db, course, step, status, message, error) == shown


async def test_a_step_set_back_leaves_the_percentage(db: Database) -> None:
    """It is worked on again; what the owner has seen stays until the run is through, and a new run begins low."""
    course = await add_course(db)
    for step in (1, 2, 3):
        await update(db, course, step, "completed", None)
    back = await update(db, course, 2, "in_progress", "ещё раз")
    again = await update(db, course, 2, "completed", None)
    further = await update(db, course, 4, "completed", None)
    await db.execute("UPDATE courses SET generation_status = 'error' WHERE id = $1", course)
    await db.fetchval(
        "SELECT initialize_fsm_with_outbox($1, $2, $3, 'k', 'API_INITIATE', 'stage_4_init', '[]')",
        course, USER, ORGANIZATION,
    )  # fmt: skip
    fresh = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)

    assert [each["percentage"] for each in (back, again, further, fresh)] == [60, 60, 80, 40]
    assert (back["current_step"], back["steps"][1]["status"]) == (2, "in_progress")


@pytest.mark.parametrize(
    "odd", [{}, [], 7, "x", {"steps": []}, {"steps": {"4": 1}}, {"steps": [1, 2, 3, 4, 5]}, {"percentage": "x"}]
)
async def test_a_display_that_lost_its_form_is_begun_anew(db: Database, odd: Any) -> None:
    """A row from before the function, or one written by hand, must not break a stage."""
    course = await add_course(db)
    await db.execute("UPDATE courses SET generation_progress = $2 WHERE id = $1", course, odd)
    progress = await update(db, course, 1, "completed", "принято")

    check_display(progress)
    assert progress["percentage"] == 20


async def test_the_template_is_the_fresh_display_of_the_code(db: Database) -> None:
    """Names and form are written in both, and agree (GAP22)."""
    assert await db.fetchval("SELECT generation_progress_template()") == fresh_progress()


async def test_two_steps_at_once_both_stay(db: Database) -> None:
    """One UPDATE each: the second sees the first's."""
    course = await add_course(db)
    await asyncio.gather(*(update(db, course, step, "completed", f"{step}") for step in range(1, 6)))

    assert (await update(db, course, 1, "completed", "1"))["percentage"] == 100
