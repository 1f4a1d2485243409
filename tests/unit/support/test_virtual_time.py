"""The virtual clock: no wait takes no time, and processes have clocks, pauses and deaths of their own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.support.virtual_time import Process, run_virtually, world


def test_the_shortest_wait_takes_some_time() -> None:
    """Whoever waits for less than the last digit of the time, again and again, arrives in the end."""

    async def play() -> int:
        await asyncio.sleep(1e6)
        until, looks = world().time() + 1e-4, 0
        while (left := until - world().time()) > 0:
            await asyncio.sleep(min(left, 1e-12))
            looks += 1
        return looks

    assert 0 < run_virtually(play()) < 1000


def test_a_fast_process_waits_half_as_long() -> None:
    """Its loop, its timeouts and its clock agree with each other, not with the world."""

    async def play() -> None:
        fast = Process(rate=2.0, since=1000.0)

        async def wait() -> float:
            with suppress(TimeoutError):
                async with asyncio.timeout(10.0):
                    await asyncio.Event().wait()
            return world().time()

        assert await fast.start(wait()) == pytest.approx(1010.0, abs=0.01)
        assert fast.monotonic() == pytest.approx(1010.0, abs=0.01)
        assert world().seconds == pytest.approx(5.0, abs=0.01)

    run_virtually(play())


@pytest.mark.parametrize(("is_frozen", "wakes_at"), [(False, 30.0), (True, 35.0)])
def test_a_paused_process_does_nothing_until_it_is_woken(is_frozen: bool, wakes_at: float) -> None:
    """What it waited for has long happened then; a frozen one's clock has stood still, and it has the rest to wait."""

    async def play() -> float:
        process = Process()
        waiting = process.start(asyncio.sleep(10.0))
        await asyncio.sleep(5.0)
        (process.freeze if is_frozen else process.pause)(25.0)
        await asyncio.sleep(1.0)
        assert not waiting.done()
        await waiting
        return world().seconds

    assert run_virtually(play()) == pytest.approx(wakes_at, abs=0.01)


def test_a_killed_process_does_nothing_more_but_clears_up_when_the_play_is_over() -> None:
    """Not even what was about to happen."""
    done: list[str] = []

    async def play() -> None:
        process = Process()

        async def work() -> None:
            try:
                await asyncio.sleep(1.0)
                done.append("worked")
            finally:
                done.append("cleared up")

        process.start(work())
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(100.0)
        assert done == []

    run_virtually(play())
    assert done[-1:] == ["cleared up"]


def test_what_a_sleeping_process_has_cancelled_does_not_happen() -> None:
    """Both are due when it wakes; the first cancels the second."""
    done: list[str] = []

    async def play() -> None:
        process = Process()

        async def work() -> None:
            loop = asyncio.get_running_loop()
            later = loop.call_later(2.0, done.append, "too late")
            loop.call_later(1.0, later.cancel)
            await asyncio.sleep(3.0)

        working = process.start(work())
        await asyncio.sleep(0.5)
        process.pause(10.0)
        await working

    run_virtually(play())
    assert done == []
