"""What a caller's tier is worth (contract.md c.5, e)."""

from __future__ import annotations

from typing import Final

DEFAULT_TIER: Final = "FREE"
"""The tier of a caller whose token names none, or one nobody knows (GAP9)."""

PRIORITIES: Final[dict[str, int]] = {"FREE": 1, "BASIC": 3, "STANDARD": 5, "TRIAL": 5, "PREMIUM": 10}
"""Priority of a tier's jobs; higher goes first (TRAP12)."""


def known_tier(name: object) -> str:
    """The tier that `name` means: itself in capitals, or the default for anything unknown."""
    tier = name.upper() if isinstance(name, str) else DEFAULT_TIER
    return tier if tier in PRIORITIES else DEFAULT_TIER
