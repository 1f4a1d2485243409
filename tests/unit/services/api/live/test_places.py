"""The ids of the stream's messages."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.live.places import PATTERN, Place, stamp_of
from services.kernel.errors import InvalidInput


@given(
    st.integers(0, 10**18 - 1),
    st.datetimes(datetime(1971, 1, 1), datetime(5000, 1, 1), timezones=st.just(UTC)),
    st.booleans(),
)
def test_an_id_names_its_place_exactly(position: int, moment: datetime, is_end: bool) -> None:
    """To the microsecond, there and back."""
    place = Place(position, stamp_of(moment), is_end)

    assert Place.parse(str(place)) == place
    assert place.moment == moment
    assert re.fullmatch(PATTERN, str(place))


def test_a_place_without_progress_has_no_moment() -> None:
    """It is told anew."""
    assert Place.parse("7:0") == Place(7)
    assert Place(7).moment is None


@given(st.text())
def test_anything_else_is_refused_or_understood(text: str) -> None:
    """Nothing between the two."""
    try:
        place = Place.parse(text)
    except InvalidInput:
        assert not re.fullmatch(PATTERN, text)
    else:
        assert re.fullmatch(PATTERN, text)
        assert place.moment is None or place.moment.year < 9999


@pytest.mark.parametrize("text", ["", "1:2:END", "1:2 ", "+1:2", "1:2:end\n"])
def test_near_misses_are_refused(text: str) -> None:
    """An id is used as it came."""
    with pytest.raises(InvalidInput):
        Place.parse(text)
