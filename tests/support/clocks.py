"""A clock for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class StandingClock:
    """A clock that moves only when told."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self.seconds = 0.0

    def now(self) -> datetime:
        """The start plus the seconds passed."""
        return self._start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """The seconds passed."""
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
