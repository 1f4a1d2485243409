"""How many jobs each queue has room for: a large backlog waits in PostgreSQL, where priority orders it.

Each priority of a queue has room of its own, a *lane*. So an urgent row never waits for the jobs of lower priority that were
there before it to be done; nor do these wait for an endless stream of urgent ones to end: once their lane has room they are in
Redis, where the ageing of the queue sees to them.

Only the leader adds jobs, so the depth it knows can only be too high, never too low by more than what workers put back.
Redis is therefore asked again only when the room it knows of is scarce, or after a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from services.kernel.clock import Clock
from services.kernel.queue import Inspector
from services.kernel.queue.keys import HIGHEST_PRIORITY, LOWEST_PRIORITY, clamp_priority

Lane: TypeAlias = tuple[str, int]
"""A queue and one of its eleven priorities."""

SCARCE_SECONDS: Final = 0.1
"""How old a depth may be when there is little room."""
AMPLE_SECONDS: Final = 5.0
"""How old a depth may be when there is room enough."""


def lanes_of(rows: Iterable[tuple[str, int]]) -> Counter[Lane]:
    """How many rows each lane takes, of rows given by queue and priority."""
    lanes: Counter[Lane] = Counter()
    for (queue, priority), amount in Counter(rows).items():
        lanes[queue, clamp_priority(priority)] += amount
    return lanes


class HighWater:
    """The rooms of all queues that the relay has met."""

    def __init__(self, inspector: Inspector, mark: int, clock: Clock) -> None:
        """Start without knowing any queue.

        Args:
            inspector: reads the depths.
            mark: jobs of one priority that may wait in a queue; 0 = no limit.
            clock: tells how old a depth is.
        """
        self._inspector = inspector
        self._mark = mark
        self._clock = clock
        self._queues: set[str] = set()
        self._depths: Counter[Lane] = Counter()
        self._read_at = float("-inf")
        self._parked: dict[str, float] = {}

    @property
    def default_room(self) -> int:
        """Room of a lane that is empty, or was never met."""
        return self._mark or 2**31 - 1

    def park(self, queue: str, seconds: float) -> None:
        """Let nothing into `queue` for a while."""
        self._parked[queue] = self._clock.monotonic() + seconds

    def note(self, queue: str, waiting: Sequence[int]) -> None:
        """Remember how many jobs of each priority, from 0, wait in `queue` now."""
        self._queues.add(queue)
        for priority, depth in enumerate(waiting):
            self._depths[queue, priority] = depth

    async def rooms(self, in_flight: Mapping[Lane, int], wanted: int) -> dict[Lane, int]:
        """Room in each lane that is not empty, jobs `in_flight` to it counted as there.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        parked = self._still_parked()
        if not self._mark:
            return parked
        self._queues.update(queue for queue, _ in in_flight)
        if self._is_outdated(in_flight, wanted):
            for queue, waiting in (await self._inspector.waiting(self._queues)).items():
                self.note(queue, waiting)
            self._read_at = self._clock.monotonic()
        return self._left(in_flight) | parked

    def is_blocked(self, rooms: Mapping[Lane, int]) -> bool:
        """Whether rows may be waiting for room."""
        return any(room <= 0 for room in rooms.values())

    def _is_outdated(self, in_flight: Mapping[Lane, int], wanted: int) -> bool:
        age = self._clock.monotonic() - self._read_at
        is_scarce = min(self._left(in_flight).values(), default=wanted) < min(wanted, self._mark // 2)
        return age > (SCARCE_SECONDS if is_scarce else AMPLE_SECONDS)

    def _left(self, in_flight: Mapping[Lane, int]) -> dict[Lane, int]:
        taken = self._depths + Counter(in_flight)
        return {lane: max(0, self._mark - there) for lane, there in taken.items()}

    def _still_parked(self) -> dict[Lane, int]:
        now = self._clock.monotonic()
        self._parked = {queue: until for queue, until in self._parked.items() if until > now}
        return {(queue, lane): 0 for queue in self._parked for lane in range(LOWEST_PRIORITY, HIGHEST_PRIORITY + 1)}
