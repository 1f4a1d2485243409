"""Who reconciles, and what becomes of the work when that ends."""

from __future__ import annotations

import asyncio

import pytest

from operators.coursegen_operator.errors import LeadershipLost
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.leadership import (
    SoleElector,
    Term,
    Terms,
    TimedLease,
    open_elector,
    until_lost,
)
from operators.coursegen_operator.settings import OperatorSettings
from services.kernel.clock import SystemClock
from services.kernel.errors import SettingsInvalid
from services.kernel.lease.api import LeaseUnavailable
from services.kernel.lease.record import LeaseRecord
from tests.support.clocks import StandingClock


async def test_a_lost_term_cancels_the_work_and_waits_for_it() -> None:
    """It may take its time to stop."""
    lost, stopped = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            stopped.set()

    asyncio.get_running_loop().call_later(0.01, lost.set)
    with pytest.raises(LeadershipLost):
        await until_lost(lost, work())
    assert stopped.is_set()


async def test_work_that_ends_ends_the_term() -> None:
    """With its own error, if it has one."""

    async def work(error: Exception | None) -> None:
        if error is not None:
            raise error

    await until_lost(asyncio.Event(), work(None))
    with pytest.raises(ZeroDivisionError):
        await until_lost(asyncio.Event(), work(ZeroDivisionError()))


async def test_the_only_one_leads_at_once() -> None:
    """Unless it is told to stop before."""
    stopping = asyncio.Event()
    async with SoleElector().term(stopping) as term:
        assert term is not None
    stopping.set()
    async with SoleElector().term(stopping) as term:
        assert term is None


class _Lease:
    """A Lease whose answers take a second."""

    def __init__(self, clock: StandingClock) -> None:
        self._clock = clock
        self.fails = False
        self.announced: list[str] = []

    async def read(self) -> LeaseRecord | None:
        return None

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        return await self.update(record)

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        self._clock.pass_by(1)
        if self.fails:
            raise LeaseUnavailable("no")
        return record

    async def announce(self, message: str) -> None:
        self.announced.append(message)


async def test_a_term_is_over_once_the_lease_was_not_renewed_in_time() -> None:
    """By the clock, before anybody says so: a process that was paused has not heard yet. Counted from the question."""
    clock = StandingClock()
    api = _Lease(clock)
    lease = TimedLease(api, 10.0, clock)
    term = await Terms(lease).begin(asyncio.Event())
    with pytest.raises(LeadershipLost):
        term.check()
    await lease.create(LeaseRecord(holder="me"))
    clock.pass_by(8.9)
    term.check()
    await lease.update(LeaseRecord(holder="me"))
    clock.pass_by(8.9)
    term.check()
    api.fails = True
    with pytest.raises(LeaseUnavailable):
        await lease.update(LeaseRecord(holder="me"))
    with pytest.raises(LeadershipLost):
        term.check()
    await Terms(lease).end(term)


async def test_a_term_is_over_once_the_lease_is_lost_or_given_back() -> None:
    """Whatever the clock says."""
    clock = StandingClock()
    api = _Lease(clock)
    lease = TimedLease(api, 10.0, clock)
    await lease.create(LeaseRecord(holder="me"))
    term = await Terms(lease).begin(asyncio.Event())
    term.check()
    term.lost.set()
    with pytest.raises(LeadershipLost):
        term.check()
    term = await Terms(lease).begin(asyncio.Event())
    await lease.update(LeaseRecord())
    with pytest.raises(LeadershipLost):
        term.check()
    assert await lease.read() is None
    await lease.announce("x")
    assert api.announced == ["x"]


def test_the_only_one_leads_for_ever() -> None:
    """It has no Lease to lose."""
    Term(asyncio.Event()).check()


async def test_without_kubernetes_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, with what to do."""
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    with pytest.raises(SettingsInvalid, match="OPERATOR_ELECTION"):
        async with open_elector(OperatorSettings(), Figures(), SystemClock()):
            pass
    async with open_elector(OperatorSettings(election="none"), Figures(), SystemClock()) as elector:
        assert isinstance(elector, SoleElector)
