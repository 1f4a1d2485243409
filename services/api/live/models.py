"""The messages of a stream as the description tells them; on the wire each is a block of server-sent events.

`data` is compact JSON: of a `state` what the history shows, of a `progress` what check-status answers, else the reason.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.api.live.places import PATTERN


def _content(schema: dict[str, Any]) -> Meta:
    return Meta(extra_json_schema={"contentMediaType": "application/json", "contentSchema": schema})


def _reasons(*reasons: str) -> Meta:
    names = {"type": "string", "enum": list(reasons)}
    return _content({"type": "object", "required": ["reason"], "properties": {"reason": names}})


Id = Annotated[str, Meta(pattern=PATTERN, description="what to send as `Last-Event-ID` to go on after this message")]


class StateMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="state"):
    """The course has moved: one message for each event of its history that moved it."""

    id: Id
    data: Annotated[str, _content({"$ref": "#/components/schemas/EventReply"})]


class ProgressMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="progress"):
    """How far the course has come."""

    id: Id
    data: Annotated[str, _content({"$ref": "#/components/schemas/CheckStatus"})]


class EndMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="end"):
    """All is told. A reader who comes back with this id is answered 204."""

    id: Id | UnsetType = UNSET
    data: Annotated[str, _reasons("completed", "cancelled", "error", "deleted")]


class ClosingMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="closing"):
    """This stream ends and the story does not: come back with the last id."""

    data: Annotated[str, _reasons("stopping", "token_expired", "renew", "too_slow", "not_yours", "failed")]


StreamMessage = StateMessage | ProgressMessage | EndMessage | ClosingMessage
"""Any message of a stream."""
