"""What a run did: for the Job's termination message, which is where the operator reads it (at most 4096 bytes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from services.kernel.logs import get_logger, scrub_text
from services.kernel.texts import shortened

MOST_BYTES: Final = 4096
ERROR_LENGTH: Final = 600
MESSAGE_LENGTH: Final = 160

Outcome = Literal["succeeded", "partial", "guarded", "unscheduled", "held", "failed", "unreachable"]
"""`partial`: stopped before all was removed, the next run goes on; `guarded`: too much would have gone, so nothing did;
`unscheduled`: off the schedule in `cron.job`; `held`: somebody else removes at this moment."""

FAILURES: Final[tuple[Outcome, ...]] = ("unreachable", "failed", "guarded")
_BY_WEIGHT: Final[tuple[Outcome, ...]] = (*FAILURES, "partial")
_IDLE: Final[frozenset[Outcome]] = frozenset({"unscheduled", "held"})

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What became of one rule."""

    name: str
    outcome: Outcome
    deleted: int = 0
    beside: int = 0
    """Of those, rows of what goes together with the target."""
    matched: int = 0
    remaining: int | None = None
    oldest_remaining: datetime | None = None
    is_estimate: bool = False
    message: str = ""

    def as_object(self, message_length: int = MESSAGE_LENGTH) -> dict[str, Any]:
        """As it is reported; what is not known is left out."""
        found: dict[str, Any] = {
            "name": self.name,
            "outcome": self.outcome,
            "rowsDeleted": self.deleted,
            "rowsMatched": self.matched,
            "rowsRemaining": self.remaining,
            "oldestRemaining": _timestamp(self.oldest_remaining),
            "rowsBeside": self.beside or None,
            "estimated": self.is_estimate or None,
            "message": shortened(scrub_text(self.message), message_length) or None,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of a run."""

    rules: tuple[RuleReport, ...]
    dry_run: bool
    error: str = ""
    broken_off: Outcome | None = None
    """Why no rule could begin."""

    @property
    def outcome(self) -> Outcome:
        """The worst of its rules; `unscheduled` or `held` only when no rule has run."""
        if self.broken_off is not None:
            return self.broken_off
        found = [rule.outcome for rule in self.rules]
        worst = next((outcome for outcome in _BY_WEIGHT if outcome in found), None)
        if worst is not None:
            return worst
        if found and "succeeded" not in found:
            return "held" if "held" in found else "unscheduled"
        return "succeeded"

    @property
    def has_failed(self) -> bool:
        """Whether a person has to look at it."""
        return self.outcome in FAILURES

    def as_json(self) -> bytes:
        """At most `MOST_BYTES`: first the messages of the rules go, then the last rules."""
        for message_length in (MESSAGE_LENGTH, 60, 0):
            text = self._encode(self.rules, message_length)
            if len(text) <= MOST_BYTES:
                return text
        rules = self.rules
        while len(text) > MOST_BYTES:
            rules = rules[:-1]
            text = self._encode(rules, 0)
        return text

    def _encode(self, rules: Sequence[RuleReport], message_length: int) -> bytes:
        found: dict[str, Any] = {
            "task": "retention",
            "outcome": self.outcome,
            "dryRun": self.dry_run,
            "rowsDeleted": sum(rule.deleted for rule in self.rules),
            "rowsMatched": sum(rule.matched for rule in self.rules),
            "rules": [rule.as_object(message_length) for rule in rules],
        }
        error = self.error or _first_error(self.rules, self.outcome)
        return orjson.dumps({**found, "error": shortened(scrub_text(error), ERROR_LENGTH)} if error else found)


def write(report: RunReport, file: Path | None) -> None:
    """Hand the report over: to `file`, or to standard output. A file that cannot be written is logged, not raised."""
    text = report.as_json()
    if file is None:
        print(text.decode(), flush=True)
        return
    try:
        file.write_bytes(text)
    except OSError as error:
        _log.warning("the report could not be written", file=str(file), error=str(error))


def _first_error(rules: Sequence[RuleReport], of_all: Outcome) -> str:
    """What went wrong, the worst first; of a run in which no rule ran, why."""
    for outcome in FAILURES if of_all in FAILURES else _IDLE & {of_all}:
        for rule in rules:
            if rule.outcome == outcome and rule.message:
                return f"rule {rule.name}: {rule.message}"
    return ""


def _timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
