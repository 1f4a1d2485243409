"""When the relay looks for rows: at once when told, and by itself however it was told nothing.

`kernel.listening` hears that rows have been committed. Behind it `Pacer` counts the adaptive polling: 1, 2, 4, 8, 16, 30 s
while nothing comes, back to 1 s with the first row (contract.md f, GAP20).
"""

from __future__ import annotations

from typing import Final

from services.kernel.listening import Listener

__all__ = ("INTERVALS", "Listener", "Pacer")

INTERVALS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between two full looks while nothing comes."""


class Pacer:
    """How long an idle relay waits before its next full look."""

    def __init__(self) -> None:
        self._step = 0

    @property
    def seconds(self) -> float:
        """The present interval."""
        return INTERVALS[self._step]

    @property
    def milliseconds(self) -> int:
        """The present interval as `health.pollInterval` reports it."""
        return int(self.seconds * 1000)

    def found_nothing(self) -> None:
        """The last look was in vain."""
        self._step = min(self._step + 1, len(INTERVALS) - 1)

    def found_rows(self) -> None:
        """There is work: look often."""
        self._step = 0
