"""One run over the rules: look, let the guard judge, remove in batches, report.

Promises:

- A batch is one short transaction. Who kills the process finds everything of the finished batches gone and nothing of the
  others: there is no state beside the tables.
- The moment before which rows are old is fixed when a rule begins, so it removes no row that the guard has not counted.
- Nobody waits for a row: those that somebody holds are left for the next run, and a table's lock is waited for briefly.
- A target whose job was taken off the schedule (`cron.unschedule`) is left alone, also when that happens in the middle.
- Two runs at once do no harm: who finds a target held leaves it. How a run went is written into `cron.job`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.kernel import faults
from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Connection, Database
from services.kernel.errors import CoursegenError, DatabaseUnavailable
from services.kernel.logs import get_logger
from services.kernel.maintenance import hold_job, is_scheduled, record_run
from services.kernel.pauses import pause
from services.retention.guard import Guard
from services.retention.report import RuleReport, RunReport
from services.retention.rules import Rule
from services.retention.settings import RetentionSettings
from services.retention.survey import Survey, Surveyor
from services.retention.targets import CRON_JOBS, QUERIES, Statements, find_statements

_TRIES: Final = 3
_HELD_UP: Final = "see in pg_stat_activity who holds its rows, or make batchSize smaller"
_log = get_logger(__name__)


@dataclass(slots=True)
class _Progress:
    """How far a rule has come."""

    deleted: int = 0
    beside: int = 0
    stopped_by: str = ""
    """Why it ended before all was removed."""


class Cleanup:
    """A run over all rules of a policy."""

    def __init__(
        self, db: Database, settings: RetentionSettings, stopping: asyncio.Event, clock: Clock | None = None
    ) -> None:
        self._db = db
        self._settings = settings
        self._stopping = stopping
        self._clock = clock or SystemClock()
        self._guard = Guard(settings.max_delete_fraction, settings.min_keep_rows, settings.free_rows)
        self._surveyor = Surveyor(db, count_seconds=settings.count_seconds)

    async def run(self) -> RunReport:
        """Go through the rules one after the other; nothing is raised. Each has an equal share of the time that is left."""
        end = self._clock.monotonic() + self._settings.max_run_seconds
        reports: list[RuleReport] = []
        for position, rule in enumerate(self._settings.rules):
            now = self._clock.monotonic()
            share = max(end - now, 0.0) / (len(self._settings.rules) - position)
            report = await self._run_rule(rule, now + share)
            _log_rule(report)
            reports.append(report)
        return RunReport(tuple(reports), self._settings.dry_run)

    async def _run_rule(self, rule: Rule, deadline: float) -> RuleReport:
        progress = _Progress()
        try:
            report = await self._apply(rule, deadline, progress)
        except CoursegenError as error:
            report = await self._failure(rule, error)
        report = replace(report, deleted=progress.deleted + progress.beside, beside=progress.beside)
        await self._record(rule, report)
        return report

    async def _apply(self, rule: Rule, deadline: float, progress: _Progress) -> RuleReport:
        job = CRON_JOBS.get(rule.target)
        if job is not None and not await is_scheduled(self._db, job):
            return RuleReport(rule.name, "unscheduled", message=_off_schedule(job))
        obstacle = self._obstacle(rule, deadline, progress)
        if obstacle:
            return RuleReport(rule.name, "partial", message=obstacle)
        statements = await find_statements(self._db, rule)
        if statements is None:
            return RuleReport(rule.name, "succeeded", remaining=0, message="there is no such table yet: nothing to do")
        cutoff: datetime = await self._db.fetchval(QUERIES["cutoff"], rule.kept_for)
        return await self._clean(rule, statements, cutoff, deadline, progress)

    async def _clean(
        self, rule: Rule, statements: Statements, cutoff: datetime, deadline: float, progress: _Progress
    ) -> RuleReport:
        before = await self._surveyor.survey(statements, cutoff)
        report = RuleReport(rule.name, "succeeded", matched=before.matched)
        objection = self._guard.objection(before)
        if objection is not None:
            return _after(replace(report, outcome="guarded", message=objection), before)
        if self._settings.dry_run:
            return _after(report, before)
        held = await self._remove(rule, statements, cutoff, deadline, progress)
        if not held and not progress.deleted:
            return _after(await self._not_begun(rule, report), before)
        after = await self._look_again(statements, cutoff, before, progress.deleted)
        if progress.stopped_by and (after.matched or after.is_estimate):
            report = replace(report, outcome="partial", message=progress.stopped_by)
        return _after(report, after)

    async def _remove(
        self, rule: Rule, statements: Statements, cutoff: datetime, deadline: float, progress: _Progress
    ) -> bool:
        """Remove in batches until nothing is left or something stops it; False when the target was not ours to hold."""
        failures = 0
        while True:
            progress.stopped_by = self._obstacle(rule, deadline, progress)
            if progress.stopped_by:
                return True
            try:
                is_last = await self._remove_batch(rule, statements, cutoff, progress)
            except DatabaseUnavailable:
                failures += 1
                if failures == _TRIES:
                    raise
                await pause(self._stopping, failures)
                continue
            if is_last is None:
                progress.stopped_by = "somebody else removes from this target, or it was taken off the schedule"
                return False
            if is_last:
                return True
            failures = 0
            await pause(self._stopping, rule.pause_millis / 1000)

    async def _remove_batch(
        self, rule: Rule, statements: Statements, cutoff: datetime, progress: _Progress
    ) -> bool | None:
        """Remove one batch and count it once it is committed: whether it was the last; None: not ours to hold."""
        size = min(rule.batch_size, rule.max_rows_per_run - progress.deleted)
        async with self._db.transaction() as session:
            if not await self._hold(session, rule, statements):
                return None
            count: int = await session.fetchval(statements.remove, cutoff, size)
            beside = await session.fetchval(statements.beside, cutoff, size) if statements.beside else 0
            await faults.reach("retention.before_commit")
        progress.deleted += count
        progress.beside += beside
        await faults.reach("retention.after_commit")
        return max(count, beside) < size

    async def _hold(self, session: Connection, rule: Rule, statements: Statements) -> bool:
        job = CRON_JOBS.get(rule.target)
        if job is not None:
            return await hold_job(session, job) is not None
        return bool(await session.fetchval(QUERIES["hold_target"], f"{rule.target} {statements.relation}"))

    def _obstacle(self, rule: Rule, deadline: float, progress: _Progress) -> str:
        if self._stopping.is_set():
            return "it was told to stop; the next run goes on"
        if self._clock.monotonic() >= deadline:
            return "its time (maxRunSeconds) was up; the next run goes on"
        if progress.deleted >= rule.max_rows_per_run:
            return f"maxRowsPerRun ({rule.max_rows_per_run}) was reached; the next run goes on"
        return ""

    async def _not_begun(self, rule: Rule, report: RuleReport) -> RuleReport:
        job = CRON_JOBS.get(rule.target)
        if job is not None and not await is_scheduled(self._db, job):
            return replace(report, outcome="unscheduled", message=_off_schedule(job))
        return replace(report, outcome="held", message="somebody else removes from this target at this moment")

    async def _look_again(self, statements: Statements, cutoff: datetime, before: Survey, deleted: int) -> Survey:
        """What remains: counted again, unless nothing has changed or there is no time to."""
        if not deleted:
            return before
        if not self._stopping.is_set():
            try:
                return await self._surveyor.survey(statements, cutoff)
            except CoursegenError as error:
                _log.warning("what remains could not be counted", error=error.message)
        return Survey(max(before.present - deleted, 0), 0, None, is_estimate=True)

    async def _record(self, rule: Rule, report: RuleReport) -> None:
        """Keep `cron.job` true. A dry run, and one that did not begin, are no runs."""
        job = CRON_JOBS.get(rule.target)
        if job is None or self._settings.dry_run or report.outcome in {"unscheduled", "held", "unreachable"}:
            return
        is_good = report.outcome in {"succeeded", "partial"}
        said = f"{report.deleted} rows removed" + (f"; {report.message}" if report.message else "")
        try:
            await record_run(self._db, job, "succeeded" if is_good else "failed", said if is_good else report.message)
        except CoursegenError as error:
            _log.warning("the run could not be written into cron.job", job=job, error=error.message)

    async def _failure(self, rule: Rule, error: CoursegenError) -> RuleReport:
        """An outage, or something of this rule alone."""
        if not isinstance(error, DatabaseUnavailable):
            return RuleReport(rule.name, "failed", message=error.message)
        try:
            await self._db.ping()
        except DatabaseUnavailable:
            return RuleReport(rule.name, "unreachable", message=error.message)
        return RuleReport(rule.name, "failed", message=f"{error.message}; {_HELD_UP}")


def _after(report: RuleReport, seen: Survey) -> RuleReport:
    return replace(
        report, remaining=seen.present, oldest_remaining=seen.oldest, is_estimate=report.is_estimate or seen.is_estimate
    )


def _off_schedule(job: str) -> str:
    return f"{job} is off the schedule; SELECT cron.schedule_defaults() puts it back"


def _log_rule(report: RuleReport) -> None:
    say = _log.error if report.outcome in {"failed", "unreachable", "guarded"} else _log.info
    say("rule done", **report.as_object(message_length=2000))
