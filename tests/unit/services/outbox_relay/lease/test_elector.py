"""The elector against a pretended API server, in virtual time: conflicts, hangs, clock jumps, two candidates."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from services.kernel.errors import DatabaseUnavailable
from tests.support.lease_server import away, hanging, unreliable
from tests.support.virtual_time import SkewedClock, run_virtually
from tests.unit.services.outbox_relay.lease.conftest import TIMERS, Candidate, QuietWatchdog, Scene

TAKE_OVER_SECONDS = 15 + 2 + 0.5
"""The lease has to run out by the standby's own clock, and it asks every two seconds at most."""


@pytest.fixture(autouse=True)
def no_bites() -> None:
    """Each test counts from nought, and the jitter is the same in every run."""
    random.seed(1)
    QuietWatchdog.would_have_bitten = 0


@asynccontextmanager
async def running(*candidates: Candidate) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Candidates at work; asked to stop at the end."""
    tasks = [asyncio.create_task(each.run()) for each in candidates]
    try:
        yield tasks
    finally:
        for each in candidates:
            each.stopping.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(check: Callable[[], bool], *, within: float) -> float:
    """Seconds until `check` holds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not check():
        assert loop.time() - start <= within, f"not within {within} s"
        await asyncio.sleep(0.05)
    return loop.time() - start


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
        assert [epoch for _, _, epoch in scene.terms] == [1, 2]
        assert scene.server.events == ["first became leader", "second became leader"]
        assert scene.server.record is not None
        assert (scene.server.record.holder, scene.server.record.duration_seconds) == ("", 1)

    run_virtually(play())


def test_a_leader_that_vanishes_is_succeeded_when_its_lease_has_run_out() -> None:
    """Killed: nobody releases anything; not before the lease ends, and not much later."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(second) as _:
            second.client.before = away
            async with running(first) as [task]:
                await until(lambda: scene.acting == {"first"}, within=1)
                second.client.before = lambda _: 0.01
                await asyncio.sleep(10)
                first.client.before = away  # what a killed process has to say reaches nobody
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                took = await until(lambda: scene.acting == {"second"}, within=TAKE_OVER_SECONDS)
        assert took > 15 - TIMERS.retry_seconds - 0.5

    run_virtually(play())


@pytest.mark.parametrize("fault", [away, hanging])
def test_a_leader_without_api_server_stops_before_its_lease_ends(fault: Callable[[str], float]) -> None:
    """A refused or a hanging call: work has stopped after 10 s, and five seconds later the other begins."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first, second):
            await until(lambda: bool(scene.acting), within=3)
            leader = first if scene.acting == {"first"} else second
            other = second if leader is first else first
            await asyncio.sleep(20)
            leader.client.before = fault
            stopped = await until(lambda: not scene.acting, within=TIMERS.renew_seconds + 0.2)
            assert stopped > TIMERS.renew_seconds - TIMERS.retry_seconds - 0.2
            await until(lambda: scene.acting == {other.name}, within=TAKE_OVER_SECONDS)
            leader.client.before = lambda _: 0.01
        assert scene.overlaps == []
        assert QuietWatchdog.would_have_bitten == 0

    run_virtually(play())


def test_an_answer_that_gets_lost_is_no_reason_to_step_down() -> None:
    """The renewal was written, its answer hangs: the next round sees its own name and goes on, without a new term."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        async with running(only):
            await until(lambda: scene.acting == {"only"}, within=1)
            hangs = iter([True])
            only.client.after = lambda call: 1e9 if call == "write" and next(hangs, False) else 0.0
            await asyncio.sleep(60)
        assert [epoch for _, _, epoch in scene.terms] == [1]
        assert only.counts.failures == ["timeout"]

    run_virtually(play())


def test_a_conflict_is_cleared_up_at_once() -> None:
    """Somebody has put a label on the Lease: the leader reads it and renews; no term ends."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        async with running(only):
            await until(lambda: scene.acting == {"only"}, within=1)
            for _ in range(20):
                assert scene.server.record is not None
                scene.server.write(scene.server.record)
                await asyncio.sleep(3)
        assert [epoch for _, _, epoch in scene.terms] == [1]
        assert set(only.counts.failures) == {"conflict"}

    run_virtually(play())


@pytest.mark.parametrize("holder", ["somebody", ""])
def test_a_lease_in_other_hands_ends_the_term_at_once(holder: str) -> None:
    """Edited by hand, to another holder or to none: who led stops with its next renewal."""

    async def play() -> None:
        scene = Scene()
        only = scene.candidate("only")
        async with running(only):
            await until(lambda: scene.acting == {"only"}, within=1)
            assert scene.server.record is not None
            scene.server.write(replace(scene.server.record, holder=holder, duration_seconds=15))
            await until(lambda: not scene.acting, within=TIMERS.retry_seconds + 0.5)

    run_virtually(play())


def test_clocks_that_jump_change_nothing() -> None:
    """The hosts' times of day are hours apart and jump; nobody's term ends, and nobody takes over early."""

    async def play() -> None:
        scene = Scene()
        clocks = [SkewedClock(skew=7200, since=5.0), SkewedClock(skew=-7200, since=1e6)]
        first, second = (scene.candidate(name, clock) for name, clock in zip(("first", "second"), clocks, strict=True))
        dice = random.Random(7)
        async with running(first, second):
            for _ in range(200):
                await asyncio.sleep(dice.uniform(0.5, 3.0))
                dice.choice(clocks).skew = dice.uniform(-1e6, 1e6)
        assert len(scene.terms) <= 2  # the second one when the first is asked to stop
        assert scene.overlaps == []

    run_virtually(play())


@pytest.mark.parametrize("seed", range(10))
def test_two_candidates_with_an_unreliable_server_never_act_at_once(seed: int) -> None:
    """Lost, slow and hanging calls on both sides, lost answers, jumping clocks: one acts at a time, epochs only rise.

    Shorter than it should be: 30 seeds of 100 steps with random pauses find an overlap now and then (docs/LEADER-ELECTION.md).
    """

    async def play() -> None:
        scene, dice = Scene(), random.Random(seed)
        clocks = [SkewedClock(skew=dice.uniform(-1e5, 1e5), since=dice.uniform(0, 1e5)) for _ in range(2)]
        pair = [scene.candidate(f"relay-{number}", clock) for number, clock in enumerate(clocks)]
        scene.fence.before_begin = lambda: dice.choice([0.01, 0.01, 4.0, 12.0])
        async with running(*pair):
            for _ in range(60):
                candidate = dice.choice(pair)
                candidate.client.before = dice.choice([unreliable(dice), away, hanging, lambda _: 0.01])
                candidate.client.after = dice.choice([unreliable(dice), lambda _: 0.0])
                dice.choice(clocks).skew = dice.uniform(-1e5, 1e5)
                await asyncio.sleep(dice.uniform(0.0, 20.0))
            for each in pair:
                each.client.before, each.client.after = (lambda _: 0.01), (lambda _: 0.0)
            scene.fence.before_begin = lambda: 0.01
            await asyncio.sleep(1)
            await until(lambda: len(scene.acting) == 1, within=TAKE_OVER_SECONDS + 5)
        epochs = [epoch for _, epoch in scene.fence.accepted]
        assert epochs == sorted(epochs)
        assert scene.overlaps == []
        assert QuietWatchdog.would_have_bitten == 0
        assert len(scene.terms) > 2

    run_virtually(play())


def test_work_that_does_not_stop_is_what_the_watchdog_is_for() -> None:
    """Five seconds after the loss the process would be ended; had it gone on, its writes would have been refused."""

    async def play() -> None:
        scene = Scene()
        first, second = scene.candidate("first"), scene.candidate("second")
        async with running(first):
            await until(lambda: scene.acting == {"first"}, within=1)
            first.stubborn_seconds = 30.0
            async with running(second):
                first.client.before = away
                await asyncio.sleep(60)
                first.stopping.set()
        assert QuietWatchdog.would_have_bitten == 1
        epochs = [epoch for _, epoch in scene.fence.accepted]
        assert epochs == sorted(epochs)

    run_virtually(play())


def test_a_candidate_without_database_lets_others_try() -> None:
    """The Lease is held, but no epoch can be had for 10 s: it is given back."""

    async def play() -> None:
        scene = Scene()

        def no_database() -> float:
            raise DatabaseUnavailable

        scene.fence.before_begin = no_database
        only = scene.candidate("only")
        async with running(only) as [task]:
            await until(task.done, within=TIMERS.renew_seconds + 5)
            assert isinstance(task.exception(), DatabaseUnavailable)
        assert scene.server.record is not None
        assert scene.server.record.is_free

    run_virtually(play())
