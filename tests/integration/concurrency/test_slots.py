"""Slots: who gets one, who does not, and that none is lost or counted twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.kernel.concurrency import ANY_RUN, Book, Decision, Slots
from services.kernel.errors import BrokerUnavailable
from tests.integration.concurrency.conftest import claim, counters

USER, OTHER = uuid4(), uuid4()


async def decide(slots: Slots, user: UUID = USER, *, most: int = 100, **about: Any) -> tuple[Decision, int]:
    """Ask for a slot."""
    verdict = await slots.reserve(claim(user, **about), most)
    return verdict.decision, verdict.current


async def test_the_users_own_limit_is_met_first(slots: Slots, book: Book, redis: Any) -> None:
    """Two for one user, a third is refused with what was counted; another user still gets in."""
    granted = [await decide(slots, limit=2) for _ in range(2)]
    refused = await decide(slots, limit=2)
    other = await decide(slots, OTHER, limit=2)

    assert [decision for decision, _ in granted] == [Decision.TAKEN] * 2
    assert refused == (Decision.USER_LIMIT, 2)
    assert other[0] is Decision.TAKEN
    assert await counters(redis, USER, OTHER) == [3, 2, 1]


async def test_the_global_limit_is_met_by_all_together(slots: Slots, book: Book, redis: Any) -> None:
    """Three users with one course each fill the default system; nothing is counted for the fourth."""
    for _ in range(3):
        assert (await decide(slots, uuid4(), most=3))[0] is Decision.TAKEN

    assert await decide(slots, most=3, limit=5) == (Decision.GLOBAL_LIMIT, 3)
    assert await counters(redis, USER) == [3, None]


async def test_one_course_has_one_slot_however_often_it_asks(slots: Slots, book: Book, redis: Any) -> None:
    """A stage-2 fan-out, a repeat, a race: the first has taken it, the others find it held."""
    course = uuid4()
    decisions = [await decide(slots, course=course, limit=1) for _ in range(3)]
    raced = await asyncio.gather(*(decide(slots, course=course, limit=1) for _ in range(20)))

    assert [decision for decision, _ in decisions] == [Decision.TAKEN, Decision.HELD, Decision.HELD]
    assert {decision for decision, _ in raced} == {Decision.HELD}
    assert await counters(redis, USER) == [1, 1]


async def test_a_hundred_at_once_never_exceed_the_limit(slots: Slots, book: Book, redis: Any) -> None:
    """Whatever the order, exactly as many as allowed."""
    decided = await asyncio.gather(*(decide(slots, uuid4(), most=7) for _ in range(100)))

    assert [decision for decision, _ in decided].count(Decision.TAKEN) == 7
    assert await counters(redis) == [7]


async def test_a_slot_is_released_once(slots: Slots, book: Book, redis: Any) -> None:
    """The second release, and one of a course that never had a slot, free nothing; no counter goes below zero."""
    course = uuid4()
    await decide(slots, course=course)
    released = [await slots.release(course, 1) for _ in range(3)]

    assert released == [True, False, False]
    assert await slots.release(uuid4(), 1) is False
    assert await counters(redis, USER) == [0, 0]


async def test_a_late_release_of_an_earlier_run_frees_nothing(slots: Slots, book: Book, redis: Any) -> None:
    """Run 2 has taken the slot over from run 1; only its own end, or the course's, gives it back."""
    course = uuid4()
    await decide(slots, course=course, run=1)
    taken_over = await decide(slots, course=course, run=2, limit=1)

    assert taken_over[0] is Decision.TAKEN
    assert await slots.release(course, 1) is False
    assert await counters(redis, USER) == [1, 1]
    assert await slots.release(course, ANY_RUN) is True
    assert await counters(redis, USER) == [0, 0]


async def test_only_its_holder_gives_back_what_never_became_a_run(slots: Slots, book: Book, redis: Any) -> None:
    """A request that failed does not take the slot from the one that raced it and began the run."""
    course = uuid4()
    await decide(slots, course=course, holder="first")
    await slots.claim(course, USER, 1)

    assert await slots.release(course, 1, "first") is False
    assert await counters(redis, USER) == [1, 1]
    assert await slots.release(course, 1) is True


async def test_a_course_that_changed_hands_takes_its_slot_along(slots: Slots, book: Book, redis: Any) -> None:
    """Deleted and made again by somebody else under the same identifier."""
    course = uuid4()
    await decide(slots, course=course)
    await decide(slots, OTHER, course=course)

    assert await counters(redis, USER, OTHER) == [1, 0, 1]


async def test_a_claim_comes_too_late_for_a_run_that_has_ended(slots: Slots, book: Book, redis: Any) -> None:
    """The worker was faster than the api; nothing is counted for a course that is finished."""
    course = uuid4()
    await slots.release(course, 1)
    await slots.claim(course, USER, 1)

    assert await counters(redis, USER) == [0, None]
    assert await redis.hlen("concurrency:slots") == 0


@pytest.mark.parametrize("lost", ["global", "user"])
async def test_a_deleted_counter_is_counted_anew(slots: Slots, book: Book, redis: Any, lost: str) -> None:
    """Manual test of the contract: a counter deleted mid-job; the next look knows better, the release does not go negative."""
    first, second = uuid4(), uuid4()
    await decide(slots, course=first)
    await redis.delete("concurrency:global" if lost == "global" else f"concurrency:user:{USER}")
    refused = await decide(slots, most=1 if lost == "global" else 100, limit=10 if lost == "global" else 1)
    await decide(slots, course=second)
    shown = await counters(redis, USER)
    await redis.delete("concurrency:global", f"concurrency:user:{USER}")
    released = [await slots.release(course, 1) for course in (first, second)]

    assert refused[1] == 1
    assert refused[0] in {Decision.USER_LIMIT, Decision.GLOBAL_LIMIT}
    assert shown == [2, 2]
    assert released == [True, True]
    assert await counters(redis, USER) == [0, 0]


async def test_a_users_counter_lives_for_an_hour(slots: Slots, book: Book, redis: Any) -> None:
    """Each touch renews it; the global one does not expire."""
    course = uuid4()
    await decide(slots, course=course)
    after_taking = await redis.ttl(f"concurrency:user:{USER}")
    await redis.expire(f"concurrency:user:{USER}", 10)
    await slots.release(course, 1)

    assert 3590 < after_taking <= 3600
    assert 3590 < await redis.ttl(f"concurrency:user:{USER}") <= 3600
    assert await redis.ttl("concurrency:global") == -1


async def test_counters_that_were_lost_are_not_believed(slots: Slots, book: Book, redis: Any) -> None:
    """Redis emptied: nobody is let in on the strength of zeros, until the book is rebuilt."""
    await redis.flushdb()
    before = await decide(slots)
    await book.rebuild()

    assert before == (Decision.NOT_READY, 0)
    assert (await decide(slots))[0] is Decision.TAKEN


async def test_a_key_damaged_by_hand_counts_as_an_outage_until_a_rebuild(slots: Slots, book: Book, redis: Any) -> None:
    """The wrong type under a key stops no process: PostgreSQL counts, and the next rebuild mends it."""
    await redis.delete("concurrency:slots")
    await redis.set("concurrency:slots", "by hand")
    with pytest.raises(BrokerUnavailable, match="refuses to count"):
        await decide(slots)
    await book.rebuild()

    assert (await decide(slots))[0] is Decision.TAKEN


async def test_the_check_costs_the_same_however_many_slots_there_are(slots: Slots, book: Book, redis: Any) -> None:
    """O(1): Redis runs as many commands for one more with 500 slots as with one."""

    async def commands() -> int:
        await redis.config_resetstat()
        await decide(slots, uuid4(), most=10_000)
        stats = await redis.info("commandstats")
        return sum(
            stat["calls"] for name, stat in stats.items() if name.split("_")[1] in {"hget", "get", "set", "hset"}
        )

    few = await commands()
    await asyncio.gather(*(decide(slots, uuid4(), most=10_000) for _ in range(500)))

    assert await commands() == few
