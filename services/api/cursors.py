"""Cursors: where a page ended, as an opaque word."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from services.kernel.errors import InvalidInput

LARGEST_PAGE: Final = 100
"""Most things of one page."""

DEFAULT_PAGE: Final = 20
"""Things of one page when nobody asks for another number."""

_LARGEST_POSITION = 2**63 - 1


def page_size(query: Mapping[str, str]) -> int:
    """The number of things asked for.

    Raises:
        InvalidInput: when it is no number from 1 to 100.
    """
    text = query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= LARGEST_PAGE):
        raise InvalidInput(f"`limit` must be a number from 1 to {LARGEST_PAGE}.", field="limit")
    return int(text)


def encode_place(created_at: datetime, identifier: UUID) -> str:
    """The cursor for a list ordered by time and id."""
    return _encode(f"{created_at.isoformat()}|{identifier}")


def decode_place(query: Mapping[str, str]) -> tuple[datetime, UUID] | tuple[None, None]:
    """The place a list is to go on from; nothing when it is to begin.

    Raises:
        InvalidInput: when the cursor is not one of ours.
    """
    cursor = query.get("cursor")
    if cursor is None:
        return None, None
    moment, _, identifier = _decode(cursor).partition("|")
    try:
        created_at = datetime.fromisoformat(moment)
        place = created_at, UUID(identifier)
    except ValueError as error:
        raise _not_ours() from error
    if created_at.tzinfo is None:
        raise _not_ours()
    return place


def encode_position(position: int) -> str:
    """The cursor for a list ordered by position."""
    return _encode(str(position))


def decode_position(query: Mapping[str, str]) -> int:
    """The position a list is to go on after; 0 when it is to begin.

    Raises:
        InvalidInput: when the cursor is not one of ours.
    """
    cursor = query.get("cursor")
    if cursor is None:
        return 0
    text = _decode(cursor)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST_POSITION):
        raise _not_ours()
    return int(text)


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    if len(cursor) > 200:
        raise _not_ours()
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error


def _not_ours() -> InvalidInput:
    return InvalidInput("`cursor` must be a `nextCursor` of an earlier page, unchanged.", field="cursor")
