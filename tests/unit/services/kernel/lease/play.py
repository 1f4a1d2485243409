"""A long random play: candidates among lost, slow, late and refused calls, killed, paused, stopped and started anew.

At its end all is well again, and the leader that is left is killed, and its successor asked to stop.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.kernel.errors import DatabaseUnavailable
from tests.support.lease_server import away, hanging, quick, unreliable
from tests.support.virtual_time import Process, world
from tests.unit.services.kernel.lease.conftest import TAKE_OVER_SECONDS, TIMERS, Candidate, Scene

CLOCK_SECONDS = 3600.0
"""Reliability.md R13: the hosts' times of day are up to an hour wrong."""

LATEST_ENTRY_SECONDS = 12.0
"""Whoever is killed or stopped has a successor within that time."""
STUBBORN_SECONDS = 12.0
"""How long the work goes on that does not care for being cancelled."""


@dataclass(frozen=True, kw_only=True)
class Troubles:
    """What may happen."""

    candidates: int = 2
    steps: int = 200
    pauses: bool = False
    rates: tuple[float, ...] = (1.0,)
    """How fast the clocks of the processes may run."""
    stops: tuple[float, ...] = (0.0, 4.5)
    """How long, at most, the work of a lost term may take to stop; the watchdog bites before the five seconds are over."""


@dataclass
class Play:
    """One play, the same for the same seed."""

    seed: int
    troubles: Troubles
    scene: Scene = field(default_factory=Scene)
    dice: random.Random = field(init=False)
    cast: list[Candidate] = field(default_factory=list)
    """Who runs at present."""
    led_again_after: float = math.inf
    """Seconds from the end of all trouble until a leader's write was accepted."""
    took_over_after: float = math.inf
    """The same, from the kill of the leader that was left."""
    handed_over_after: float = math.inf
    """The same, from asking the next one to stop."""
    done: dict[str, int] = field(default_factory=dict)
    """How often each trouble came."""

    _left: str = ""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        random.seed(self.seed)

    async def run(self) -> None:
        """Play it, and then let everything be well again."""
        for _ in range(self.troubles.candidates):
            self._enter()
        for _ in range(self.troubles.steps):
            trouble = self.dice.choice(self._repertoire())
            self.done[trouble.__name__] = self.done.get(trouble.__name__, 0) + 1
            trouble()
            await asyncio.sleep(self.dice.uniform(0.0, 20.0))
        await self._get_well()

    def _repertoire(self) -> list[Callable[[], None]]:
        pauses = [self._pause] if self.troubles.pauses else []
        return [self._way_to_server, self._way_to_server, self._way_back, self._way_back, self._database,
                self._clock_jumps, self._touched, self._killed, self._asked_to_stop, *pauses]  # fmt: skip

    def _enter(self) -> None:
        dice = self.dice
        process = Process(
            rate=dice.choice(self.troubles.rates),
            skew=dice.uniform(-CLOCK_SECONDS, CLOCK_SECONDS),
            since=dice.uniform(0, 1e6),
        )
        candidate = self.scene.candidate(f"relay-{len(self.scene.candidates)}", process)
        candidate.stop_seconds = lambda: dice.uniform(0.9, 1.0) * dice.choice(self.troubles.stops)
        candidate.on_bitten = lambda: self._leave(candidate)
        self.cast.append(candidate)
        candidate.start()

    def _leave(self, candidate: Candidate) -> None:
        """Another one comes in its place, some seconds later."""
        self.cast.remove(candidate)
        world().in_world(self.dice.uniform(0.0, LATEST_ENTRY_SECONDS), self._enter)

    def _someone(self) -> Candidate | None:
        return self.dice.choice(self.cast) if self.cast else None

    def _way_to_server(self) -> None:
        if (someone := self._someone()) is not None:
            someone.api.network.to = self.dice.choice([unreliable(self.dice), away, hanging, self._late, quick])

    def _way_back(self) -> None:
        if (someone := self._someone()) is not None:
            someone.api.network.back = self.dice.choice([unreliable(self.dice), hanging, quick, quick])

    def _late(self, _: str) -> float:
        return self.dice.uniform(3.4, 60.0)

    def _database(self) -> None:
        if (someone := self._someone()) is not None:
            someone.database.network.to = self.dice.choice([self._slow_database, quick, quick])

    def _slow_database(self, _: str) -> float:
        if self.dice.random() < 0.1:
            raise DatabaseUnavailable
        return self.dice.choice([0.01, 0.01, 0.01, 4.0, 12.0])

    def _clock_jumps(self) -> None:
        if (someone := self._someone()) is not None:
            someone.process.skew = self.dice.uniform(-CLOCK_SECONDS, CLOCK_SECONDS)

    def _touched(self) -> None:
        self.scene.server.touch()

    def _killed(self) -> None:
        if (someone := self._someone()) is not None:
            someone.process.kill()
            self._leave(someone)

    def _asked_to_stop(self) -> None:
        if (someone := self._someone()) is not None:
            someone.stopping.set()
            self._leave(someone)

    def _pause(self) -> None:
        if (someone := self._someone()) is not None:
            someone.process.pause(self.dice.uniform(0.1, 45.0))

    async def _get_well(self) -> None:
        """The troubles end; then the leader is killed once more, and its successor asked to stop."""
        self.troubles = replace(self.troubles, stops=(0.0,))
        for candidate in self.scene.candidates:
            for network in (candidate.api.network, candidate.database.network):
                network.to = network.back = quick
        await asyncio.sleep(LATEST_ENTRY_SECONDS)
        calm_at = max(map(_calm_at, self.scene.candidates))
        await asyncio.sleep(max(0.0, calm_at - world().seconds))
        self.led_again_after = await self._next_write()
        self._leader().process.kill()
        self.took_over_after = await self._next_write()
        self._enter()
        await asyncio.sleep(2 * TIMERS.retry_seconds)
        self._leader().stopping.set()
        self.handed_over_after = await self._next_write()
        assert self.scene.failures() == []

    async def _next_write(self) -> float:
        """Seconds until another leader than before has written: to the write, not to the look that finds it."""
        accepted, start = self.scene.fence.accepted, world().seconds
        before = len(accepted)
        while not (others := [each for each in accepted[before:] if self._is_anothers(each)]):
            assert world().seconds - start < 10 * TAKE_OVER_SECONDS, "nobody leads"
            await asyncio.sleep(0.1)
        return others[0][0] - start

    def _is_anothers(self, accepted: tuple[float, int, str]) -> bool:
        return accepted[2] != self._left

    def _leader(self) -> Candidate:
        """Who leads, and is to leave."""
        self._left = self.scene.fence.accepted[-1][2]
        leader = next(each for each in self.cast if each.name == self._left)
        self.cast.remove(leader)
        return leader


def _calm_at(candidate: Candidate) -> float:
    """When nothing of its troubles can have an effect any more."""
    wakes_at = candidate.process.wakes_at
    last = max(candidate.api.network.last_arrival, candidate.database.network.last_arrival)
    return last if wakes_at == math.inf else max(last, wakes_at)
