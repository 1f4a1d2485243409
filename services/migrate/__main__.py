"""Migration process: brings the database named by DATABASE_URL up to date, or says where it stands.

Exit codes: 0 done, 1 failed or not allowed (the message names the next command), 2 called wrongly, 78 settings invalid, 143
and 130 stopped by SIGTERM and SIGINT. With `--task`, REPORT_FILE has the report, whatever the code.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from services.kernel.errors import CoursegenError, SettingsInvalid
from services.kernel.lifecycle import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, run_loop
from services.kernel.settings import secrets_of
from services.migrate import arguments, tasks
from services.migrate.console import Console
from services.migrate.errors import UnknownVersion, stopped
from services.migrate.report import Report
from services.migrate.runner import Runner, with_directory
from services.migrate.settings import MigrateSettings

_WRONG_CALL = 2


def main(given: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code."""
    options = arguments.parser().parse_args(given)
    report = Report(options.task) if options.task else None
    secrets: frozenset[str] = frozenset()
    try:
        settings = with_directory(MigrateSettings.from_environ(os.environ), options.directory)
        secrets = secrets_of(settings)
        return run_loop(_run(options, settings, report))
    except SettingsInvalid as error:
        print(f"migrate: {error}", file=sys.stderr)
        if report is not None:
            tasks.fail(report, error)
        return EXIT_CONFIG
    finally:
        if report is not None:
            _write(report, secrets, as_json=options.json)


async def _run(options: argparse.Namespace, settings: MigrateSettings, report: Report | None) -> int:
    console = Console(as_json=options.json and report is None)
    signals = _cancelled_by_signals()
    try:
        await _do(options, settings, console, report)
    except CoursegenError as error:
        console.failed(error)
        return _WRONG_CALL if isinstance(error, UnknownVersion) else EXIT_FAILED
    except asyncio.CancelledError:
        if not signals:
            raise
        reason = stopped(signals[0].name)
        console.failed(reason)
        if report is not None:
            tasks.fail(report, reason)
        return 128 + signals[0]
    return EXIT_OK


async def _do(options: argparse.Namespace, settings: MigrateSettings, console: Console, report: Report | None) -> None:
    request, runner = arguments.request(options), Runner(settings, console)
    if report is not None:
        await tasks.run_task(report, request, settings, console)
        console.reported(report)
    elif options.status:
        console.standings(await runner.standings())
    elif options.plan:
        shown = [each for each in await runner.standings() if each.state in {"pending", "contract", "changed"}]
        is_readable = all(each.state != "changed" for each in shown)
        console.planned(shown, await runner.survey(request) if is_readable else None)
    else:
        console.finished(await runner.apply(request))


def _write(report: Report, secrets: Collection[str], *, as_json: bool) -> None:
    """The last act of a task. A file that cannot be written is no reason to fail: the exit code stands."""
    text = report.encoded(secrets)
    if as_json:
        print(text.decode(), flush=True)
    path = os.environ.get("REPORT_FILE")
    if path:
        with contextlib.suppress(OSError):
            Path(path).write_bytes(text)


def _cancelled_by_signals() -> list[signal.Signals]:
    """Have SIGTERM and SIGINT cancel this task, also as the first process of a container; they are noted in the list."""
    task, signals = asyncio.current_task(), list[signal.Signals]()

    def stop(each: signal.Signals) -> None:
        signals.append(each)
        if task is not None:
            task.cancel()

    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop, each)
    return signals


if __name__ == "__main__":
    raise SystemExit(main())
