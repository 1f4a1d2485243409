"""The relay's leader keeps the slots of courses at once true to PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from services.kernel import metrics
from services.kernel.clock import Clock
from services.kernel.concurrency import Book, Claim, Slots
from services.outbox_relay import slot_keeper
from services.outbox_relay.slot_keeper import REBUILD_SECONDS, SlotKeeper
from tests.support.clocks import StandingClock
from tests.support.courses import add_course
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.kernel.database import Database
    from tests.integration.outbox_relay.conftest import StartRelay

OWNER = uuid4()


async def shown(redis: Any) -> list[int]:
    """The global counter and the owner's."""
    values = await redis.mget("concurrency:global", f"concurrency:user:{OWNER}")
    return [int(value or 0) for value in values]


def keeper(db: Database, redis: Any, clock: Clock | None = None) -> SlotKeeper:
    """One that begins its term."""
    opened = SlotKeeper(Book(db, redis), redis, clock or StandingClock())
    opened.begin()
    return opened


async def test_a_leader_counts_anew_when_its_term_begins_and_when_redis_is_emptied(
    db: Database, redis: Any, relaying: StartRelay
) -> None:
    """Without anybody asking, within seconds."""
    await add_course(db, user=OWNER, state="stage_4_init")
    async with relaying():
        await eventually(lambda: redis.exists("concurrency:ready"), within=10)
        at_first = await shown(redis)
        await redis.flushdb()
        await eventually(lambda: redis.exists("concurrency:ready"), within=15)

    assert at_first == [1, 1]
    assert await shown(redis) == [1, 1]


async def test_everything_is_counted_anew_every_five_minutes(db: Database, redis: Any) -> None:
    """Not at every look; drift lives at most so long, and a counter with slots never expires (TRAP42)."""
    clock = StandingClock()
    keeping = keeper(db, redis, clock)
    await add_course(db, user=OWNER, state="stage_4_init")
    await keeping.look()
    await redis.set("concurrency:global", 9)
    await redis.expire(f"concurrency:user:{OWNER}", 5)
    clock.pass_by(REBUILD_SECONDS - 1)
    await keeping.look()
    before = await shown(redis)
    clock.pass_by(1)
    await keeping.look()

    assert before == [9, 1]
    assert await shown(redis) == [1, 1]
    assert await redis.ttl(f"concurrency:user:{OWNER}") > 3590


async def test_a_redis_that_was_restarted_is_not_believed(db: Database, redis: Any) -> None:
    """It may have come back with counters of an hour ago."""
    keeping = keeper(db, redis)
    await keeping.look()
    await add_course(db, user=OWNER, state="stage_4_init")
    keeping._server = "the one before the restart"
    await keeping.look()

    assert await shown(redis) == [1, 1]


async def test_abandoned_reservations_are_freed(db: Database, redis: Any) -> None:
    """A dead api's, once they are old enough."""
    keeping = keeper(db, redis)
    await keeping.look()
    await Slots(redis).reserve(Claim(uuid4(), OWNER, 1, 5, "dead"), 5)
    await keeping.look()
    young = await shown(redis)
    course = UUID((await redis.zrange("concurrency:unverified", 0, 0))[0].decode())
    await redis.zadd("concurrency:unverified", {str(course): 1_000})
    await keeping.look()

    assert young == [1, 1]
    assert await shown(redis) == [0, 0]


async def test_slots_and_drift_are_shown(db: Database, redis: Any) -> None:
    """As gauges: what is counted, and how far from the truth it is."""
    keeping = keeper(db, redis)
    await add_course(db, user=OWNER, state="stage_4_init")
    await keeping.look()
    await redis.set("concurrency:global", 4)
    await keeping.look()
    page = metrics.render().decode()

    assert slot_keeper.LOOK_SECONDS <= 5
    assert 'concurrency_slots{scope="global"} 4.0' in page
    assert 'concurrency_slots{scope="FREE"} 1.0' in page
    assert "concurrency_drift 3.0" in page
