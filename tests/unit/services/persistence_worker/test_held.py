"""Conversations that wait behind a message that was refused."""

from __future__ import annotations

import pytest

from services.kernel.database import DatabaseRefused
from services.kernel.messages.consuming import Lease
from services.persistence_worker.held import Held, retry_seconds_after
from services.persistence_worker.items import Item, Outcome, Refusal
from tests.support.clocks import StandingClock
from tests.unit.services.persistence_worker.items import LEASE, item, refused

A = [item("a", number) for number in range(6)]
B = [item("b", number) for number in range(3)]


def _held(max_retries: int = 3) -> tuple[Held, StandingClock]:
    clock = StandingClock()
    return Held(clock, max_retries, 1.0), clock


def _count(held: Held) -> int:
    return held.by_partition().total()


def _failed(one: Item, sqlstate: str) -> Refusal:
    """PostgreSQL has failed of it alone."""
    return Refusal(one, DatabaseRefused("no", sqlstate=sqlstate))


def test_nothing_waits_at_first() -> None:
    """All pass."""
    held, _ = _held()

    assert held.keep_back(A) == A
    assert (held.due(), held.seconds, _count(held)) == ([], None, 0)


def test_what_comes_later_in_the_conversation_waits_in_order() -> None:
    """What was in the same batch, then what is read meanwhile; other conversations pass."""
    held, clock = _held()
    assert held.learn(Outcome(refused=[refused(A[0])], waiting=[A[1]])) == []
    assert held.keep_back([A[2], B[0], A[3]]) == [B[0]]

    assert (held.due(), held.seconds, _count(held)) == ([], 1.0, 4)
    clock.pass_by(1)
    assert held.due() == [A[0]]
    held.learn(Outcome(done=[A[0]], new={A[0].envelope.id}))
    assert held.due() == A[1:4]
    held.learn(Outcome(done=A[1:4]))
    assert (held.due(), _count(held), held.keep_back([A[4]])) == ([], 0, [A[4]])


def test_each_refusal_is_waited_for_twice_as_long_until_the_last() -> None:
    """Three tries; then it is given up, and those behind it go on at once."""
    held, clock = _held()
    assert held.learn(Outcome(refused=[refused(A[0])], waiting=[A[1]])) == []
    clock.pass_by(1)
    assert held.learn(Outcome(refused=[refused(A[0])])) == []
    assert held.seconds == 2.0
    clock.pass_by(2)

    assert [each.item for each in held.learn(Outcome(refused=[refused(A[0])]))] == [A[0]]
    assert held.due() == [A[1]]


def test_no_refusal_is_waited_for_longer_than_half_a_minute() -> None:
    """However often a message may be refused."""
    held, clock = _held(max_retries=20)
    waits = []
    for _ in range(12):
        held.learn(Outcome(refused=[refused(A[0])]))
        waits.append(held.seconds)
        clock.pass_by(held.seconds or 0)

    assert waits == [1, 2, 4, 8, 16, *[30] * 7]


def test_the_second_poison_of_a_conversation_has_tries_of_its_own() -> None:
    """After the first is given up the next one is refused for the first time."""
    held, clock = _held(max_retries=2)
    held.learn(Outcome(refused=[refused(A[0])], waiting=[A[1], A[2]]))
    clock.pass_by(1)
    assert len(held.learn(Outcome(refused=[refused(A[0])]))) == 1
    assert held.due() == [A[1], A[2]]

    assert held.learn(Outcome(refused=[refused(A[1])], waiting=[A[2]])) == []
    clock.pass_by(1)
    assert held.due() == [A[1]]
    assert [each.item for each in held.learn(Outcome(refused=[refused(A[1])]))] == [A[1]]
    assert held.due() == [A[2]]


def test_with_one_try_nothing_waits() -> None:
    """STREAM_MAX_RETRIES=1: given up at once."""
    held, _ = _held(max_retries=1)

    assert [each.item for each in held.learn(Outcome(refused=[refused(A[0])], waiting=[A[1]]))] == [A[0]]
    assert held.due() == [A[1]]


def test_what_was_read_under_a_lease_that_is_over_is_forgotten() -> None:
    """It is pending, and read by whoever has the partition now."""
    held, _ = _held()
    other = item("c", 1, Lease(5, 7))
    held.learn(Outcome(refused=[refused(A[0]), refused(other)], waiting=[A[1]]))
    held.keep_only([LEASE])
    assert _count(held) == 2
    held.drop(LEASE)

    assert (_count(held), held.keep_back([A[2], other])) == (0, [A[2], other])


def test_what_waits_is_counted_by_partition() -> None:
    """One of which much waits is left out of the next read."""
    held, _ = _held()
    elsewhere = [item("c", number, Lease(5, 1)) for number in range(2)]
    held.learn(Outcome(refused=[refused(A[0]), refused(elsewhere[0])], waiting=[A[1], A[2], elsewhere[1]]))

    assert held.by_partition() == {LEASE.partition: 3, 5: 2}


def test_what_is_refused_for_ever_is_waited_for_no_longer() -> None:
    """A float ends after a thousand doublings; the message is tried until it gets through."""
    held, clock = _held()
    for _ in range(1_100):
        assert held.learn(Outcome(refused=[_failed(A[0], "53100")])) == []
        clock.pass_by(held.seconds or 0)

    assert held.due() == [A[0]]
    assert retry_seconds_after(0.001, 5_000) == 30


@pytest.mark.parametrize("passing", ["40P01", "53100", "58030", "XX001"])
def test_refusals_that_pass_bury_nobody_with_those_that_do_not(passing: str) -> None:
    """However many they were: the others are counted alone, and the letter says how often it was tried in all."""
    held, clock = _held()
    for sqlstate in [*[passing] * 6, "57014", passing, "57014"]:
        assert held.learn(Outcome(refused=[_failed(A[0], sqlstate)])) == []
        clock.pass_by(held.seconds or 0)
    (given_up,) = held.learn(Outcome(refused=[_failed(A[0], "57014")], waiting=[A[1]]))

    assert (given_up.item, given_up.attempts) == (A[0], 10)
    assert held.due() == [A[1]]


def test_the_next_one_is_charged_with_its_own_refusals_only() -> None:
    """What was charged goes with the message."""
    held, clock = _held(max_retries=2)
    held.learn(Outcome(refused=[refused(A[0])], waiting=[A[1]]))
    held.learn(Outcome(done=[A[0]]))

    assert held.learn(Outcome(refused=[refused(A[1])])) == []
    clock.pass_by(1)
    assert [each.attempts for each in held.learn(Outcome(refused=[refused(A[1])]))] == [2]


def test_what_recovery_left_here_waits_once() -> None:
    """It is read again with all that is pending; what comes behind it waits, and what is another conversation's passes."""
    held, clock = _held()
    held.learn(Outcome(refused=[_failed(A[0], "53100")]))
    again = [each._replace(read_at=5.0) for each in (A[0], B[0], A[1])]

    assert held.keep_back(again) == [again[1]]
    clock.pass_by(1)
    assert held.due() == [A[0]]
    held.learn(Outcome(done=[A[0]]))
    assert held.due() == [again[2]]
