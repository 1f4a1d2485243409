"""`/api/tickets` and `/api/sessions`: a token lets a browser in, without the browser ever seeing it."""

from __future__ import annotations

from typing import Final

from services.api.browser.cookie import drop_cookie, set_cookie
from services.api.browser.models import SessionReply, SignInBody, TicketReply
from services.api.browser.sessions import Sessions
from services.api.browser.site import Site
from services.api.messages import Reply, Request, struct_reply
from services.api.routing import Answer, Operation

TAG: Final = "Browsers"
PAGE: Final = "/admin"
"""The page that takes a ticket out of its address."""


class TicketRoutes:
    """Tickets, and the sessions they are exchanged for."""

    def __init__(self, sessions: Sessions, site: Site) -> None:
        self._sessions = sessions
        self._site = site

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        tickets, sessions = "/api/tickets", "/api/sessions"
        return [
            Operation(
                method="POST",
                path=tickets,
                handler=self.issue_ticket,
                tag=TAG,
                answers={201: Answer("The ticket", TicketReply)},
                errors=(403,),
            ),
            Operation(
                method="POST",
                path=sessions,
                handler=self.sign_in,
                tag=TAG,
                accepts=SignInBody,
                answers={201: Answer("Signed in; the cookie is set", SessionReply)},
                errors=(401, 403),
                public=True,
            ),
            Operation(
                method="GET",
                path=sessions,
                handler=self.whoami,
                tag=TAG,
                answers={200: Answer("The caller", SessionReply)},
            ),
            Operation(
                method="DELETE",
                path=sessions,
                handler=self.sign_out,
                tag=TAG,
                answers={204: Answer("Signed out; the cookie is gone")},
                errors=(403,),
                public=True,
            ),
        ]

    async def issue_ticket(self, request: Request) -> Reply:
        """Make a ticket that lets one browser in as you.

        It is good for 60 seconds and for one use. Only a token's holder gets one, not a browser that is signed in.
        """
        ticket = await self._sessions.issue(request.principal)
        url = f"{self._site.origin(request)}{PAGE}#ticket={ticket.secret}"
        return struct_reply(TicketReply(ticket=ticket.secret, url=url, expires_at=ticket.expires_at), 201)

    async def sign_in(self, request: Request) -> Reply:
        """Exchange a ticket for a cookie that speaks for you like your token, until the token expires or you sign out.

        The cookie is HttpOnly and SameSite=Strict, and Secure on https. What changes something needs more than the cookie:
        an `Origin` or `Sec-Fetch-Site` that names this site, which browsers send by themselves.
        """
        self._site.require_own_page(request, by_cookie=False)
        body = await request.read_json(SignInBody)
        session = await self._sessions.redeem(body.ticket)
        cookie = set_cookie(self._site.origin(request), session.secret, session.remaining_seconds)
        return struct_reply(SessionReply.of(session.caller), 201, headers=(cookie,))

    async def whoami(self, request: Request) -> Reply:
        """Say who is calling, by token or by cookie, and until when."""
        return struct_reply(SessionReply.of(request.principal))

    async def sign_out(self, request: Request) -> Reply:
        """End the session of the browser that asks. Doing so twice is no mistake."""
        await self._sessions.end(request)
        return Reply(204, headers=(drop_cookie(self._site.origin(request)),))
