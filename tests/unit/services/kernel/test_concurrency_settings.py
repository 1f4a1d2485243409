"""The limits of courses at once, as they are written in the environment."""

from __future__ import annotations

import pytest

from services.kernel.concurrency.settings import TierLimits


def test_tiers_that_are_not_named_keep_their_default() -> None:
    """In any case and order, with spaces; what is printed is read again."""
    limits = TierLimits.parse(" premium = 50 ,free=2,")

    assert dict(limits.pairs) == {"FREE": 2, "BASIC": 2, "STANDARD": 3, "TRIAL": 5, "PREMIUM": 50}
    assert TierLimits.parse(str(limits)) == limits
    assert TierLimits.parse("") == TierLimits()


@pytest.mark.parametrize(
    "text", ["GOLD=1", "FREE", "FREE=", "FREE=0", "FREE=10001", "FREE=-1", "FREE=1.5", "FREE=٣", "=1"]
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(text: str) -> None:
    """An unknown tier, no number, a number out of bounds."""
    with pytest.raises(ValueError, match=r"there is no tier|write a whole number"):
        TierLimits.parse(text)
