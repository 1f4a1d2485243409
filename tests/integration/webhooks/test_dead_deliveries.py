"""Dead letters among the webhooks: found, counted, replayed and discarded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.kernel.database import Database
from services.kernel.webhooks import deliveries
from services.kernel.webhooks.deliveries import DeadFilter
from tests.support.courses import add_course
from tests.support.webhook_rows import add_delivery, delivery


async def test_the_dead_are_listed_with_their_reason(db: Database) -> None:
    """Those that died first before the others; no other delivery among them."""
    course = await add_course(db)
    older = await add_delivery(db, course, status="dead", error="answered 503", attempts=11, settled_days_ago=2)
    newer = await add_delivery(db, course, status="dead", run_number=2, error="timed out")
    for run_number, status in enumerate(("pending", "delivered", "discarded"), start=3):
        await add_delivery(db, course, status=status, run_number=run_number)
    async with db.acquire() as session:
        found = await deliveries.dead_deliveries(session)
        page = await deliveries.dead_deliveries(session, limit=1, offset=1)
        counted = await deliveries.tally(session)

    assert [each.delivery_id for each in found] == [older, newer]
    assert [each.delivery_id for each in page] == [newer]
    first = found[0]
    assert (first.course_id, first.last_error, first.attempts, first.replayable) == (course, "answered 503", 11, True)
    assert (counted.pending, counted.dead) == (1, 2)


async def test_every_condition_of_a_filter_must_hold(db: Database) -> None:
    """A condition that is not given excludes nothing."""
    course, other, elsewhere = await add_course(db), await add_course(db), uuid4()
    wanted = await add_delivery(db, course, status="dead", error="it answered 503", settled_days_ago=3)
    late = await add_delivery(db, other, status="dead", error="it answered 503", event_type="course.failed")
    foreign = await add_delivery(db, other, status="dead", run_number=2, error="timed out", organization=elsewhere)
    filters: list[tuple[dict[str, Any], set[Any]]] = [
        ({}, {wanted, late, foreign}),
        ({"ids": [wanted, foreign]}, {wanted, foreign}),
        ({"ids": []}, set()),
        ({"course_id": other}, {late, foreign}),
        ({"organization_id": elsewhere}, {foreign}),
        ({"event_type": "course.failed"}, {late}),
        ({"reason": "ANSWERED 503"}, {wanted, late}),
        ({"reason": "%"}, set()),
        ({"before": datetime.now(UTC) - timedelta(days=1)}, {wanted}),
        ({"reason": "answered", "course_id": course}, {wanted}),
        ({"reason": "answered", "organization_id": elsewhere}, set()),
    ]
    async with db.acquire() as session:
        for conditions, expected in filters:
            which = DeadFilter(**conditions)
            found = {each.delivery_id for each in await deliveries.dead_deliveries(session, which)}

            assert (conditions, found) == (conditions, expected)
            assert await deliveries.count_dead(session, which) == len(expected)


async def test_a_replay_makes_it_due_with_all_attempts_before_it(db: Database) -> None:
    """Under its old identifier; a second replay finds nothing to do."""
    course = await add_course(db)
    dead = await add_delivery(db, course, status="dead", attempts=11, error="answered 500")
    delivered = await add_delivery(db, course, status="delivered", run_number=2, attempts=1)
    async with db.transaction() as session:
        replayed = await deliveries.replay(session, [dead, delivered, uuid4()])
        again = await deliveries.replay(session, [dead])
    row = await delivery(db, dead)

    assert (replayed, again) == ([dead], [])
    assert (row["status"], row["attempts"], row["replays"], row["outbox_id"]) == ("pending", 0, 1, None)
    assert row["settled_at"] is None
    assert row["next_attempt_at"] is not None
    assert (await delivery(db, delivered))["status"] == "delivered"


async def test_it_is_the_callers_transaction(db: Database) -> None:
    """A replay that is undone with the caller's own record has never been."""
    dead = await add_delivery(db, await add_course(db), status="dead")
    with pytest.raises(RuntimeError):
        async with db.transaction() as session:
            await deliveries.replay(session, [dead])
            raise RuntimeError

    assert (await delivery(db, dead))["status"] == "dead"


async def test_a_discarded_one_is_out_of_sight_and_cannot_be_replayed(db: Database) -> None:
    """Only what is dead can be discarded."""
    course = await add_course(db)
    dead = await add_delivery(db, course, status="dead")
    pending = await add_delivery(db, course, run_number=2)
    async with db.transaction() as session:
        discarded = await deliveries.discard(session, [dead, pending])
        left = await deliveries.dead_deliveries(session)
        replayed = await deliveries.replay(session, [dead])

    assert (discarded, left, replayed) == ([dead], [], [])
    assert (await delivery(db, pending))["status"] == "pending"


async def test_a_deleted_course_leaves_a_dead_letter_and_no_silence(db: Database) -> None:
    """What was undelivered says why it is dead and cannot be replayed; what was settled stays as it was."""
    course = await add_course(db)
    pending = await add_delivery(db, course)
    delivered = await add_delivery(db, course, status="delivered", run_number=2)
    await db.execute("DELETE FROM courses WHERE id = $1", course)
    async with db.transaction() as session:
        (found,) = await deliveries.dead_deliveries(session)
        replayed = await deliveries.replay(session, [pending])
        discarded = await deliveries.discard(session, [pending])

    assert (found.delivery_id, found.course_id, found.replayable) == (pending, None, False)
    assert "course was deleted" in (found.last_error or "")
    assert (replayed, discarded) == ([], [pending])
    assert (await delivery(db, delivered))["status"] == "delivered"


async def test_a_run_is_told_about_once(db: Database) -> None:
    """Whoever announces its end a second time writes neither a delivery nor a job."""
    course = await add_course(db)
    await add_delivery(db, course)
    announced = await db.fetchval(
        "SELECT count(*) FROM (SELECT course_id, run_number FROM webhook_deliveries GROUP BY 1, 2 HAVING count(*) = 1) AS o"
    )

    assert announced == 1
    with pytest.raises(Exception, match="webhook_deliveries_run_key"):
        await add_delivery(db, course)
