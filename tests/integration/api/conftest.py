from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.api import RunningApi, running_api


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """A running api that connects as the application's role, which row security binds."""
    async with running_api(app_database_url, redis_url) as running:
        yield running
