"""The queue: one key in one hand, back after a pause that doubles, never hot."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.coursegen_operator.alerts.rules.custom_resources import OPERATOR
from operators.coursegen_operator.durations import seconds_of
from operators.coursegen_operator.keyed_queue import (
    BACKOFF_LEAST_SECONDS,
    BACKOFF_MOST_SECONDS,
    BURST,
    LOOK_SECONDS,
    SPACING_SECONDS,
    KeyedQueue,
    Verdict,
)
from operators.coursegen_operator.resources import ObjectKey
from tests.support.virtual_time import Process, run_virtually, world

KEY = ObjectKey("Sample", "default", "one")
OTHER = ObjectKey("Sample", "default", "two")
RESYNC_SECONDS = 600.0

Script = Callable[[ObjectKey, int], Awaitable[Verdict]]
"""What the nth look at a key does."""


class Play:
    """A queue in virtual time, and when it looked at what."""

    def __init__(self, script: Script | None = None, *, workers: int = 2, chance: float = 0.5) -> None:
        self.looks: list[tuple[float, ObjectKey]] = []
        self.counts: Counter[ObjectKey] = Counter()
        self.in_hand: Counter[ObjectKey] = Counter()
        self._script = script
        self.clock = Process()
        self.queue = KeyedQueue(
            self._look, self.clock, workers=workers, resync_seconds=RESYNC_SECONDS, chance=lambda: chance
        )
        self.stopping = asyncio.Event()
        self.running = asyncio.create_task(self.queue.run(self.stopping))

    async def _look(self, key: ObjectKey) -> Verdict:
        self.looks.append((world().seconds, key))
        self.counts[key] += 1
        self.in_hand[key] += 1
        assert self.in_hand[key] == 1, "a key is in one hand only"
        try:
            return await self._script(key, self.counts[key]) if self._script else Verdict()
        finally:
            self.in_hand[key] -= 1

    async def end(self) -> None:
        """Stop; what is in hand is finished."""
        self.stopping.set()
        await self.running

    def times(self, key: ObjectKey = KEY) -> list[float]:
        """When it looked at `key`, to a tenth of a second."""
        return [round(at, 1) for at, each in self.looks if each == key]


def test_what_is_added_is_looked_at_now_and_again_at_the_resync() -> None:
    """Added twice before the look, it is looked at once."""

    async def play() -> None:
        it = Play()
        it.queue.add(KEY)
        it.queue.add(KEY)
        await asyncio.sleep(1300)
        await it.end()
        assert it.times() == [0.0, 600.0, 1200.0]

    run_virtually(play())


def test_resyncs_of_many_drift_apart() -> None:
    """By a tenth of the time either way."""

    async def play(chance: float) -> list[float]:
        it = Play(chance=chance)
        it.queue.add(KEY)
        await asyncio.sleep(700)
        await it.end()
        return it.times()

    assert run_virtually(play(0.0)) == [0.0, 540.0]
    assert run_virtually(play(1.0)) == [0.0, 660.0]


def test_what_is_added_while_in_hand_is_looked_at_once_more() -> None:
    """The look under way may have missed it."""

    async def slow(_: ObjectKey, __: int) -> Verdict:
        await asyncio.sleep(5)
        return Verdict()

    async def play() -> None:
        it = Play(slow)
        it.queue.add(KEY)
        await asyncio.sleep(1)
        it.queue.add(KEY)
        it.queue.add(KEY)
        await asyncio.sleep(50)
        await it.end()
        assert it.times() == [0.0, 5.0]

    run_virtually(play())


def test_failures_are_repeated_after_a_pause_that_doubles() -> None:
    """Up to a limit; success begins anew; other keys do not wait for it."""

    async def fails(key: ObjectKey, count: int) -> Verdict:
        if key == KEY and count != 14:
            raise ConnectionError
        return Verdict(look_again_seconds=7)

    async def play() -> None:
        it = Play(fails, chance=1.0)
        it.queue.add(KEY)
        it.queue.add(OTHER)
        await asyncio.sleep(1900)
        await it.end()
        pauses = [round(b - a, 1) for a, b in zip(it.times(), it.times()[1:], strict=False)]
        assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
        assert max(pauses) == pauses[12] == BACKOFF_MOST_SECONDS
        assert pauses[13:16] == [7.0, 0.5, 1.0]
        assert it.times(OTHER)[0] == 0.0

    run_virtually(play())


def test_a_fault_that_lasts_is_looked_at_often_enough_for_its_alert() -> None:
    """Of one resource alone, at the slowest pace, there are twice as many failures in the alert's window as it takes."""

    async def fails(_: ObjectKey, __: int) -> Verdict:
        raise ConnectionError

    async def play() -> None:
        it = Play(fails, chance=1.0)
        it.queue.add(KEY)
        await asyncio.sleep(7200)
        await it.end()
        figures = {each.name: each.default for each in OPERATOR.figures}
        window = seconds_of(str(figures["window"]))
        assert len([at for at in it.times() if at > 7200 - window]) > 2 * int(figures["reconcileErrors"])

    run_virtually(play())


def test_a_change_ends_the_pause_of_a_failure() -> None:
    """Who has just mended it does not wait a minute."""

    async def fails(_: ObjectKey, count: int) -> Verdict:
        if count < 8:
            raise ConnectionError
        return Verdict()

    async def play() -> None:
        it = Play(fails)
        it.queue.add(KEY)
        await asyncio.sleep(30)
        seen = len(it.times())
        it.queue.add(KEY)
        await asyncio.sleep(0.1)
        await it.end()
        assert len(it.times()) == seen + 1

    run_virtually(play())


def test_a_look_may_ask_for_the_next_one_and_a_gone_key_is_forgotten() -> None:
    """Sooner than the resync, never later."""

    async def script(_: ObjectKey, count: int) -> Verdict:
        return [Verdict(7.0), Verdict(10_000.0), Verdict(is_gone=True)][count - 1]

    async def play() -> None:
        it = Play(script)
        it.queue.add(KEY)
        await asyncio.sleep(3000)
        await it.end()
        assert it.times() == [0.0, 7.0, 607.0]
        assert len(it.queue) == 0

    run_virtually(play())


def test_two_that_write_against_each_other_cost_little() -> None:
    """However often a key is added, after a burst it is looked at every two seconds; after a rest there may be a burst again."""

    async def play() -> None:
        it = Play()
        for _ in range(2000):
            it.queue.add(KEY)
            await asyncio.sleep(0.05)
        await it.end()
        assert len(it.times()) <= BURST + 100 / SPACING_SECONDS + 2
        assert len(it.times()) >= 50

    run_virtually(play())


def test_a_look_that_asks_for_another_at_once_for_ever_is_no_hot_loop() -> None:
    """A defect of a planner costs one look in two seconds."""

    async def again(_: ObjectKey, __: int) -> Verdict:
        return Verdict(0.0)

    async def play() -> None:
        it = Play(again)
        it.queue.add(KEY)
        await asyncio.sleep(100)
        await it.end()
        assert len(it.times()) <= BURST + 100 / SPACING_SECONDS + 2

    run_virtually(play())


def test_a_look_that_hangs_is_ended_and_repeated() -> None:
    """And its age tells `/livez` meanwhile."""

    async def hangs(_: ObjectKey, count: int) -> Verdict:
        if count == 1:
            await asyncio.sleep(10_000)
        return Verdict()

    async def play() -> None:
        it = Play(hangs)
        it.queue.add(KEY)
        await asyncio.sleep(100)
        assert 99 < it.queue.age() < 101
        await asyncio.sleep(30)
        await it.end()
        assert it.times()[1] <= LOOK_SECONDS + BACKOFF_LEAST_SECONDS + 0.1

    run_virtually(play())


def test_depth_and_age_tell_of_what_waits() -> None:
    """One worker, three keys, each look a minute long."""

    async def slow(_: ObjectKey, __: int) -> Verdict:
        await asyncio.sleep(60)
        return Verdict()

    async def play() -> None:
        it = Play(slow, workers=1)
        for name in "abc":
            it.queue.add(ObjectKey("Sample", "default", name))
        await asyncio.sleep(90)
        assert it.queue.depth() == 1
        assert 89 < it.queue.age() < 91
        await asyncio.sleep(200)
        assert (it.queue.depth(), it.queue.age()) == (0, 0.0)
        await it.end()

    run_virtually(play())


def test_a_standstill_is_one_of_looks_not_of_the_queue() -> None:
    """One look of many that does not end, or none that begins though one is due; not a key that waits for its turn."""

    async def one_hangs(key: ObjectKey, __: int) -> Verdict:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10_000 if key == KEY else 60)
        await asyncio.sleep(100 if key == KEY else 0)  # it does not heed that its time is over
        return Verdict()

    async def play() -> None:
        it = Play(one_hangs)
        for key in (KEY, *(ObjectKey("Sample", "default", name) for name in "abcd")):
            it.queue.add(key)
        await asyncio.sleep(200)
        assert 199 < it.queue.standstill() < 201
        await asyncio.sleep(45)
        assert it.queue.standstill() < 60
        await it.end()
        it.queue.add(ObjectKey("Sample", "default", "due"))
        await asyncio.sleep(70)
        assert 69 < it.queue.standstill() < 71, "nobody works"

    run_virtually(play())


def test_stopping_finishes_what_is_in_hand_and_begins_nothing() -> None:
    """The rest is for the next leader."""

    async def slow(_: ObjectKey, __: int) -> Verdict:
        await asyncio.sleep(5)
        return Verdict()

    async def play() -> None:
        it = Play(slow, workers=1)
        it.queue.add(KEY)
        it.queue.add(OTHER)
        await asyncio.sleep(1)
        await it.end()
        assert (len(it.times()), len(it.times(OTHER))) == (1, 0)
        assert 4.9 < world().seconds < 5.1

    run_virtually(play())


_ADDS = st.lists(st.tuples(st.sampled_from([KEY, OTHER]), st.floats(0, 30)), min_size=1, max_size=30)


@settings(max_examples=50, deadline=None)
@given(_ADDS, st.integers(1, 3), st.lists(st.sampled_from(["ok", "fails", "slow", "gone"]), max_size=20))
def test_nothing_that_was_added_is_forgotten(
    adds: list[tuple[ObjectKey, float]], workers: int, looks: list[str]
) -> None:
    """After the last time a key was added it is looked at, whatever its looks did; two hands never have it at once."""

    async def script(key: ObjectKey, count: int) -> Verdict:
        what = looks[(count - 1 + len(key.name)) % len(looks)] if looks else "ok"
        if what == "fails":
            raise ConnectionError
        if what == "slow":
            await asyncio.sleep(3)
        return Verdict(is_gone=what == "gone")

    async def play() -> None:
        it = Play(script, workers=workers)
        last: dict[ObjectKey, float] = {}
        for key, wait in adds:
            it.queue.add(key)
            last[key] = world().seconds
            await asyncio.sleep(wait)
        await asyncio.sleep(60)
        await it.end()
        for key, added_at in last.items():
            assert max(at for at, each in it.looks if each == key) >= added_at

    run_virtually(play())
