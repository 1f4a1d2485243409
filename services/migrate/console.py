"""What the migration process prints: lines for people, one JSON document for scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import orjson

from services.kernel.errors import CoursegenError
from services.migrate.runner import Applied, Standing


class Console:
    """Prints results to standard output and failures to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._applied: list[Applied] = []

    def applied(self, applied: Applied) -> None:
        """One file was applied."""
        self._applied.append(applied)
        if not self._as_json:
            print(f"applied  {applied.version}  {applied.name}  ({applied.seconds * 1000:.0f} ms)", flush=True)

    def waiting(self, reason: str) -> None:
        """The server does not answer yet."""
        print(f"migrate: {reason}", file=sys.stderr, flush=True)

    def finished(self, applied: Sequence[Applied]) -> None:
        """All files are applied."""
        if self._as_json:
            self._document({"applied": [_file(each) for each in applied]})
        elif applied:
            print(f"{len(applied)} migrations applied; the database is up to date")
        else:
            print("the database is up to date")

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

    def failed(self, error: CoursegenError) -> None:
        """The run ended with an error; what was applied before it stays applied."""
        print(f"migrate: {error.message}", file=sys.stderr)
        if self._as_json:
            failure = {"code": error.code, "message": error.message, "details": error.details}
            self._document({"applied": [_file(each) for each in self._applied], "error": failure})

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
