"""Cursors: where a page ended, as an opaque word."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from services.kernel.errors import InvalidInput

LARGEST_PAGE: Final = 100
"""Most things of one page."""

DEFAULT_PAGE: Final = 20
"""Things of one page when nobody asks for another number."""

LONGEST_CURSOR: Final = 1200
"""Most characters of a cursor."""

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
        return _moment(moment), UUID(identifier)
    except ValueError as error:
        raise _not_ours() from error


def encode_row(created_at: datetime, number: int) -> str:
    """The cursor for a list ordered by time and a number."""
    return _encode(f"{created_at.isoformat()}|{number}")


def decode_row(query: Mapping[str, str]) -> tuple[datetime, int] | None:
    """The place such a list is to go on from; None when it is to begin.

    Raises:
        InvalidInput: when the cursor is not one of ours.
    """
    cursor = query.get("cursor")
    if cursor is None:
        return None
    moment, _, number = _decode(cursor).partition("|")
    return _moment(moment), _number(number)


def encode_letter(moment: datetime, name: str) -> str:
    """The cursor for a list ordered by time and a name."""
    return _encode(f"{moment.isoformat()}|{name}")


def decode_letter(cursor: str | None) -> tuple[datetime, str] | None:
    """The place such a list is to go on from; None when it is to begin.

    Raises:
        InvalidInput: when the cursor is not one of ours.
    """
    if cursor is None:
        return None
    moment, _, name = _decode(cursor).partition("|")
    return _moment(moment), name


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
    return _number(_decode(cursor))


def encode_name(name: str) -> str:
    """The cursor for a list ordered by name."""
    return _encode(name)


def decode_name(query: Mapping[str, str]) -> str:
    """The name such a list is to go on after; the empty one, which comes before all, when it is to begin.

    Raises:
        InvalidInput: when the cursor is not one of ours.
    """
    cursor = query.get("cursor")
    if cursor is None:
        return ""
    name = _decode(cursor)
    if "\x00" in name:
        raise _not_ours()
    return name


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # a zone can push a moment out of the calendar
        raise _not_ours() from error
    raise _not_ours()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST_POSITION):
        raise _not_ours()
    return int(text)


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    if len(cursor) > LONGEST_CURSOR:
        raise _not_ours()
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error


def _not_ours() -> InvalidInput:
    return InvalidInput("`cursor` must be a `nextCursor` of an earlier page, unchanged.", field="cursor")
