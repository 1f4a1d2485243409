"""The command line of the migration process."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.migrate.plan import HEAD
from services.migrate.request import Request
from services.migrate.tasks import TASKS


def parser() -> argparse.ArgumentParser:
    """What may be written behind `python -m services.migrate`."""
    parser = argparse.ArgumentParser(
        prog="python -m services.migrate",
        description="Bring the database named by DATABASE_URL up to date. Safe to repeat, and to run twice at once.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="only say where every migration stands")
    what.add_argument("--plan", action="store_true", help="only say what would be applied")
    what.add_argument("--task", choices=TASKS, help="do one task of the operator's, and write a report to REPORT_FILE")
    parser.add_argument("--contract", action="store_true", help="apply files of phase contract as well; needs --backup")
    parser.add_argument("--json", action="store_true", help="write one JSON document for scripts")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="take the migrations from this folder")
    _add_limits(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("what is allowed")
    limits.add_argument("--target", default=HEAD, metavar="VERSION", help="go to this revision and no further")
    limits.add_argument("--expect-plan", metavar="HASH", help="refuse any plan but this one")
    limits.add_argument("--allow-destructive", action="store_true", help="allow statements that take something away")
    limits.add_argument(
        "--backup", metavar="ID", help="the backup that could be gone back to; noted with what needs it"
    )
    limits.add_argument(
        "--baseline", metavar="VERSION", help="take a database without a list for being at this revision"
    )
    limits.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="VERSION",
        help="take the changed text of an applied migration for the one that was applied",
    )
    limits.add_argument("--accept-drift", action="store_true", help="take the schema as it is for what it should be")
    limits.add_argument(
        "--ignore", action="append", default=[], metavar="PATTERN", help="objects that may differ: 'public.tmp_*'"
    )


def request(options: argparse.Namespace) -> Request:
    """What the command line asks for."""
    return Request(
        phase="both" if options.contract else "expand",
        target=options.target,
        accept=tuple(options.accept),
        expect_plan=options.expect_plan,
        allow_destructive=options.allow_destructive,
        backup=options.backup,
        baseline=options.baseline,
        accept_drift=options.accept_drift,
        ignore=tuple(options.ignore),
    )
