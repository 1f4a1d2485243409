"""How many jobs each queue has room for: a large backlog waits in PostgreSQL, where priority orders it.

Only the leader adds jobs, so the depth it knows can only be too high, never too low by more than what workers put back.
Redis is therefore asked again only when the room it knows of is scarce, or after a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from services.kernel.clock import Clock
from services.kernel.queue import Inspector

SCARCE_SECONDS: Final = 0.1
"""How old a depth may be when there is little room."""
AMPLE_SECONDS: Final = 5.0
"""How old a depth may be when there is room enough."""


class HighWater:
    """The rooms of all queues that the relay has met."""

    def __init__(self, inspector: Inspector, mark: int, clock: Clock) -> None:
        """Start without knowing any queue.

        Args:
            inspector: reads the depths.
            mark: jobs that may wait in a queue; 0 = no limit.
            clock: tells how old a depth is.
        """
        self._inspector = inspector
        self._mark = mark
        self._clock = clock
        self._depths: dict[str, int] = {}
        self._read_at = float("-inf")
        self._parked: dict[str, float] = {}

    @property
    def default_room(self) -> int:
        """Room of a queue that was never met."""
        return self._mark or 2**31 - 1

    def park(self, queue: str, seconds: float) -> None:
        """Let nothing into `queue` for a while."""
        self._parked[queue] = self._clock.monotonic() + seconds

    def note(self, queue: str, depth: int) -> None:
        """Remember how many jobs wait in `queue` now."""
        self._depths[queue] = depth

    async def rooms(self, in_flight: Mapping[str, int], wanted: int) -> dict[str, int]:
        """Room in each queue that is known, jobs `in_flight` to it counted as there.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        parked = self._still_parked()
        if not self._mark:
            return parked
        for queue in in_flight:
            self._depths.setdefault(queue, 0)
        if self._is_outdated(in_flight, wanted):
            self._depths = await self._inspector.depths(self._depths)
            self._read_at = self._clock.monotonic()
        return self._left(in_flight) | parked

    def is_blocked(self, rooms: Mapping[str, int]) -> bool:
        """Whether rows may be waiting for room."""
        return any(room <= 0 for room in rooms.values())

    def _is_outdated(self, in_flight: Mapping[str, int], wanted: int) -> bool:
        age = self._clock.monotonic() - self._read_at
        is_scarce = min(self._left(in_flight).values(), default=wanted) < min(wanted, self._mark // 2)
        return age > (SCARCE_SECONDS if is_scarce else AMPLE_SECONDS)

    def _left(self, in_flight: Mapping[str, int]) -> dict[str, int]:
        taken = Counter(self._depths) + Counter(in_flight)
        return {queue: max(0, self._mark - taken[queue]) for queue in self._depths}

    def _still_parked(self) -> dict[str, int]:
        now = self._clock.monotonic()
        self._parked = {queue: until for queue, until in self._parked.items() if until > now}
        return dict.fromkeys(self._parked, 0)
