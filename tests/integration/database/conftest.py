"""Sessions in the roles that row security tells apart."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.kernel.database import Connection, Database, connect
from services.kernel.settings import CommonSettings, Secret


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Connection]:
    """A session of the database's owner."""
    session = await connect(database_url)
    yield session
    await session.close()


@pytest.fixture
async def app(app_database_url: str) -> AsyncIterator[Connection]:
    """A session of the application's login role."""
    session = await connect(app_database_url)
    yield session
    await session.close()


@pytest.fixture
async def app_db(app_database_url: str) -> AsyncIterator[Database]:
    """A pool of the application's login role."""
    database = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    yield database
    await database.close()
