"""Tiers and what they are worth."""

from __future__ import annotations

import pytest

from services.kernel.tiers import PRIORITIES, known_tier


@pytest.mark.parametrize(
    ("name", "tier"), [("premium", "PREMIUM"), ("FREE", "FREE"), ("GOLD", "FREE"), (None, "FREE"), (7, "FREE")]
)
def test_an_unknown_tier_is_free(name: object, tier: str) -> None:
    """GAP9."""
    assert known_tier(name) == tier


def test_a_higher_tier_goes_first() -> None:
    """Numbers rise with the tier (TRAP12)."""
    assert [PRIORITIES[each] for each in ("FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM")] == [1, 3, 5, 5, 10]
