"""Migration process: brings the database named by DATABASE_URL up to date, or says where it stands.

Exit codes: 0 done, 1 failed (the message names the next command), 2 called wrongly, 78 settings invalid, 143 and 130
stopped by SIGTERM and SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from services.kernel.errors import CoursegenError, SettingsInvalid
from services.kernel.lifecycle import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, run_loop
from services.migrate.console import Console
from services.migrate.errors import UnknownVersion, stopped
from services.migrate.runner import Runner, with_directory
from services.migrate.settings import MigrateSettings

_WRONG_CALL = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = with_directory(MigrateSettings.from_environ(os.environ), options.directory)
    except SettingsInvalid as error:
        print(f"migrate: {error}", file=sys.stderr)
        return EXIT_CONFIG
    return run_loop(_run(options, settings))


async def _run(options: argparse.Namespace, settings: MigrateSettings) -> int:
    console = Console(as_json=options.json)
    runner = Runner(settings, report=console.applied, waiting=console.waiting)
    signals = _cancelled_by_signals()
    try:
        if options.status:
            console.standings(await runner.standings())
        elif options.plan:
            console.standings([each for each in await runner.standings() if each.state in {"pending", "changed"}])
        else:
            console.finished(await runner.apply(accept=options.accept))
    except CoursegenError as error:
        console.failed(error)
        return _WRONG_CALL if isinstance(error, UnknownVersion) else EXIT_FAILED
    except asyncio.CancelledError:
        if not signals:
            raise
        console.failed(stopped(signals[0].name))
        return 128 + signals[0]
    return EXIT_OK


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.migrate",
        description="Bring the database named by DATABASE_URL up to date. Safe to repeat, and to run twice at once.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="only say where every migration stands")
    what.add_argument("--plan", action="store_true", help="only say what would be applied")
    parser.add_argument("--json", action="store_true", help="write one JSON document for scripts")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="take the migrations from this folder")
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="VERSION",
        help="take the changed text of an applied migration for the one that was applied",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
