"""Wake-ups: one for many commits, at once for the first, never in the way of the writer."""

from __future__ import annotations

import asyncio

from services.kernel.database import Database, connect
from services.kernel.wakeup import CHANNEL, WakeUp
from tests.support.servers import PrivatePostgres
from tests.support.waiting import eventually


async def _heard(database_url: str, heard: list[str]) -> object:
    session = await connect(database_url)
    await session.add_listener(CHANNEL, lambda *args: heard.append(args[-1]))
    return session


async def test_many_commits_share_few_notifications(db: Database, database_url: str) -> None:
    """A hundred calls in one turn of the loop are one or two notifications with an empty payload."""
    heard: list[str] = []
    session = await _heard(database_url, heard)
    wake = WakeUp(db)

    for _ in range(100):
        wake.notify()
    await wake.drain()
    await eventually(lambda: heard)
    await asyncio.sleep(0.1)
    await session.close()  # type: ignore[attr-defined]

    assert set(heard) == {""}
    assert len(heard) <= 2


async def test_a_call_during_a_notification_is_not_lost(db: Database, database_url: str) -> None:
    """What is committed while one is under way gets one more."""
    heard: list[str] = []
    session = await _heard(database_url, heard)
    wake = WakeUp(db)

    wake.notify()
    await eventually(lambda: heard)
    wake.notify()
    await wake.drain()
    await eventually(lambda: len(heard) == 2)
    await session.close()  # type: ignore[attr-defined]


async def test_a_database_that_is_away_is_not_the_callers_problem(
    private_postgres: PrivatePostgres,
) -> None:
    """Nothing is raised; the relay finds the rows by itself."""
    from services.kernel.settings import CommonSettings, Secret

    db = await Database.open(CommonSettings(database_url=Secret(private_postgres.url())))
    wake = WakeUp(db)
    private_postgres.kill()

    wake.notify()
    await wake.drain()
    await db.close()
