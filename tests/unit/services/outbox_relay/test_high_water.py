"""How many jobs each queue has room for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from services.kernel.queue import Inspector
from services.outbox_relay.high_water import HighWater, lanes_of


class FakeClock:
    """A clock that is set by hand."""

    seconds = 100.0

    def monotonic(self) -> float:
        """The time that was set."""
        return self.seconds


def _depths(**lanes: int) -> tuple[int, ...]:
    """By priority: `p1=700` is seven hundred of priority 1."""
    return tuple(lanes.get(f"p{priority}", 0) for priority in range(11))


class FakeInspector:
    """Knows depths and counts how often it is asked."""

    def __init__(self, **depths: tuple[int, ...]) -> None:
        self.actual = depths
        self.asked = 0

    async def waiting(self, queues: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """The depths of the queues asked for."""
        self.asked += 1
        return {queue: self.actual.get(queue, _depths()) for queue in queues}


def _water(inspector: FakeInspector, mark: int, clock: FakeClock) -> HighWater:
    return HighWater(cast(Inspector, inspector), mark, cast("object", clock))  # type: ignore[arg-type]


async def test_without_a_mark_there_is_room_for_everything() -> None:
    """0 turns it off: no queue is limited and Redis is not asked."""
    inspector = FakeInspector(a=_depths(p1=5000))
    water = _water(inspector, 0, FakeClock())
    water.note("a", _depths(p1=5000))

    assert await water.rooms({("a", 1): 500}, 500) == {}
    assert water.default_room > 10**9
    assert inspector.asked == 0


async def test_room_is_what_the_depth_and_the_rows_in_flight_leave() -> None:
    """Never below nought, and each priority has its own; an empty lane has all of it and is not named."""
    water = _water(FakeInspector(a=_depths(p1=700, p10=1), b=_depths(p5=2000)), 1000, FakeClock())
    water.note("a", _depths())
    water.note("b", _depths())

    rooms = await water.rooms({("a", 1): 100, ("c", 3): 10}, 500)

    assert rooms == {("a", 1): 200, ("a", 10): 999, ("b", 5): 0, ("c", 3): 990}
    assert water.is_blocked(rooms)


async def test_redis_is_asked_again_only_when_room_is_scarce_or_the_answer_old() -> None:
    """A full lane every tenth of a second, an empty queue every five seconds."""
    clock, inspector = FakeClock(), FakeInspector()
    water = _water(inspector, 1000, clock)
    await water.rooms({("a", 1): 0}, 500)
    clock.seconds += 1
    await water.rooms({}, 500)
    assert inspector.asked == 1

    water.note("a", _depths(p1=900))
    await water.rooms({}, 500)
    assert inspector.asked == 2
    clock.seconds += 0.05
    water.note("a", _depths(p1=900))
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

    assert rooms == {("a", priority): 0 for priority in range(11)}
    assert water.is_blocked(rooms)
    assert await water.rooms({}, 500) == {}


def test_rows_are_counted_by_lane() -> None:
    """Priorities outside the scale go where their jobs will wait."""
    rows = [("a", 1), ("a", 99), ("b", 1), ("a", 10), ("a", -5)]

    assert lanes_of(rows) == {("a", 1): 1, ("a", 10): 2, ("b", 1): 1, ("a", 0): 1}
