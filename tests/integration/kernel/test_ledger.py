"""The effect ledger: the first record stands, in the caller's transaction."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import uuid4

import pytest

from services.kernel.database import Database, DatabaseRefused, ForeignKeyViolation
from services.kernel.ledger import Effect, Ledger
from tests.support.courses import add_course


async def test_the_first_record_stands(db: Database) -> None:
    """A second one, even with another outcome, is told so and changes nothing."""
    ledger, effect_id, course = Ledger(), uuid4(), await add_course(db)
    async with db.transaction() as connection:
        first = await ledger.apply_once(connection, Effect(effect_id, course, "X", 1, "applied", {"n": 1}))
    async with db.transaction() as connection:
        second = await ledger.apply_once(connection, Effect(effect_id, course, "X", 1, "failed"))
        outcome = await ledger.outcome_of(connection, effect_id)

    assert (first, second, outcome) == (True, False, "applied")
    assert await db.fetchval("SELECT detail FROM effect_ledger") == {"n": 1}


async def test_it_is_the_callers_transaction(db: Database) -> None:
    """Undone with it, and then free again."""
    ledger, effect = Ledger(), Effect(uuid4(), await add_course(db), "X", 1, "applied")
    with contextlib.suppress(RuntimeError):
        async with db.transaction() as connection:
            await ledger.apply_once(connection, effect)
            raise RuntimeError
    async with db.transaction() as connection:
        assert await ledger.outcome_of(connection, effect.effect_id) is None
        assert await ledger.apply_once(connection, effect)


async def test_of_two_at_once_one_applies(db: Database) -> None:
    """The second waits for the first to end."""
    ledger, effect = Ledger(), Effect(uuid4(), await add_course(db), "X", 1, "applied")

    async def apply() -> bool:
        async with db.transaction() as connection:
            first = await ledger.apply_once(connection, effect)
            await asyncio.sleep(0.02)
            return first

    assert sorted(await asyncio.gather(*(apply() for _ in range(5)))) == [False] * 4 + [True]


async def test_what_it_refuses(db: Database) -> None:
    """An effect needs a course and one of three outcomes."""
    ledger, course = Ledger(), await add_course(db)
    with pytest.raises(ForeignKeyViolation):
        async with db.transaction() as connection:
            await ledger.apply_once(connection, Effect(uuid4(), uuid4(), "X", 1, "applied"))
    with pytest.raises(DatabaseRefused):
        async with db.transaction() as connection:
            await ledger.apply_once(connection, Effect(uuid4(), course, "X", 1, "maybe"))  # type: ignore[arg-type]
