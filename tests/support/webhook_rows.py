"""Webhook deliveries for tests, written without the code under test."""

from __future__ import annotations

from uuid import UUID, uuid4

from services.kernel.database import Database, Row
from tests.support.tokens import ORGANIZATION


async def add_delivery(
    db: Database,
    course_id: UUID,
    *,
    status: str = "pending",
    run_number: int = 1,
    event_type: str = "course.completed",
    url: str = "https://hooks.example.com/in",
    body: str = '{"type":"course.completed"}',
    error: str | None = None,
    attempts: int = 0,
    organization: UUID = ORGANIZATION,
    settled_days_ago: float = 0,
) -> UUID:
    """A delivery that stands where it is said to; a pending one is due now."""
    delivery_id = uuid4()
    await db.execute(
        "INSERT INTO webhook_deliveries (delivery_id, course_id, organization_id, run_number, event_type, url, body, status,"
        " next_attempt_at, attempts, last_error, settled_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text,"
        " CASE WHEN $8::text = 'pending' THEN now() END, $9, $10,"
        " CASE WHEN $8::text <> 'pending' THEN now() - make_interval(secs => $11::float8 * 86400) END)",
        delivery_id, course_id, organization, run_number, event_type, url, body, status, attempts, error, settled_days_ago,
    )  # fmt: skip
    return delivery_id


async def delivery(db: Database, delivery_id: UUID) -> Row:
    """How a delivery stands."""
    row = await db.fetchrow("SELECT * FROM webhook_deliveries WHERE delivery_id = $1", delivery_id)
    assert row is not None
    return row


async def only_delivery(db: Database, course_id: UUID) -> Row:
    """The one delivery of a course."""
    (row,) = await db.fetch("SELECT * FROM webhook_deliveries WHERE course_id = $1", course_id)
    return row
