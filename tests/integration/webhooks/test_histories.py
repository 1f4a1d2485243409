"""Any history of answers, crashes and repeated deliveries ends as a model of ten lines says it must."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import pytest

from services.kernel.database import Database
from services.kernel.faults import InjectedFault, arm
from services.kernel.webhooks.deliveries import JOB_TYPE
from services.stage_worker.webhooks.settings import DEFAULT_DELAYS
from tests.integration.stage_worker.harness import Pipeline
from tests.integration.webhooks import scenes
from tests.support.receiver import Receiver, answer
from tests.support.webhook_rows import only_delivery

MOST: Final = len(DEFAULT_DELAYS) + 1
SILENCE: Final = 0
STEPS: Final = (200, 204, 410, 302, 429, 500, 503, 503, 503, 503, SILENCE, SILENCE)


def expected(steps: Sequence[int]) -> tuple[str, int]:
    """The status in which a delivery ends, and after how many attempts."""
    for number, step in enumerate(steps, start=1):
        if 200 <= step <= 299:
            return "delivered", number
        if step == 410 or number == MOST:
            return "dead", number
    return "pending", len(steps)


async def one_step(pipeline: Pipeline, course: UUID, chance: random.Random) -> None:
    """An attempt; before its effect the worker may die a few times, afterwards its job may come again."""
    await pipeline.db.execute(
        "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE course_id = $1 AND outbox_id IS NULL", course
    )
    await scenes.keeper(pipeline.db).write_due()
    (job,) = [row for row in await pipeline.undecided(course) if row["job_type"] == JOB_TYPE]
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        arm(
            chance.choice(["webhook.sent=raise@1", "worker.before_commit=raise@1", "worker.inside_transaction=raise@1"])
        )
        with pytest.raises(InjectedFault):
            await pipeline.deliver(job)
        arm("")
    assert await pipeline.deliver(job) == "applied"
    for _ in range(chance.choice([0, 0, 1])):
        assert await pipeline.deliver(job) == "repeated"


@pytest.mark.parametrize("seed", range(8))
async def test_every_history_ends_as_the_model_says(
    pipeline: Pipeline, db: Database, receiver: Receiver, seed: int
) -> None:
    """Counted attempts are those that were written down; whatever was sent has one identifier and the same bytes."""
    chance = random.Random(seed)
    steps = [chance.choice(STEPS) for _ in range(MOST)]
    status, attempts = expected(steps)
    course = await scenes.completed(pipeline, db, receiver.url)
    for step in steps[:attempts]:

        async def say(writer: asyncio.StreamWriter, said: int = step) -> None:
            if said != SILENCE:
                writer.write(answer(said))

        receiver.behave = say
        await one_step(pipeline, course, chance)
    row = await only_delivery(db, course)
    jobs = await scenes.jobs_of(pipeline, course)

    assert (row["status"], row["attempts"]) == (status, attempts)
    assert len(jobs) == attempts
    assert set(receiver.by_id()) == {str(row["delivery_id"])}
    assert len({each.body for each in receiver.received}) == 1
    assert len(receiver.received) >= attempts
    assert (row["settled_at"] is not None) == (status != "pending")
