"""Sustained load: 100 mixed courses a minute for half an hour; memory, depth, latencies and a ledger of what was promised.

`python -m benchmarks sustained` runs it and writes `benchmarks/report`; `--quick` takes a minute. With other numbers, as
`python -m benchmarks.sustained --per-minute 1000 --minutes 3 --titles-only --workers 2`, the report goes to `build/report`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.machine import describe
from benchmarks.sustained import report
from benchmarks.sustained.running import REDIS, Plan, carry_out

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "benchmarks" / "report"
ELSEWHERE = REPOSITORY / "build" / "report"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 when everything held."""
    import uvloop

    plan, folder, command = _options(arguments)
    print(f"{describe()}\n", flush=True)
    outcome = uvloop.run(carry_out(plan))
    held = report.write(outcome, folder, command)
    tables, failures = report.tables_of(outcome)
    print("\n" + "\n\n".join(each.render() for each in tables), flush=True)
    print("\n" + ("everything held" if held else "NOT HELD: " + "; ".join(failures)), flush=True)
    print(f"written: {folder}", flush=True)
    _draw(folder)
    return 0 if held else 1


def _options(arguments: Sequence[str] | None) -> tuple[Plan, Path, str]:
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sustained", description="Mixed load for a long time.")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--minutes", type=float, default=usual.minutes)
    parser.add_argument("--per-minute", type=float, default=usual.per_minute, help="courses")
    parser.add_argument("--workers", type=int, default=usual.workers, help="stage-workers")
    parser.add_argument(
        "--concurrency", type=int, default=usual.concurrency, help="jobs of each queue in a worker's hands"
    )
    parser.add_argument("--appendfsync", choices=REDIS, default=usual.appendfsync, help="of Redis; no: without any log")
    parser.add_argument("--titles-only", action="store_true", help="no documents")
    parser.add_argument(
        "--messages", type=float, default=usual.messages_per_second, metavar="RATE", help="a second; 0 for none"
    )
    parser.add_argument("--into", type=Path, help="where the report goes")
    found = parser.parse_args(arguments)
    given = list(sys.argv[1:] if arguments is None else arguments)
    plan = Plan(
        minutes=1.0 if found.quick else found.minutes,
        per_minute=found.per_minute,
        workers=found.workers,
        appendfsync=found.appendfsync,
        concurrency=found.concurrency,
        titles_only=found.titles_only,
        messages_per_second=found.messages,
        idle_seconds=5.0 if found.quick else usual.idle_seconds,
    )
    folder = found.into or (COMMITTED if plan == usual else ELSEWHERE)
    return plan, folder, shlex.join(["python", "-m", "benchmarks.sustained", *given])


def _draw(folder: Path) -> None:
    try:
        from benchmarks.sustained import plots
    except ModuleNotFoundError as missing:
        print(
            f"no plots: {missing.name} is not installed. scripts/environment pictures; then "
            f"python -m benchmarks.sustained.plots {folder}",
            file=sys.stderr,
        )
        return
    plots.draw(folder)


if __name__ == "__main__":
    raise SystemExit(main())
