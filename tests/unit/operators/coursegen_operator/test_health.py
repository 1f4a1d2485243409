"""Signs of life: a queue that moves, watches that are opened anew."""

from __future__ import annotations

import asyncio

from operators.coursegen_operator.health import LATE_SECONDS, QUEUE_SECONDS, Vital
from operators.coursegen_operator.watching import LONGEST_SILENCE_SECONDS
from services.kernel.health import HealthRegistry
from tests.support.clocks import StandingClock


class Grounds:
    """Ages that a test sets."""

    def __init__(self) -> None:
        self.clock = StandingClock()
        self.health = HealthRegistry(self.clock)
        self.health.started = True
        self.queue_age = 0.0
        self.watch_age = 0.0
        self.obstacle = ""
        self.vital = Vital(self.health, lambda: self.queue_age, lambda: self.watch_age, lambda: self.obstacle)

    def pass_by(self) -> list[str]:
        """More than a minute; returns what is late then."""
        for _ in range(int(LATE_SECONDS // 5) + 1):
            self.clock.pass_by(5)
            self.vital.beat()
        return self.health.late()


def test_what_moves_is_alive() -> None:
    """A queue with work for a minute, a watch that has been quiet for five."""
    grounds = Grounds()
    grounds.queue_age, grounds.watch_age = 60.0, 300.0
    assert grounds.pass_by() == []


def test_a_queue_that_does_not_move_and_a_watch_that_is_not_opened_anew_are_dead() -> None:
    """Each by its name."""
    grounds = Grounds()
    grounds.queue_age = QUEUE_SECONDS + 1
    assert grounds.pass_by() == ["queue"]
    grounds.queue_age, grounds.watch_age = 0.0, LONGEST_SILENCE_SECONDS + 1
    assert grounds.pass_by() == ["watches"]


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
