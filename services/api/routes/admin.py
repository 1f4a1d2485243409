"""What administrators see of the machine as a whole, and the record of what they did (contract.md s, GAP15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args
from uuid import UUID

from services.api.admin.audit import LATEST, Audit
from services.api.admin.models import (
    ActionPage,
    ActionReply,
    EventType,
    LeaderReply,
    OutboxReply,
    Severity,
    SystemEvent,
    SystemEventPage,
)
from services.api.admin.overview import LATEST as LATEST_EVENT
from services.api.admin.overview import Overview
from services.api.cursors import (
    DEFAULT_PAGE,
    LARGEST_PAGE,
    decode_position,
    decode_row,
    encode_position,
    encode_row,
    page_size,
)
from services.api.messages import Reply, Request, struct_reply
from services.api.routing import Answer, Operation, QueryParameter
from services.kernel.errors import InvalidInput

TAG: Final = "Administration"

PAGING: Final = (
    QueryParameter(
        "limit",
        "most things of the page",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": DEFAULT_PAGE},
    ),
    QueryParameter("cursor", "`nextCursor` of the page before", {"type": "string"}),
)
_TYPES: Final = get_args(EventType)
_SEVERITIES: Final = get_args(Severity)


def admin_operation(method: str, path: str, handler: Any, answer: Answer, **more: Any) -> Operation:
    """One method on a path below `/api/admin/`."""
    return Operation(
        method=method, path=f"/api/admin/{path}", handler=handler, tag=TAG, answers={200: answer}, admin=True, **more
    )


def chosen(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    """The query's `name`, if it is there.

    Raises:
        InvalidInput: it is none of `choices`.
    """
    value = query.get(name)
    if value is not None and value not in choices:
        raise InvalidInput(f"`{name}` must be one of {', '.join(choices)}.", field=name)
    return value


def identifier(query: Mapping[str, str], name: str) -> UUID | None:
    """The UUID that the query's `name` holds, if it is there.

    Raises:
        InvalidInput: it is no UUID.
    """
    value = query.get(name)
    try:
        return None if value is None else UUID(value)
    except ValueError as error:
        raise InvalidInput(f"`{name}` must be a UUID.", field=name) from error


class AdminRoutes:
    """The routes that show; none of them changes anything."""

    def __init__(self, overview: Overview, audit: Audit) -> None:
        self._overview = overview
        self._audit = audit

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            admin_operation("GET", "outbox", self.admin_outbox, Answer("What lies in the outbox", OutboxReply)),
            admin_operation("GET", "leader", self.admin_leader, Answer("Who relays", LeaderReply)),
            admin_operation(
                "GET",
                "actions",
                self.admin_actions,
                Answer("A page of actions", ActionPage),
                query=(
                    *PAGING,
                    QueryParameter("action", "only actions of this kind, such as `queue.pause`", {"type": "string"}),
                    QueryParameter("userId", "only of this administrator", {"type": "string", "format": "uuid"}),
                ),
            ),
            admin_operation(
                "GET",
                "events",
                self.admin_events,
                Answer("A page of critical events", SystemEventPage),
                query=(
                    *PAGING,
                    QueryParameter("type", "only events of this type", {"type": "string", "enum": list(_TYPES)}),
                    QueryParameter(
                        "severity", "only events of this severity", {"type": "string", "enum": list(_SEVERITIES)}
                    ),
                ),
            ),
        ]

    async def admin_outbox(self, request: Request) -> Reply:
        """Show what lies in the outbox: how much, for how long, what of it is dead."""
        del request
        return struct_reply(await self._overview.outbox())

    async def admin_leader(self, request: Request) -> Reply:
        """Show who relays, under which epoch, when it was last heard of, and who stands by."""
        del request
        return struct_reply(await self._overview.leader())

    async def admin_actions(self, request: Request) -> Reply:
        """List what administrators changed, the latest first: who, when, what, on what."""
        query = request.query()
        size = page_size(query)
        before = decode_position(query) or LATEST
        rows = await self._audit.page(before, query.get("action"), identifier(query, "userId"), size + 1)
        return struct_reply(
            ActionPage(
                actions=[ActionReply(**dict(row.items())) for row in rows[:size]],
                message=None if rows else "No action matches.",
                next_cursor=encode_position(rows[size - 1]["id"]) if len(rows) > size else None,
            )
        )

    async def admin_events(self, request: Request) -> Reply:
        """List critical events, the latest first: initiations given up, orphaned jobs recovered, limits hit."""
        query = request.query()
        size = page_size(query)
        event_type, severity = chosen(query, "type", _TYPES), chosen(query, "severity", _SEVERITIES)
        rows = await self._overview.events(event_type, severity, decode_row(query) or LATEST_EVENT, size + 1)
        last = rows[size - 1] if len(rows) > size else None
        return struct_reply(
            SystemEventPage(
                events=[SystemEvent(**dict(row.items())) for row in rows[:size]],
                message=None if rows else "No event matches.",
                next_cursor=None if last is None else encode_row(last["created_at"], last["id"]),
            )
        )
