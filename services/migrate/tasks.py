"""The tasks that Kubernetes Jobs run: plan, apply, contract and drift. Each ends with a report, whatever happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from services.kernel.errors import CoursegenError, DatabaseUnavailable
from services.migrate.drift import Drift
from services.migrate.errors import BackupSpent, Denied, is_transient
from services.migrate.files import MigrationFile
from services.migrate.plan import Survey
from services.migrate.report import Outcome, Report, Task
from services.migrate.request import Request
from services.migrate.runner import Applied, Runner, Watcher
from services.migrate.settings import MigrateSettings

TASKS: Final[tuple[Task, ...]] = ("plan", "apply", "contract", "drift")


class TaskWatcher(Watcher):
    """Notes in the report what the run tells, and passes it on."""

    def __init__(self, report: Report, console: Watcher) -> None:
        self._report = report
        self._console = console

    def waiting(self, reason: str) -> None:
        """Pass it on."""
        self._console.waiting(reason)

    def surveyed(self, found: Survey) -> None:
        """Note it."""
        self._report.survey = found

    def adopted(self, files: Sequence[MigrationFile]) -> None:
        """Note it, and pass it on."""
        self._report.has_adopted = True
        self._console.adopted(files)

    def applied(self, applied: Applied) -> None:
        """Note it, and pass it on."""
        self._report.applied.append(applied.version)
        self._console.applied(applied)

    def compared(self, drift: Drift) -> None:
        """Note it."""
        self._report.drift = drift


async def run_task(report: Report, request: Request, settings: MigrateSettings, console: Watcher) -> None:
    """Do what `report.task` names; the report is filled in as it goes, to its outcome.

    Raises:
        CoursegenError: what ended the task early; the report says it as well.
    """
    runner = Runner(settings, TaskWatcher(report, console))
    try:
        await _do(report, request, runner)
    except CoursegenError as error:
        fail(report, error)
        raise
    except Exception as error:
        report.error = f"internal error: {type(error).__name__}: {error}"
        raise
    is_ahead = report.survey is not None and report.survey.is_ahead and report.task in {"plan", "apply"}
    report.outcome = "ahead" if is_ahead else "succeeded"


async def _do(report: Report, request: Request, runner: Runner) -> None:
    match report.task:
        case "plan":
            await runner.survey(request)
        case "apply":
            await runner.apply(dataclasses.replace(request, phase="expand"))
        case "contract":
            await runner.apply(dataclasses.replace(request, phase="contract"))
        case "drift":
            report.drift = await runner.drift(request)


def fail(report: Report, error: CoursegenError) -> None:
    """Write `error` into the report."""
    report.outcome = _outcome(error)
    report.error = error.message
    report.is_backup_spent = isinstance(error, BackupSpent)
    report.transient = is_transient(error)
    report.revision = error.details.get("version") or report.revision


def _outcome(error: CoursegenError) -> Outcome:
    if isinstance(error, Denied):
        return "denied"
    return "unreachable" if isinstance(error, DatabaseUnavailable) else "failed"
