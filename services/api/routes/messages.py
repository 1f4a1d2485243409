"""Messages of conversations: sent, read, receipted (contract.md a.6, t)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from services.api.conversations.bodies import (
    AcceptedMessage,
    MessagePage,
    MessageReply,
    PostMessageBody,
    PostReceiptBody,
    ReceiptPage,
    ReceiptReply,
    UserReceipts,
)
from services.api.conversations.ingress import Ingress
from services.api.conversations.reading import Reading
from services.api.cursors import decode_name, decode_position, encode_name, encode_position, page_size
from services.api.messages import Reply, Request, struct_reply
from services.api.routing import Answer, Operation, QueryParameter
from services.kernel.errors import Forbidden
from services.kernel.messages.envelope import Envelope
from services.kernel.messages.identity import content_digest, idempotency_key, message_id
from services.kernel.messages.store import MessageStore

TAG: Final = "Messages"

_MESSAGE: Final = "/api/messages/{message}"
_RECEIPTS: Final = f"{_MESSAGE}/receipts"
_PAGING: Final = (
    QueryParameter(
        "limit", "most things of one page", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    ),
    QueryParameter("cursor", "`nextCursor` of the page before", {"type": "string"}),
)


class MessageRoutes:
    """The routes about messages."""

    def __init__(self, ingress: Ingress, reading: Reading, store: MessageStore, *, requires_token: bool) -> None:
        self._ingress = ingress
        self._reading = reading
        self._store = store
        self._optional = not requires_token

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            Operation(
                method="POST",
                path="/api/messages",
                handler=self.post_message,
                tag=TAG,
                optional_token=self._optional,
                accepts=PostMessageBody,
                answers={202: Answer("It is accepted, now or before", AcceptedMessage)},
                errors=(400, 403, 409),
            ),
            Operation(
                method="GET",
                path=_MESSAGE,
                handler=self.get_message,
                tag=TAG,
                optional_token=self._optional,
                answers={200: Answer("The message", MessageReply)},
                errors=(404,),
            ),
            Operation(
                method="GET",
                path="/api/conversations/{conversation:path}/messages",
                handler=self.list_messages,
                tag=TAG,
                optional_token=self._optional,
                query=_PAGING,
                answers={200: Answer("A page of the conversation", MessagePage)},
                errors=(400, 404),
            ),
            *self._receipt_operations(),
        ]

    def _receipt_operations(self) -> Sequence[Operation]:
        return (
            Operation(
                method="POST",
                path=_RECEIPTS,
                handler=self.post_receipt,
                tag=TAG,
                optional_token=self._optional,
                accepts=PostReceiptBody,
                answers={
                    201: Answer("It is noted", ReceiptReply),
                    200: Answer("It was noted before", ReceiptReply),
                },
                errors=(400, 403, 404),
            ),
            Operation(
                method="GET",
                path=_RECEIPTS,
                handler=self.list_receipts,
                tag=TAG,
                optional_token=self._optional,
                query=_PAGING,
                answers={200: Answer("A page of receipts", ReceiptPage)},
                errors=(400, 404),
            ),
        )

    async def post_message(self, request: Request) -> Reply:
        """Send a message.

        The same `clientMessageId` of the same sender in the same conversation is the same message: a repeat is answered with
        the same `messageId` and `idempotentHit: true`, also before the first is persisted, and changes nothing. A repeat that
        says something else is told so by `contentMismatch: true`. `pending` means: kept, and on its way to its row.
        """
        body = await request.read_json(PostMessageBody)
        _require_own_name(request, "senderId", body.sender_id)
        key = idempotency_key(body.sender_id, body.conversation_id, body.client_message_id)
        envelope = Envelope(
            id=message_id(key),
            key=key,
            conversation_id=body.conversation_id,
            sender_id=body.sender_id,
            content=body.content,
            content_type=body.content_type,
            client_message_id=body.client_message_id,
            recipient_ids=tuple(body.recipient_ids),
            correlation_id=request.request_id,
            digest=content_digest(body.content, body.content_type, body.recipient_ids),
        )
        acceptance = await self._ingress.accept(envelope)
        reply = AcceptedMessage(
            message_id=envelope.id,
            state=acceptance.state,
            accepted_at=acceptance.accepted_at,
            idempotent_hit=not acceptance.is_new,
        )
        if not acceptance.is_same:
            reply.content_mismatch = True
        return struct_reply(reply, 202)

    async def get_message(self, request: Request) -> Reply:
        """Show a message and how far it has come.

        `pending`: it waits for its row. `persisted`: it has one. `failed`: it could not be written and lies among the dead
        letters, `failureReason` says why. With a token: messages you have sent or are a recipient of.
        """
        return struct_reply(await self._reading.find(request.path["message"], _viewer(request)))

    async def list_messages(self, request: Request) -> Reply:
        """List a conversation's persisted messages, in their order.

        A page ends early when contents are long. With a token: messages you have sent or are a recipient of.
        """
        query = request.query()
        most, after = page_size(query), decode_position(query)
        conversation = request.path["conversation"]
        messages, last = await self._reading.page(conversation, after, most, _viewer(request))
        return struct_reply(MessagePage(messages=messages, next_cursor=None if last is None else encode_position(last)))

    async def post_receipt(self, request: Request) -> Reply:
        """Say that a user has received or read a message. Who has read it has received it; saying it again changes nothing."""
        body = await request.read_json(PostReceiptBody)
        _require_own_name(request, "userId", body.user_id)
        message = request.path["message"]
        await self._reading.require(message, _viewer(request))
        receipt = await self._store.add_receipt(message, body.user_id, body.state)
        reply = ReceiptReply(message_id=message, user_id=body.user_id, state=body.state, created_at=receipt.created_at)
        return struct_reply(reply, 201 if receipt.is_new else 200)

    async def list_receipts(self, request: Request) -> Reply:
        """List who has received and read a message, in the order of their ids."""
        query = request.query()
        most, after = page_size(query), decode_name(query)
        message = request.path["message"]
        await self._reading.require(message, _viewer(request))
        rows = await self._store.receipts(message, after, most + 1)
        receipts = [
            UserReceipts(user_id=row["userid"], delivered_at=row["deliveredat"], read_at=row["readat"])
            for row in rows[:most]
        ]
        return struct_reply(
            ReceiptPage(receipts=receipts, next_cursor=encode_name(receipts[-1].user_id) if len(rows) > most else None)
        )


def _viewer(request: Request) -> str | None:
    """The user who must have a part in what is shown; None when no token was sent, where that is allowed."""
    return None if request.caller is None else str(request.caller.user_id)


def _require_own_name(request: Request, field: str, user_id: str) -> None:
    """Refuse whoever speaks in another's name.

    Raises:
        Forbidden: the token is another user's.
    """
    viewer = _viewer(request)
    if viewer is not None and viewer != user_id:
        raise Forbidden(f"`{field}` must be the user of the token, `{viewer}`.", field=field)
