"""The documented switch for loads that are not about limits: many courses at once, of one user (contract.md D14)."""

from __future__ import annotations

from typing import Final

from services.kernel.concurrency.settings import MOST, TierLimits

RAISED: Final = {
    "CONCURRENCY_GLOBAL_LIMIT": str(MOST),
    "CONCURRENCY_TIER_LIMITS": str(TierLimits.same(MOST)),
}
"""As variables of a process."""

RAISED_FIELDS: Final = {
    "concurrency_global_limit": MOST,
    "concurrency_tier_limits": TierLimits.same(MOST),
}
"""As fields of the api's settings."""
