"""Who reconciles: the one that holds the Lease. Its term has no number, and the API server checks none.

What stands in for it: nothing is written once the Lease has run out by the clock of its holder (`Term.check`), even if that
has not heard of it yet; a status, which is what plans go on from, is written to the version that it was planned on only;
and what is deleted is named by its uid. A child that is written late, by a request that was under way when its sender was
paused, is put right by the next look of the successor.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from operators.coursegen_operator.errors import LeadershipLost
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.resources import FIELD_MANAGER
from operators.coursegen_operator.settings import OperatorSettings
from services.kernel.cancellation import work_until
from services.kernel.clock import Clock, SystemClock
from services.kernel.lease.api import LeaseApi
from services.kernel.lease.elector import LeaseElector
from services.kernel.lease.kubernetes import KubernetesLease
from services.kernel.lease.record import LeaseRecord


@dataclass(frozen=True, slots=True)
class Term:
    """For how long this replica leads."""

    lost: asyncio.Event
    """Set once it is over."""
    until: Callable[[], float] = lambda: math.inf
    clock: Clock = field(default_factory=SystemClock)

    def check(self) -> None:
        """Whether it lasts.

        Raises:
            LeadershipLost: it is over, or would be if this process had not been paused.
        """
        if self.lost.is_set() or self.clock.monotonic() >= self.until():
            raise LeadershipLost


class Elector(Protocol):
    """A way to find the one leader."""

    def term(self, stopping: asyncio.Event) -> AbstractAsyncContextManager[Term | None]:
        """Wait to become the leader; the block is the term. None when `stopping` came first."""


class TimedLease:
    """A Lease, and until when this replica may take it for its own."""

    def __init__(self, api: LeaseApi, renew_seconds: float, clock: Clock) -> None:
        self.clock = clock
        self._api = api
        self._renew_seconds = renew_seconds
        self._until = -math.inf

    def until(self) -> float:
        """A moment of the monotonic clock."""
        return self._until

    async def read(self) -> LeaseRecord | None:
        """As `LeaseApi.read`."""
        return await self._api.read()

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.create`."""
        return await self._noted(self._api.create, record)

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """As `LeaseApi.update`."""
        return await self._noted(self._api.update, record)

    async def announce(self, message: str) -> None:
        """As `LeaseApi.announce`."""
        await self._api.announce(message)

    async def _noted(self, write: Callable[[LeaseRecord], Awaitable[LeaseRecord]], record: LeaseRecord) -> LeaseRecord:
        asked_at = self.clock.monotonic()  # from then on others may count
        written = await write(record)
        self._until = -math.inf if record.is_free else asked_at + self._renew_seconds
        return written


class Terms:
    """Begins terms: each begins with the Lease and ends with it."""

    def __init__(self, lease: TimedLease) -> None:
        self._lease = lease

    async def begin(self, lost: asyncio.Event) -> Term:
        """As `TermCounter.begin`."""
        return Term(lost, self._lease.until, self._lease.clock)

    async def end(self, term: Term) -> None:
        """As `TermCounter.end`."""


class SoleElector:
    """For an operator that is the only one by deployment: leads at once."""

    @asynccontextmanager
    async def term(self, stopping: asyncio.Event) -> AsyncIterator[Term | None]:
        """As `Elector.term`."""
        yield None if stopping.is_set() else Term(asyncio.Event())


@asynccontextmanager
async def open_elector(settings: OperatorSettings, figures: Figures, clock: Clock) -> AsyncIterator[Elector]:
    """The way to find the leader that the settings name.

    Raises:
        SettingsInvalid: there is no cluster to speak to.
    """
    if settings.election == "none":
        yield SoleElector()
        return
    identity, timers = settings.new_identity(), settings.timers
    place = (settings.lease_name, settings.lease_namespace)
    async with KubernetesLease.open(
        *place, identity, timers.call_seconds, component=FIELD_MANAGER, setting="OPERATOR_ELECTION: lease"
    ) as api:
        lease = TimedLease(api, timers.renew_seconds, clock)
        elector: LeaseElector[Term] = LeaseElector(
            lease, Terms(lease), identity=identity, timers=timers, clock=clock, figures=figures
        )
        yield elector


async def until_lost(lost: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`; when the term is lost, cancel it and wait until it has stopped.

    Raises:
        LeadershipLost: the term is over; and whatever `work` raises.
    """
    if not await work_until(lost, work):
        raise LeadershipLost
