"""Messages as they are now: a row, an entry that waits for its row, or a dead letter; and who may see them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.api.conversations.bodies import MessageReply, is_name
from services.kernel.database import Row
from services.kernel.errors import BrokerUnavailable, NotFound, RedisOccupied
from services.kernel.messages.accepting import Found
from services.kernel.messages.identity import ID_PATTERN
from services.kernel.messages.payloads import Payloads
from services.kernel.messages.store import MessageStore
from services.kernel.messages.transport import Entrance

LOOKING_AT_ONCE: Final = 8
"""Readers who ask Redis at the same time; more wait, so that they never take all its connections from those who write."""

_ID: Final = re.compile(ID_PATTERN.removesuffix("$"))
_UNKNOWN: Final = "There is no such message; its id is the `messageId` that its sender was answered with."


class Reading:
    """Finds messages for whoever may see them."""

    def __init__(
        self,
        entrance: Entrance,
        store: MessageStore,
        payloads: Payloads,
        *,
        patience_seconds: float,
        uses_stream: bool = True,
    ) -> None:
        """Find messages in `store` and, those without a row, at `entrance`.

        Args:
            entrance: waited for at most `patience_seconds`.
            store: has those with a row.
            payloads: has long contents.
            patience_seconds: longest wait for `entrance`.
            uses_stream: whether messages go through it; else one that is another installation's knows of none.
        """
        self._uses_stream = uses_stream
        self._patience_seconds = patience_seconds
        self._entrance = entrance
        self._store = store
        self._payloads = payloads
        self._looking = asyncio.Semaphore(LOOKING_AT_ONCE)

    async def find(self, message_id: str, viewer: str | None) -> MessageReply:
        """One message.

        Args:
            message_id: its id.
            viewer: the user who must have sent or received it; None for anybody.

        Raises:
            NotFound: there is none that the viewer may see.
            DatabaseUnavailable, BrokerUnavailable: whoever would know does not answer.
        """
        row = await self._row(message_id, viewer)
        return await self._without_row(message_id, viewer) if row is None else (await self.replies([row]))[0]

    async def require(self, message_id: str, viewer: str | None) -> None:
        """Return when there is such a message that the viewer may see, as `find`, without its content."""
        if await self._row(message_id, viewer) is None:
            await self._without_row(message_id, viewer)

    async def page(
        self, conversation_id: str, after: int, most: int, viewer: str | None
    ) -> tuple[list[MessageReply], int | None]:
        """Messages of a conversation after a position, in order, and the position of the last one if there are more.

        Of those the viewer has sent or received: whoever sends something to a conversation sees no more of it for that.

        Raises:
            NotFound: nothing of it is persisted, or nothing that the viewer has sent or received.
        """
        if not is_name(conversation_id) or not await self._store.exists(conversation_id, viewer):
            raise NotFound(
                "There is no such conversation, or none of its messages is persisted yet; ask again in a moment."
            )
        rows, goes_on = await self._store.page(conversation_id, after, most, viewer)
        return await self.replies(rows), rows[-1]["position"] if goes_on else None

    async def replies(self, rows: Sequence[Row]) -> list[MessageReply]:
        """The rows as they are answered, long contents put back in."""
        keys = [row["payloadkey"] for row in rows if row["content"] is None]
        contents = await self._payloads.get(keys) if keys else {}
        return [_of_row(row, contents) for row in rows]

    async def _row(self, message_id: str, viewer: str | None) -> Row | None:
        """A message's row, if it has one; whoever may not see it is told what is told of an unknown one."""
        if not _ID.fullmatch(message_id):
            raise NotFound(_UNKNOWN)
        row = await self._store.find(message_id)
        if row is not None:
            _require_part(viewer, row["senderid"], row["recipientids"])
        return row

    async def _without_row(self, message_id: str, viewer: str | None) -> MessageReply:
        """What Redis knows of a message: that it waits, or that it has failed."""
        found = await self._look(message_id)
        if found is None:
            raise NotFound(_UNKNOWN)
        return await self._of_envelope(found, viewer)

    async def _look(self, message_id: str) -> Found | None:
        """Ask Redis. Waiting for one's turn counts: behind others who wait in vain, it would last as long for each of them."""
        try:
            async with asyncio.timeout(self._patience_seconds), self._looking:
                return await self._entrance.find(message_id)
        except TimeoutError as error:
            raise BrokerUnavailable("Redis does not answer in time") from error
        except RedisOccupied:
            if self._uses_stream:
                raise
            return None

    async def _of_envelope(self, found: Found, viewer: str | None) -> MessageReply:
        envelope = found.envelope
        _require_part(viewer, envelope.sender_id, envelope.recipient_ids)
        content = envelope.content
        if content is None and envelope.payload_key is not None:
            content = (await self._payloads.get([envelope.payload_key])).get(envelope.payload_key)
        return MessageReply(
            message_id=envelope.id,
            conversation_id=envelope.conversation_id,
            sender_id=envelope.sender_id,
            content=content,
            content_type=envelope.content_type,
            client_message_id=envelope.client_message_id,
            recipient_ids=list(envelope.recipient_ids),
            state="pending" if found.failure is None else "failed",
            accepted_at=found.accepted_at,
            persisted_at=None,
            failure_reason=found.failure,
        )


def _require_part(viewer: str | None, sender: str, recipients: Sequence[str]) -> None:
    if viewer is not None and viewer != sender and viewer not in recipients:
        raise NotFound(_UNKNOWN)


def _of_row(row: Row, contents: Mapping[str, Any]) -> MessageReply:
    return MessageReply(
        message_id=row["id"],
        conversation_id=row["conversationid"],
        sender_id=row["senderid"],
        content=row["content"] if row["content"] is not None else contents.get(row["payloadkey"]),
        content_type=row["contenttype"],
        client_message_id=row["clientmessageid"],
        recipient_ids=list(row["recipientids"]),
        state="persisted",
        accepted_at=row["createdat"],
        persisted_at=row["persistedat"],
    )
