"""Scheduler process of the local stack: starts the cleanup jobs when they are due (contract.md m).

On Kubernetes the operator's CronJobs are the clock, and this process does not run there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from services.kernel import lifecycle
from services.kernel.database import Database
from services.kernel.health import HealthRegistry
from services.kernel.maintenance import Scheduler
from services.kernel.schema import PIPELINE_RELATIONS, hold_schema
from services.kernel.settings import CommonSettings, load


@asynccontextmanager
async def open_scheduler(settings: CommonSettings, health: HealthRegistry) -> AsyncIterator[lifecycle.Service]:
    """The scheduler with its database."""
    db = await Database.open(settings, application="coursegen-scheduler")
    try:
        await hold_schema(db, PIPELINE_RELATIONS, health)
        health.register("database", db.ping)
        yield Scheduler(db)
    finally:
        await db.close()


def load_settings(environ: Mapping[str, str]) -> CommonSettings:
    """Read the environment."""
    return load(CommonSettings, environ)


def main() -> int:
    """Run the process; returns its exit code."""
    return lifecycle.run("scheduler", open_scheduler, load_settings)


if __name__ == "__main__":
    raise SystemExit(main())
