"""What is new about watched courses, by one statement for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
import orjson

from services.api.live.places import Place, stamp_of
from services.api.models import EventReply
from services.kernel.database import Database, Row
from services.kernel.queries import Queries

MOST_EVENTS: Final = 200
"""Most events of one course in one look; what is beyond comes with the next, at once."""

_QUERIES = Queries.load("services.api", "live.sql")


@dataclass(frozen=True, slots=True)
class CourseNews:
    """How a course stands, and the events since a place. All from one snapshot."""

    course_id: UUID
    owner: UUID | None
    """None when the course is gone."""
    status: str
    progress: Any
    stamp: int
    events: tuple[EventReply, ...]

    @property
    def is_gone(self) -> bool:
        """Whether the course was deleted."""
        return self.owner is None

    @property
    def has_more(self) -> bool:
        """Whether further events are to be fetched before the progress belongs to them."""
        return len(self.events) >= MOST_EVENTS


class NewsDesk:
    """Asks the database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def since(self, places: Mapping[UUID, Place]) -> Sequence[CourseNews]:
        """News of those courses that have any since the places given: changed, deleted, or in a final state.

        Raises:
            DatabaseUnavailable: ask again later; nothing is lost.
        """
        rows = await self._db.fetch(
            _QUERIES["news"],
            list(places),
            [place.position for place in places.values()],
            [place.moment for place in places.values()],
            MOST_EVENTS,
        )
        return [_news(row) for row in rows]

    async def latest_position(self, course_id: UUID) -> int:
        """Position of the course's latest event; 0 when it has none."""
        position: int = await self._db.fetchval(_QUERIES["latest_position"], course_id)
        return position


def _news(row: Row) -> CourseNews:
    if row["user_id"] is None:
        return CourseNews(row["course_id"], None, "", None, 0, ())
    return CourseNews(
        row["course_id"],
        row["user_id"],
        row["status"],
        row["progress"],
        stamp_of(row["updated_at"]),
        tuple(_event(each) for each in row["events"]),
    )


def _event(fields: Any) -> EventReply:
    position, event_id, event_type, old, new, triggered_by, created_by, metadata, created_at = fields
    return EventReply(
        position=position,
        event_id=event_id,
        event_type=event_type,
        old_state=old,
        new_state=new,
        triggered_by=triggered_by,
        created_by=created_by,
        metadata=orjson.loads(metadata),
        created_at=created_at,
    )


def encoded(event: EventReply) -> bytes:
    """An event as compact JSON, as the history shows it."""
    return _encoder.encode(event)


_encoder = msgspec.json.Encoder()
