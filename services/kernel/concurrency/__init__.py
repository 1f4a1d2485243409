"""How many courses may be in generation at once, and who counts them (contract.md e, GAP9)."""

from __future__ import annotations

from services.kernel.concurrency.settings import ConcurrencySettings, TierLimits

__all__ = ("ConcurrencySettings", "TierLimits")
