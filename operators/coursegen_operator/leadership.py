"""Who reconciles: the one that holds the Lease. Its term has no number.

What a leader writes is what the cluster should have, under resource versions, uids and names that say which thing it is:
a late write of one that was paused is put right by the next look of its successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from operators.coursegen_operator.errors import LeadershipLost
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.resources import FIELD_MANAGER
from operators.coursegen_operator.settings import OperatorSettings
from services.kernel.clock import Clock
from services.kernel.lease.elector import LeaseElector
from services.kernel.lease.kubernetes import KubernetesLease

Lost = asyncio.Event
"""A term: set once it is over."""


class Elector(Protocol):
    """A way to find the one leader."""

    def term(self, stopping: asyncio.Event) -> AbstractAsyncContextManager[Lost | None]:
        """Wait to become the leader; the block is the term. None when `stopping` came first."""


class NoCount:
    """Counts nothing: a term begins with the Lease and ends with it."""

    async def begin(self, lost: Lost) -> Lost:
        """As `TermCounter.begin`."""
        return lost

    async def end(self, term: Lost) -> None:
        """As `TermCounter.end`."""


class SoleElector:
    """For an operator that is the only one by deployment: leads at once."""

    @asynccontextmanager
    async def term(self, stopping: asyncio.Event) -> AsyncIterator[Lost | None]:
        """As `Elector.term`."""
        yield None if stopping.is_set() else asyncio.Event()


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
        elector: LeaseElector[Lost] = LeaseElector(
            api, NoCount(), identity=identity, timers=timers, clock=clock, figures=figures
        )
        yield elector


async def until_lost(lost: Lost, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`; when the term is lost, cancel it and wait until it has stopped.

    Raises:
        LeadershipLost: the term is over; and whatever `work` raises.
    """
    working, losing = asyncio.ensure_future(work), asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        losing.cancel()
        working.cancel()
        await asyncio.wait({working})
    if working.cancelled():
        raise LeadershipLost
    working.result()
