"""Candidates in virtual time, around one Lease and one database."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import structlog

from services.kernel.errors import CoursegenError, DatabaseUnavailable, StaleLeader
from services.kernel.lease.elector import LeaseElector
from services.kernel.lease.record import LeaseRecord, Timers
from services.kernel.lease.watchdog import EXIT_FAILED, Watchdog
from services.kernel.pauses import pause
from services.outbox_relay.leadership import Term, work_until_lost
from tests.support.lease_server import LeaseClient, LeaseServer, Network
from tests.support.virtual_time import Process, world

TIMERS = Timers(lease_seconds=15, renew_seconds=10.0, retry_seconds=2.0)
TAKE_OVER_SECONDS = 20.0
"""Reliability.md R3: 15 s for the lease to run out by the standby's own clock, 2 s until it asks, 3 s for the rest."""
WRITE_SECONDS = 1.0
"""How often a leader writes."""
STEP_DOWN_SECONDS = 1.0


@pytest.fixture(autouse=True)
def same_every_time() -> Iterator[None]:
    """The candidates' jitter is the same in every run, and thousands of log lines are not written."""
    random.seed(1)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.configure(**before)


class Fence:
    """The epoch as PostgreSQL counts it: a write under an older one is refused."""

    def __init__(self) -> None:
        self.epoch = 0
        self.accepted: list[tuple[float, int, str]] = []
        """When a write was accepted, under which epoch, and whose it was."""

    def begin(self) -> int:
        """The next epoch."""
        self.epoch += 1
        return self.epoch

    def write(self, epoch: int, author: str) -> None:
        """What a leader does."""
        if epoch != self.epoch:
            raise StaleLeader(f"epoch {epoch} has been succeeded")
        self.accepted.append((world().seconds, epoch, author))


class FenceClient:
    """One candidate's connection to PostgreSQL; what is under way is done, also when its sender is gone."""

    def __init__(self, fence: Fence) -> None:
        self.network = Network()
        self.fence = fence

    async def begin(self, lost: asyncio.Event) -> Term:
        """As `TermCounter.begin`."""
        return Term(cast(Any, None), await self.network.ask("begin", self.fence.begin), lost)

    async def end(self, term: Term) -> None:
        """As `TermCounter.end`; nothing is noted."""
        await self.network.ask("end", lambda: None)

    async def write(self, epoch: int, author: str) -> None:
        """One transaction of a leader."""
        await self.network.ask("write", lambda: self.fence.write(epoch, author))


class VirtualWatchdog(Watchdog):
    """The watchdog without its thread; looks as often."""

    _is_looking = False

    def arm(self, deadline: float) -> None:
        """As `Watchdog.arm`."""
        self._deadline = deadline
        if not self._is_looking:
            self._is_looking = True
            self._looked_at = self._clock.monotonic()
            self._look_later()

    def _look_later(self) -> None:
        world().call_later(self.tick_seconds, self._look)

    def _look(self) -> None:
        if self._off.is_set():
            return
        if self.is_due():
            self._bite(EXIT_FAILED)
        else:
            self._look_later()


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


@dataclass(eq=False)
class Act:
    """One leader at work, in true time."""

    candidate: Candidate
    epoch: int
    begun_at: float
    ended_at: float = math.inf

    @property
    def name(self) -> str:
        """Whose work it is."""
        return self.candidate.name

    @property
    def stopped_at(self) -> float:
        """The end of it."""
        return min(self.ended_at, self.candidate.process.killed_at)

    def awake(self) -> list[tuple[float, float]]:
        """When it was really at work: not while its process was paused, not after its death."""
        spans, begin, end = [], self.begun_at, self.stopped_at
        for paused_at, woken_at in sorted(self.candidate.process.pauses):
            if woken_at <= begin or paused_at >= end:
                continue
            if paused_at > begin:
                spans.append((begin, paused_at))
            begin = woken_at
        return [*spans, (begin, end)] if begin < end else spans


@dataclass(frozen=True)
class Overlap:
    """Two leaders at work at once."""

    names: tuple[str, str]
    begun_at: float
    ended_at: float
    woken_seconds_ago: float
    """How long before its end one of the two was woken; infinite when neither ever slept."""


@dataclass
class Scene:
    """The Lease, the database, and who has acted as leader."""

    server: LeaseServer = field(default_factory=LeaseServer)
    fence: Fence = field(default_factory=Fence)
    candidates: list[Candidate] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    given_back_at_work: list[str] = field(default_factory=list)
    """Who gave the Lease back although its work had not stopped."""
    bitten: list[str] = field(default_factory=list)
    """Whose watchdog has ended it."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    """What the candidates do."""

    def __post_init__(self) -> None:
        self.server.on_write = self._note_release

    def candidate(self, name: str, process: Process | None = None) -> Candidate:
        """One more candidate."""
        self.candidates.append(Candidate(self, name, process or Process()))
        return self.candidates[-1]

    @property
    def acting(self) -> set[str]:
        """Who works as leader now, awake."""
        now = world().seconds
        return {act.name for act in self.acts if any(begin <= now < end for begin, end in act.awake())}

    def failures(self) -> list[BaseException]:
        """Errors that nobody foresaw: of each a process would have died."""
        ended = [task.exception() for task in self.tasks if task.done() and not task.cancelled()]
        return [error for error in ended if error is not None]

    def overlaps(self) -> list[Overlap]:
        """Every time in which two were at work at once."""
        spans = sorted(((*span, act) for act in self.acts for span in act.awake()), key=lambda span: span[:2])
        found = []
        for index, (_, end, act) in enumerate(spans):
            for begin, other_end, other in spans[index + 1 :]:
                if begin >= end:
                    break
                if other.candidate is not act.candidate:
                    found.append(_overlap(act, other, begin, min(end, other_end)))
        return found

    def _note_release(self, before: LeaseRecord | None, after: LeaseRecord) -> None:
        if after.is_free and before is not None and before.holder in self.acting:
            self.given_back_at_work.append(before.holder)


def _overlap(act: Act, other: Act, begin: float, end: float) -> Overlap:
    woken = [woken for each in (act, other) for _, woken in each.candidate.process.pauses if woken <= end]
    return Overlap((act.name, other.name), begin, end, min((end - at for at in woken), default=math.inf))


class Candidate:
    """A relay as far as the election sees it: campaigns, and writes as long as it leads."""

    def __init__(self, scene: Scene, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self.api = LeaseClient(scene.server)
        self.database = FenceClient(scene.fence)
        self.counts = Counts()
        self.stopping = asyncio.Event()
        self.stop_seconds: Callable[[], float] = lambda: 0.0
        """How long its work goes on after it was cancelled, by its own clock."""
        self.on_bitten: Callable[[], object] = lambda: None
        self._scene = scene
        self._elector = LeaseElector(
            self.api,
            self.database,
            identity=name,
            timers=TIMERS,
            clock=process,
            figures=self.counts,
            make_watchdog=lambda clock, grace_seconds: VirtualWatchdog(clock, grace_seconds, self._be_bitten),
        )

    @property
    def acting(self) -> bool:
        """Whether it works as leader now, awake."""
        return self.name in self._scene.acting

    def start(self) -> asyncio.Task[None]:
        """Run as a process of its own."""
        self._scene.tasks.append(self.process.start(self.run()))
        return self._scene.tasks[-1]

    async def run(self) -> None:
        """Lead whenever it is its turn, until told to stop."""
        while not self.stopping.is_set():
            with suppress(CoursegenError):
                async with self._elector.term(self.stopping) as term:
                    if term is not None:
                        with suppress(StaleLeader):
                            await work_until_lost(term, self._act(term))
            await pause(self.stopping, STEP_DOWN_SECONDS)

    def _be_bitten(self, exit_code: int) -> None:
        assert exit_code == 1
        self._scene.bitten.append(self.name)
        self.process.kill()
        self.on_bitten()

    async def _act(self, term: Term) -> None:
        act = Act(self, term.epoch, world().seconds)
        self._scene.acts.append(act)
        try:
            while not self.stopping.is_set():
                with suppress(DatabaseUnavailable):
                    await self.database.write(term.epoch, self.name)
                await pause(self.stopping, WRITE_SECONDS)  # asked to stop it writes no more, as the relay
        finally:
            try:
                await asyncio.sleep(self.stop_seconds())
            finally:
                act.ended_at = world().seconds
