"""Who a message is: its key, its id and the digest of what it says.

The id follows from the key and from nothing else. So a repeat gets the same id even when every memory of the first is lost,
and its row can never appear twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

ID_PREFIX: Final = "msg_"
ID_PATTERN: Final = "^msg_[a-z2-7]{26}$"
"""What a message's id looks like."""

_ID_BITS = 130
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
_SHIFTS = range(_ID_BITS - 10, -1, -10)
_DIGEST_LETTERS = 16


def idempotency_key(sender: str, conversation: str, client_id: str) -> str:
    """The key of a message: SHA-256 of the three, each with its length before it (GAP18), in hexadecimal."""
    return sha256(_joined((sender, conversation, client_id))).hexdigest()


def message_id(key: str) -> str:
    """The id that follows from a key: `msg_` and 130 bits of it in 26 letters and digits of base32."""
    number = int(key[:33], 16) >> 2
    return ID_PREFIX + "".join(
        [_PAIRS[number >> shift & 1023] for shift in _SHIFTS]
    )  # base64's takes ten times as long


def content_digest(content: str, content_type: str, recipients: Iterable[str]) -> str:
    """What tells two contents of one key apart; the order of the recipients means nothing."""
    return sha256(_joined((content, content_type, *sorted(recipients)))).hexdigest()[:_DIGEST_LETTERS]


def _joined(parts: Iterable[str]) -> bytes:
    raw = [part.encode() for part in parts]
    return b"".join([b"%d:%b" % (len(part), part) for part in raw])
