"""The database enforces the state table, for every writer."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.kernel.database import Connection, Database
from services.kernel.errors import TransitionRefused
from services.kernel.states import RUNNING, TERMINAL, Status, may_move
from tests.support.courses import add_course

_ALL = [None, *Status]
_SET = "UPDATE courses SET generation_status = $2::generation_status_enum WHERE id = $1"


async def test_the_enum_is_the_table_s(owner: Connection) -> None:
    """Same values, same order."""
    values = await owner.fetch("SELECT unnest(enum_range(NULL::generation_status_enum))::text")

    assert [row[0] for row in values] == list(Status)


async def test_the_trigger_agrees_with_the_table_for_all_pairs(db: Database) -> None:
    """14 × 14, NULL included; a refusal leaves the row as it was."""
    disagreements = []
    for source in _ALL:
        course = await add_course(db, state=source)
        for target in _ALL:
            refusal = await _refusal(db, course, target)
            assert refusal is None or "Invalid generation status transition" in refusal
            if (refusal is None) != may_move(source, target):
                disagreements.append((source, target, refusal))

    assert disagreements == []


async def _refusal(db: Database, course: UUID, target: str | None) -> str | None:
    """What the database says to the move, which is undone; None when it would store it."""
    async with db.acquire() as session:
        transaction = session.transaction()
        await transaction.start()
        try:
            await session.execute(_SET, course, target)
        except Exception as error:
            return str(error)
        finally:
            await transaction.rollback()
    return None


async def test_a_refusal_names_both_states(db: Database) -> None:
    """In the literal words that logs are searched for."""
    course = await add_course(db, state="stage_5_init")
    with pytest.raises(TransitionRefused, match="Invalid generation status transition: stage_5_init -> stage_4_init"):
        await db.execute(_SET, course, "stage_4_init")


@pytest.mark.parametrize("end", ["error", "cancelled"])
@pytest.mark.parametrize("source", sorted(RUNNING))
async def test_a_run_that_ends_badly_counts_at_its_end(db: Database, source: str, end: str) -> None:
    """So that its late jobs are recognised at once; being taken up again does not count once more (GAP8)."""
    course = await add_course(db, state=source)
    numbers = []
    for target in (end, "pending", "stage_4_init"):
        await db.execute(_SET, course, target)
        numbers.append(await db.fetchval("SELECT run_number FROM courses WHERE id = $1", course))

    assert numbers == [2, 2, 2]


async def test_a_run_that_succeeds_counts_when_the_course_is_taken_up_again(db: Database) -> None:
    """Success itself changes no number: for 24 hours the same request is a replay."""
    course = await add_course(db, state="stage_5_complete")
    numbers = []
    for target in ("completed", "completed", "pending", "stage_2_init"):
        await db.execute(_SET, course, target)
        numbers.append(await db.fetchval("SELECT run_number FROM courses WHERE id = $1", course))

    assert numbers == [1, 1, 2, 2]


async def test_an_operator_may_reset_a_failed_course(db: Database) -> None:
    """000's statement, as written (TRAP41)."""
    course = await add_course(db, state="error")
    await db.execute(f"UPDATE courses SET generation_status = 'pending' WHERE id = '{course}'")

    assert await db.fetchval("SELECT generation_status::text FROM courses WHERE id = $1", course) == "pending"


async def test_every_update_moves_updated_at(db: Database) -> None:
    """Also one that leaves the state alone."""
    course = await add_course(db)
    before = await db.fetchval("SELECT updated_at FROM courses WHERE id = $1", course)
    await db.execute("UPDATE courses SET title = 'Other' WHERE id = $1", course)

    assert await db.fetchval("SELECT updated_at FROM courses WHERE id = $1", course) > before


def test_no_terminal_state_is_running() -> None:
    """The index of running courses and the table speak of the same states."""
    names = list(Status)
    between = names[names.index(Status.STAGE_2_INIT) : names.index(Status.STAGE_5_COMPLETE) + 1]

    assert set(between) == RUNNING
    assert not RUNNING & TERMINAL
