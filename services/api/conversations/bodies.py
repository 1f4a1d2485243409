"""The bodies of requests and answers about messages. The OpenAPI description is made from these types."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.kernel.messages.accepting import State

LONGEST_NAME: Final = 200
"""Most characters of an id that a client chooses."""
MOST_RECIPIENTS: Final = 100

_CONTROL: Final = re.compile("[\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]")
_NAME_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
_UUID: Final = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TYPE_PATTERN: Final = r"^[a-z][a-z0-9.+/_-]{0,63}$"

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME, pattern=_NAME_PATTERN)]
"""An id that a client chooses."""
ContentType = Annotated[
    str, Meta(pattern=_TYPE_PATTERN, description="what the content is written in, such as `text` or `markdown`")
]
ReceiptState = Literal["delivered", "read"]


def is_name(text: str) -> bool:
    """Whether a text may be an id that a client chooses."""
    return 1 <= len(text) <= LONGEST_NAME and _CONTROL.search(text) is None


def as_written_in_tokens(name: str) -> str:
    """A user's UUID in small letters, as the api compares it with a token's; any other name as it is."""
    return name.lower() if _UUID.fullmatch(name) else name


class PostMessageBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message. `clientMessageId` is the sender's own id for it: the same one again is a repeat."""

    conversation_id: Name
    sender_id: Name
    content: Annotated[str, Meta(min_length=1)]
    content_type: ContentType = "text"
    client_message_id: Name
    recipient_ids: Annotated[list[Name], Meta(max_length=MOST_RECIPIENTS, extra_json_schema={"uniqueItems": True})] = []

    def __post_init__(self) -> None:
        _check_names(self.conversation_id, self.sender_id, self.client_message_id, *self.recipient_ids)
        if self.content_type[-1] == "\n":  # a pattern's end lets one through
            raise ValueError("contentType must not end with a line break")
        msgspec.structs.force_setattr(
            self, "recipient_ids", [as_written_in_tokens(each) for each in self.recipient_ids]
        )
        if len(set(self.recipient_ids)) != len(self.recipient_ids):
            raise ValueError("recipientIds must not name anybody twice")


class AcceptedMessage(msgspec.Struct, kw_only=True, rename="camel"):
    """A message that was accepted. A repeat carries `idempotentHit: true`, and `contentMismatch` if it says something else."""

    message_id: str
    state: State
    accepted_at: datetime
    idempotent_hit: bool
    content_mismatch: Literal[True] | UnsetType = UNSET


class MessageReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message as it is now."""

    message_id: str
    conversation_id: str
    sender_id: str
    content: str | None
    content_type: str
    client_message_id: str | None
    recipient_ids: list[str]
    state: State
    accepted_at: datetime
    persisted_at: datetime | None
    failure_reason: str | None = None


class MessagePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of a conversation; `nextCursor` asks for the next one, null at the end."""

    messages: list[MessageReply]
    next_cursor: str | None


class PostReceiptBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """That a user has received or read a message."""

    user_id: Name
    state: ReceiptState

    def __post_init__(self) -> None:
        _check_names(self.user_id)


class ReceiptReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A receipt, with the time of when it was first sent."""

    message_id: str
    user_id: str
    state: ReceiptState
    created_at: datetime


class UserReceipts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Since when one user has received and read a message; null for not yet."""

    user_id: str
    delivered_at: datetime | None
    read_at: datetime | None


class ReceiptPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who has received and read a message; `nextCursor` asks for the next page, null at the end."""

    receipts: list[UserReceipts]
    next_cursor: str | None


def _check_names(*texts: str) -> None:
    for text in texts:
        if _CONTROL.search(text) is not None:
            raise ValueError("an id must not contain line breaks or control characters")
