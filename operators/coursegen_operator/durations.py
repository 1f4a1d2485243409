"""Durations as a spec writes them: `7d`, `90m`, `1h30m`, `0s`. Prometheus reads the same form."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

PATTERN: Final = r"^([0-9]{1,4}w)?([0-9]{1,5}d)?([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$"
"""For the schemas, together with `MINIMUM_LENGTH`: every text that both admit can be read."""
MINIMUM_LENGTH: Final = 2
MAXIMUM_LENGTH: Final = 40

_UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_FORM: Final = re.compile(PATTERN)
_PART: Final = re.compile(r"([0-9]+)([wdhms])")


def seconds_of(text: str) -> int:
    """How many seconds `text` says.

    Raises:
        ValueError: `text` is no duration; the schema refuses it, too.
    """
    if not text or not _FORM.match(text) or text.endswith("\n"):
        raise ValueError(f"{text!r} is no duration: write 90m, 7d or 1h30m")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def duration_of(text: str) -> timedelta:
    """As `seconds_of`."""
    return timedelta(seconds=seconds_of(text))


def text_of(seconds: float) -> str:
    """The shortest form of whole seconds: `90` is `1m30s`, `604800` is `7d`."""
    left = max(round(seconds), 0)
    parts = []
    for unit, size in _UNITS.items():
        if unit != "w" and left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts) or "0s"
