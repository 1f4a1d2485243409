"""The guard refuses what would remove too much, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retention.guard import Guard
from services.retention.survey import Survey


def seen(present: int, matched: int, *, is_estimate: bool = False) -> Survey:
    """What a look has found."""
    return Survey(present, matched, None, is_estimate)


@pytest.mark.parametrize(
    ("present", "matched", "fraction", "keep", "complaint"),
    [
        (100, 50, 0.5, 0, None),
        (100, 51, 0.5, 0, "51 of 100 rows (51.0%) would go"),
        (100, 100, 1.0, 0, None),
        (100, 1, 0.0, 0, "maxDeleteFraction"),
        (100, 20, 0.5, 80, None),
        (100, 21, 0.5, 80, "79 rows would be left, fewer than the 80 of minKeepRows"),
        (0, 0, 0.0, 1000, None),
        (5, 0, 0.0, 1000, None),
    ],
)
def test_shares_and_remainders(present: int, matched: int, fraction: float, keep: int, complaint: str | None) -> None:
    """What would remove nothing is never refused, however little there is."""
    objection = Guard(fraction, keep).objection(seen(present, matched))

    assert (objection is None) == (complaint is None)
    assert (complaint or "") in (objection or "")


@pytest.mark.parametrize(
    ("matched", "free", "keep", "is_refused"),
    [(1000, 1000, 0, False), (1001, 1000, 0, True), (1000, 0, 0, True), (1000, 1000, 1, True)],
)
def test_few_rows_may_go_whatever_their_share_is(matched: int, free: int, keep: int, is_refused: bool) -> None:
    """All of a small table, after a quiet month; what must be left must be left all the same."""
    assert (Guard(0.5, keep, free).objection(seen(matched, matched)) is not None) == is_refused


def test_an_estimate_is_called_one() -> None:
    """A person who reads it knows how far to trust it."""
    assert (Guard(0.1, 0).objection(seen(1000, 900, is_estimate=True)) or "").startswith("about 900 of 1000")


@given(
    st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1), st.integers(0, 10**9),
)  # fmt: skip
def test_what_passes_is_within_both_limits(present: int, matched: int, fraction: float, keep: int) -> None:
    """For any figures, also such as an estimate may bring forth."""
    objection = Guard(fraction, keep).objection(seen(present, matched))

    if objection is None and matched:
        assert matched <= present * fraction + 1e-6 * present
        assert present - matched >= keep
