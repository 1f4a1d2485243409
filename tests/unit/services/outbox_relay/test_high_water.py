"""How many jobs each queue has room for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from services.kernel.queue import Inspector
from services.outbox_relay.high_water import HighWater


class FakeClock:
    """A clock that is set by hand."""

    seconds = 100.0

    def monotonic(self) -> float:
        """The time that was set."""
        return self.seconds


class FakeInspector:
    """Knows depths and counts how often it is asked."""

    def __init__(self, **depths: int) -> None:
        self.actual = depths
        self.asked = 0

    async def depths(self, queues: Iterable[str]) -> dict[str, int]:
        """The depths of the queues asked for."""
        self.asked += 1
        return {queue: self.actual.get(queue, 0) for queue in queues}


def _water(inspector: FakeInspector, mark: int, clock: FakeClock) -> HighWater:
    return HighWater(cast(Inspector, inspector), mark, cast("object", clock))  # type: ignore[arg-type]


async def test_without_a_mark_there_is_room_for_everything() -> None:
    """0 turns it off: no queue is limited and Redis is not asked."""
    inspector = FakeInspector(a=5000)
    water = _water(inspector, 0, FakeClock())
    water.note("a", 5000)

    assert await water.rooms({"a": 500}, 500) == {}
    assert water.default_room > 10**9
    assert inspector.asked == 0


async def test_room_is_what_the_depth_and_the_rows_in_flight_leave() -> None:
    """Never below nought."""
    water = _water(FakeInspector(a=700, b=2000), 1000, FakeClock())
    water.note("a", 0)
    water.note("b", 0)

    assert await water.rooms({"a": 100}, 500) == {"a": 200, "b": 0}


async def test_redis_is_asked_again_only_when_room_is_scarce_or_the_answer_old() -> None:
    """A full queue every tenth of a second, an empty one every five seconds."""
    clock, inspector = FakeClock(), FakeInspector(a=0)
    water = _water(inspector, 1000, clock)
    await water.rooms({"a": 0}, 500)
    clock.seconds += 1
    await water.rooms({}, 500)
    assert inspector.asked == 1

    water.note("a", 900)
    await water.rooms({}, 500)
    assert inspector.asked == 2
    clock.seconds += 0.05
    water.note("a", 900)
    await water.rooms({}, 500)
    assert inspector.asked == 2
    clock.seconds += 5
    await water.rooms({}, 500)
    assert inspector.asked == 3


async def test_a_parked_queue_takes_nothing_for_a_while() -> None:
    """Its keys are damaged; other queues go on, and it is tried again."""
    clock = FakeClock()
    water = _water(FakeInspector(), 0, clock)
    water.park("a", 2.0)
    rooms = await water.rooms({}, 500)
    clock.seconds += 2.1

    assert rooms == {"a": 0}
    assert water.is_blocked(rooms)
    assert await water.rooms({}, 500) == {}
