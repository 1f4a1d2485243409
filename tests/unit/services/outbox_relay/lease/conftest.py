"""Candidates in virtual time, around one Lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from services.kernel.clock import Clock
from services.kernel.errors import StaleLeader
from services.outbox_relay.leadership import Term, work_until_lost
from services.outbox_relay.lease.elector import LeaseElector
from services.outbox_relay.lease.record import Timers
from services.outbox_relay.lease.watchdog import Watchdog
from tests.support.lease_server import LeaseClient, LeaseServer
from tests.support.virtual_time import SkewedClock

TIMERS = Timers(lease_seconds=15, renew_seconds=10.0, retry_seconds=2.0)


class Fence:
    """The epoch as PostgreSQL counts it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.accepted: list[tuple[float, int]] = []
        """When a write was accepted, and under which epoch."""
        self.before_begin: Callable[[], float] = lambda: 0.01

    async def begin(self, lost: asyncio.Event) -> Term:
        """The next epoch."""
        await asyncio.sleep(self.before_begin())
        self.epoch += 1
        return Term(cast(Any, None), self.epoch, lost)

    async def end(self, term: Term) -> None:
        """Nothing is noted."""
        await asyncio.sleep(0.01)

    def write(self, epoch: int) -> None:
        """What a leader does; refused under an older epoch."""
        if epoch != self.epoch:
            raise StaleLeader(f"epoch {epoch} has been succeeded")
        self.accepted.append((asyncio.get_running_loop().time(), epoch))


class QuietWatchdog(Watchdog):
    """Bites nobody, but remembers that it would have."""

    would_have_bitten = 0

    def arm(self, deadline: float) -> None:
        """No thread watches."""
        self._deadline = deadline

    def disarm(self) -> None:
        """The work has stopped: in time?"""
        if self._clock.monotonic() > self._deadline:
            type(self).would_have_bitten += 1


class Counts:
    """`LeaseFigures` of a test."""

    def __init__(self) -> None:
        self.renewals: list[float] = []
        self.failures: list[str] = []

    def lease_renewed(self, seconds: float) -> None:
        """Remember how long it took."""
        self.renewals.append(seconds)

    def lease_failed(self, reason: str) -> None:
        """Remember why."""
        self.failures.append(reason)


@dataclass
class Scene:
    """The server, the fence, and who acts as leader at present."""

    server: LeaseServer = field(default_factory=LeaseServer)
    fence: Fence = field(default_factory=Fence)
    acting: set[str] = field(default_factory=set)
    overlaps: list[tuple[float, set[str]]] = field(default_factory=list)
    terms: list[tuple[float, str, int]] = field(default_factory=list)

    def candidate(self, name: str, clock: Clock | None = None) -> Candidate:
        """One more candidate."""
        return Candidate(self, name, clock or SkewedClock())


class Candidate:
    """A relay as far as the election sees it: campaigns, and writes as long as it leads."""

    def __init__(self, scene: Scene, name: str, clock: Clock) -> None:
        self.name = name
        self.client = LeaseClient(scene.server)
        self.counts = Counts()
        self.stopping = asyncio.Event()
        self.stubborn_seconds = 0.0
        """How long its work goes on after it was cancelled."""
        self._scene = scene
        self._elector = LeaseElector(
            self.client,
            scene.fence,
            identity=name,
            timers=TIMERS,
            clock=clock,
            figures=self.counts,
            make_watchdog=QuietWatchdog,
        )

    async def run(self) -> None:
        """Lead whenever it is its turn, until told to stop."""
        while not self.stopping.is_set():
            try:
                async with self._elector.term(self.stopping) as term:
                    if term is not None:
                        await work_until_lost(term, self._act(term))
            except StaleLeader:
                await asyncio.sleep(1.0)

    async def _act(self, term: Term) -> None:
        scene, loop = self._scene, asyncio.get_running_loop()
        scene.acting.add(self.name)
        scene.terms.append((loop.time(), self.name, term.epoch))
        if len(scene.acting) > 1:
            scene.overlaps.append((loop.time(), set(scene.acting)))
        try:
            while not self.stopping.is_set():
                scene.fence.write(term.epoch)
                await asyncio.sleep(0.5)
        finally:
            if self.stubborn_seconds and not self.stopping.is_set():
                await asyncio.sleep(self.stubborn_seconds)
            scene.acting.discard(self.name)
