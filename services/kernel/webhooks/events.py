"""What a receiver is told: `course.completed` or `course.failed`, once per run that ends (contract.md GAP14).

The body is fixed when the run ends and sent byte for byte in every attempt. It names the course and says how the run ended;
the course itself is fetched from the API, with a token, by whoever may read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec

from services.kernel.database import Connection
from services.kernel.queries import Queries

COMPLETED: Literal["course.completed"] = "course.completed"
FAILED: Literal["course.failed"] = "course.failed"
EventType = Literal["course.completed", "course.failed"]

_SQL = Queries.load("services.kernel", "webhooks.sql")


class Failure(msgspec.Struct, frozen=True):
    """Why a run failed, as the owner's progress shows it."""

    code: Annotated[str, msgspec.Meta(description="what went wrong, for programs")]
    message: Annotated[str, msgspec.Meta(description="for the owner of the course, in Russian: what he can do")]
    detail: Annotated[str, msgspec.Meta(description="what the part that failed said, for whoever looks into it")]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The `data` of an event."""

    course_id: UUID
    slug: str
    title: str
    status: Literal["completed", "error"]
    run_number: int
    result_path: str | None = None
    """Where the API has the course; absent after a failure."""
    error: Failure | None = None
    """Absent after a success."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook."""

    type: EventType
    timestamp: str
    """When the run ended."""
    data: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that has just ended, and where that is to be told."""

    course_id: UUID
    slug: str
    title: str
    organization_id: UUID
    run_number: int
    priority: int
    url: str


async def announce(
    session: Connection, run: EndedRun, *, at: datetime, metadata: dict[str, Any], failure: Failure | None = None
) -> UUID:
    """Write the delivery and its first job in the caller's transaction; a run that has been announced stays as it was.

    Args:
        session: the transaction that ends the run.
        run: the run.
        at: when it ended.
        metadata: what follows the request: ids for logs and headers.
        failure: why it failed; None after a success.

    Returns:
        The `webhook-id`.
    """
    delivery_id = uuid4()
    event = body_of(run, at, failure)
    await session.execute(
        _SQL["announce"],
        delivery_id,
        run.course_id,
        run.organization_id,
        run.run_number,
        event.type,
        run.url,
        msgspec.json.encode(event).decode(),
        run.priority,
        metadata,
        uuid4(),
    )
    return delivery_id


def body_of(run: EndedRun, at: datetime, failure: Failure | None = None) -> Event:
    """What is told about `run`."""
    outcome = Outcome(
        course_id=run.course_id,
        slug=run.slug,
        title=run.title,
        status="error" if failure else "completed",
        run_number=run.run_number,
        result_path=None if failure else f"/api/courses/{run.course_id}/result",
        error=failure,
    )
    timestamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Event(type=FAILED if failure else COMPLETED, timestamp=timestamp, data=outcome)
