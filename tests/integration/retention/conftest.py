"""A database to clean up, as the application's role sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret


@pytest.fixture
async def app_db(app_database_url: str) -> AsyncIterator[Database]:
    """A pool of the application's login role, which row security binds."""
    database = await Database.open(
        CommonSettings(database_url=Secret(app_database_url)), parameters={"lock_timeout": "500ms"}
    )
    yield database
    await database.close()
