"""The envelope: a message on its way from its acceptance to its row.

It is JSON, so that people can read what waits in a stream, in the one field `envelope` of an entry. When the message was
accepted is not in it: that is the entry's own time, by the clock of Redis, and `accepted_at` reads it from the entry's id. So
whoever accepts and whoever persists cannot differ, and no clock of another machine matters.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from services.kernel.errors import PermanentError, RetryableError

VERSION: Final = 1
"""The version this code writes and the only one it reads."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENTRY_ID: Final = re.compile(rb"[0-9]{1,14}-[0-9]+")
_LONGEST_ID: Final = 40


class Undecodable(PermanentError):
    """The entry holds no envelope that this version can read."""

    code = "undecodable"


class LaterVersion(RetryableError):
    """The envelope is of a later version than this process reads: one of a later release reads it."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One message. `content` is None when it is long: then `payload_key` says where it lies."""

    v: int = VERSION
    id: str
    key: str
    conversation_id: str
    sender_id: str
    content: str | None
    payload_key: str | None = None
    content_type: str
    client_message_id: str
    recipient_ids: tuple[str, ...] = ()
    correlation_id: str | None = None
    digest: str

    def put_aside(self, payload_key: str) -> Envelope:
        """The same message with its content elsewhere."""
        return msgspec.structs.replace(self, content=None, payload_key=payload_key)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


class _Versioned(msgspec.Struct):
    v: int = VERSION


_version_decoder = msgspec.json.Decoder(_Versioned)


def encode(envelope: Envelope) -> bytes:
    """The envelope's JSON."""
    return _encoder.encode(envelope)


def decode(body: bytes) -> Envelope:
    """The envelope in `body`. Names nobody knows are ignored.

    Raises:
        Undecodable: it is none, holds no content, or text that PostgreSQL cannot hold.
        LaterVersion: it is one that a later release has written.
    """
    try:
        envelope = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _require_no_later(_version_of(body))
        raise Undecodable(f"The entry holds no envelope: {error}.") from error
    _require_no_later(envelope.v)
    if envelope.v != VERSION:
        raise Undecodable(f"The envelope is of version {envelope.v}; this process reads version {VERSION}.")
    if envelope.content is None and envelope.payload_key is None:
        raise Undecodable("The envelope has neither a content nor a place where one lies.")
    if b"\\u0000" in body and _holds_nul(envelope):
        raise Undecodable("The envelope contains a NUL character, which PostgreSQL cannot hold.")
    return envelope


def _version_of(body: bytes) -> int:
    """The version of what cannot be read as an envelope of ours; ours when it has none."""
    try:
        return _version_decoder.decode(body).v
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return VERSION


def _require_no_later(version: int) -> None:
    if version > VERSION:
        raise LaterVersion(f"The envelope is of version {version}; this process reads version {VERSION}.")


def _holds_nul(envelope: Envelope) -> bool:
    texts = (text for text in msgspec.structs.astuple(envelope) if isinstance(text, str))
    return any("\x00" in text for text in (*texts, *envelope.recipient_ids))


def accepted_at(entry_id: str) -> datetime:
    """When the entry of this id was accepted: the milliseconds before its dash."""
    return _EPOCH + timedelta(milliseconds=int(entry_id.partition("-")[0]))


def first_accepted(said: bytes | None, entry_id: str) -> str:
    """The id under which an entry was first accepted: what its field `accepted` says, if that can be; else its own.

    Only a replay writes that field. The scripts judge it likewise (fence.lua).
    """
    return said.decode() if said is not None and len(said) <= _LONGEST_ID and _ENTRY_ID.fullmatch(said) else entry_id
