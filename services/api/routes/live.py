"""How a generation goes on: asked once, or followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from services.api.auth import Principal
from services.api.courses import Courses
from services.api.live import frames
from services.api.live.hub import Hub
from services.api.live.models import StreamMessage
from services.api.live.news import NewsDesk
from services.api.live.places import PATTERN, Place
from services.api.messages import Header, Reply, Request
from services.api.models import CheckStatus, check_status_body
from services.api.routes.courses import TAG
from services.api.routing import Answer, Operation, QueryParameter
from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Row
from services.kernel.states import TERMINAL

_COURSE: Final = "/api/courses/{course}"
_ID_SCHEMA: Final = {"type": "string", "pattern": PATTERN}
_LAST_EVENT_ID: Final = QueryParameter(
    "Last-Event-ID", "`id` of the last message of an earlier stream: go on after it", _ID_SCHEMA
)
_LAST_EVENT_ID_IN_QUERY: Final = QueryParameter(
    "lastEventId", "the same, for a first connection whose headers cannot be chosen; the header wins", _ID_SCHEMA
)
_BROWSER_SECONDS: Final = 300.0
"""How long one stream of a signed-in browser may last: who signs out is cut off by then, whatever the session's end was."""
_STREAM_HEADERS: Final[tuple[Header, ...]] = (
    # A reader who comes back must be free to reach another process than the one that just ended.
    (b"connection", b"close"),
    # nginx keeps answers back until it has some kilobytes; a stream has to leave at once.
    (b"x-accel-buffering", b"no"),
)


class LiveRoutes:
    """The routes about progress."""

    def __init__(
        self,
        courses: Courses,
        desk: NewsDesk,
        hub: Hub,
        *,
        longest_seconds: float,
        leeway_seconds: float,
        clock: Clock | None = None,
    ) -> None:
        """Build the routes.

        Args:
            courses: who knows whose a course is.
            desk: who knows how far a course has come.
            hub: who feeds the streams.
            longest_seconds: how long one stream may last.
            leeway_seconds: how long a token is taken after its end, as everywhere.
            clock: the time that tokens are compared with.
        """
        self._courses = courses
        self._desk = desk
        self._hub = hub
        self._longest = longest_seconds
        self._leeway = timedelta(seconds=leeway_seconds)
        self._clock = clock or SystemClock()

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            _get("check-status", self.check_status, {200: Answer("State and progress", CheckStatus)}),
            _get(
                "events",
                self.events,
                {
                    200: Answer("Messages, as server-sent events", StreamMessage, content_type="text/event-stream"),
                    204: Answer("All was told; do not come back"),
                },
                query=(_LAST_EVENT_ID_IN_QUERY,),
                headers=(_LAST_EVENT_ID,),
                errors=(429,),
            ),
        ]

    async def check_status(self, request: Request) -> Reply:
        """Show how far the generation has come, with Russian step names."""
        row = await self._courses.find(request.path["course"], request.principal)
        return Reply(200, check_status_body(row["status"], row["progress"]))

    async def events(self, request: Request) -> Reply:
        """Follow the generation as it goes on.

        Messages `state` (one per move of the course, as in the history), `progress` (as check-status), `end` when the course
        has ended or was deleted, and `closing` when only this stream ends. Each carries the id to go on after.
        """
        place = _place(request)
        course = await self._courses.find(request.path["course"], request.principal)
        if place != Place():
            latest = await self._desk.latest_position(course["id"])
            if _has_been_told(course, place, latest):
                return Reply(204)
            if place.position > latest:  # of another course, or from before the database was restored
                place = Place()
        until, why = self._limit(request.principal)
        caller = request.principal
        watcher = self._hub.watch(course["id"], caller.user_id, place, until=until, why=why, tier=caller.tier)
        return Reply(200, content_type=frames.MEDIA_TYPE, headers=_STREAM_HEADERS, stream=watcher)

    def _limit(self, caller: Principal) -> tuple[float, str]:
        """When a stream must end by the event loop's clock, and the reason to give then."""
        leeway = timedelta(0) if caller.in_browser else self._leeway
        longest = min(self._longest, _BROWSER_SECONDS) if caller.in_browser else self._longest
        left = (caller.expires_at - self._clock.now()).total_seconds() + leeway.total_seconds()
        now = asyncio.get_running_loop().time()
        return (now + left, "token_expired") if left < longest else (now + longest, "renew")


def _get(
    name: str,
    handler: Callable[[Request], object],
    answers: dict[int, Answer],
    *,
    query: tuple[QueryParameter, ...] = (),
    headers: tuple[QueryParameter, ...] = (),
    errors: tuple[int, ...] = (),
) -> Operation:
    return Operation(
        method="GET",
        path=f"{_COURSE}/{name}",
        handler=handler,  # type: ignore[arg-type]
        tag=TAG,
        answers=answers,
        query=query,
        headers=headers,
        errors=errors,
    )


def _place(request: Request) -> Place:
    header = request.header(b"last-event-id")
    text = header.decode("latin-1") if header else request.query().get("lastEventId")
    return Place.parse(text) if text else Place()


def _has_been_told(course: Row, place: Place, latest: int) -> bool:
    return place.is_end and place.position == latest and course["status"] in TERMINAL
