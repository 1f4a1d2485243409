"""What a check has found, and the exit code that follows from all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PASS = "pass"  # noqa: S105 - no password
WARN = "warn"
FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """The verdict of one check."""

    name: str
    status: str
    """PASS, WARN or FAIL."""
    problems: tuple[str, ...]
    """Why it is not PASS, in sentences."""
    values: Mapping[str, Any]
    """What it saw."""
    is_seen: bool = True
    """False when the check could not look: then its problem says what to do."""
    subject: str = ""
    """What advice is asked for, where another one helps than that of the check."""


class Case:
    """Collects what speaks against a part while a check looks at it."""

    def __init__(self, name: str) -> None:
        self.values: dict[str, Any] = {}
        self._name = name
        self._faults: list[str] = []
        self._warnings: list[str] = []
        self._is_seen = True
        self._subject = ""

    def saw(self, **values: Any) -> None:
        """Keep figures for the report; those that are None say nothing."""
        self.values.update({name: value for name, value in values.items() if value is not None})

    def require(self, holds: bool, otherwise: str) -> None:
        """What must hold, or the check fails."""
        if not holds:
            self._faults.append(otherwise)

    def expect(self, holds: bool, otherwise: str) -> None:
        """What should hold, or the check warns."""
        if not holds:
            self._warnings.append(otherwise)

    def miss(self, reason: str) -> None:
        """Nothing can be seen: a warning."""
        self._warnings.append(reason)
        self._is_seen = False

    def seek(self, subject: str) -> None:
        """Have the reader advised about `subject`, not about the check as a whole."""
        self._subject = subject

    def close(self) -> Finding:
        """The verdict."""
        status = FAIL if self._faults else WARN if self._warnings else PASS
        problems = (*self._faults, *self._warnings)
        return Finding(self._name, status, problems, self.values, self._is_seen, self._subject)


def overall(findings: Iterable[Finding]) -> str:
    """The worst of them."""
    found = {each.status for each in findings}
    return next((status for status in (FAIL, WARN) if status in found), PASS)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when all passed, 1 when one failed, 2 when there are warnings only."""
    return {PASS: 0, FAIL: 1, WARN: 2}[overall(findings)]
