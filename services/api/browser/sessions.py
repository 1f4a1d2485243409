"""Tickets and sessions: made, exchanged, found, ended.

Promises: a ticket is good for a minute and for one browser, however many try at once; a session ends when it is signed
out, when its time is over, or when the token expires that began it, whichever comes first; every process sees that at
once, because each request asks PostgreSQL. What has ended is swept by whoever comes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from services.api.auth import Principal
from services.api.browser.cookie import read_cookie
from services.api.browser.secrets import hashed, is_secret, new_secret
from services.api.browser.site import Site
from services.api.messages import Request
from services.kernel import metrics
from services.kernel.database import Database, Row
from services.kernel.errors import Forbidden, Unauthorized
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

TICKET_SECONDS: Final = 60
"""How long a ticket is good."""

_MOST_TICKETS: Final = 10
_MOST_SESSIONS: Final = 20
_HOW = "Ask for a new one: `coursegen admin open`, or POST /api/tickets."

_TICKETS = metrics.counter("browser_tickets", "Tickets for browsers, by what became of them", ["result"])
_QUERIES = Queries.load("services.api", "browser.sql")
_log = get_logger(__name__)


class TicketRefused(Unauthorized):
    """The ticket was used already, or is older than a minute."""

    code = "ticket_refused"

    def __init__(self) -> None:
        super().__init__(f"This ticket was used already, or is older than a minute. {_HOW}")


class SessionOver(Unauthorized):
    """The browser's session has ended."""

    code = "session_over"

    def __init__(self) -> None:
        super().__init__(f"You are signed out: the session has ended. A ticket lets you in. {_HOW}")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket, shown once."""

    secret: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """A new session: what the cookie will hold, and who it speaks for."""

    secret: str
    caller: Principal
    remaining_seconds: float


class Sessions:
    """The browsers that are let in."""

    def __init__(self, db: Database, site: Site, *, longest_seconds: float) -> None:
        self._db = db
        self._site = site
        self._longest_seconds = longest_seconds

    async def issue(self, caller: Principal) -> Ticket:
        """A ticket that lets one browser in as `caller`. Of those not used yet a user has ten; the oldest go.

        Raises:
            Forbidden: a browser asks; what a page can ask for, a script on it could carry away.
        """
        if caller.in_browser:
            raise Forbidden("A browser cannot let in another one; ask for a ticket with a token.")
        secret = new_secret()
        expires_at: datetime = await self._db.fetchval(
            _QUERIES["issue_ticket"],
            hashed(secret),
            caller.user_id,
            caller.organization_id,
            caller.tier,
            caller.is_admin,
            caller.expires_at,
            float(TICKET_SECONDS),
            _MOST_TICKETS,
        )
        _TICKETS.labels("issued").inc()
        _log.info("ticket issued", admin=caller.is_admin)
        return Ticket(secret, expires_at)

    async def redeem(self, ticket: str) -> Session:
        """A session for a ticket, which is then used up. A user has twenty sessions; the oldest end.

        Raises:
            TicketRefused: it is not good, or not any more.
        """
        if not is_secret(ticket):
            raise _refused("unknown", None)
        secret, key = new_secret(), hashed(ticket)
        row = await self._db.fetchrow(
            _QUERIES["redeem_ticket"], key, hashed(secret), self._longest_seconds, _MOST_SESSIONS
        )
        if row is None:
            raise _refused(*await self._reason(key))
        caller = _principal(row)
        _TICKETS.labels("redeemed").inc()
        until = caller.expires_at.isoformat(timespec="seconds")
        _log.info("browser signed in", userId=str(caller.user_id), admin=caller.is_admin, until=until)
        return Session(secret, caller, row["remaining_seconds"])

    async def caller(self, request: Request) -> Principal | None:
        """Who the request's cookie speaks for; None when there is no cookie of ours.

        Raises:
            SessionOver: there is one, but its session has ended.
            CrossSite: it would change something, and does not come from a page of ours.
        """
        secret = read_cookie(request, self._site.origin(request))
        if secret is None:
            return None
        row = await self._db.fetchrow(_QUERIES["live_session"], hashed(secret)) if is_secret(secret) else None
        if row is None:
            raise SessionOver
        self._site.require_own_page(request, by_cookie=True)
        return _principal(row)

    async def end(self, request: Request) -> bool:
        """Sign out the browser that asks; whether it was signed in.

        Raises:
            CrossSite: a page that is not ours asks.
        """
        secret = read_cookie(request, self._site.origin(request))
        if secret is None or not is_secret(secret):
            return False
        self._site.require_own_page(request, by_cookie=True)
        user: UUID | None = await self._db.fetchval(_QUERIES["end_session"], hashed(secret))
        if user is not None:
            _log.info("browser signed out", userId=str(user))
        return user is not None

    async def _reason(self, key: bytes) -> tuple[str, UUID | None]:
        row = await self._db.fetchrow(_QUERIES["refused_ticket"], key)
        if row is None:
            return "unknown", None
        return "expired" if row["used_at"] is None else "used", row["user_id"]


def _refused(reason: str, user: UUID | None) -> TicketRefused:
    _TICKETS.labels("refused").inc()
    _log.warning("ticket refused", reason=reason, userId=None if user is None else str(user))
    return TicketRefused()


def _principal(row: Row) -> Principal:
    return Principal(
        user_id=row["user_id"],
        tier=row["tier"],
        organization_id=row["organization_id"],
        is_admin=row["is_admin"],
        expires_at=row["expires_at"],
        in_browser=True,
    )
