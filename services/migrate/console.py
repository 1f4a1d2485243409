"""What the migration process prints: lines for people, one JSON document for scripts."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Collection, Sequence
from typing import Any

import orjson

from services.kernel.errors import CoursegenError
from services.migrate.drift import Drift
from services.migrate.files import MigrationFile
from services.migrate.plan import Plan, Survey
from services.migrate.report import Report
from services.migrate.runner import Applied, Watcher
from services.migrate.standing import Standing


class Console(Watcher):
    """Prints results to standard output and failures to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._applied: list[Applied] = []
        self._found: Survey | None = None
        self._drift: Drift | None = None

    def adopted(self, files: Sequence[MigrationFile]) -> None:
        """A baseline was noted."""
        if not self._as_json:
            print(f"adopted  {len(files)} files up to {files[-1].version}, noted without being run", flush=True)

    def applied(self, applied: Applied) -> None:
        """One file was applied."""
        self._applied.append(applied)
        if not self._as_json:
            print(f"applied  {applied.version}  {applied.name}  ({applied.seconds * 1000:.0f} ms)", flush=True)

    def waiting(self, reason: str) -> None:
        """The server does not answer yet."""
        print(f"migrate: {reason}", file=sys.stderr, flush=True)

    def surveyed(self, found: Survey) -> None:
        """Where the database stood."""
        self._found = found

    def compared(self, drift: Drift) -> None:
        """What somebody has changed by hand is said at the end."""
        self._drift = drift

    def finished(self, applied: Sequence[Applied]) -> None:
        """All files are applied."""
        if self._as_json:
            self._document({"applied": [_file(each) for each in applied]})
        elif applied:
            print(f"{len(applied)} migrations applied; the database is up to date")
        else:
            print("the database is up to date")
        if not self._as_json:
            self._say_the_rest({each.version for each in applied})

    def standings(self, standings: Sequence[Standing]) -> None:
        """Where migrations stand."""
        if self._as_json:
            self._document({"migrations": [_line(each) for each in standings]})
            return
        for each in standings:
            when = each.executed_at.isoformat(sep=" ", timespec="seconds") if each.executed_at else ""
            print(f"{each.state:<8} {each.version}  {each.name or ''}  {when}".rstrip())
        if not standings:
            print("nothing to do; the database is up to date")

    def planned(self, standings: Sequence[Standing], found: Survey | None) -> None:
        """What would be applied, by phases, and what that takes away; `found` is None when a file has changed."""
        plans = [] if found is None else [each for each in (found.expand, found.contract) if each.hash]
        if self._as_json:
            self._document(
                {"migrations": [_line(each) for each in standings], "plans": [_plan(each) for each in plans]}
            )
            return
        self.standings(standings)
        for plan in plans:
            noted = f", after a baseline of {len(plan.adopted)}" if plan.adopted else ""
            print(f"plan     {plan.hash}  {plan.phase}, {len(plan.files)} files{noted}")
            for file, each in plan.destructive:
                print(f"destructive  {file.filename}, line {each.line}: {each.statement}")

    def reported(self, report: Report) -> None:
        """A task has come to its end."""
        if report.drift is not None and report.task == "drift":
            print(f"{report.drift.state}: {report.drift.summary}")
        else:
            print(f"{report.task}: {report.outcome}")

    def failed(self, error: CoursegenError) -> None:
        """The run ended with an error; what was applied before it stays applied."""
        print(f"migrate: {error.message}", file=sys.stderr)
        if self._as_json:
            failure = {"code": error.code, "message": error.message, "details": error.details}
            self._document({"applied": [_file(each) for each in self._applied], "error": failure})

    def _say_the_rest(self, done: Collection[str]) -> None:
        waiting = [file.version for file in self._found.contract.files] if self._found is not None else []
        if left := [version for version in waiting if version not in done]:
            print(
                f"phase contract waits: {', '.join(left)}; when no older code runs, --contract --backup ID applies it"
            )
        if self._drift is not None and self._drift.state == "Drifted":
            print(f"changed by hand: {self._drift.summary}")

    @staticmethod
    def _document(content: dict[str, Any]) -> None:
        print(orjson.dumps(content, default=str).decode())


def _file(applied: Applied) -> dict[str, Any]:
    return {"version": applied.version, "name": applied.name, "milliseconds": round(applied.seconds * 1000)}


def _line(standing: Standing) -> dict[str, Any]:
    return {
        "version": standing.version,
        "name": standing.name,
        "state": standing.state,
        "executedAt": standing.executed_at,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "phase": plan.phase,
        "hash": plan.hash,
        "files": [file.version for file in plan.files],
        "destructive": [{"version": file.version, **dataclasses.asdict(each)} for file, each in plan.destructive],
    }
