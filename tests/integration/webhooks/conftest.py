"""Fixtures: a pipeline and a receiver, held by row security as in production."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret
from tests.integration.stage_worker.harness import Pipeline, open_pipeline
from tests.support.receiver import Receiver, open_receiver


@pytest.fixture
async def app_db(app_database_url: str) -> AsyncIterator[Database]:
    """The database as the application's role sees it."""
    database = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    yield database
    await database.close()


@pytest.fixture
async def pipeline(app_db: Database) -> AsyncIterator[Pipeline]:
    """Stages and runner, webhooks among them."""
    async with open_pipeline(app_db) as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """On the loopback, answering 204."""
    async with open_receiver() as opened:
        yield opened
