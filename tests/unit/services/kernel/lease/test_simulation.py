"""Long random plays in virtual time: who acts as leader, whose writes are accepted, and who leads in the end.

A few in `make test`. `PROVE_LEADERS=100` (as `make prove-leaders` sets it) plays twenty times as many seeds as it says.
"""

from __future__ import annotations

import os

import pytest

from tests.support.virtual_time import run_virtually
from tests.unit.services.kernel.lease.conftest import TAKE_OVER_SECONDS, TIMERS, Act
from tests.unit.services.kernel.lease.play import STUBBORN_SECONDS, Play, Troubles

HAND_OVER_SECONDS = 3.0
"""Reliability.md R3, for SIGTERM."""
_PROVEN = 20 * int(os.environ.get("PROVE_LEADERS", "").strip() or 0)


def seeds(few: int) -> range:
    """The plays of one test."""
    return range(max(few, _PROVEN))


def play(seed: int, troubles: Troubles) -> Play:
    """One play, and what holds in every one of them."""
    played = run_virtually(_play(seed, troubles))
    epochs = [(epoch, author) for _, epoch, author in played.scene.fence.accepted]
    assert epochs == sorted(epochs, key=lambda each: each[0])
    assert len({epoch for epoch, _ in epochs}) == len(set(epochs))
    assert len({act.epoch for act in played.scene.acts}) == len(played.scene.acts)
    assert played.scene.given_back_at_work == []
    assert _is_in_turn(played.scene.acts)
    assert played.scene.server.record is not None
    assert played.scene.server.record.transitions == len(played.scene.server.holders) - 1
    assert played.led_again_after <= TAKE_OVER_SECONDS
    assert played.took_over_after <= TAKE_OVER_SECONDS
    assert played.handed_over_after <= HAND_OVER_SECONDS
    assert len(played.scene.acts) > played.troubles.steps / 20
    return played


async def _play(seed: int, troubles: Troubles) -> Play:
    played = Play(seed, troubles)
    await played.run()
    return played


def _is_in_turn(acts: list[Act]) -> bool:
    """Whether each candidate's work had stopped before it began its next term."""
    last: dict[str, Act] = {}
    for act in acts:
        if act.name in last and last[act.name].stopped_at > act.begun_at:
            return False
        last[act.name] = act
    return True


@pytest.mark.parametrize("candidates", [2, 3])
@pytest.mark.parametrize("seed", seeds(6))
def test_two_leaders_never_act_at_once(seed: int, candidates: int) -> None:
    """Lost, slow, late, refused and conflicting calls, wrong and jumping times of day, kills and stops: one acts at a time.

    Its work may take almost the five seconds to stop, and a write may reach the API server a minute after its sender
    has given it up. Who leads is killed: another writes within 20 s; asked to stop: within 3 s. Nobody's watchdog bites.
    """
    played = play(seed, Troubles(candidates=candidates))

    assert played.scene.overlaps() == []
    assert played.scene.bitten == []


@pytest.mark.parametrize("seed", seeds(4))
def test_a_leader_whose_work_does_not_stop_is_ended_before_the_next_one_acts(seed: int) -> None:
    """The same, with work that goes on for twelve seconds: the watchdog ends its process in time, never too late."""
    played = play(seed, Troubles(candidates=3, stops=(STUBBORN_SECONDS,)))

    assert played.scene.overlaps() == []
    assert played.scene.bitten


@pytest.mark.parametrize("seed", seeds(6))
def test_a_leader_that_was_paused_acts_beside_its_successor_only_while_its_work_stops(seed: int) -> None:
    """Paused for up to 45 s at any moment: woken, it has five seconds to stop in or is ended, and changes nothing."""
    played = play(seed, Troubles(candidates=3, pauses=True))

    late = [each for each in played.scene.overlaps() if each.woken_seconds_ago > TIMERS.stop_seconds]
    assert late == []


@pytest.mark.parametrize("seed", seeds(4))
def test_with_one_clock_at_double_rate_no_two_epochs_are_accepted(seed: int) -> None:
    """To it 15 s pass in 7.5: if calls get lost as well, it may act that much too early, but nobody writes under two epochs."""
    played = play(seed, Troubles(candidates=2, rates=(1.0, 2.0)))

    assert [each for each in played.scene.overlaps() if each.ended_at - each.begun_at > TIMERS.lease_seconds / 2] == []
