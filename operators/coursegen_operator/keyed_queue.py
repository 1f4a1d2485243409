"""Which resource to look at next: one queue of keys, each at most once in it and never in two hands.

::

    add ──▶ due ──▶ in hand ──seen──▶ due again at the resync, or when the look asked for it
             ▲         │ └───failed─▶ due again after a pause that doubles, up to `BACKOFF_MOST_SECONDS`
             └─added meanwhile─┘

Whatever happens in the cluster, one key is looked at no more than `BURST` times at once and then once in `SPACING_SECONDS`:
two that write against each other cost little until a person sees it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from operators.coursegen_operator.resources import ObjectKey
from services.kernel.clock import Clock
from services.kernel.logs import get_logger

_log = get_logger(__name__)

BACKOFF_LEAST_SECONDS: Final = 0.5
BACKOFF_MOST_SECONDS: Final = 60.0
"""A fault that lasts is seen often enough for the alert OperatorReconcileErrors, which counts looks that fail."""
RESYNC_SPREAD: Final = 0.1
"""The resyncs of many resources drift apart by this share, so that they never come together."""
BURST: Final = 20
SPACING_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 120.0
"""Longest look; every call in it is bounded too, so that this is for defects."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look came to."""

    look_again_seconds: float | None = None
    """Sooner than the resync."""
    is_gone: bool = False
    """Never again, unless added."""


Look = Callable[[ObjectKey], Awaitable[Verdict]]
"""Looks at one resource; raises when it has to be done again."""


@dataclass(slots=True)
class _Place:
    """What is known of one key."""

    due: float
    turn: int
    """Distinguishes the valid entry of the heap from those it has outlived."""
    in_hand_since: float | None = None
    is_dirty: bool = False
    failures: int = 0
    looks: float = 0.0
    """Looks of late, forgotten one by one."""
    looked_at: float = 0.0
    not_before: float = 0.0
    """It has been looked at too often."""


class KeyedQueue:
    """Keys and when they are due. All of it belongs to one event loop."""

    def __init__(
        self,
        look: Look,
        clock: Clock,
        *,
        workers: int,
        resync_seconds: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` gives numbers from 0 to 1, for what is to happen at different times."""
        self._look = look
        self._clock = clock
        self._workers = workers
        self._resync_seconds = resync_seconds
        self._chance = chance
        self._places: dict[ObjectKey, _Place] = {}
        self._heap: list[tuple[float, int, ObjectKey]] = []
        self._turns = itertools.count()
        self._changed = asyncio.Event()
        self._moved_at = -math.inf
        """When a look last began or ended."""

    def __len__(self) -> int:
        return len(self._places)

    def add(self, key: ObjectKey, after_seconds: float = 0.0) -> None:
        """Look at `key` in `after_seconds` at the latest; whether it failed before does not matter."""
        due = self._clock.monotonic() + after_seconds
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(due, 0)
            self._schedule(key, place, due)
        elif place.in_hand_since is not None:
            place.is_dirty = True
        elif max(due, place.not_before) < place.due:
            self._schedule(key, place, max(due, place.not_before))

    def depth(self) -> int:
        """How many keys are due."""
        now = self._clock.monotonic()
        return sum(1 for place in self._places.values() if place.in_hand_since is None and place.due <= now)

    def age(self) -> float:
        """For how long the key that waits longest has been due, or in hand."""
        now = self._clock.monotonic()
        since = (place.due if place.in_hand_since is None else place.in_hand_since for place in self._places.values())
        return max(0.0, now - min(since, default=now))

    def standstill(self) -> float:
        """For how long nothing has moved that should: the longest look in hand, or what is due while no look begins or ends.

        However many are due, and however long they have been, it is short as long as looks end.
        """
        now = self._clock.monotonic()
        places = self._places.values()
        begun = min((place.in_hand_since for place in places if place.in_hand_since is not None), default=now)
        due = min((place.due for place in places if place.in_hand_since is None), default=now)
        return max(0.0, now - begun, now - max(due, self._moved_at))

    async def run(self, stopping: asyncio.Event) -> None:
        """Look at whatever is due until `stopping` is set; then finish what is in hand."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(stopping), name=f"reconciler {number}")
            await stopping.wait()
            self._changed.set()

    async def _work(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            key = self._take()
            if key is None:
                await self._rest()
            else:
                await self._handle(key)

    async def _rest(self) -> None:
        """Wait until something is added or due."""
        self._changed.clear()
        left = self._heap[0][0] - self._clock.monotonic() if self._heap else None
        try:
            async with asyncio.timeout(None if left is None else max(left, 0.0)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _take(self) -> ObjectKey | None:
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            _, turn, key = heapq.heappop(self._heap)
            place = self._places.get(key)
            if place is not None and place.turn == turn and place.in_hand_since is None:
                place.in_hand_since, place.is_dirty = now, False
                self._moved_at = now
                return key
        return None

    async def _handle(self, key: ObjectKey) -> None:
        place = self._places[key]
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                verdict = await self._look(key)
        except Exception as error:  # noqa: BLE001 - whatever it was, this key waits and the others go on
            place.failures += 1
            delay = self._backoff(place.failures)
            _log.debug("to be looked at again", key=str(key), seconds=round(delay, 1), error=str(error))
        else:
            if verdict.is_gone and not place.is_dirty:
                self._moved_at = self._clock.monotonic()
                del self._places[key]
                return
            place.failures = 0
            delay = self._pause(verdict)
        self._release(key, place, 0.0 if place.is_dirty else delay)

    def _release(self, key: ObjectKey, place: _Place, delay: float) -> None:
        now = self._moved_at = self._clock.monotonic()
        place.looks = max(0.0, place.looks - (now - place.looked_at) / SPACING_SECONDS) + 1
        place.looked_at = now
        place.not_before = now + SPACING_SECONDS if place.looks > BURST else now
        place.in_hand_since = None
        self._schedule(key, place, max(now + delay, place.not_before))

    def _pause(self, verdict: Verdict) -> float:
        resync = self._resync_seconds * (1 + RESYNC_SPREAD * (2 * self._chance() - 1))
        if verdict.look_again_seconds is None:
            return resync
        return min(resync, max(verdict.look_again_seconds, 0.0))

    def _schedule(self, key: ObjectKey, place: _Place, due: float) -> None:
        place.due, place.turn = due, next(self._turns)
        heapq.heappush(self._heap, (due, place.turn, key))
        if self._heap[0][1] == place.turn:  # whoever waits, waits for something later
            self._changed.set()

    def _backoff(self, failures: int) -> float:
        most: float = min(BACKOFF_LEAST_SECONDS * 2 ** min(failures - 1, 30), BACKOFF_MOST_SECONDS)
        return most * (0.5 + 0.5 * self._chance())
