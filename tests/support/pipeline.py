"""The helpers of T053 (contract.md l.5): wait for the outbox, check an event, and see that nobody went around the outbox."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from services.kernel.database import Database, Row
from tests.support.stack import Stack
from tests.support.waiting import eventually

OUTBOX_SECONDS = 10.0
"""Longest time a row may stay in the outbox."""

DOCUMENTS = (
    "# Balance sheet\n\nA balance sheet shows what a firm owns and owes on one day. Assets stand on one side.\n\n"
    "## Assets\n\nAssets are resources that the firm controls. Cash, stock and machines are assets. "
    "An asset is shown at cost less depreciation.\n\n## Liabilities\n\nLiabilities are what the firm owes to others. "
    "Loans and unpaid bills are liabilities. They are settled in the future.\n",
    "# Income statement\n\nThe income statement shows revenue and costs of a period. Profit is what remains.\n\n"
    "## Revenue\n\nRevenue is earned when goods are delivered. It is recorded whether or not cash has come in. "
    "Discounts reduce it.\n\n## Costs\n\nCosts are matched with the revenue they helped to earn. Wages and rent are costs.\n",
    "# Cash flow\n\nThe cash flow statement explains how cash has changed. It has three parts.\n\n"
    "## Operations\n\nCash from operations comes from customers and goes to suppliers. It keeps the firm alive.\n\n"
    "## Investment\n\nBuying machines uses cash now and earns it later. Selling them brings cash back.\n",
    "# Audit\n\nAn audit checks whether the statements are true and fair. The auditor is independent.\n\n"
    "## Evidence\n\nEvidence is gathered by inspection, inquiry and confirmation. It must be sufficient.\n\n"
    "## Opinion\n\nThe opinion says whether the statements can be relied on. A qualified opinion names what is wrong.\n",
)
"""Four short documents on one subject."""


async def wait_for_outbox(db: Database, course_id: UUID, *, within: float = OUTBOX_SECONDS) -> list[Row]:
    """The course's outbox rows, once each of them has been processed without a failure.

    Raises:
        AssertionError: there are none, or the relay has not taken them all in time.
    """

    async def drained() -> list[Row]:
        rows = await db.fetch("SELECT * FROM job_outbox WHERE entity_id = $1 ORDER BY position", course_id)
        assert rows, "no outbox rows"
        waiting = [row["job_type"] for row in rows if row["processed_at"] is None]
        assert not waiting, f"still in the outbox: {waiting}"
        return rows

    rows: list[Row] = await eventually(drained, within=within, every=0.05)
    assert [row["retry_count"] for row in rows] == [0] * len(rows)
    return rows


async def validate_fsm_event(
    db: Database, course_id: UUID, new_state: str, *, by: str, old_states: tuple[str | None, ...] | None = None
) -> Row:
    """The one event with which the course entered `new_state`, checked whole.

    Raises:
        AssertionError: there is none, or more than one, or it says something else.
    """
    events = await db.fetch(
        "SELECT * FROM fsm_events WHERE entity_id = $1 AND new_state = $2 ORDER BY position", course_id, new_state
    )
    assert len(events) == 1, f"{len(events)} events of {new_state}"
    event = events[0]
    assert event["triggered_by"] == by
    assert event["created_by"] == by.partition("_")[0]
    assert event["event_type"] in {"FSM_INITIALIZED", "STATE_CHANGED"}
    assert event["created_at"] is not None
    assert "error" not in event["metadata"]
    assert old_states is None or event["old_state"] in old_states
    return event


async def wait_for_state(db: Database, course_id: UUID, state: str, *, within: float = 60.0) -> None:
    """Return when the course is in `state`.

    Raises:
        AssertionError: it is not in time; shows where it stands.
    """

    async def there() -> bool:
        row = await db.fetchrow("SELECT generation_status::text, error_message FROM courses WHERE id = $1", course_id)
        assert row is not None
        assert row["generation_status"] == state, f"{row['generation_status']}: {row['error_message']}"
        return True

    await eventually(there, within=within, every=0.1)


async def states_of(db: Database, course_id: UUID) -> list[str]:
    """The states that the course has gone through, in order."""
    rows = await db.fetch("SELECT new_state FROM fsm_events WHERE entity_id = $1 ORDER BY position", course_id)
    return [row["new_state"] for row in rows]


async def transactions_of(db: Database, course_id: UUID, job_type: str) -> int:
    """How many transactions have inserted the course's jobs of one type; asked before the relay touches them."""
    return int(
        await db.fetchval(
            "SELECT count(DISTINCT xmin::text) FROM job_outbox WHERE entity_id = $1 AND job_type = $2",
            course_id,
            job_type,
        )
    )


async def expect_no_direct_enqueue(db: Database, redis: Any) -> int:
    """Check that every job in Redis is an outbox row's; how many there are."""
    jobs = [name.decode().rpartition(":")[2] async for name in redis.scan_iter("saq:job:*", count=1000)]
    written = await db.fetch("SELECT outbox_id::text AS id FROM job_outbox WHERE processed_at IS NOT NULL")

    assert set(jobs) <= {row["id"] for row in written}
    return len(jobs)


async def expect_no_illegal_move(db: Database, stack: Stack) -> None:
    """Check that nobody ever tried to move a course where it may not go."""
    failures = await db.fetch("SELECT metadata FROM fsm_events WHERE metadata ? 'error'")
    noisy = [each.log.name for each in stack.processes if "Invalid generation status transition" in each.tail(10_000)]

    assert (failures, noisy) == ([], [])
