"""The partitions of one worker, and what may be done with each."""

from __future__ import annotations

from services.kernel.messages.consuming import NEW, PENDING, Lease
from services.persistence_worker.shares import Share, Shares


def _reading(*partitions: int) -> Shares:
    shares = Shares()
    shares.adopt(Lease(each, 1) for each in partitions)
    for share in shares.to_open():
        share.phase, share.cursor = "reading", NEW
    return shares


def _of(shares: Shares, partition: int) -> Share:
    share = shares.current(Lease(partition, 1))
    assert share is not None
    return share


def test_a_partition_is_opened_before_it_is_read() -> None:
    """And a known one is left as it is."""
    shares = Shares()
    shares.adopt([Lease(1, 1), Lease(2, 1)])
    assert ([each.partition for each in shares.to_open()], shares.to_read()) == ([1, 2], [])
    first = shares.to_open()[0]
    first.phase = "reading"
    shares.adopt([Lease(1, 1)])

    assert shares.to_read() == [first]
    assert shares.changed.is_set()


def test_a_partition_that_came_back_under_another_epoch_is_another_share() -> None:
    """The old one is gone, for whoever still has it in hand."""
    shares = _reading(1)
    old = _of(shares, 1)
    shares.adopt([Lease(1, 3)])

    assert old.is_gone
    assert (shares.current(Lease(1, 1)), len(shares.to_open()), len(shares)) == (None, 1, 1)


def test_only_what_postgresql_names_is_kept() -> None:
    """A lower epoch there is merely an answer that was overtaken."""
    shares = _reading(1, 2)
    shares.adopt([Lease(2, 5)])
    gone = shares.keep_only([Lease(2, 4)])

    assert [each.partition for each in gone] == [1]
    assert shares.leases == [Lease(2, 5)]


def test_what_leaves_is_read_no_more_and_given_back_when_nothing_is_in_hand() -> None:
    """The highest ones leave; one that is being recovered waits for that."""
    shares = _reading(1, 2, 3, 4)
    _of(shares, 3).phase = "recovering"
    shares.let_go(3)
    shares.let_go(3)

    assert [each.partition for each in shares.to_read()] == [1]
    assert [each.partition for each in shares.to_give_back([4])] == [2]
    _of(shares, 3).phase = "reading"
    assert [each.partition for each in shares.to_give_back([])] == [2, 3, 4]


def test_after_an_outage_of_postgresql_what_is_pending_is_read_first() -> None:
    """Of everybody's, so it is opened again; under the same epoch, for Redis has answered every read."""
    shares = _reading(1)
    shares.read_again(are_worn=False)

    assert [(each.cursor, each.is_worn) for each in shares.to_open()] == [(PENDING, False)]


def test_after_a_read_without_an_answer_a_partition_is_opened_again() -> None:
    """With a new epoch; one that is being recovered has read nothing new and goes on."""
    shares = _reading(1, 2)
    _of(shares, 2).phase = "recovering"
    shares.read_again(are_worn=True)

    assert [each.partition for each in shares.to_open()] == [1]
    assert (_of(shares, 1).is_worn, _of(shares, 2).is_worn) == (True, False)


def test_the_cursor_goes_through_what_is_pending_and_then_to_what_is_new() -> None:
    """The last new entry is remembered, to wait for one after it."""
    shares = _reading(1)
    share = _of(shares, 1)
    share.cursor = PENDING
    for last, cursor, newest in (("5-0", "5-0", "0-0"), (None, NEW, "0-0"), ("9-1", NEW, "9-1"), (None, NEW, "9-1")):
        shares.advance(share, last)
        assert (share.cursor, share.last) == (cursor, newest)
