"""A cursor is ours or it is refused."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.cursors import (
    LONGEST_CURSOR,
    decode_letter,
    decode_place,
    decode_position,
    decode_row,
    encode_letter,
    encode_place,
    encode_position,
    encode_row,
    page_size,
)
from services.kernel.errors import InvalidInput


def test_a_place_survives_the_way_there_and_back() -> None:
    """To the microsecond."""
    moment, identifier = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), uuid4()

    assert decode_place({"cursor": encode_place(moment, identifier)}) == (moment, identifier)
    assert decode_place({}) == (None, None)


@given(st.integers(0, 2**63 - 1))
def test_a_position_survives_too(position: int) -> None:
    """Every one."""
    assert decode_position({"cursor": encode_position(position)}) == position


def word(text: str) -> str:
    """A cursor somebody made up."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "a",
        "ÿ",
        "x" * (LONGEST_CURSOR + 1),
        word("x"),
        word("|"),
        word("2026-01-01T00:00:00|77777777-7777-4777-8777-777777777777"),
        word("2026-01-01T00:00:00+00:00|x"),
        word("0001-01-01T00:00:00+14:00|77777777-7777-4777-8777-777777777777"),
    ],
)
def test_a_made_up_place_is_refused(cursor: str) -> None:
    """Also one without a time zone."""
    with pytest.raises(InvalidInput, match="nextCursor"):
        decode_place({"cursor": cursor})


def test_rows_and_letters_have_places_too() -> None:
    """Of a number, of a name; none where the list begins."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    assert decode_row({"cursor": encode_row(moment, 2**63 - 1)}) == (moment, 2**63 - 1)
    assert decode_letter(encode_letter(moment, "queue:a|b/c")) == (moment, "queue:a|b/c")
    assert decode_row({}) is None
    assert decode_letter(None) is None
    with pytest.raises(InvalidInput, match="nextCursor"):
        decode_row({"cursor": word("2026-01-01T00:00:00+00:00|-1")})
    with pytest.raises(InvalidInput, match="nextCursor"):
        decode_letter(word("yesterday|x"))


@pytest.mark.parametrize("cursor", ["", "!", word("x"), word("-1"), word("9" * 19), word("9" * 30), word("٣")])
def test_a_made_up_position_is_refused(cursor: str) -> None:
    """Also one beyond 64 bits."""
    with pytest.raises(InvalidInput, match="nextCursor"):
        decode_position({"cursor": cursor})


@pytest.mark.parametrize("limit", ["", "0", "-1", "101", "1.5", "x", "٣", "1000000000000", " 5"])
def test_a_page_has_one_to_a_hundred_things(limit: str) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidInput, match="limit"):
        page_size({"limit": limit})


def test_a_page_has_twenty_things_by_default() -> None:
    """And as many as asked for."""
    assert (page_size({}), page_size({"limit": "1"}), page_size({"limit": "100"})) == (20, 1, 100)
