"""`python -m benchmarks`: every benchmark, one after the other, each in a process of its own.

`python -m benchmarks initiation memory` runs these two, `--quick` a short form of each; `python -m benchmarks.initiation` is
the same as the first. A benchmark that fails does not keep the others from running, but the exit code tells.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAMES = (
    "initiation",
    "concurrency",
    "connections",
    "balancers",
    "watchers",
    "memory",
    "relay_drain",
    "commit_to_queue",
    "messages",
    "sustained",
    "competitors",
)
"""In the order in which they run; the last one installs other projects' queues from npm and PyPI at its first run."""

_REPOSITORY = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 when nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure coursegen's speed and memory.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which, of {', '.join(NAMES)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, smaller load: minutes instead of an hour and a half"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    failed = [name for name in options.names or NAMES if not _run(name, quick=options.quick)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, *, quick: bool) -> bool:
    print(f"## {name}\n", flush=True)
    argv = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    return subprocess.run(argv, cwd=_REPOSITORY, check=False).returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
