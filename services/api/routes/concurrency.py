"""Courses at once: counters with their drift, limits that can be changed while everything runs (contract.md e)."""

from __future__ import annotations

from services.api.admin.audit import Author
from services.api.admin.concurrency import ConcurrencyDesk
from services.api.admin.models import ConcurrencyReply, LimitBody, LimitReply, ReconcileReply
from services.api.messages import Reply, Request, struct_reply
from services.api.routes.admin import admin_operation
from services.api.routing import Answer, Operation


class ConcurrencyRoutes:
    """The routes about courses at once."""

    def __init__(self, desk: ConcurrencyDesk) -> None:
        self._desk = desk

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            admin_operation("GET", "concurrency", self.concurrency, Answer("Counters and limits", ConcurrencyReply)),
            admin_operation(
                "PUT", "limits/{scope}", self.set_limit, Answer("The limit now", LimitReply), accepts=LimitBody
            ),
            admin_operation("POST", "concurrency/reconcile", self.reconcile, Answer("What was wrong", ReconcileReply)),
        ]

    async def concurrency(self, request: Request) -> Reply:
        """Show how many courses run, what the counters say, how far they are off, and the limits."""
        del request
        return struct_reply(await self._desk.view())

    async def set_limit(self, request: Request) -> Reply:
        """Change a limit while everything runs; `slots: null` goes back to what is configured.

        Courses that run already go on; every api follows within about a second.
        """
        body = await request.read_json(LimitBody)
        author = Author.of(request.principal, request.request_id)
        return struct_reply(await self._desk.set_limit(author, request.path["scope"], body.slots))

    async def reconcile(self, request: Request) -> Reply:
        """Count all courses anew from PostgreSQL, now. It happens by itself every five minutes."""
        return struct_reply(await self._desk.reconcile(Author.of(request.principal, request.request_id)))
