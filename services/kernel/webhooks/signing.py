"""Signatures of Standard Webhooks 1.0: HMAC-SHA256 over ``id.timestamp.body``, one per valid secret.

Ten lines of the standard library; `docs/decisions/0005-webhooks.md` says why no package does this. The tests check the
result with the standard's own package and its vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
"""How a secret begins when it is shown."""

_SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A secret as its receiver is shown it."""
    return PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode("ascii")


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature with one secret, in the form ``v1,<base64>``.

    Raises:
        ValueError: for an identifier with a dot, which would let two messages have the same signature.
    """
    if "." in message_id:
        raise ValueError("a webhook-id must not contain a dot")
    key = b64decode(secret.removeprefix(PREFIX), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")


def signed_headers(valid: Iterable[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery, signed with every valid secret, the newest first."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(each, message_id, timestamp, body) for each in valid),
    }
