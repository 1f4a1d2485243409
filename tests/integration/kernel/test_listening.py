"""A listener hears of commits, and opens another session when its own is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.kernel import listening
from services.kernel.database import Database
from services.kernel.errors import DatabaseUnavailable
from services.kernel.listening import Listener
from services.kernel.wakeup import WakeUp
from tests.support.waiting import eventually

_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a test that listens'"
_END_THEM = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'a test that listens'"


@asynccontextmanager
async def running(db: Any) -> AsyncIterator[Listener]:
    """A listener at work, which has looked once."""
    listener = Listener(db, application="a test that listens")
    task = asyncio.create_task(listener.run())
    await eventually(listener.woken.is_set, within=30)
    listener.woken.clear()
    yield listener
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_is_woken_by_a_commit_that_was_announced(db: Database) -> None:
    """And says by itself that it is worth looking when it begins to listen."""
    async with running(db) as listener:
        WakeUp(db).notify()
        await eventually(listener.woken.is_set, within=30)


async def test_a_lost_session_is_replaced_and_what_it_missed_is_looked_for(db: Database) -> None:
    """At once, for nobody knows what was said in between."""
    async with running(db) as listener:
        await db.execute(_END_THEM)
        await eventually(listener.woken.is_set, within=30)
        assert await db.fetchval(_SESSIONS) == 1


async def test_a_silent_session_is_asked_whether_it_is_alive(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on listening when it is."""
    monkeypatch.setattr(listening, "CHECK_SECONDS", 0.02)
    async with running(db) as listener:
        await asyncio.sleep(0.3)
        WakeUp(db).notify()
        await eventually(listener.woken.is_set, within=30)


async def test_an_outage_is_waited_for(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again after growing pauses, and listening as soon as the server answers."""
    monkeypatch.setattr(listening, "RECONNECT_SECONDS", 0.01)

    class Away:
        tries = 0

        async def connect(self, **options: Any) -> Any:
            self.tries += 1
            if self.tries < 4:
                raise DatabaseUnavailable
            return await db.connect(**options)

    away = Away()
    async with running(away):
        assert away.tries == 4
