"""Judges what scripts/verify-deployment.sh has collected in a folder, and ends with the exit code that follows."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from services.cli.verification import folder, release, report
from services.cli.verification.advice import CLUSTER, ELSEWHERE, LOCAL, Place
from services.cli.verification.checks import judge
from services.cli.verification.facts import Facts
from services.cli.verification.findings import exit_code


def main() -> int:
    """Read, judge, report."""
    parser = argparse.ArgumentParser(prog="verify-deployment")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--place", choices=(LOCAL, ELSEWHERE, CLUSTER), default=LOCAL)
    parser.add_argument("--url", default="")
    parser.add_argument("--namespace", default="")
    parser.add_argument("--release", default="")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    place = Place(options.place, url=options.url, namespace=options.namespace, release=options.release)
    findings = judge(Facts(folder.read(options.folder), release.wanted()))
    if options.json:
        text = report.as_json(findings, place)
    else:
        coloured = report.is_coloured(os.environ, is_terminal=sys.stdout.isatty())
        text = "\n".join(report.lines(findings, place, coloured=coloured))
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever reads has read enough
    return exit_code(findings)


if __name__ == "__main__":
    sys.exit(main())
