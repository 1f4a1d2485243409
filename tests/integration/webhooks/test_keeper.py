"""Between attempts: what is due gets its outbox row, what is settled is cleared away, what was lost goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from services.kernel import metrics
from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret
from services.kernel.wakeup import WakeUp
from services.kernel.webhooks.deliveries import JOB_TYPE
from services.stage_worker.webhooks.keeper import DeliveryKeeper
from tests.support.courses import add_course
from tests.support.tokens import ORGANIZATION, USER
from tests.support.waiting import eventually
from tests.support.webhook_rows import add_delivery, delivery


@pytest.fixture
async def keeper(app_db: Database) -> AsyncIterator[DeliveryKeeper]:
    """As the application's role."""
    wakeup = WakeUp(app_db)
    yield DeliveryKeeper(app_db, wakeup)
    await wakeup.drain()


async def jobs(db: Database) -> int:
    """Outbox rows of attempts."""
    return int(await db.fetchval("SELECT count(*) FROM job_outbox WHERE job_type = $1", JOB_TYPE))


async def due_many(db: Database, number: int) -> UUID:
    """One course with that many deliveries that are due."""
    course = await add_course(db)
    await db.execute(
        "INSERT INTO webhook_deliveries (course_id, organization_id, run_number, event_type, url, body, next_attempt_at)"
        " SELECT $1, $2, n, 'course.completed', 'https://example.com/', '{}', now() FROM generate_series(1, $3::int) AS n",
        course,
        ORGANIZATION,
        number,
    )
    return course


async def test_what_is_due_gets_its_row_and_what_is_not_waits(keeper: DeliveryKeeper, db: Database) -> None:
    """The outbox holds only what may leave now, so that its depth and age keep their meaning."""
    course = await add_course(db)
    due, later = await add_delivery(db, course), await add_delivery(db, course, run_number=2)
    await db.execute(
        "UPDATE webhook_deliveries SET next_attempt_at = now() + interval '1 hour' WHERE delivery_id = $1", later
    )
    written = [await keeper.write_due(), await keeper.write_due()]
    (job,) = await db.fetch("SELECT * FROM job_outbox")

    assert written == [1, 0]
    assert (await delivery(db, due))["outbox_id"] == job["outbox_id"]
    assert (job["entity_id"], job["saq_queue"], job["run_number"]) == (course, "webhooks", 1)
    assert job["job_data"] == {
        "deliveryId": str(due),
        "attempt": 1,
        "userId": str(USER),
        "organizationId": str(ORGANIZATION),
    }
    assert (await delivery(db, later))["outbox_id"] is None


async def test_several_workers_write_each_row_once(app_db: Database, db: Database) -> None:
    """They pass each other by."""
    await due_many(db, 1200)
    keepers = [DeliveryKeeper(app_db, WakeUp(app_db)) for _ in range(4)]
    written = await asyncio.gather(*(each.write_due() for each in keepers))

    assert sum(written) == await jobs(db) == 1200
    assert await db.fetchval("SELECT count(DISTINCT job_data ->> 'deliveryId') FROM job_outbox") == 1200


async def test_a_course_that_is_being_deleted_is_passed_over(keeper: DeliveryKeeper, db: Database) -> None:
    """Without waiting for it: each could be waiting for the other."""
    course = await add_course(db)
    waiting = await add_delivery(db, course)
    async with db.transaction() as session:
        await session.execute("DELETE FROM courses WHERE id = $1", course)
        assert await asyncio.wait_for(keeper.write_due(), 5) == 0

    assert (await delivery(db, waiting))["status"] == "dead"


async def test_an_attempt_whose_row_was_removed_is_made_anew(keeper: DeliveryKeeper, db: Database) -> None:
    """After a rollback that emptied the outbox, for instance."""
    lost = await add_delivery(db, await add_course(db))
    await keeper.write_due()
    await keeper.tidy()
    assert (await delivery(db, lost))["outbox_id"] is not None
    await db.execute("DELETE FROM job_outbox")
    await keeper.tidy()

    assert await keeper.write_due() == 1


async def test_settled_deliveries_are_kept_for_thirty_days_and_dead_ones_until_decided(
    keeper: DeliveryKeeper, db: Database
) -> None:
    """What waits or is dead is nobody's to clear away."""
    course = await add_course(db)
    kept, gone = set(), set()
    for number, (status, days) in enumerate(
        [("delivered", 29), ("delivered", 31), ("discarded", 29), ("discarded", 31), ("dead", 400), ("pending", 0)]
    ):
        made = await add_delivery(db, course, status=status, run_number=number + 1, settled_days_ago=days)
        (gone if days == 31 else kept).add(made)
    await keeper.tidy()
    left = {row["delivery_id"] for row in await db.fetch("SELECT delivery_id FROM webhook_deliveries")}

    assert (left, len(gone)) == (kept, 2)


async def test_retired_secrets_are_removed(keeper: DeliveryKeeper, db: Database) -> None:
    """Current ones and those that still sign are not."""
    for retires in ("NULL", "now() + interval '1 hour'", "now() - interval '1 second'"):
        await db.execute(
            f"INSERT INTO webhook_secrets (organization_id, ciphertext, retires_at) VALUES ($1, $2, {retires})",
            ORGANIZATION,
            retires,
        )
    await keeper.tidy()
    left = await db.fetch("SELECT ciphertext FROM webhook_secrets ORDER BY ciphertext")

    assert [row["ciphertext"] for row in left] == ["NULL", "now() + interval '1 hour'"]


async def test_the_metrics_say_how_many_wait_and_how_many_are_dead(keeper: DeliveryKeeper, db: Database) -> None:
    """Both those with a row and those between two attempts wait."""
    course = await add_course(db)
    await add_delivery(db, course)
    await keeper.write_due()
    await add_delivery(db, course, run_number=2)
    await add_delivery(db, course, run_number=3, status="dead")
    await keeper.tidy()
    shown = metrics.render().decode()

    assert "webhook_deliveries_pending 2.0" in shown
    assert "webhook_deliveries_dead 1.0" in shown


async def test_it_goes_on_after_an_outage_and_stops_when_told(app_database_url: str, db: Database) -> None:
    """An outage of PostgreSQL is a warning and a pause."""
    closed = await Database.open(CommonSettings(database_url=Secret(app_database_url)))
    beats: list[None] = []
    broken = DeliveryKeeper(closed, WakeUp(closed), beat=lambda: beats.append(None))
    await closed.close()
    stopping = asyncio.Event()
    running = asyncio.create_task(broken.run(stopping))
    await eventually(lambda: len(beats) >= 2, within=10)
    stopping.set()
    await asyncio.wait_for(running, 5)


async def test_it_looks_by_itself(keeper: DeliveryKeeper, db: Database) -> None:
    """About once a second."""
    stopping = asyncio.Event()
    running = asyncio.create_task(keeper.run(stopping))
    await add_delivery(db, await add_course(db))

    async def written() -> bool:
        return await jobs(db) == 1

    await eventually(written, within=10)
    stopping.set()
    await asyncio.wait_for(running, 5)
