"""A claim brings exactly the rows it should, in the right order, whatever the table holds."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.kernel.clock import SystemClock
from services.kernel.database import Database
from services.kernel.queue.keys import clamp_priority
from services.outbox_relay.high_water import Lane
from services.outbox_relay.outbox import ClaimLimits, Outbox
from tests.integration.outbox_relay.conftest import add_rows

QUEUES = ("course-generation", "quiz", "webhooks")
PRIORITIES = (-7, 0, 1, 3, 5, 10, 11, 2_000_000_000)
LATER, EARLIER = SystemClock().now() + timedelta(hours=1), SystemClock().now() - timedelta(hours=1)


async def _fill(db: Database, course: UUID, dice: random.Random) -> list[Any]:
    """A table of all kinds of rows; what is pending and due, as it stands."""
    for _ in range(40):
        columns: dict[str, Any] = {
            "processed_at": dice.choice([None, None, None, EARLIER]),
            "retry_count": dice.choice([0, 0, 1, 5]),
            "next_attempt_at": dice.choice([None, None, EARLIER, LATER]),
        }
        await add_rows(
            db, course, dice.randint(1, 4), queue=dice.choice(QUEUES), priority=dice.choice(PRIORITIES), **columns
        )
    return await db.fetch(
        "SELECT position, saq_queue, priority, octet_length(job_body) AS size FROM job_outbox"
        " WHERE processed_at IS NULL AND retry_count < max_retries AND (next_attempt_at IS NULL OR next_attempt_at <= now())"
    )


def _expected(pending: list[Any], limits: ClaimLimits, in_hand: set[int]) -> list[int]:
    """What the claim must choose, said plainly."""
    left: dict[Lane, int] = dict(limits.rooms)
    chosen: list[Any] = []
    size = 0
    roomy = []
    for row in sorted(pending, key=lambda row: (-row["priority"], row["position"])):
        lane = row["saq_queue"], clamp_priority(row["priority"])
        if row["position"] not in in_hand and left.setdefault(lane, limits.default_room) > 0:
            left[lane] -= 1
            roomy.append(row)
    sign = 1 if limits.lowest_first else -1
    for row in sorted(roomy, key=lambda row: (sign * row["priority"], row["position"]))[: limits.rows]:
        if not chosen or size < limits.total_bytes:
            chosen.append(row)
        size += min(row["size"], limits.body_bytes)
    return [row["position"] for row in sorted(chosen, key=lambda row: (-row["priority"], row["position"]))]


@pytest.mark.parametrize("seed", range(6))
async def test_a_claim_is_what_a_plain_reading_of_the_table_gives(db: Database, course: UUID, seed: int) -> None:
    """Room by lane, the most urgent first (or the least), by age within a priority, bounded in rows and bytes, none in hand."""
    dice = random.Random(seed)
    pending = await _fill(db, course, dice)
    every_lane = [(row["saq_queue"], clamp_priority(row["priority"])) for row in pending]
    for _ in range(12):
        in_hand = {row["position"] for row in pending if dice.random() < 0.2}
        limits = ClaimLimits(
            rows=dice.choice([1, 7, 30, 500]),
            total_bytes=dice.choice([1, 3000, 10**7]),
            body_bytes=dice.choice([10, 10**6]),
            default_room=dice.choice([2, 1000]),
            rooms={lane: dice.randint(0, 4) for lane in every_lane if dice.random() < 0.5},
            lowest_first=dice.random() < 0.3,
        )
        claimed = await Outbox(db).claim(limits, in_hand)

        assert [row.position for row in claimed] == _expected(pending, limits, in_hand)
        assert all((row.job_body is None) == (row.size > limits.body_bytes) for row in claimed)


async def test_an_empty_outbox_gives_nothing(db: Database) -> None:
    """No lane, no row."""
    limits = ClaimLimits(rows=10, total_bytes=10**6, body_bytes=10**6, default_room=10, rooms={})

    assert await Outbox(db).claim(limits, []) == []
