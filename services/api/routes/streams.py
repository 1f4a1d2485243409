"""The streams of messages for administrators: who persists them, what is dead, more partitions (contract.md t)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from services.api.admin.audit import Author
from services.api.admin.stream_models import (
    ENTRY_PATTERN,
    DeadMessageOutcome,
    DeadMessagePage,
    DiscardedMessageOutcome,
    DiscardMessagesBody,
    PartitionCountBody,
    PartitionCountReply,
    ReplayMessagesBody,
    StreamReply,
)
from services.api.admin.streams import StreamDesk
from services.api.cursors import page_size
from services.api.messages import Reply, Request, struct_reply
from services.api.routes.admin import PAGING, admin_operation
from services.api.routing import Answer, Operation
from services.kernel.errors import InvalidInput

_ENTRY: Final = re.compile(ENTRY_PATTERN.removesuffix("$") + r"\Z", re.ASCII)


class StreamRoutes:
    """The routes about the streams of messages."""

    def __init__(self, desk: StreamDesk) -> None:
        self._desk = desk

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            admin_operation("GET", "messages", self.message_streams, Answer("The streams", StreamReply)),
            admin_operation(
                "GET",
                "messages/dead-letters",
                self.dead_messages,
                Answer("A page of dead letters", DeadMessagePage),
                query=PAGING,
            ),
            admin_operation(
                "POST",
                "messages/dead-letters/replay",
                self.replay_dead_messages,
                Answer("How many went back", DeadMessageOutcome),
                accepts=ReplayMessagesBody,
            ),
            admin_operation(
                "POST",
                "messages/dead-letters/discard",
                self.discard_dead_messages,
                Answer("How many are gone", DiscardedMessageOutcome),
                accepts=DiscardMessagesBody,
            ),
            admin_operation(
                "PUT",
                "messages/partitions",
                self.divide_partitions,
                Answer("How many there are", PartitionCountReply),
                accepts=PartitionCountBody,
            ),
        ]

    async def message_streams(self, request: Request) -> Reply:
        """Show the partitions of the stream of messages: what waits in each, who persists it, how many are dead."""
        del request
        return struct_reply(await self._desk.overview())

    async def dead_messages(self, request: Request) -> Reply:
        """List messages that could not be persisted, the oldest first, with the reason and without what they say."""
        query = request.query()
        return struct_reply(await self._desk.dead_letters(_after(query), page_size(query)))

    async def replay_dead_messages(self, request: Request) -> Reply:
        """Put dead letters back into the stream, each once: those named, or all that are there now.

        A message that is replayed comes after those of its conversation that were accepted meanwhile. A letter with the reason
        `missing` stays, and is answered among the `missing`: nothing is left of its entry.
        """
        body = await request.read_json(ReplayMessagesBody)
        author = Author.of(request.principal, request.request_id)
        return struct_reply(await self._desk.replay(author, body.ids))

    async def discard_dead_messages(self, request: Request) -> Reply:
        """Remove dead letters that are no message: those named, or all that are there now. A message stays: replay it."""
        body = await request.read_json(DiscardMessagesBody)
        author = Author.of(request.principal, request.request_id)
        return struct_reply(await self._desk.discard(author, body.ids))

    async def divide_partitions(self, request: Request) -> Reply:
        """Have twice as many partitions, in one step and while everything runs; every conversation keeps its order.

        They cannot be made fewer. Afterwards set STREAM_PARTITIONS to the same number, for a Redis that comes back empty.
        """
        body = await request.read_json(PartitionCountBody)
        author = Author.of(request.principal, request.request_id)
        return struct_reply(await self._desk.divide(author, body.partitions))


def _after(query: Mapping[str, str]) -> str:
    cursor = query.get("cursor", "")
    if cursor and not _ENTRY.match(cursor):
        raise InvalidInput("`cursor` must be the `nextCursor` of a page.", field="cursor")
    return cursor
