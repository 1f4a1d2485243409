"""Whether the operator lives and is ready: `/livez`, `/readyz` and `/metrics` are those of every process (`kernel.probes`).

Ready: the process is open; one that leads must also have seen what there is. A standby is ready, so that a rolling update
can go on. Alive: its queue moves and its watches are opened anew. kopf's own endpoint is not used: it always says 200.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from operators.coursegen_operator.errors import ClusterUnavailable
from operators.coursegen_operator.keyed_queue import LOOK_SECONDS
from operators.coursegen_operator.watching import LONGEST_SILENCE_SECONDS
from services.kernel.health import HealthRegistry
from services.kernel.pauses import pause

TICK_SECONDS: Final = 5.0
LATE_SECONDS: Final = 60.0
QUEUE_SECONDS: Final = LOOK_SECONDS + 60.0
"""A look ends after `LOOK_SECONDS`: where none has for longer, or none begins that is due, the queue does not move. How long
one has been due says nothing: of thousands at a cold start the last one waits for all of them."""


class Vital:
    """The signs of life of one that leads."""

    def __init__(
        self,
        health: HealthRegistry,
        standstill: Callable[[], float],
        watch_age: Callable[[], float],
        obstacle: Callable[[], str],
    ) -> None:
        self._standstill = standstill
        self._watch_age = watch_age
        self._obstacle = obstacle
        self._queue = health.progress("queue", LATE_SECONDS)
        self._watches = health.progress("watches", LATE_SECONDS)
        health.register("cluster", self._check)

    async def run(self, stopping: asyncio.Event) -> None:
        """Give signs of life until `stopping` is set."""
        while not stopping.is_set():
            self.beat()
            await pause(stopping, TICK_SECONDS)

    def beat(self) -> None:
        """Say what moves."""
        if self._standstill() <= QUEUE_SECONDS:
            self._queue.beat()
        if self._watch_age() <= LONGEST_SILENCE_SECONDS:
            self._watches.beat()

    async def _check(self) -> None:
        if obstacle := self._obstacle():
            raise ClusterUnavailable(obstacle)
