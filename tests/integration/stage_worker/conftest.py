"""Fixtures of the stage worker's tests: a pipeline whose application is held by row security, as in production."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kernel.database import Database
from tests.integration.stage_worker.harness import Pipeline, open_pipeline
from tests.support.databases import opened


@pytest.fixture
async def app_db(app_database_url: str) -> AsyncIterator[Database]:
    """The database as the application's role sees it."""
    async with opened(app_database_url) as database:
        yield database


@pytest.fixture
def sink_file(tmp_path: Path) -> Path:
    """Where the effect sink writes."""
    return tmp_path / "effects.jsonl"


@pytest.fixture
async def pipeline(app_db: Database, sink_file: Path) -> AsyncIterator[Pipeline]:
    """Stages and runner over the test's database."""
    async with open_pipeline(app_db, sink=sink_file) as opened:
        yield opened
