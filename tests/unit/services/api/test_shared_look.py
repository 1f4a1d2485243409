"""Many who ask, one look."""

from __future__ import annotations

import asyncio

import pytest

from services.api.shared_look import SharedLook
from services.kernel.errors import DatabaseUnavailable
from tests.support.clocks import StandingClock
from tests.support.waiting import eventually


class Looks:
    """Counts looks; each sees its own number, once it is allowed to."""

    def __init__(self) -> None:
        self.taken = 0
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        """Look once."""
        self.taken += 1
        mine = self.taken
        await self.allowed.wait()
        if self.error is not None:
            raise self.error
        return mine


async def test_those_who_ask_at_one_time_share_one_look() -> None:
    """However many they are."""
    looks = Looks()
    look = SharedLook(looks, longest_seconds=10, clock=StandingClock())

    assert await asyncio.gather(*(look.result() for _ in range(10))) == [1] * 10
    assert await look.result() == 2


@pytest.mark.parametrize("error", [None, DatabaseUnavailable("away")])
async def test_the_next_look_is_not_taken_for_the_one_that_was_waited_for(error: Exception | None) -> None:
    """One who asks between the end of a look and the wake-up of those who wait for it begins another, which is not over."""
    looks = Looks()
    looks.allowed.clear()
    looks.error = error
    look = SharedLook(looks, longest_seconds=10, clock=StandingClock())
    late: list[asyncio.Task[int]] = []
    waiting = [asyncio.create_task(look.result())]
    await eventually(lambda: looks.taken == 1, within=5)
    running = look._looking
    assert running is not None
    running.add_done_callback(lambda _: late.append(asyncio.create_task(look.result())))
    waiting.append(asyncio.create_task(look.result()))
    looks.allowed.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)

    assert found == [error or 1] * 2
    assert (await asyncio.gather(*late, return_exceptions=True), looks.taken) == ([error or 2], 2)


async def test_what_was_seen_serves_as_long_as_it_is_fresh() -> None:
    """Counted from when the look began: what it saw is no younger."""
    looks, clock = Looks(), StandingClock()
    look = SharedLook(looks, longest_seconds=10, fresh_seconds=1.0, clock=clock)
    first = await look.result()
    clock.pass_by(0.9)
    second = await look.result()
    clock.pass_by(0.1)

    assert (first, second, await look.result()) == (1, 1, 2)


async def test_a_look_that_took_long_serves_longer() -> None:
    """Two hundred times as long as it took, and no longer than told."""
    clock = StandingClock()
    taken = 0

    async def look_for(seconds: float) -> int:
        nonlocal taken
        taken += 1
        clock.pass_by(seconds)
        return taken

    slow = SharedLook(lambda: look_for(0.015), longest_seconds=10, fresh_seconds=1, stale_seconds=5, clock=clock)
    slower = SharedLook(lambda: look_for(0.3), longest_seconds=10, fresh_seconds=1, stale_seconds=5, clock=clock)
    seen = [await slow.result()]
    for pause in (2.975, 0.02):  # 2.99 s and 3.01 s after the first look began
        clock.pass_by(pause)
        seen.append(await slow.result())
    seen.append(await slower.result())
    for pause in (4.69, 0.02):
        clock.pass_by(pause)
        seen.append(await slower.result())

    assert seen == [1, 1, 2, 3, 3, 4]


@pytest.mark.parametrize(("is_costly", "age"), [(True, 5.0), (False, 1.0)])
async def test_what_is_cheap_by_nature_serves_no_longer_on_a_slow_machine(is_costly: bool, age: float) -> None:
    """Only what was seen says whether the next look would take as long."""
    clock = StandingClock()
    taken = 0

    async def look_slowly() -> int:
        nonlocal taken
        taken += 1
        clock.pass_by(0.5)
        return taken

    look = SharedLook(
        look_slowly, longest_seconds=10, fresh_seconds=1, stale_seconds=5, is_costly=lambda _: is_costly, clock=clock
    )
    first = await look.result()
    clock.pass_by(age - 0.5 - 0.01)
    second = await look.result()
    clock.pass_by(0.02)

    assert (first, second, await look.result()) == (1, 1, 2)


async def test_nobody_waits_longer_than_told_and_the_late_look_still_serves() -> None:
    """Who asks again waits for the same one: a hanging database is asked once."""
    looks = Looks()
    looks.allowed.clear()
    look = SharedLook(looks, longest_seconds=0.01, fresh_seconds=60, clock=StandingClock())
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            await look.result()
    looks.allowed.set()

    async def seen() -> bool:
        return await look.result() == 1

    await eventually(seen, within=5)
    assert looks.taken == 1


async def test_what_takes_long_to_see_is_not_said_to_be_away() -> None:
    """What was seen serves on while the next look takes about as long as the one before; then it does not answer."""
    looks, clock = Looks(), StandingClock()

    async def slowly() -> int:
        if not looks.taken:
            clock.pass_by(0.9)
        return await looks()

    look = SharedLook(slowly, longest_seconds=0.01, fresh_seconds=1, stale_seconds=10, clock=clock)
    assert await look.result() == 1
    looks.allowed.clear()
    clock.pass_by(10)  # 10.9 s after it began
    assert [await look.result() for _ in range(2)] == [1, 1]
    clock.pass_by(2)
    with pytest.raises(DatabaseUnavailable):
        await look.result()

    assert looks.taken == 2


async def test_an_error_is_told_and_not_kept() -> None:
    """The next one who asks has another look taken."""
    looks = Looks()
    looks.error = DatabaseUnavailable("away")
    look = SharedLook(looks, longest_seconds=10, fresh_seconds=60, clock=StandingClock())
    with pytest.raises(DatabaseUnavailable):
        await look.result()
    looks.error = None

    assert await look.result() == 2


async def test_a_closed_look_is_over() -> None:
    """Who still waits is told."""
    looks = Looks()
    looks.allowed.clear()
    look = SharedLook(looks, longest_seconds=10, clock=StandingClock())
    waiting = asyncio.create_task(look.result())
    await eventually(lambda: looks.taken == 1, within=5)
    look.close()

    with pytest.raises(DatabaseUnavailable):
        await waiting
