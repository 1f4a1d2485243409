"""What goes on and on is said when it begins, when it changes, and now and then; not on every round."""

from __future__ import annotations

from typing import Final

from services.kernel.clock import Clock, SystemClock

AGAIN_SECONDS: Final = 30.0


class Reminder:
    """Whether an obstacle is worth another line."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._reason: str | None = None
        self._said = 0.0

    @property
    def has_said(self) -> bool:
        """Whether there was an obstacle since the last `forget`."""
        return self._reason is not None

    def is_due(self, reason: str) -> bool:
        """Whether to say `reason` now: it is new, or was said half a minute ago. The caller then says it."""
        now = self._clock.monotonic()
        if reason == self._reason and now - self._said < AGAIN_SECONDS:
            return False
        self._reason, self._said = reason, now
        return True

    def forget(self) -> None:
        """It has passed: should it come back, that is a beginning."""
        self._reason = None
