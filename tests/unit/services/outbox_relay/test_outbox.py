"""The positions in hand, as PostgreSQL reads them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox_relay.outbox import multirange


@pytest.mark.parametrize(
    ("positions", "text"),
    [([], "{}"), ([7], "{[7,8)}"), ([3, 1, 2, 9], "{[1,4),[9,10)}"), ([5, 5, 6], "{[5,6),[5,7)}")],
)
def test_neighbours_are_written_together(positions: list[int], text: str) -> None:
    """The fewest ranges, in ascending order; a position named twice does no harm."""
    assert multirange(positions) == text


@given(st.sets(st.integers(1, 60)))
def test_the_ranges_hold_exactly_the_positions(positions: set[int]) -> None:
    """Nothing between them: a row committed late between two in hand must not be kept out."""
    bounds = [(int(low), int(high)) for low, high in re.findall(r"\[(\d+),(\d+)\)", multirange(positions))]

    assert {each for low, high in bounds for each in range(low, high)} == positions
