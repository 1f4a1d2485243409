"""The book: counters against PostgreSQL's running courses, rebuilt, verified and shown."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from services.kernel.concurrency import Book, Decision, Slots
from services.kernel.database import Database
from tests.integration.concurrency.conftest import claim, counters
from tests.support.courses import add_course

OWNER, OTHER = uuid4(), uuid4()


async def running(db: Database, user: UUID = OWNER, state: str = "stage_4_init") -> UUID:
    """A course with a run under way."""
    return await add_course(db, user=user, state=state)


async def test_a_rebuild_makes_the_counters_what_is_true(db: Database, slots: Slots, redis: Any) -> None:
    """Empty Redis, three running courses of two users, and some that do not run: each counted where it belongs."""
    courses = [await running(db), await running(db, state="stage_2_processing"), await running(db, OTHER)]
    for state in ("pending", "completed", "error", "cancelled"):
        await add_course(db, user=OWNER, state=state)
    rebuilt = await Book(db, redis).rebuild()
    again = await Book(db, redis).rebuild()

    assert rebuilt is not None
    assert again is not None
    assert (rebuilt.added, rebuilt.slots, rebuilt.is_change) == (3, 3, True)
    assert (again.slots, again.is_change) == (3, False)
    assert await counters(redis, OWNER, OTHER) == [3, 2, 1]
    assert [await slots.release(course, 1) for course in courses] == [True] * 3
    assert await counters(redis, OWNER, OTHER) == [0, 0, 0]


async def test_a_rebuild_corrects_counters_that_have_drifted(db: Database, book: Book, redis: Any) -> None:
    """Whatever somebody wrote into them, also for users without a slot who have asked for one."""
    await running(db)
    await book.rebuild()
    await redis.set("concurrency:global", 99)
    await redis.set(f"concurrency:user:{OWNER}", 7)
    await redis.sadd("concurrency:users", str(OTHER))
    await redis.set(f"concurrency:user:{OTHER}", 5)
    drifted = await book.snapshot()
    rebuilt = await book.rebuild()

    assert (drifted.global_counter, drifted.global_truth, drifted.drift) == (99, 1, 98)
    assert rebuilt is not None
    assert rebuilt.corrected == 3
    assert await counters(redis, OWNER, OTHER) == [1, 1, None]


async def test_slots_of_courses_that_do_not_run_are_removed(db: Database, slots: Slots, redis: Any) -> None:
    """An operator has ended a course by hand: its slot is gone with the next rebuild, and a deleted course's too."""
    ended, gone = await running(db), await running(db)
    book = Book(db, redis)
    await book.rebuild()
    await db.execute("UPDATE courses SET generation_status = 'error' WHERE id = $1", ended)
    await db.execute("DELETE FROM courses WHERE id = $1", gone)
    rebuilt = await book.rebuild()

    assert rebuilt is not None
    assert (rebuilt.removed, rebuilt.slots) == (2, 0)


async def test_a_rebuild_spares_reservations_made_meanwhile(db: Database, book: Book, slots: Slots, redis: Any) -> None:
    """The course is not committed yet; an old reservation without a course is no excuse."""
    await slots.reserve(claim(OWNER), 10)
    young = await book.rebuild()
    old = await Book(db, redis, grace_seconds=0).rebuild()

    assert young is not None
    assert old is not None
    assert (young.slots, young.is_change) == (1, False)
    assert (old.slots, old.removed) == (0, 1)


async def test_a_rebuild_does_not_bring_back_what_was_released_while_it_read(
    db: Database, book: Book, slots: Slots, redis: Any
) -> None:
    """PostgreSQL answered that the course runs; before Redis heard of it the course had ended and its slot was free."""
    course = await running(db)
    await book.rebuild()

    class Slow(Database):
        async def fetch(self, query: str, *args: Any) -> list[Any]:
            rows = await super().fetch(query, *args)
            await slots.release(course, 1)
            return rows

    rebuilt = await Book(Slow(db._pool, db._settings), redis).rebuild()

    assert rebuilt is not None
    assert rebuilt.slots == 0
    assert await counters(redis, OWNER) == [0, None]


async def test_an_answer_that_took_too_long_is_not_used(db: Database, book: Book, redis: Any) -> None:
    """A process that slept between question and answer changes nothing."""
    await running(db)
    clock = book._scripts.run

    async def run(name: str, *args: Any) -> Any:
        return await clock(name, *args) - 60_000 if name == "clock" else await clock(name, *args)

    book._scripts.run = run  # type: ignore[method-assign]

    assert await book.rebuild() is None
    assert await counters(redis) == [0]


async def test_a_rebuild_keeps_a_users_counter_alive(db: Database, book: Book, redis: Any) -> None:
    """TRAP42: a course that takes longer than the counter's hour; the five-minute rebuild renews it."""
    await running(db)
    await book.rebuild()
    await redis.expire(f"concurrency:user:{OWNER}", 5)
    await book.rebuild()

    assert 3590 < await redis.ttl(f"concurrency:user:{OWNER}") <= 3600


async def test_abandoned_reservations_are_freed_and_used_ones_kept(
    db: Database, book: Book, slots: Slots, redis: Any
) -> None:
    """The api died between reservation and commit: nobody else would ever give that slot back."""
    course = await running(db)
    await slots.reserve(claim(OWNER, course=course), 10)
    await slots.reserve(claim(OTHER), 10)
    too_young = await book.verify()
    freed = await book.verify(0)

    assert (too_young, freed) == (0, 1)
    assert await counters(redis, OWNER, OTHER) == [1, 1, 0]
    assert await redis.zcard("concurrency:unverified") == 0


async def test_a_reservation_renewed_while_it_was_verified_is_left_alone(
    db: Database, book: Book, slots: Slots, redis: Any
) -> None:
    """Between PostgreSQL's answer and Redis another run asked for the slot."""
    course = await add_course(db, user=OWNER)
    await slots.reserve(claim(OWNER, course=course), 10)

    class Slow(Database):
        async def fetch(self, query: str, *args: Any) -> list[Any]:
            rows = await super().fetch(query, *args)
            await asyncio.sleep(0.005)
            await slots.reserve(claim(OWNER, course=course, run=2), 10)
            return rows

    freed = await Book(Slow(db._pool, db._settings), redis).verify(0)

    assert freed == 0
    assert await counters(redis, OWNER) == [1, 1]


async def test_the_view_shows_counters_beside_the_truth(db: Database, book: Book, slots: Slots, redis: Any) -> None:
    """Who has how many, who should have, and whether the counters are believed."""
    await running(db)
    await slots.reserve(claim(OTHER), 10)
    view = await book.snapshot(global_limit=3)
    await redis.delete("concurrency:ready")

    assert (view.global_limit, view.global_counter, view.global_truth, view.ready) == (3, 1, 1, True)
    assert {user.user_id: (user.tier, user.counter, user.truth, user.drift) for user in view.users} == {
        OWNER: ("FREE", 0, 1, -1),
        OTHER: (None, 1, 0, 1),
    }
    assert (await book.snapshot()).ready is False


async def test_names_put_there_by_hand_stop_nothing(db: Database, book: Book, redis: Any) -> None:
    """A member that is no identifier is not shown, and gone after a rebuild."""
    await redis.sadd("concurrency:users", "nobody", b"\xff\xfe")
    await redis.zadd("concurrency:unverified", {"nothing": 1})
    await redis.hset("concurrency:slots", "no course", "no slot")
    view = await book.snapshot()
    freed = await book.verify(0)
    rebuilt = await book.rebuild()

    assert (view.users, freed) == ((), 0)
    assert rebuilt is not None
    assert rebuilt.removed == 1
    assert await redis.zcard("concurrency:unverified") == await redis.scard("concurrency:users") == 0


async def test_a_course_that_began_without_a_slot_is_counted_by_the_next_rebuild(
    db: Database, book: Book, slots: Slots
) -> None:
    """Layer 3 has begun it: it takes room like any other."""
    await running(db)
    await book.rebuild()

    assert (await slots.reserve(claim(OTHER), 1)).decision is Decision.GLOBAL_LIMIT
