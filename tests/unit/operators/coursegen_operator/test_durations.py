"""Durations: what the schema admits can be read."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.durations import PATTERN, duration_of, seconds_of, text_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90m", 5400), ("7d", 604_800), ("1h30m", 5400), ("1w1d1h1m1s", 694_861)]
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    """In the units of Prometheus, the largest first."""
    assert seconds_of(text) == seconds
    assert duration_of(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "d", "1s1m", "-1s", "1.5h", "1h 2m", "1h\n", "٣s"])
def test_anything_else_is_refused(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match="90m"):
        seconds_of(text)


@given(st.from_regex(PATTERN, fullmatch=True).filter(lambda text: len(text) >= 2 and text.isascii()))
def test_whatever_the_schema_admits_can_be_read(text: str) -> None:
    """Never an error in a planner."""
    assert seconds_of(text) >= 0


@given(st.integers(0, 10**8))
def test_what_is_written_can_be_read(seconds: int) -> None:
    """Without loss."""
    assert seconds_of(text_of(seconds)) == seconds
    assert re.fullmatch(PATTERN, text_of(seconds))
