"""Who reconciles, and what becomes of the work when that ends."""

from __future__ import annotations

import asyncio

import pytest

from operators.coursegen_operator.errors import LeadershipLost
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.leadership import NoCount, SoleElector, open_elector, until_lost
from operators.coursegen_operator.settings import OperatorSettings
from services.kernel.clock import SystemClock
from services.kernel.errors import SettingsInvalid


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


async def test_a_term_is_not_counted() -> None:
    """It is the event that says it is over."""
    lost = asyncio.Event()
    assert await NoCount().begin(lost) is lost
    await NoCount().end(lost)


async def test_without_kubernetes_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, with what to do."""
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    with pytest.raises(SettingsInvalid, match="OPERATOR_ELECTION"):
        async with open_elector(OperatorSettings(), Figures(), SystemClock()):
            pass
    async with open_elector(OperatorSettings(election="none"), Figures(), SystemClock()) as elector:
        assert isinstance(elector, SoleElector)
