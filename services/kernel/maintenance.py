"""Retention: three jobs that remove what is no longer needed, and the clock that starts them (contract.md m).

The table `cron.job` is authoritative: what is not in it, or not active, does not run, whoever asks; each run is written
down there. On Kubernetes the operator's CronJobs run `services.retention`; elsewhere one `Scheduler` runs the jobs' own
commands; never both. Should two clocks run all the same, no harm is done: a job is held while it runs, and what is removed
is removed once.

A job removes in batches, each its own short transaction, so that it never holds back vacuum or a user.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from services.kernel.clock import Clock, SystemClock
from services.kernel.cron import CronSchedule
from services.kernel.database import Connection, Database
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.pauses import pause
from services.kernel.queries import Queries

CLEANUP_JOBS: Final = (
    "cleanup_processed_outbox_entries",
    "cleanup_expired_idempotency_keys",
    "cleanup_old_fsm_events",
)
"""The three jobs; their command is repeated until it removes nothing more."""

ALIASES: Final = {"cleanup_old_outbox_entries": "cleanup_processed_outbox_entries"}
"""Other names under which a job may be asked for (D24)."""

_LONGEST_SLEEP: Final = timedelta(seconds=60)
_MOST_BATCHES: Final = 100_000
_QUERIES = Queries.load("services.kernel", "maintenance.sql")
_log = get_logger(__name__)

Outcome = Literal["succeeded", "failed", "unscheduled", "held"]


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """A line of `cron.job`."""

    jobid: int
    jobname: str
    schedule: str
    command: str
    active: bool
    last_run: datetime | None
    last_run_status: str | None
    last_run_message: str | None
    scheduled_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether a due minute has passed since it last ran, or since it was scheduled. A missed one is made up for."""
        previous = CronSchedule.parse(self.schedule).previous(now)
        since = max(self.last_run or self.scheduled_at, self.scheduled_at)
        return self.active and previous is not None and previous > since


@dataclass(frozen=True, slots=True)
class JobRun:
    """How a run went. `unscheduled`: it is not on the schedule; `held`: somebody else runs it at this moment."""

    jobname: str
    outcome: Outcome
    removed: int = 0
    message: str = ""


async def scheduled_jobs(db: Database) -> list[ScheduledJob]:
    """What is on the schedule."""
    return [ScheduledJob(**row) for row in await db.fetch(_QUERIES["scheduled_jobs"])]


async def run_job(db: Database, jobname: str) -> JobRun:
    """Run one job now, if it is on the schedule, and write down how it went.

    Raises:
        DatabaseUnavailable: the database does not even take the record.
    """
    jobname = ALIASES.get(jobname, jobname)
    try:
        removed, began = await _run_batches(db, jobname)
    except CoursegenError as error:
        await record_run(db, jobname, "failed", error.message)
        _log.warning("maintenance job failed", job=jobname, error=error.message)
        return JobRun(jobname, "failed", message=error.message)
    if not began:
        return JobRun(jobname, "held" if await is_scheduled(db, jobname) else "unscheduled")
    message = f"{removed} rows removed" if jobname in CLEANUP_JOBS else "done"
    await record_run(db, jobname, "succeeded", message)
    _log.info("maintenance job done", job=jobname, removed=removed)
    return JobRun(jobname, "succeeded", removed, message)


async def hold_job(session: Connection, jobname: str) -> str | None:
    """The command of a job, held until the transaction of `session` ends; None: off the schedule, or held by somebody else."""
    command: str | None = await session.fetchval(_QUERIES["begin_job"], jobname)
    return command


async def is_scheduled(db: Database, jobname: str) -> bool:
    """Whether a job is on the schedule, and active."""
    return bool(await db.fetchval(_QUERIES["is_scheduled"], jobname))


async def record_run(db: Database, jobname: str, status: Literal["succeeded", "failed"], message: str) -> None:
    """Write down in `cron.job` that a job has run, and how it went; nothing happens where there is no such job."""
    await db.fetchval(_QUERIES["record_run"], jobname, status, message)


async def _run_batches(db: Database, jobname: str) -> tuple[int, bool]:
    removed = 0
    for batch in range(_MOST_BATCHES):
        async with db.transaction() as session:
            command = await hold_job(session, jobname)
            if command is None:
                return removed, batch > 0
            count = await session.fetchval(command)
        if jobname not in CLEANUP_JOBS or not count:
            break
        removed += count
    return removed, True


class Scheduler:
    """The clock for a stack without Kubernetes: runs each job of `cron.job` when it is due."""

    def __init__(self, db: Database, *, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def serve(self, stopping: asyncio.Event) -> None:
        """Run due jobs until `stopping` is set. Errors are logged and the next look tries again; nothing is raised."""
        _log.info("scheduler started")
        while not stopping.is_set():
            sleep = _LONGEST_SLEEP
            try:
                await self.run_due()
                sleep = await self._until_next()
            except (CoursegenError, ValueError) as error:
                _log.warning("schedule could not be read", error=str(error))
            await pause(stopping, sleep.total_seconds())

    async def run_due(self) -> list[JobRun]:
        """Run what is due at this moment, one after the other."""
        now = self._clock.now()
        due = [job.jobname for job in await scheduled_jobs(self._db) if _is_due(job, now)]
        return [await run_job(self._db, jobname) for jobname in due]

    async def _until_next(self) -> timedelta:
        now = self._clock.now()
        times = [_next_due(job, now) for job in await scheduled_jobs(self._db) if job.active]
        waits = [due - now for due in times if due is not None]
        return max(timedelta(seconds=1), min([*waits, _LONGEST_SLEEP]))


def _is_due(job: ScheduledJob, now: datetime) -> bool:
    try:
        return job.is_due(now)
    except ValueError as error:
        _log.warning("a job's schedule cannot be read", job=job.jobname, error=str(error))
        return False


def _next_due(job: ScheduledJob, now: datetime) -> datetime | None:
    try:
        return CronSchedule.parse(job.schedule).next(now)
    except ValueError:
        return None  # run_due has said so
