"""Signs of life: a queue that moves, watches that are opened anew."""

from __future__ import annotations

import asyncio

from operators.coursegen_operator.health import LATE_SECONDS, QUEUE_SECONDS, Vital
from operators.coursegen_operator.keyed_queue import KeyedQueue, Verdict
from operators.coursegen_operator.resources import ObjectKey
from operators.coursegen_operator.watching import LONGEST_SILENCE_SECONDS
from services.kernel.health import HealthRegistry
from tests.support.clocks import StandingClock
from tests.support.virtual_time import Process, run_virtually


class Grounds:
    """Ages that a test sets."""

    def __init__(self) -> None:
        self.clock = StandingClock()
        self.health = HealthRegistry(self.clock)
        self.health.started = True
        self.standstill = 0.0
        self.watch_age = 0.0
        self.obstacle = ""
        self.vital = Vital(self.health, lambda: self.standstill, lambda: self.watch_age, lambda: self.obstacle)

    def pass_by(self) -> list[str]:
        """More than a minute; returns what is late then."""
        for _ in range(int(LATE_SECONDS // 5) + 1):
            self.clock.pass_by(5)
            self.vital.beat()
        return self.health.late()


def test_what_moves_is_alive() -> None:
    """A look for a minute, a watch that has been quiet for five."""
    grounds = Grounds()
    grounds.standstill, grounds.watch_age = 60.0, 300.0
    assert grounds.pass_by() == []


def test_a_queue_that_does_not_move_and_a_watch_that_is_not_opened_anew_are_dead() -> None:
    """Each by its name."""
    grounds = Grounds()
    grounds.standstill = QUEUE_SECONDS + 1
    assert grounds.pass_by() == ["queue"]
    grounds.standstill, grounds.watch_age = 0.0, LONGEST_SILENCE_SECONDS + 1
    assert grounds.pass_by() == ["watches"]


def test_a_queue_that_is_long_is_alive_as_long_as_it_moves() -> None:
    """Thousands at a cold start: the last one waits for all of them, for minutes."""

    async def takes_a_second(_: ObjectKey) -> Verdict:
        await asyncio.sleep(1)
        return Verdict()

    async def play() -> None:
        clock, stopping = Process(), asyncio.Event()
        queue = KeyedQueue(takes_a_second, clock, workers=16, resync_seconds=3600)
        health = HealthRegistry(clock)
        health.started = True
        vital = Vital(health, queue.standstill, lambda: 0.0, lambda: "")
        for number in range(8_000):
            queue.add(ObjectKey("Sample", "default", str(number)))
        tasks = [asyncio.create_task(each) for each in (queue.run(stopping), vital.run(stopping))]
        longest = 0.0
        for _ in range(50):
            await asyncio.sleep(10)
            longest = max(longest, queue.age())
            assert health.late() == []
        assert longest > QUEUE_SECONDS + LATE_SECONDS, "the queue was not long"
        assert queue.depth() == 0
        stopping.set()
        await asyncio.gather(*tasks)

    run_virtually(play())


async def test_one_that_leads_is_ready_when_it_sees_what_there_is() -> None:
    """Else it says what is in the way."""
    grounds = Grounds()
    grounds.obstacle = "the definitions are not installed"
    assert await grounds.health.unready() == {"cluster": "the definitions are not installed"}
    grounds.obstacle = ""
    assert await grounds.health.unready() == {}


async def test_it_stops_when_told() -> None:
    """At once."""
    grounds = Grounds()
    stopping = asyncio.Event()
    running = asyncio.create_task(grounds.vital.run(stopping))
    await asyncio.sleep(0.01)
    stopping.set()
    await asyncio.wait_for(running, 1)
