"""Names for the identifiers that travel through the system, so that one is never taken for another."""

from __future__ import annotations

import secrets
from typing import NewType
from uuid import UUID

CourseId = NewType("CourseId", UUID)
UserId = NewType("UserId", UUID)
OrganizationId = NewType("OrganizationId", UUID)
OutboxId = NewType("OutboxId", UUID)
"""The outbox row, the queued job and the effect share this one identifier (contract.md D37)."""
DocumentId = NewType("DocumentId", UUID)
RequestId = NewType("RequestId", str)

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_request_id() -> RequestId:
    """A short random identifier: 16 letters and digits, 95 bits (contract.md q)."""
    # One call of the system for all letters: 62 does not divide 256, which only makes some letters a little likelier.
    return RequestId("".join([_ALPHABET[byte % 62] for byte in secrets.token_bytes(16)]))
