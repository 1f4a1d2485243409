"""Keeps the store true: an inventory, then watches, and another inventory whenever a watch may have missed something.

::

    inventory ──▶ watches ──ended, listed anew, missed, or the resync is due──▶ inventory ──▶ the same watches, or others
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Final, Protocol

from operators.coursegen_operator.errors import NotPermitted
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.inventory import Taken
from operators.coursegen_operator.keyed_queue import RESYNC_SPREAD
from operators.coursegen_operator.watching import Selection
from services.kernel.clock import Clock
from services.kernel.errors import RetryableError
from services.kernel.logs import get_logger
from services.kernel.pauses import pause

_log = get_logger(__name__)

ABSENT_SECONDS: Final = 15.0
"""How often it asks for kinds of ours that are not installed yet."""
LEAST_SECONDS: Final = 5.0
"""Least time between two inventories, and from new watches to the next one: what was deleted after the first and before they
were open, only that one notices."""
ENDINGS: Final = 3
"""So many watches in a row that do not stay open are a fault that must be seen: repairs come late, by inventories alone."""
BACKOFF_LEAST_SECONDS: Final = 0.5
BACKOFF_MOST_SECONDS: Final = 30.0


class Watching(Protocol):
    """What of `watching.Watch` this needs."""

    selection: Selection
    ended: asyncio.Event
    listed: asyncio.Event

    def start(self) -> None:
        """Begin to watch."""

    def let_go(self) -> None:
        """Have it watch no more, some time soon."""

    async def stop(self) -> None:
        """Watch no more, and wait for that."""

    def age(self) -> float:
        """Since when the quietest watch has not been opened."""


class Taker(Protocol):
    """What of `inventory.Inventory` this needs."""

    async def take(self) -> Taken:
        """List everything."""


class Keeper:
    """Takes inventories, and starts watches."""

    def __init__(
        self,
        inventory: Taker,
        make_watch: Callable[[Selection], Watching],
        watched: Callable[[Selection], None],
        figures: Figures,
        clock: Clock,
        resync_seconds: float,
    ) -> None:
        """`watched` is told what the store has all of."""
        self.ready = asyncio.Event()
        """The store is complete."""
        self.obstacle = "the API server has not answered yet"
        """What is in the way; empty when nothing is."""
        self._inventory = inventory
        self._make_watch = make_watch
        self._watched = watched
        self._figures = figures
        self._clock = clock
        self._resync_seconds = resync_seconds
        self._watch: Watching | None = None
        self._absent: frozenset[str] = frozenset()
        self._missed = asyncio.Event()
        self._failures = 0
        self._endings = 0

    def age(self) -> float:
        """Since when the quietest watch has not been opened; 0 when there is none."""
        return self._watch.age() if self._watch is not None else 0.0

    def miss(self, kinds: frozenset[str]) -> None:
        """Children of `kinds` are wanted and not watched: if that is because there was no such kind, another inventory is due."""
        if kinds & self._absent:
            self._missed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the store true until `stopping` is set."""
        try:
            while not stopping.is_set():
                taken = await self._take()
                if taken is None:
                    await pause(stopping, self._backoff())
                    continue
                seconds = await self._watch_what(taken)
                self.ready.set()
                if await self._rest(stopping, seconds):
                    self._failures = self._endings = 0
                else:
                    self._endings += 1
                    await pause(stopping, self._backoff())
        finally:
            if self._watch is not None:
                self._watch.let_go()  # it only reads: nobody need wait for it

    async def _take(self) -> Taken | None:
        self._missed.clear()
        try:
            taken = await self._inventory.take()
        except (RetryableError, NotPermitted) as error:
            self._note(error.message)
            return None
        self._absent = taken.absent_children
        self._note(_missing(taken) or self._unsteady())
        self._watched(taken.selection)
        return taken

    def _note(self, obstacle: str) -> None:
        """Keep in mind what is in the way, and say so once."""
        if obstacle and obstacle != self.obstacle:
            _log.warning("cannot see what is there", reason=obstacle)
        self.obstacle = obstacle

    async def _watch_what(self, taken: Taken) -> float:
        """Have what there is watched; returns when the next inventory is due."""
        watch, selection = self._watch, taken.selection
        if watch is not None and not watch.ended.is_set() and watch.selection == selection:
            watch.listed.clear()
            spread = 1 + RESYNC_SPREAD * (2 * random.random() - 1)
            return min(ABSENT_SECONDS, self._resync_seconds) if taken.absent else self._resync_seconds * spread
        if watch is not None:
            await watch.stop()
            self._figures.watch_restarted()
        self._watch = self._make_watch(selection)
        self._watch.start()
        _log.info("watching", kinds=[each.kind for each in selection.types], namespaces=selection.namespaces or "all")
        return LEAST_SECONDS

    async def _rest(self, stopping: asyncio.Event, seconds: float) -> bool:
        """Wait until there is a reason for another inventory; False when it is that the watches have ended."""
        watch = self._watch
        if watch is None:
            return False
        until = self._clock.monotonic() + seconds
        if not await first(LEAST_SECONDS, stopping, watch.ended):
            await first(until - self._clock.monotonic(), stopping, watch.ended, watch.listed, self._missed)
        return stopping.is_set() or not watch.ended.is_set()

    def _unsteady(self) -> str:
        return "the watches do not stay open; the log says why" if self._endings >= ENDINGS else ""

    def _backoff(self) -> float:
        self._failures += 1
        return float(min(BACKOFF_LEAST_SECONDS * 2 ** min(self._failures - 1, 16), BACKOFF_MOST_SECONDS))


async def first(seconds: float, *events: asyncio.Event) -> bool:
    """Wait until one of `events` is set, at most `seconds`; whether one is."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        timeout = None if math.isinf(seconds) else max(seconds, 0.0)
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
    return any(event.is_set() for event in events)


def _missing(taken: Taken) -> str:
    if not taken.absent:
        return ""
    return (
        f"the definitions of {', '.join(taken.absent)} are not installed; "
        "`kubectl apply --server-side -f charts/coursegen-operator/files/crds`"
    )
