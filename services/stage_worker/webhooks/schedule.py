"""When an attempt that failed is repeated, and when no more."""

from __future__ import annotations

import email.utils
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

JITTER: Final = 0.1
"""Each pause is up to this share longer, so that what failed together does not come back together."""

LONGEST_WAIT_ASKED_FOR: Final = 8 * 3600.0
"""Seconds; a receiver that asks for more is tried again after this."""


class RetrySchedule:
    """Pauses between attempts."""

    def __init__(self, delays: Sequence[float], chance: Callable[[], float] = random.random) -> None:
        self._delays = tuple(delays)
        self._chance = chance

    def pause(self, failures: int, asked: float | None = None) -> float | None:
        """Seconds to wait after the attempt that made it `failures`, or None to give up.

        `asked` is what the receiver wants us to wait; it can make the pause longer, within bounds, but not shorter.
        """
        if failures > len(self._delays):
            return None
        own = self._delays[failures - 1] * (1 + JITTER * self._chance())
        return max(own, min(asked or 0.0, LONGEST_WAIT_ASKED_FOR))


def seconds_asked(header: str | None, now: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for, as a number or a date; None when it cannot be read."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
