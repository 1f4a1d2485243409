"""Ends the process when work goes on although its lease has run out.

It lives in a thread of its own: a leader whose event loop is stuck could not end itself otherwise.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

from services.kernel.clock import Clock
from services.kernel.logs import get_logger

_log = get_logger(__name__)

TICK_SECONDS: Final = 0.25
"""How often it looks; more often when the work has less than a second to stop in."""
EXIT_FAILED: Final = 1


class Watchdog:
    """Armed while a term lasts; every renewal moves the moment at which it bites."""

    def __init__(self, clock: Clock, grace_seconds: float, bite: Callable[[int], object] = os._exit) -> None:
        """`grace_seconds` is what the work has to stop in after the whole process was paused."""
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._bite = bite
        self.tick_seconds = min(TICK_SECONDS, grace_seconds / 4)
        self._off = threading.Event()
        self._deadline = 0.0
        self._looked_at = clock.monotonic()
        self._thread: threading.Thread | None = None

    def arm(self, deadline: float) -> None:
        """Bite before `deadline` of the monotonic clock, unless armed anew or disarmed by then."""
        self._deadline = deadline
        if self._thread is None:
            self._looked_at = self._clock.monotonic()
            self._thread = threading.Thread(target=self._watch, name="lease watchdog", daemon=True)
            self._thread.start()

    def hasten(self, deadline: float) -> None:
        """Bite before `deadline` if that is earlier."""
        self._deadline = min(self._deadline, deadline)

    def disarm(self) -> None:
        """The work has stopped."""
        self._off.set()

    def is_due(self) -> bool:
        """Whether to bite now: the next look would come too late."""
        now = self._clock.monotonic()
        if now - self._looked_at > self._grace_seconds:  # the process was paused: its work has yet to hear of it
            self._deadline = max(self._deadline, now + self._grace_seconds)
        self._looked_at = now
        return now + self.tick_seconds > self._deadline

    def _watch(self) -> None:
        while not self._off.wait(self.tick_seconds):
            if self.is_due():
                _log.critical("the lease has run out and the work goes on; this process ends itself")
                self._bite(EXIT_FAILED)
                return
