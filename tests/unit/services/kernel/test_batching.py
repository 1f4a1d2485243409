"""Calls that arrive together travel together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from services.kernel.batching import Batcher
from tests.support.waiting import eventually


class Ferry:
    """Doubles numbers, writes down its passages, and sails only when let go."""

    def __init__(self) -> None:
        self.passages: list[list[int]] = []
        self.may_land = asyncio.Event()
        self.may_land.set()

    async def carry(self, items: Sequence[int]) -> Sequence[int | BaseException]:
        """Carry a batch over."""
        self.passages.append(list(items))
        await self.may_land.wait()
        if 13 in items:
            raise OSError("sunk")
        return [ValueError(f"no {item}") if item < 0 else 2 * item for item in items]


async def test_an_item_alone_leaves_at_once() -> None:
    """Nobody waits for company."""
    ferry = Ferry()

    assert await Batcher(ferry.carry, largest=10).submit(21) == 42
    assert ferry.passages == [[21]]


async def test_what_arrives_together_or_meanwhile_shares_a_batch() -> None:
    """While a batch is under way newcomers gather, and leave with the next in the order of their arrival."""
    ferry = Ferry()
    ferry.may_land.clear()
    batcher = Batcher(ferry.carry, largest=10)
    first = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(batcher.submit(n)) for n in (3, 4, 5)]
    await asyncio.sleep(0)
    assert batcher.waiting == 3
    ferry.may_land.set()

    assert await asyncio.gather(*first, *later) == [2, 4, 6, 8, 10]
    assert ferry.passages == [[1, 2], [3, 4, 5]]


async def test_a_batch_has_a_largest_size() -> None:
    """More items than fit travel in several batches."""
    ferry = Ferry()
    batcher = Batcher(ferry.carry, largest=2)

    assert await asyncio.gather(*(batcher.submit(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert [len(each) for each in ferry.passages] == [2, 2, 1]


async def test_as_many_batches_as_allowed_are_under_way() -> None:
    """Two may be in flight, a third waits."""
    ferry = Ferry()
    ferry.may_land.clear()
    batcher = Batcher(ferry.carry, largest=1, in_flight=2)
    tasks = [asyncio.create_task(batcher.submit(n)) for n in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert ferry.passages == [[0], [1]]
    ferry.may_land.set()

    assert await asyncio.gather(*tasks) == [0, 2, 4]


async def test_newcomers_wait_for_the_batch_under_way_but_not_for_a_slow_one() -> None:
    """They gather for as long as the patience lasts, then leave together although the first batch is still away."""
    ferry = Ferry()
    ferry.may_land.clear()
    batcher = Batcher(ferry.carry, largest=10, in_flight=2, patience_seconds=0.2)
    tasks = [asyncio.create_task(batcher.submit(1))]
    await eventually(lambda: ferry.passages == [[1]])
    started = time.monotonic()
    tasks += [asyncio.create_task(batcher.submit(n)) for n in (2, 3)]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(batcher.submit(4))]
    await eventually(lambda: len(ferry.passages) == 2)
    assert time.monotonic() - started > 0.1
    ferry.may_land.set()

    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert ferry.passages == [[1], [2, 3, 4]]


async def test_newcomers_leave_as_soon_as_the_batch_under_way_has_come_back() -> None:
    """Patience is no delay: nobody waits while nothing is under way."""
    ferry = Ferry()
    ferry.may_land.clear()
    batcher = Batcher(ferry.carry, largest=10, in_flight=2, patience_seconds=3600)
    tasks = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await eventually(lambda: ferry.passages == [[1, 2]])
    tasks.append(asyncio.create_task(batcher.submit(3)))
    await asyncio.sleep(0)
    assert batcher.waiting == 1
    ferry.may_land.set()

    assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [2, 4, 6]
    await batcher.drain()


async def test_patience_makes_no_more_batches_than_places() -> None:
    """When every place is taken by a slow batch, newcomers wait."""
    ferry = Ferry()
    ferry.may_land.clear()
    batcher = Batcher(ferry.carry, largest=1, in_flight=2, patience_seconds=0.01)
    tasks = [asyncio.create_task(batcher.submit(n)) for n in range(4)]
    await eventually(lambda: len(ferry.passages) == 2)
    await asyncio.sleep(0.05)
    assert batcher.waiting == 2
    ferry.may_land.set()

    assert await asyncio.gather(*tasks) == [0, 2, 4, 6]


async def test_an_error_returned_for_one_item_goes_to_its_caller_alone() -> None:
    """Neighbours do not notice."""
    batcher = Batcher(Ferry().carry, largest=10)
    answers = await asyncio.gather(*(batcher.submit(n) for n in (1, -1, 2)), return_exceptions=True)

    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 4


async def test_an_error_of_the_batch_goes_to_all_and_the_next_batch_works() -> None:
    """A broken batch breaks nobody else's."""
    batcher = Batcher(Ferry().carry, largest=10)
    answers = await asyncio.gather(*(batcher.submit(n) for n in (1, 13)), return_exceptions=True)

    assert [type(each) for each in answers] == [OSError, OSError]
    assert await batcher.submit(4) == 8


async def test_a_caller_that_goes_away_does_not_take_its_batch_with_it() -> None:
    """The others are answered."""
    ferry = Ferry()
    ferry.may_land.clear()
    batcher = Batcher(ferry.carry, largest=10)
    gone, staying = (asyncio.create_task(batcher.submit(n)) for n in (1, 2))
    for _ in range(3):
        await asyncio.sleep(0)
    gone.cancel()
    ferry.may_land.set()

    assert await staying == 4
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_batch_of_callers_that_have_all_gone_is_not_sent() -> None:
    """What nobody waits for is not done."""
    ferry = Ferry()
    ferry.may_land.clear()
    batcher = Batcher(ferry.carry, largest=1)
    busy, gone = (asyncio.create_task(batcher.submit(n)) for n in (1, 2))
    for _ in range(3):
        await asyncio.sleep(0)
    gone.cancel()
    ferry.may_land.set()
    await busy
    await batcher.drain()

    assert ferry.passages == [[1]]


async def test_drain_returns_when_nothing_is_under_way() -> None:
    """Shutdown waits for batches, not for new ones."""
    ferry = Ferry()
    batcher = Batcher(ferry.carry, largest=10)
    task = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    await batcher.drain()

    assert await task == 2
    await batcher.drain()


async def test_a_batch_that_is_cancelled_cancels_its_callers() -> None:
    """At the end of the process nobody is left hanging."""

    async def hang(items: Sequence[int]) -> Sequence[int]:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Batcher(hang, largest=1).submit(1)
