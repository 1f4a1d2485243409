"""The bodies of the requests that let browsers in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from services.api.auth import Principal


class TicketReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A ticket for one browser. It is shown this once."""

    ticket: str
    url: str
    """Open this in the browser. The ticket is in its fragment, which is sent to nobody."""
    expires_at: datetime


class SignInBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A ticket to exchange."""

    ticket: Annotated[str, Meta(min_length=1, max_length=200, description="from `POST /api/tickets`")]


class SessionReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who is signed in, and until when."""

    user_id: UUID
    organization_id: UUID | None
    tier: str
    is_admin: bool
    expires_at: datetime

    @classmethod
    def of(cls, caller: Principal) -> SessionReply:
        """The reply for a caller."""
        return cls(
            user_id=caller.user_id,
            organization_id=caller.organization_id,
            tier=caller.tier,
            is_admin=caller.is_admin,
            expires_at=caller.expires_at,
        )
