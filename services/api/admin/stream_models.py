"""The bodies of the admin endpoints about the streams of messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from services.kernel.messages.settings import MOST_PARTITIONS

ENTRY_PATTERN = r"^[0-9]{1,15}-[0-9]{1,15}$"

EntryId = Annotated[str, Meta(pattern=ENTRY_PATTERN, description="the `id` of a dead letter")]


class PartitionReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One partition of the stream."""

    partition: int
    lag: int | None
    """Entries that have no row yet; null while Redis does not answer."""
    owner: str | None
    """The worker that had it last."""
    epoch: int
    owned: bool
    """Whether the owner's lease holds."""


class PersistenceWorkerReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One persistence-worker that was seen within the hour."""

    node: str
    seen_at: datetime
    seen_age_seconds: float
    partitions: int
    """How many it owns."""
    alive: bool
    """Whether it was seen of late, or owns partitions: with long leases it is seen seldom."""


class StreamReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The streams of messages, and who persists them."""

    partitions: list[PartitionReply]
    workers: list[PersistenceWorkerReply]
    lag: int | None
    """Of all partitions; null while Redis does not answer."""
    dead_letters: int | None
    message: str | None
    """What is not known, and why; null otherwise."""
    read_at: datetime


class DeadMessageReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message that could not be persisted. What it says is not shown."""

    id: str
    """Its entry in `msg:dlq`."""
    entry: str
    """The entry of its partition that could not be persisted."""
    partition: int
    reason: str
    """`refused`, `undecodable`, `missing` or `crashes`."""
    detail: str | None
    attempts: int
    dead_since: datetime
    message_id: str | None
    """Null, as what follows, when it cannot be read."""
    conversation_id: str | None
    sender_id: str | None
    client_message_id: str | None


class DeadMessagePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of dead letters, the oldest first; `nextCursor` asks for the next one, null at the end."""

    dead_letters: list[DeadMessageReply]
    total: int
    message: str | None
    """Says so when there are none; null otherwise."""
    next_cursor: str | None


class _ChosenLetters(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    ids: Annotated[list[EntryId], Meta(min_length=1, max_length=500)] | None = None
    every: bool = msgspec.field(default=False, name="all")

    def __post_init__(self) -> None:
        if (self.ids is None) != self.every:
            raise ValueError("send either `ids` or `all: true`")


class ReplayMessagesBody(_ChosenLetters, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters go back into the stream: those named, or all that are there now."""


class DiscardMessagesBody(_ChosenLetters, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters are removed: those named, or all that are there now; of either only what is no message."""


class DeadMessageOutcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many dead letters went back."""

    replayed: int
    missing: list[str]
    """Named ones that are not there, or no more, and those of whose entry nothing is left (reason `missing`)."""


class DiscardedMessageOutcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many dead letters were removed."""

    discarded: int
    missing: list[str]
    """Named ones that are not there, or no more."""
    kept: list[str]
    """Named ones that are messages: they stay until they are replayed."""


class PartitionCountBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How many partitions there are to be: as many as there are, or twice as many."""

    partitions: Annotated[int, Meta(ge=1, le=MOST_PARTITIONS)]


class PartitionCountReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many partitions there are now."""

    partitions: int
    changed: bool
