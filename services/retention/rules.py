"""The rules of a policy: what is kept for how long, as they are handed over in RETENTION_RULES."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec

MOST_RULES: Final = 16

_KEEP: Final = re.compile(r"(?=.)(?:(\d{1,4})w)?(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,9})s)?", re.ASCII)
_UNITS: Final = ("weeks", "days", "hours", "minutes", "seconds")


class Target(StrEnum):
    """What a rule removes."""

    OUTBOX_PUBLISHED = "OutboxPublished"
    OUTBOX_DEAD = "OutboxDead"
    IDEMPOTENCY_KEYS = "IdempotencyKeys"
    FSM_EVENTS = "FsmEvents"
    MESSAGES = "Messages"
    CUSTOM = "Custom"


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One rule: of `target`, rows older than `keep` go."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    target: Target
    keep: str
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    pause_millis: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 50
    max_rows_per_run: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000
    table: Annotated[str, msgspec.Meta(max_length=127)] = ""
    timestamp_column: Annotated[str, msgspec.Meta(max_length=63)] = ""

    def __post_init__(self) -> None:
        """Compare the fields with each other."""
        kept_for(self.keep)
        named = bool(self.table), bool(self.timestamp_column)
        if self.target is Target.CUSTOM and not all(named):
            raise ValueError(f"rule {self.name}: target Custom needs table and timestampColumn")
        if self.target is not Target.CUSTOM and any(named):
            raise ValueError(f"rule {self.name}: only target Custom takes table and timestampColumn")

    @property
    def kept_for(self) -> timedelta:
        """How old a row may become."""
        return kept_for(self.keep)


def kept_for(text: str) -> timedelta:
    """The time that `text` says: 7d, 90m, 1d12h.

    Raises:
        ValueError: it says none, or nothing at all.
    """
    match = _KEEP.fullmatch(text)
    if match is None:
        raise ValueError(f"keep {text!r} is no duration: write 7d, 90m or 1d12h")
    found = timedelta(**{unit: int(number or 0) for unit, number in zip(_UNITS, match.groups(), strict=True)})
    if not found:
        raise ValueError(f"keep {text!r} would keep nothing: write 7d, 90m or 1d12h")
    return found


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules in a JSON list.

    Raises:
        ValueError: saying where it is wrong and what is allowed.
    """
    try:
        rules: tuple[Rule, ...] = msgspec.json.decode(text, type=tuple[Rule, ...])
    except msgspec.MsgspecError as error:
        raise ValueError(f"must be a JSON list of rules: {error}") from None
    if not 1 <= len(rules) <= MOST_RULES:
        raise ValueError(f"must have 1 to {MOST_RULES} rules, not {len(rules)}")
    doubled = [name for name, times in Counter(rule.name for rule in rules).items() if times > 1]
    if doubled:
        raise ValueError(f"two rules are named {', '.join(doubled)}")
    return rules
