"""Retention process: one run over the rules in RETENTION_RULES, then it ends (docs/RETENTION.md).

Exit codes: 0 for a run that succeeded, was partial or dry, or found everything off the schedule or held; 1 when a rule
failed or was refused by the guard, or PostgreSQL did not answer; 78 for settings that are not valid. SIGTERM ends it after
the batch at hand, as a partial run. The report is its last act, whatever happened.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from services.kernel import faults, logs
from services.kernel.database import Database
from services.kernel.errors import CoursegenError, DatabaseUnavailable, SettingsInvalid
from services.kernel.lifecycle import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, run_loop
from services.kernel.pauses import pause
from services.kernel.settings import secrets_of
from services.retention.cleanup import Cleanup
from services.retention.report import Outcome, RunReport, write
from services.retention.settings import RetentionSettings
from services.retention.survey import milliseconds

_LOOK_SECONDS: Final = 1.0


def main() -> int:
    """Run the process; returns its exit code."""
    try:
        settings = RetentionSettings.from_environ(os.environ)
        faults.arm(settings.faults, settings.faults_log)
    except (SettingsInvalid, ValueError) as error:
        print(f"retention: {error}", file=sys.stderr)
        file = os.environ.get("REPORT_FILE")
        report = RunReport((), dry_run=False, error=str(error), broken_off="failed")
        write(report, Path(file) if file else None)
        return EXIT_CONFIG
    logs.configure(settings.log_level, settings.log_format, "retention")
    logs.conceal(secrets_of(settings))
    return run_loop(_run_and_report(settings))


async def _run_and_report(settings: RetentionSettings) -> int:
    try:
        report = await _run(settings)
    except CoursegenError as error:
        outcome: Outcome = "unreachable" if isinstance(error, DatabaseUnavailable) else "failed"
        report = RunReport((), settings.dry_run, error.message, broken_off=outcome)
    write(report, settings.report_file)
    _log_end(report)
    return EXIT_FAILED if report.has_failed else EXIT_OK


async def _run(settings: RetentionSettings) -> RunReport:
    stopping = _stopped_by_signals()
    db = await _open(settings, stopping)
    try:
        return await Cleanup(db, settings, stopping).run()
    finally:
        await db.close()


async def _open(settings: RetentionSettings, stopping: asyncio.Event) -> Database:
    """The database, as soon as it answers."""
    give_up = time.monotonic() + settings.connect_seconds
    parameters = {"lock_timeout": milliseconds(settings.lock_seconds)}
    while True:
        try:
            return await Database.open(settings, application="coursegen-retention", parameters=parameters)
        except DatabaseUnavailable:
            if stopping.is_set() or time.monotonic() >= give_up:
                raise
        await pause(stopping, _LOOK_SECONDS)


def _stopped_by_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopping.set)
    return stopping


def _log_end(report: RunReport) -> None:
    log = logs.get_logger(__name__)
    say = log.error if report.has_failed else log.info
    say("retention done", outcome=report.outcome, dryRun=report.dry_run, error=report.error or None)


if __name__ == "__main__":
    raise SystemExit(main())
