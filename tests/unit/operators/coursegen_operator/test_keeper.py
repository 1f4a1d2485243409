"""Keeping the store true: inventories and watches by turns, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from structlog.testing import capture_logs

from operators.coursegen_operator.errors import ClusterUnavailable, NotPermitted
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.inventory import Taken
from operators.coursegen_operator.keeper import ABSENT_SECONDS, LEAST_SECONDS, Keeper
from operators.coursegen_operator.resources import CRON_JOB, RETENTION_POLICY
from operators.coursegen_operator.watching import Selection
from tests.support.virtual_time import Process, run_virtually, world

ALL = Selection((RETENTION_POLICY, CRON_JOB))
CHILDREN = frozenset({CRON_JOB.kind})
WITHOUT = Taken(Selection((RETENTION_POLICY,)), absent_children=CHILDREN)


class PretendedWatch:
    """A watch that does what the play says."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.ended = asyncio.Event()
        self.listed = asyncio.Event()
        self.is_started = False

    def start(self) -> None:
        """Begin."""
        self.is_started = True

    def let_go(self) -> None:
        """End."""
        self.ended.set()

    async def stop(self) -> None:
        """End, and wait."""
        self.ended.set()

    def age(self) -> float:
        """Since a minute."""
        return 60.0


class Play:
    """A keeper, and when it took inventories."""

    def __init__(self, take: Callable[[int], Taken] = lambda _: Taken(ALL)) -> None:
        self.taken_at: list[float] = []
        self.watches: list[PretendedWatch] = []
        self.watched: list[Selection] = []
        self._take = take
        self.keeper = Keeper(self, self._make, self.watched.append, Figures(), Process(), 600.0)
        self.stopping = asyncio.Event()
        self.running = asyncio.create_task(self.keeper.run(self.stopping))

    def _make(self, selection: Selection) -> PretendedWatch:
        self.watches.append(PretendedWatch(selection))
        return self.watches[-1]

    async def take(self) -> Taken:
        """As `Inventory.take`."""
        self.taken_at.append(round(world().seconds, 1))
        return self._take(len(self.taken_at))

    async def end(self) -> None:
        """Stop."""
        self.stopping.set()
        await self.running


def test_after_new_watches_there_is_one_more_inventory_and_then_the_resync() -> None:
    """What was deleted between the first one and the watches, that one finds."""

    async def play() -> None:
        it = Play()
        await asyncio.sleep(1)
        assert it.keeper.ready.is_set()
        assert it.keeper.obstacle == ""
        assert it.keeper.age() == 60.0
        await asyncio.sleep(700)
        await it.end()
        assert it.taken_at[:2] == [0.0, LEAST_SECONDS]
        assert 540 <= it.taken_at[2] - it.taken_at[1] <= 660
        assert [each.is_started for each in it.watches] == [True]
        assert it.watches[0].ended.is_set()

    run_virtually(play())


def test_a_watch_that_lists_anew_has_an_inventory_follow() -> None:
    """Not more often than every five seconds, however often it lists."""

    async def play() -> None:
        it = Play()
        await asyncio.sleep(20)
        for _ in range(100):
            it.watches[0].listed.set()
            await asyncio.sleep(0.1)
        await asyncio.sleep(20)
        await it.end()
        assert 3 <= len(it.taken_at) <= 6
        assert len(it.watches) == 1

    run_virtually(play())


def test_watches_that_end_begin_anew_more_and_more_slowly() -> None:
    """An error of every watch is no hot loop."""

    async def play() -> None:
        it = Play()
        for _ in range(600):
            await asyncio.sleep(0.5)
            it.watches[-1].ended.set()
        await it.end()
        assert 8 <= len(it.watches) <= 30

    run_virtually(play())


def test_watches_that_never_stay_open_are_an_obstacle_until_they_do() -> None:
    """Inventories alone make every repair late: somebody should look."""

    async def play() -> None:
        it = Play()
        for _ in range(60):
            await asyncio.sleep(0.5)
            it.watches[-1].ended.set()
        assert "do not stay open" in it.keeper.obstacle
        await asyncio.sleep(60)
        assert it.keeper.obstacle == ""
        await it.end()

    run_virtually(play())


def test_another_selection_makes_other_watches() -> None:
    """A kind was installed meanwhile; of ours it is asked every fifteen seconds, and that it is missing is said once."""

    async def play() -> None:
        first = Selection((CRON_JOB,))
        it = Play(lambda count: Taken(first, ("RetentionPolicy",)) if count < 3 else Taken(ALL))
        await asyncio.sleep(1)
        assert "kubectl apply" in it.keeper.obstacle
        await asyncio.sleep(60)
        await it.end()
        assert [each.selection for each in it.watches] == [first, ALL]
        assert it.watched[-1] == ALL
        assert it.taken_at[:3] == [0.0, LEAST_SECONDS, LEAST_SECONDS + ABSENT_SECONDS]
        assert it.keeper.obstacle == ""

    with capture_logs() as lines:
        run_virtually(play())
    (said,) = [each["reason"] for each in lines if each["log_level"] == "warning"]
    assert "RetentionPolicy are not installed; `kubectl apply" in said


def test_a_child_of_a_kind_that_has_come_is_watched_at_once() -> None:
    """Not at the resync: until then nobody would see an edit of it. Once it is watched, nobody asks any more."""

    async def play() -> None:
        it = Play(lambda count: WITHOUT if count < 3 else Taken(ALL))
        await asyncio.sleep(100)
        it.keeper.miss(CHILDREN)
        await asyncio.sleep(1)
        assert it.taken_at == [0.0, LEAST_SECONDS, 100.0]
        assert [each.selection for each in it.watches] == [WITHOUT.selection, ALL]
        it.keeper.miss(CHILDREN)
        await asyncio.sleep(100)
        await it.end()
        assert it.taken_at[3:] == [100 + LEAST_SECONDS]

    run_virtually(play())


def test_a_kind_that_does_not_come_is_no_flood() -> None:
    """At most an inventory every five seconds, however often it is missed; one that may not be watched is not asked for."""

    async def play() -> None:
        it = Play(lambda _: WITHOUT)
        for _ in range(600):
            it.keeper.miss(CHILDREN)
            await asyncio.sleep(0.1)
        assert 10 <= len(it.taken_at) <= 14
        before = len(it.taken_at)
        for _ in range(100):
            await asyncio.sleep(5)
            it.keeper.miss(frozenset({"Job"}))
        assert len(it.taken_at) <= before + 1
        await it.end()

    run_virtually(play())


def test_an_api_server_without_an_answer_is_asked_again() -> None:
    """More and more slowly; what is in the way is told."""

    def take(count: int) -> Taken:
        if count <= 4:
            raise ClusterUnavailable("no answer")
        if count == 5:
            raise NotPermitted("no right")
        return Taken(ALL)

    async def play() -> None:
        it = Play(take)
        await asyncio.sleep(1)
        assert it.keeper.obstacle == "no answer"
        assert not it.keeper.ready.is_set()
        await asyncio.sleep(60)
        assert it.keeper.ready.is_set()
        await it.end()
        assert it.taken_at[:6] == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5]

    run_virtually(play())
