"""Time as an argument: code asks a `Clock`, tests hand in their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day and measures spans."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC. May jump."""

    def monotonic(self) -> float:
        """Seconds since some fixed point. Never goes back; only differences mean anything."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some fixed point, never going back."""
        return time.monotonic()
