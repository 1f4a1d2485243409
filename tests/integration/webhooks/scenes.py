"""Steps that the tests of deliveries share."""

from __future__ import annotations

from uuid import UUID

from services.kernel.database import Database, Row
from services.kernel.settings import Secret
from services.kernel.wakeup import WakeUp
from services.kernel.webhooks.deliveries import JOB_TYPE
from services.kernel.webhooks.secrets import SecretVault
from services.stage_worker.webhooks.keeper import DeliveryKeeper
from tests.integration.stage_worker.harness import Pipeline, stage_job
from tests.support.courses import add_course
from tests.support.receiver import WEBHOOK_KEY
from tests.support.tokens import ORGANIZATION
from tests.support.webhook_rows import only_delivery


async def ordered(db: Database, url: str | None) -> UUID:
    """A course whose end is to be told to `url`."""
    course = await add_course(db, title="Bees & <b>hives</b>")
    await db.execute("UPDATE courses SET webhook_url = $2 WHERE id = $1", course, url)
    return course


async def run_stages(pipeline: Pipeline, course: UUID) -> None:
    """Take the course through its pipeline to its end, leaving the webhook unsent."""
    await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
    await run_stages_left(pipeline, course)


async def run_stages_left(pipeline: Pipeline, course: UUID) -> None:
    """Take a course that has begun to its end."""
    while rows := [row for row in await pipeline.undecided(course) if row["job_type"] != JOB_TYPE]:
        for row in rows:
            await pipeline.deliver(row)


async def completed(pipeline: Pipeline, db: Database, url: str) -> UUID:
    """A completed course, its webhook about to be sent."""
    course = await ordered(db, url)
    await run_stages(pipeline, course)
    return course


async def jobs_of(pipeline: Pipeline, course: UUID) -> list[Row]:
    """The attempts that have an outbox row, in order."""
    return await pipeline.rows(course, JOB_TYPE)


async def attempt(pipeline: Pipeline, course: UUID) -> Row:
    """Make the next attempt, at once; how the delivery stands then."""
    await pipeline.db.execute(
        "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE course_id = $1 AND outbox_id IS NULL", course
    )
    await keeper(pipeline.db).write_due()
    rows = [row for row in await pipeline.undecided(course) if row["job_type"] == JOB_TYPE]
    assert len(rows) == 1, f"{len(rows)} attempts are under way"
    await pipeline.deliver(rows[0])
    return await only_delivery(pipeline.db, course)


def keeper(db: Database) -> DeliveryKeeper:
    """What moves deliveries between attempts."""
    return DeliveryKeeper(db, WakeUp(db))


async def secret_of(db: Database) -> str:
    """The organisation's current secret."""
    return (await SecretVault(Secret(WEBHOOK_KEY)).valid(db, ORGANIZATION))[0]
