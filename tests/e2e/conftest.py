"""What the end-to-end scenarios share: the command handler that a client of the function would use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.initiation import CommandHandler
from services.kernel.settings import CommonSettings, Secret
from services.kernel.wakeup import WakeUp


@pytest.fixture
async def handler(app_database_url: str) -> AsyncIterator[CommandHandler]:
    """The command handler on the application's own login; it wakes the relay after each commit."""
    db = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    bell = WakeUp(db)
    yield CommandHandler(db, cache=None, counters=Counters(db), bell=bell)
    await bell.drain()
    await db.close()
