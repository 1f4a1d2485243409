"""The elector against a pretended API server, in virtual time: one trouble at a time. test_simulation.py has them together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from services.kernel.errors import DatabaseUnavailable
from tests.support.lease_server import Travel, away, hanging, quick
from tests.support.virtual_time import Process, run_virtually, world
from tests.unit.services.kernel.lease.conftest import TAKE_OVER_SECONDS, TIMERS, Candidate, Scene


@asynccontextmanager
async def running(*candidates: Candidate) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Candidates at work; asked to stop at the end."""
    tasks = [each.start() for each in candidates]
    try:
        yield tasks
    finally:
        for each in candidates:
            each.stopping.set()
        alive = [task for each, task in zip(candidates, tasks, strict=True) if each.process.wakes_at < float("inf")]
        await asyncio.gather(*alive, return_exceptions=True)


async def until(check: Callable[[], bool], *, within: float) -> float:
    """Seconds until `check` holds."""
    start = world().seconds
    while not check():
        assert world().seconds - start <= within, f"not within {within} s"
        await asyncio.sleep(0.05)
    return world().seconds - start


async def led_by_one(*candidates: Candidate) -> tuple[Candidate, Candidate]:
    """The leader of two, once there is one, and the other."""
    first, second = candidates
    await until(lambda: bool(first.acting or second.acting), within=3)
    return (first, second) if first.acting else (second, first)


def test_one_of_two_leads_and_the_other_follows_when_it_stops() -> None:
    """Stopped, the leader gives the Lease back, and the other leads within three seconds; a transition is counted."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first):
            await until(lambda: scene.acting == {"first"}, within=1)
            async with running(second):
                await asyncio.sleep(60)
                assert scene.server.holders == ["first"]
                first.stopping.set()
                await until(lambda: scene.acting == {"second"}, within=3)
                record = scene.server.record
                assert record is not None
                assert (record.holder, record.transitions) == ("second", 1)
        assert [act.epoch for act in scene.acts] == [1, 2]
        assert scene.server.events == ["first became leader", "second became leader"]
        assert scene.server.record is not None
        assert (scene.server.record.holder, scene.server.record.duration_seconds) == ("", 1)

    run_virtually(play())


def test_a_killed_leader_is_succeeded_when_its_lease_has_run_out() -> None:
    """Nobody releases anything; not before the lease ends, and within twenty seconds."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, other = await led_by_one(first, second)
            await asyncio.sleep(10)
            leader.process.kill()
            took = await until(lambda: other.acting, within=TAKE_OVER_SECONDS)
        assert took > TIMERS.lease_seconds - TIMERS.retry_seconds - 0.5

    run_virtually(play())


@pytest.mark.parametrize("seed", range(60))
def test_nobody_sleeps_past_the_end_of_a_lease(seed: int) -> None:
    """Killed whenever between two renewals: succeeded when the Lease has run out by the standby's clock, no pause later."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, other = await led_by_one(first, second)
            await asyncio.sleep(10 + random.uniform(0, TIMERS.retry_seconds))
            leader.process.kill()
            await until(lambda: other.acting, within=TIMERS.lease_seconds + TIMERS.retry_seconds + 0.3)

    random.seed(seed)
    run_virtually(play())


@pytest.mark.parametrize("fault", [away, hanging])
def test_a_leader_without_api_server_stops_before_its_lease_ends(fault: Travel) -> None:
    """A refused or a hanging call: work has stopped after 10 s, and five seconds later the other begins."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, other = await led_by_one(first, second)
            await asyncio.sleep(20)
            leader.api.network.to = fault
            stopped = await until(lambda: not scene.acting, within=TIMERS.renew_seconds + 0.2)
            assert stopped > TIMERS.renew_seconds - TIMERS.retry_seconds - 0.2
            await until(lambda: other.acting, within=TAKE_OVER_SECONDS)
            leader.api.network.to = quick
        assert scene.overlaps() == []
        assert scene.bitten == []

    run_virtually(play())


def test_an_answer_that_gets_lost_is_no_reason_to_step_down() -> None:
    """The renewal was written, its answer hangs: the next round sees its own name and goes on, without a new term."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        async with running(only):
            await until(lambda: only.acting, within=1)
            lost = iter([True])
            only.api.network.back = lambda call: float("inf") if call == "write" and next(lost, False) else 0.01
            await asyncio.sleep(60)
        assert [act.epoch for act in scene.acts] == [1]
        assert only.counts.failures == ["timeout"]

    run_virtually(play())


def test_a_renewal_that_comes_late_lengthens_the_lease_and_nothing_else() -> None:
    """It reaches the server ten seconds after it was given up: its sender has stopped, and others count from its arrival."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, other = await led_by_one(first, second)
            leader.api.network.to = lambda call: 14.0 if call == "write" else float("inf")
            await until(lambda: not scene.acting, within=TIMERS.renew_seconds + 0.2)
            leader.api.network.to = away
            took = await until(lambda: other.acting, within=2 * TAKE_OVER_SECONDS)
            leader.api.network.to = quick
        assert took > TIMERS.lease_seconds
        assert scene.overlaps() == []

    run_virtually(play())


def test_a_conflict_is_cleared_up_at_once() -> None:
    """Somebody has put a label on the Lease: the leader reads it and renews; no term ends."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        async with running(only):
            await until(lambda: only.acting, within=1)
            for _ in range(20):
                scene.server.touch()
                await asyncio.sleep(3)
        assert [act.epoch for act in scene.acts] == [1]
        assert set(only.counts.failures) == {"conflict"}

    run_virtually(play())


@pytest.mark.parametrize("holder", ["somebody", ""])
def test_a_lease_in_other_hands_ends_the_term_at_once(holder: str) -> None:
    """Edited by hand, to another holder or to none: who led stops with its next renewal."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        async with running(only):
            await until(lambda: only.acting, within=1)
            assert scene.server.record is not None
            scene.server.write(replace(scene.server.record, holder=holder, duration_seconds=15))
            await until(lambda: not scene.acting, within=TIMERS.retry_seconds + 0.5)

    run_virtually(play())


def test_a_deleted_lease_is_not_taken_while_its_holder_may_still_work() -> None:
    """Its holder sees nothing for ten seconds; the other remembers how long it must be silent, and then makes a new Lease."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, other = await led_by_one(first, second)
            await asyncio.sleep(20)
            leader.api.network.to = hanging
            scene.server.delete()
            await until(lambda: other.acting, within=TAKE_OVER_SECONDS)
            leader.api.network.to = quick
        assert scene.overlaps() == []

    run_virtually(play())


def test_a_deleted_lease_is_taken_by_who_has_never_seen_it() -> None:
    """One that starts after the deletion leads at once, beside a holder whose calls hang; what that writes changes nothing."""

    async def play() -> None:
        scene = Scene()
        first, late = scene.candidate("first"), scene.candidate("late")
        async with running(first):
            await until(lambda: first.acting, within=1)
            await asyncio.sleep(5)
            first.api.network.to = hanging
            scene.server.delete()
            async with running(late):
                await until(lambda: late.acting, within=1)
                await asyncio.sleep(TIMERS.renew_seconds)
                assert scene.acting == {"late"}
                first.api.network.to = quick
        assert [each.names for each in scene.overlaps()] == [("first", "late")]
        epochs = [epoch for _, epoch, _ in scene.fence.accepted]
        assert epochs == sorted(epochs)

    run_virtually(play())


def test_clocks_an_hour_wrong_or_at_double_rate_change_nothing() -> None:
    """The hosts' times of day jump by hours and one clock is twice as fast: nobody's term ends, nobody takes over early."""

    async def play() -> None:
        scene, dice = Scene(), random.Random(7)
        processes = [Process(skew=3600, since=5.0), Process(skew=-3600, since=1e6, rate=2.0)]
        first, second = (scene.candidate(name, each) for name, each in zip(("first", "second"), processes, strict=True))
        async with running(first, second):
            for _ in range(200):
                await asyncio.sleep(dice.uniform(0.5, 3.0))
                dice.choice(processes).skew = dice.uniform(-1e6, 1e6)
            assert len(scene.acts) == 1
        assert scene.overlaps() == []

    run_virtually(play())


def test_work_that_does_not_stop_is_ended_before_anybody_else_begins() -> None:
    """It would go on for half a minute after the loss: the watchdog ends the process within the five seconds it has."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first):
            await until(lambda: first.acting, within=1)
            first.stop_seconds = lambda: 30.0
            async with running(second):
                await asyncio.sleep(5)
                first.api.network.to = away
                await until(lambda: second.acting, within=TAKE_OVER_SECONDS)
        assert scene.bitten == ["first"]
        assert scene.overlaps() == []

    run_virtually(play())


def test_a_slow_database_at_the_end_of_a_term_ends_no_process() -> None:
    """The work has stopped in time; what else is to be done then may take longer than the lease."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        only.database.network.to = lambda call: 30.0 if call == "end" else 0.01
        async with running(only):
            await until(lambda: only.acting, within=1)
            only.stop_seconds = lambda: 4.0
            only.api.network.to = away
            await asyncio.sleep(TIMERS.lease_seconds + 5)
            only.api.network.to = quick
            await until(lambda: only.acting, within=TAKE_OVER_SECONDS)
        assert scene.bitten == []

    run_virtually(play())


@pytest.mark.parametrize("pause_seconds", [8.0, 40.0])
def test_a_leader_paused_in_the_middle_of_a_renewal_has_time_to_stop(pause_seconds: float) -> None:
    """SIGSTOP when the answer is on its way: it comes too late by its own clock. The work may stop; nobody is bitten."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, other = await led_by_one(first, second)
            leader.stop_seconds = lambda: 4.0
            leader.api.network.back = lambda _: 1.0
            await until(lambda: leader.api.network.last_arrival > world().seconds, within=3)
            leader.process.pause(pause_seconds)
            if pause_seconds > TAKE_OVER_SECONDS:
                await until(lambda: other.acting, within=TAKE_OVER_SECONDS)
            await asyncio.sleep(60)
            assert len(scene.acting) == 1
        assert scene.bitten == []
        assert all(each.woken_seconds_ago <= 4.1 for each in scene.overlaps())
        epochs = [epoch for _, epoch, _ in scene.fence.accepted]
        assert epochs == sorted(epochs)

    run_virtually(play())


def test_a_leader_whose_clock_stood_still_stops_with_its_next_renewal() -> None:
    """A virtual machine was frozen for a minute, and its clock with it: it acts on, but changes nothing, for two seconds."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, _ = await led_by_one(first, second)
            leader.process.freeze(60.0)
            await asyncio.sleep(90)
        overlaps = scene.overlaps()
        assert overlaps
        assert all(each.woken_seconds_ago <= TIMERS.retry_seconds + 0.1 for each in overlaps)
        epochs = [epoch for _, epoch, _ in scene.fence.accepted]
        assert epochs == sorted(epochs)

    run_virtually(play())


class Defect(BaseException):
    """Not even an `Exception`."""


@pytest.mark.parametrize("defect", [RuntimeError(), Defect(), asyncio.CancelledError()])
def test_whatever_ends_the_renewals_ends_the_work(defect: BaseException) -> None:
    """A defect of the client, or a cancellation from nowhere: nobody acts for long on a Lease that nobody renews."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            leader, other = await led_by_one(first, second)

            def fail(_: str) -> float:
                raise defect

            leader.api.network.to = fail
            await until(lambda: not leader.acting, within=TIMERS.renew_seconds + 0.2)
            leader.process.kill()
            await until(lambda: other.acting, within=TAKE_OVER_SECONDS)
        assert scene.overlaps() == []

    run_virtually(play())


@pytest.mark.parametrize("seconds", [None, float("inf")])
def test_a_candidate_without_database_lets_others_try(seconds: float | None) -> None:
    """PostgreSQL refuses, or never answers; no epoch can be had for 10 s, and the Lease is given back."""

    async def play() -> None:
        scene = Scene()

        def no_database(_: str) -> float:
            if seconds is None:
                raise DatabaseUnavailable
            return seconds

        first, second = scene.candidate("first"), scene.candidate("second")
        first.database.network.to = no_database
        async with running(first):
            await until(lambda: scene.server.holders == ["first"], within=1)
            async with running(second):
                await until(lambda: second.acting, within=TIMERS.renew_seconds + 5)

    run_virtually(play())


def test_a_lease_that_is_lost_while_the_epoch_is_awaited_begins_no_term() -> None:
    """The database is slow, and then the API server is away: no work begins, and the candidate tries again when all is well."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        only.database.network.to = lambda _: 60.0
        async with running(only) as [task]:
            await until(lambda: scene.server.holders == ["only"], within=1)
            only.api.network.to = away
            await asyncio.sleep(TIMERS.renew_seconds + 1)
            assert scene.acts == []
            only.api.network.to = only.database.network.to = quick
            await until(lambda: only.acting, within=TAKE_OVER_SECONDS)
            assert not task.done()

    run_virtually(play())


def test_a_lease_whose_answer_comes_too_late_begins_no_term() -> None:
    """Paused for the whole renewal time between asking and being answered: no epoch is taken from whoever leads by then."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        first.api.network.to = lambda call: 0.01 if call == "read" else 1.0
        async with running(first):
            await asyncio.sleep(0.5)
            first.process.pause(40.0)
            async with running(second):
                await until(lambda: second.acting, within=TAKE_OVER_SECONDS)
                await asyncio.sleep(60)
                assert [act.name for act in scene.acts] == ["second"]
                assert scene.fence.epoch == 1

    run_virtually(play())
