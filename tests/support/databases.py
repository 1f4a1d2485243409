"""A database that a test opens for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """The kernel's Database on a URL, as whoever the URL names; closed with the block."""
    database = await Database.open(CommonSettings(database_url=Secret(url)))
    try:
        yield database
    finally:
        await database.close()
