"""Counters add up over processes and survive an outage of the database."""

from __future__ import annotations

from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.errors import DatabaseUnavailable
from tests.support.waiting import eventually


async def test_two_processes_add_to_one_counter(db: Database) -> None:
    """What either wrote is read by both."""
    one, two = Counters(db), Counters(db)
    one.add("fsm_total", "success")
    two.add("fsm_total", "success", 2)
    two.observe("fsm_duration", 0.05)
    await one.flush()
    found = await two.read()

    assert found.count("fsm_total", "success") == 3
    assert found.durations("fsm_duration").count == 1
    assert abs(found.durations("fsm_duration").mean - 50) < 0.001


async def test_additions_are_written_in_the_background_within_a_second(db: Database) -> None:
    """Nobody has to call flush."""
    async with Counters(db).writing() as counters:
        counters.add("fsm_total", "failed")

        async def written() -> bool:
            return await db.fetchval("SELECT count(*) FROM metric_values WHERE name = 'fsm_total'") == 1

        await eventually(written, within=5)


async def test_what_could_not_be_written_is_kept(db: Database, monkeypatch: object) -> None:
    """An outage delays counters, it does not lose them."""
    counters = Counters(db)
    counters.add("fsm_total", "success", 5)
    real = db.execute

    async def down(*_: object) -> str:
        raise DatabaseUnavailable

    db.execute = down  # type: ignore[method-assign]
    try:
        await counters.flush()
    except DatabaseUnavailable:
        pass
    else:
        raise AssertionError("the outage was not noticed")
    db.execute = real  # type: ignore[method-assign]
    counters.add("fsm_total", "success")

    assert (await counters.read()).count("fsm_total", "success") == 6
