"""Dead letters: listed, replayed, discarded (contract.md f, s)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, get_args

from services.api.admin.audit import Author
from services.api.admin.letters import Letters
from services.api.admin.models import DeadLetterBody, DeadLetterFilter, DeadLetterOutcome, DeadLetterPage, Kind
from services.api.cursors import page_size
from services.api.messages import Reply, Request, struct_reply
from services.api.routes.admin import PAGING, admin_operation, chosen, identifier
from services.api.routing import Answer, Operation, QueryParameter
from services.kernel.dead_letters import Action
from services.kernel.errors import InvalidInput

_KINDS: Final = get_args(Kind)
_FILTER: Final = (
    QueryParameter("kind", "only of this kind", {"type": "string", "enum": list(_KINDS)}),
    QueryParameter("queue", "only of this queue", {"type": "string"}),
    QueryParameter("jobType", "only of this job type, or event type of a webhook", {"type": "string"}),
    QueryParameter("courseId", "only of this course", {"type": "string", "format": "uuid"}),
    QueryParameter("reason", "part of the reason or its detail", {"type": "string"}),
    QueryParameter("before", "dead before this moment", {"type": "string", "format": "date-time"}),
)


class DeadLetterRoutes:
    """The routes about dead letters."""

    def __init__(self, letters: Letters) -> None:
        self._letters = letters

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        answer = Answer("What became of them", DeadLetterOutcome)
        return [
            admin_operation(
                "GET",
                "dead-letters",
                self.dead_letters,
                Answer("A page of dead letters", DeadLetterPage),
                query=(*PAGING, *_FILTER),
            ),
            admin_operation("POST", "dead-letters/replay", self.replay_dead_letters, answer, accepts=DeadLetterBody),
            admin_operation("POST", "dead-letters/discard", self.discard_dead_letters, answer, accepts=DeadLetterBody),
        ]

    async def dead_letters(self, request: Request) -> Reply:
        """List what nothing tries again by itself, the latest first, with the reason.

        Outbox rows without tries left, jobs that a queue has set aside, webhooks that were given up.
        """
        query = request.query()
        which = DeadLetterFilter(
            kind=chosen(query, "kind", _KINDS),  # type: ignore[arg-type]
            queue=query.get("queue"),
            job_type=query.get("jobType"),
            course_id=identifier(query, "courseId"),
            reason=query.get("reason"),
            before=_moment(query, "before"),
        )
        return struct_reply(await self._letters.page(which, query.get("cursor"), page_size(query)))

    async def replay_dead_letters(self, request: Request) -> Reply:
        """Have the work of dead letters done again, exactly once: those named, or all that match a filter.

        With `dryRun` it only says what would happen. At most 500 in one call; `nextCursor` goes on with the rest.
        """
        return await self._act(request, "replay")

    async def discard_dead_letters(self, request: Request) -> Reply:
        """Give dead letters up for good. A run that waits for one of them is cancelled, so that no course waits for ever.

        With `dryRun` it only says what would happen. At most 500 in one call; `nextCursor` goes on with the rest.
        """
        return await self._act(request, "discard")

    async def _act(self, request: Request, action: Action) -> Reply:
        body = await request.read_json(DeadLetterBody)
        author = Author.of(request.principal, request.request_id)
        return struct_reply(await self._letters.act(author, action, body))


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign that nobody encoded
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"`{name}` must lie in the years 1 to 9999 of UTC.", field=name) from error
    except ValueError as error:
        raise _no_moment(name) from error
    raise _no_moment(name)


def _no_moment(name: str) -> InvalidInput:
    return InvalidInput(f"`{name}` must be a moment with its zone, such as 2026-01-31T12:00:00Z.", field=name)
