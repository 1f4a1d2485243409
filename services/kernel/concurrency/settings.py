"""How many courses may be in generation at once, as configured (contract.md e, D14)."""

from __future__ import annotations

import dataclasses
from typing import Final

from services.kernel.settings import setting
from services.kernel.tiers import CONCURRENT_COURSES

FEWEST: Final = 1
MOST: Final = 10_000
"""Bounds of every limit: courses."""

DEFAULT_GLOBAL: Final = 3
"""Courses of all users together."""


@dataclasses.dataclass(frozen=True, slots=True)
class TierLimits:
    """Courses of one user at once, by tier: every tier has a number."""

    pairs: tuple[tuple[str, int], ...] = tuple(CONCURRENT_COURSES.items())

    @classmethod
    def parse(cls, text: str) -> TierLimits:
        """The limits that `FREE=1,PREMIUM=5` means; a tier that is not named keeps its default.

        Raises:
            ValueError: with what to write instead.
        """
        limits = dict(CONCURRENT_COURSES)
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            tier, _, number = (piece.strip() for piece in part.partition("="))
            if tier.upper() not in limits:
                raise ValueError(f"there is no tier {tier!r}; tiers are {', '.join(limits)}")
            limits[tier.upper()] = _slots(number)
        return cls(tuple(limits.items()))

    @classmethod
    def same(cls, slots: int) -> TierLimits:
        """So many for every tier."""
        return cls(tuple((tier, slots) for tier in CONCURRENT_COURSES))

    def __str__(self) -> str:
        """The way it is written in the environment."""
        return ",".join(f"{tier}={slots}" for tier, slots in self.pairs)


def _slots(text: str) -> int:
    if not (text.isascii() and text.isdigit() and FEWEST <= int(text) <= MOST):
        raise ValueError(f"write a whole number from {FEWEST} to {MOST:,} after each tier: FREE=1,BASIC=2")
    return int(text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConcurrencySettings:
    """The limits in force while the table `concurrency_limits` does not say otherwise."""

    concurrency_global_limit: int = setting(
        "CONCURRENCY_GLOBAL_LIMIT",
        default=DEFAULT_GLOBAL,
        unit="courses",
        minimum=FEWEST,
        maximum=MOST,
        doc="courses in generation at once, of all users together; more are answered with 429",
    )
    concurrency_tier_limits: TierLimits = setting(
        "CONCURRENCY_TIER_LIMITS",
        default=TierLimits(),
        parse=TierLimits.parse,
        doc="courses in generation at once, of one user, by tier; a tier that is not named keeps its default",
    )
