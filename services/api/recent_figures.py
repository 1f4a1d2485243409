"""What all processes have counted lately: what the health verdict judges, and the numbers of a window beside those of all time
(contract.md i, GAP25).

The shared counters only ever grow, so a young system that failed ten times would be called ill until hundreds succeed, and a
percentile of all time hides a bad hour. Once a minute the sums are remembered; what happened lately is the difference between
now and the sums of fifteen minutes ago. Buckets of a histogram are sums, too: their differences are the histogram of the window.
A process that begins takes up what others have remembered (`KeptSums`), so that neither a restart nor a new pod begins the
window anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from services.api.kept_sums import KeptSums
from services.kernel.clock import Clock
from services.kernel.counters import Counters, Snapshot
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.pauses import pause

WINDOW_SECONDS: Final = 900.0
"""How long a failed initiation weighs on the verdict."""

SAMPLE_SECONDS: Final = 60.0
"""Time between two remembered sums."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many initiations succeeded and failed."""

    success: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Recent:
    """What was counted in the window that ends now."""

    seconds: float
    """How long the window is: less than fifteen minutes where nothing older was remembered."""
    counted: Snapshot

    @property
    def initiations(self) -> Outcomes:
        """How initiations went."""
        return Outcomes(self.counted.count("fsm_total", "success"), self.counted.count("fsm_total", "failed"))


class RecentFigures:
    """Remembers the sums of the last minutes, with all processes."""

    def __init__(self, clock: Clock, kept: KeptSums | None = None) -> None:
        """Remember nothing yet.

        Args:
            clock: measures ages.
            kept: where others find it; without it the window begins with the process.
        """
        self._clock = clock
        self._kept = kept
        self._sums: deque[tuple[float, Snapshot]] = deque()

    async def begin(self, counted: Snapshot) -> None:
        """Take up what others have remembered, and the sums of this moment.

        What was counted before the counters were emptied or restored is no beginning of a window, and left out.
        """
        now = self._clock.monotonic()
        marks = [] if self._kept is None else await self._kept.recall()
        self._sums.extend((now - age, sums) for age, sums in marks if counted.has_all_of(sums))
        await self._note(counted)

    async def _note(self, counted: Snapshot) -> None:
        self.remember(counted)
        if self._kept is not None:
            await self._kept.keep(counted)

    def remember(self, counted: Snapshot) -> None:
        """Keep the sums of this moment, and forget what no window reaches back to."""
        self._sums.append((self._clock.monotonic(), counted))
        self._forget()

    def until(self, counted: Snapshot) -> Recent:
        """What happened in the window that ends with `counted`. Nothing, before anything was remembered."""
        self._forget()
        if not self._sums:
            return Recent(0.0, Snapshot({}))
        at, then = self._sums[0]
        return Recent(self._clock.monotonic() - at, counted.since(then))

    async def watch(self, counters: Counters, stopping: asyncio.Event) -> None:
        """Remember the sums every minute until `stopping` is set; a minute without PostgreSQL is left out."""
        while not stopping.is_set():
            try:
                await self._note(await counters.read())
            except CoursegenError as error:
                _log.warning("counters not read for the health verdict", error=error.message)
            await pause(stopping, SAMPLE_SECONDS)

    def _forget(self) -> None:
        begin = self._clock.monotonic() - WINDOW_SECONDS
        while len(self._sums) > 1 and self._sums[1][0] <= begin:
            self._sums.popleft()
