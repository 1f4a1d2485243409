"""Queues: shown, looked into, paused, resumed (contract.md s)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from services.api.admin.audit import Author
from services.api.admin.models import JobPage, JobState, PauseBody, QueueControlReply, QueueList
from services.api.admin.queues import QueueDesk
from services.api.cursors import page_size
from services.api.messages import Reply, Request, struct_reply
from services.api.routes.admin import PAGING, admin_operation, chosen
from services.api.routing import Answer, Operation, QueryParameter
from services.kernel.errors import InvalidInput

LARGEST_OFFSET: Final = 1_000_000
"""Jobs that can be passed over."""

_STATES: Final = get_args(JobState)
_LOOKING: Final = (
    PAGING[0],
    QueryParameter("state", "where the jobs are", {"type": "string", "enum": list(_STATES), "default": "waiting"}),
    QueryParameter(
        "offset",
        "`nextOffset` of the page before",
        {"type": "integer", "minimum": 0, "maximum": LARGEST_OFFSET, "default": 0},
    ),
)


class QueueRoutes:
    """The routes about queues."""

    def __init__(self, desk: QueueDesk) -> None:
        self._desk = desk

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        said = Answer("Whether it is paused now", QueueControlReply)
        return [
            admin_operation("GET", "queues", self.queues, Answer("Every queue", QueueList)),
            admin_operation(
                "GET",
                "queues/{queue}/jobs",
                self.queue_jobs,
                Answer("A page of jobs", JobPage),
                query=_LOOKING,
                errors=(404,),
            ),
            admin_operation("POST", "queues/{queue}/pause", self.pause_queue, said, accepts=PauseBody, errors=(404,)),
            admin_operation("POST", "queues/{queue}/resume", self.resume_queue, said, accepts=PauseBody, errors=(404,)),
        ]

    async def queues(self, request: Request) -> Reply:
        """Show every queue: what waits by priority, what runs, what is dead, who serves it, whether it is paused."""
        del request
        return struct_reply(await self._desk.overview())

    async def queue_jobs(self, request: Request) -> Reply:
        """List a queue's jobs in one state, with status and priority, in the order in which they will be served."""
        query = request.query()
        state: JobState = chosen(query, "state", _STATES) or "waiting"  # type: ignore[assignment]
        return struct_reply(await self._desk.jobs(request.path["queue"], state, page_size(query), _offset(query)))

    async def pause_queue(self, request: Request) -> Reply:
        """Have workers take nothing more from a queue. What runs goes on, what waits stays, nothing is lost."""
        return await self._set(request, paused=True)

    async def resume_queue(self, request: Request) -> Reply:
        """Let workers take from a queue again."""
        return await self._set(request, paused=False)

    async def _set(self, request: Request, *, paused: bool) -> Reply:
        body = await request.read_json(PauseBody)
        author = Author.of(request.principal, request.request_id)
        queue = request.path["queue"]
        return struct_reply(await self._desk.set_paused(author, queue, paused=paused, reason=body.reason))


def _offset(query: Mapping[str, str]) -> int:
    text = query.get("offset", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and int(text) <= LARGEST_OFFSET):
        raise InvalidInput(f"`offset` must be a number from 0 to {LARGEST_OFFSET}.", field="offset")
    return int(text)
